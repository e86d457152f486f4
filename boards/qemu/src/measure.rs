//! Instructions executed and stack used by a piece of work, exact to the instruction and the word.
//!
//! QEMU's `-icount shift=7` lets 2^7 ns of virtual time pass with every instruction. On Arm the
//! SysTick timer, at 20 MHz or more, then advances by at least 2.5 ticks an instruction, so that
//! ticks round to instructions without doubt. RISC-V counts instructions itself, in `minstret`.

use core::arch::asm;
use core::hint::black_box;
use core::mem::size_of;
use core::ptr::{read_volatile, with_exposed_provenance_mut, write_volatile};
use core::sync::atomic::{Ordering::SeqCst, compiler_fence};

use gatelet_app::Cost;

/// The instrument, with what calibration found.
pub(crate) struct Meter {
    scale: counter::Scale,
    /// Instructions counted when there is no work.
    idle: u32,
}

impl Meter {
    /// Sets the counter going and checks it on loops of known length.
    ///
    /// # Panics
    /// When a count is off by one or more, as it is without `-icount shift=7`.
    pub(crate) fn new() -> Self {
        let mut meter = Self { scale: counter::start(), idle: 0 };
        meter.idle = meter.observe(&mut || ()).instructions;
        let spin = |n| meter.observe(&mut || spin(n)).instructions;
        for n in [1, 2, 3, 1000, 100_000] {
            let extra = spin(n + 1000) - spin(n);
            assert_eq!(extra, 2000, "instructions miscounted: QEMU needs -icount shift=7");
        }
        let exact = meter.observe(&mut seven).instructions;
        assert_eq!(exact, 7, "instructions of a call miscounted");
        meter
    }

    /// Instructions (the final return left out) and stack of `work`.
    fn observe(&self, work: &mut dyn FnMut()) -> Cost {
        let (ticks, stack) = observe(work);
        Cost { instructions: self.scale.instructions(ticks) - self.idle, stack }
    }
}

impl gatelet_app::Meter for Meter {
    /// Some five instructions of handing `work` over and its result back are included.
    ///
    /// # Panics
    /// When `work` uses more than 4 KiB of stack, or all that is left.
    fn cost<R>(&self, work: impl FnOnce() -> R) -> (R, Cost) {
        let (mut work, mut result) = (Some(work), None);
        let cost = self.observe(&mut || result = work.take().map(|work| work()));
        (result.expect("work is done"), cost)
    }
}

/// Virtual time of an instruction in ns.
const INSTRUCTION: u32 = 1 << 7;

/// Bytes of stack that are watched.
const PAINTED: usize = 4096;
const PAINT: u32 = 0x5AFE_5AFE;

/// Counter ticks of `work`.
#[cfg(target_arch = "arm")]
fn ticks(mut work: impl FnMut()) -> u32 {
    observe(&mut work).0
}

/// Counter ticks and stack bytes of `work`. Never inlined, so that all work is called alike.
#[inline(never)]
fn observe(work: &mut dyn FnMut()) -> (u32, u32) {
    unsafe extern "C" {
        /// End of the static variables, where the room for the stack begins.
        static __ebss: u32;
    }
    let work = black_box(work);
    let top = stack_pointer();
    let bottom = (top - PAINTED).max(&raw const __ebss as usize);
    let words = (bottom..top).step_by(size_of::<u32>());

    for address in words.clone() {
        // SAFETY: an aligned word between the static variables and the stack in use: unused RAM.
        unsafe { write_volatile(with_exposed_provenance_mut(address), PAINT) };
    }
    let start = counter::now();
    compiler_fence(SeqCst);
    work();
    compiler_fence(SeqCst);
    let ticks = counter::since(start);
    // SAFETY: as above, and every word was written.
    let untouched = |&address: &usize| unsafe {
        read_volatile(with_exposed_provenance_mut::<u32>(address)) == PAINT
    };
    let deepest = words.clone().find(|a| !untouched(a)).unwrap_or(top);
    assert!(deepest > bottom, "a step used more than {} bytes of stack", top - bottom);
    (ticks, (top - deepest) as u32)
}

/// `spin(n + m)` executes `2 * m` instructions more than `spin(n)`.
fn spin(n: u32) {
    // SAFETY: counts a register of its own down to zero and touches nothing else.
    #[cfg(target_arch = "arm")]
    unsafe {
        asm!("2: subs {0}, #1", "bne 2b", inout(reg) n => _, options(nomem, nostack));
    }
    // SAFETY: as above.
    #[cfg(target_arch = "riscv32")]
    unsafe {
        asm!("2: addi {0}, {0}, -1", "bnez {0}, 2b", inout(reg) n => _, options(nomem, nostack));
    }
}

/// Executes seven instructions and returns.
fn seven() {
    // SAFETY: does nothing.
    unsafe { asm!("nop", "nop", "nop", "nop", "nop", "nop", "nop", options(nomem, nostack)) }
}

fn stack_pointer() -> usize {
    let sp;
    // SAFETY: reads a register.
    #[cfg(target_arch = "arm")]
    unsafe {
        asm!("mov {}, sp", out(reg) sp, options(nomem, nostack));
    }
    // SAFETY: as above.
    #[cfg(target_arch = "riscv32")]
    unsafe {
        asm!("mv {}, sp", out(reg) sp, options(nomem, nostack));
    }
    sp
}

/// Arm's SysTick: a 24-bit timer that counts down at the core's clock.
#[cfg(target_arch = "arm")]
mod counter {
    use cortex_m::peripheral::{Peripherals, SYST, syst::SystClkSource};

    use super::{INSTRUCTION, spin, ticks};

    const MASK: u32 = 0xFF_FFFF;

    /// The core's clock in MHz.
    pub(super) struct Scale(u32);

    impl Scale {
        pub(super) fn instructions(&self, ticks: u32) -> u32 {
            let period = u64::from(self.0 * INSTRUCTION);
            ((u64::from(ticks) * 1000 + period / 2) / period) as u32
        }
    }

    pub(super) fn start() -> Scale {
        let mut syst = syst();
        syst.set_clock_source(SystClkSource::Core);
        syst.set_reload(MASK);
        syst.clear_current();
        syst.enable_counter();
        // A whole number of MHz: 100,000 instructions tell it.
        let ticks = ticks(|| spin(50_100)) - ticks(|| spin(100));
        Scale((ticks + 50 * INSTRUCTION) / (100 * INSTRUCTION))
    }

    pub(super) fn now() -> u32 {
        syst().clear_current();
        SYST::get_current()
    }

    pub(super) fn since(start: u32) -> u32 {
        let ticks = start.wrapping_sub(SYST::get_current()) & MASK;
        assert!(!syst().has_wrapped(), "a step too long for the timer");
        ticks
    }

    fn syst() -> SYST {
        // SAFETY: nothing else in this firmware uses the timer.
        unsafe { Peripherals::steal() }.SYST
    }
}

/// RISC-V's own count of retired instructions, which QEMU keeps in units of virtual time.
#[cfg(target_arch = "riscv32")]
mod counter {
    use super::INSTRUCTION;

    pub(super) struct Scale;

    impl Scale {
        pub(super) fn instructions(&self, ticks: u32) -> u32 {
            ticks / INSTRUCTION
        }
    }

    pub(super) fn start() -> Scale {
        Scale
    }

    pub(super) fn now() -> u32 {
        let n;
        // SAFETY: reads a counter.
        unsafe { core::arch::asm!("csrr {}, minstret", out(reg) n, options(nomem, nostack)) };
        n
    }

    pub(super) fn since(start: u32) -> u32 {
        now().wrapping_sub(start)
    }
}
