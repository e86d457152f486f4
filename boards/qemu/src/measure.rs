//! Instructions and stack of a step, exact to the instruction and the word.
//!
//! QEMU's `-icount shift=7` lets 2^7 ns of virtual time pass with every instruction. On Arm the
//! SysTick timer, at 20 MHz or more, then advances by at least 2.5 ticks an instruction, so that
//! ticks round to instructions without doubt. RISC-V counts instructions itself, in `minstret`.

use core::arch::asm;
use core::mem::size_of;
use core::ops::Range;
use core::ptr::{
    read_volatile, with_exposed_provenance, with_exposed_provenance_mut, write_volatile,
};

use gatelet_app::{Cost, Network};

/// The instrument, with what calibration found.
pub(crate) struct Meter {
    scale: counter::Scale,
    /// What calling costs.
    around: Cost,
}

impl Meter {
    /// Sets the counter going and checks it on functions of known length.
    ///
    /// # Panics
    /// When a count is off by one or more, as it is without `-icount shift=7`.
    pub(crate) fn new() -> Self {
        let around = Cost { instructions: 0, stack: 0 };
        let mut meter = Self { scale: counter::start(), around };
        meter.around = meter.call(nothing, 0, 0).1;
        let count = |f, n| meter.call(f, n, 0).1.instructions;
        assert_eq!(count(seven, 0), 7, "instructions miscounted: QEMU needs -icount shift=7");
        for n in [1, 2, 3, 1000, 100_000] {
            assert_eq!(count(spin, n), 2 * n as u32, "instructions of a loop miscounted");
        }
        meter
    }

    /// Calls `f(a, b)`; returns its result and what it cost, the return instruction left out.
    fn call(&self, f: Function, a: usize, b: usize) -> (usize, Cost) {
        let (result, ticks, stack) = call(f, a, b);
        let instructions = self.scale.instructions(ticks) - self.around.instructions;
        (result, Cost { instructions, stack: (stack.end - stack.start) as u32 - self.around.stack })
    }

    /// Runs anything and says how many bytes of stack it used.
    ///
    /// # Panics
    /// As [`step`](gatelet_app::Meter::step).
    pub(crate) fn stack(&self, run: &mut impl FnMut()) -> u32 {
        self.call(measured(run), (&raw mut *run).expose_provenance(), 0).1.stack
    }
}

impl gatelet_app::Meter for Meter {
    /// # Panics
    /// When the step uses more than 4 KiB of stack, or all that is left.
    fn step<'n, const INPUTS: usize, const OUTPUTS: usize, N: Network<INPUTS, OUTPUTS>>(
        &self,
        net: &'n mut N,
        x: &[i16; INPUTS],
    ) -> (&'n [i16; OUTPUTS], Cost) {
        extern "C" fn step<const I: usize, const O: usize, N: Network<I, O>>(
            net: usize,
            x: usize,
        ) -> usize {
            // SAFETY: made from an exclusive reference to an `N` that lives on.
            let net: &mut N = unsafe { &mut *with_exposed_provenance_mut(net) };
            // SAFETY: made from a reference that lives on.
            let x = unsafe { &*with_exposed_provenance(x) };
            (&raw const *net.step(x)).expose_provenance()
        }
        let net = (&raw mut *net).expose_provenance();
        let x = (&raw const *x).expose_provenance();
        let (y, cost) = self.call(step::<INPUTS, OUTPUTS, N>, net, x);
        // SAFETY: `step` made it from a reference that lives as long as `net`.
        (unsafe { &*with_exposed_provenance(y) }, cost)
    }

    /// # Panics
    /// As [`step`](Self::step).
    fn measure(&self, run: &mut impl FnMut()) -> Cost {
        unsafe extern "C" {
            /// Where the stack begins, at the end of RAM.
            static _stack_start: u32;
        }
        let (_, ticks, stack) = call(measured(run), (&raw mut *run).expose_provenance(), 0);
        let instructions = self.scale.instructions(ticks) - self.around.instructions;
        Cost { instructions, stack: (&raw const _stack_start as usize - stack.start) as u32 }
    }
}

/// What can be measured: two machine words in, one out.
type Function = extern "C" fn(usize, usize) -> usize;

/// What runs an `F`, whose address is the first of its arguments.
fn measured<F: FnMut()>(_: &F) -> Function {
    extern "C" fn run<F: FnMut()>(f: usize, _: usize) -> usize {
        // SAFETY: made from an exclusive reference that lives on.
        let f: &mut F = unsafe { &mut *with_exposed_provenance_mut(f) };
        f();
        0
    }
    run::<F>
}

/// Virtual time of an instruction in ns.
const INSTRUCTION: u32 = 1 << 7;

/// Bytes of stack that are watched, and what they are painted with.
const PAINTED: usize = 4096;
const PAINT: u32 = 0x5AFE_5AFE;

/// Calls `f(a, b)`; returns its result, the counter's ticks and the stack that it used.
fn call(f: Function, a: usize, b: usize) -> (usize, u32, Range<usize>) {
    unsafe extern "C" {
        /// End of the static variables, where the room for the stack begins.
        static __ebss: u32;
    }
    let top = stack_pointer();
    let bottom = (top - PAINTED).max(&raw const __ebss as usize);
    let words = (bottom..top).step_by(size_of::<u32>());

    for address in words.clone() {
        // SAFETY: an aligned word between the static variables and the stack in use: unused RAM.
        unsafe { write_volatile(with_exposed_provenance_mut(address), PAINT) };
    }
    let (result, ticks) = counter::around(f, a, b);
    let touched = |&address: &usize| {
        // SAFETY: as above, and every word was written.
        PAINT != unsafe { read_volatile(with_exposed_provenance::<u32>(address)) }
    };
    let deepest = words.clone().find(touched).unwrap_or(top);
    assert!(deepest > bottom, "a step used more than {} bytes of stack", top - bottom);
    (result, ticks, deepest..top)
}

extern "C" fn nothing(a: usize, _: usize) -> usize {
    a
}

/// Executes seven instructions and returns.
extern "C" fn seven(a: usize, _: usize) -> usize {
    // SAFETY: does nothing.
    unsafe { asm!("nop", "nop", "nop", "nop", "nop", "nop", "nop", options(nomem, nostack)) };
    a
}

/// Executes `2 * n` instructions and returns.
extern "C" fn spin(n: usize, _: usize) -> usize {
    let zero;
    // SAFETY: counts a register down to zero.
    #[cfg(target_arch = "arm")]
    unsafe {
        asm!("2: subs r0, #1", "bne 2b", inout("r0") n => zero, options(nomem, nostack));
    }
    // SAFETY: as above.
    #[cfg(target_arch = "riscv32")]
    unsafe {
        asm!("2: addi a0, a0, -1", "bnez a0, 2b", inout("a0") n => zero, options(nomem, nostack));
    }
    zero
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
    use core::arch::naked_asm;

    use cortex_m::peripheral::{Peripherals, SYST, syst::SystClkSource};

    use super::{Function, INSTRUCTION, spin};

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
        syst.enable_counter();
        // A whole number of MHz: 100,000 instructions tell it.
        let ticks = around(spin, 50_100, 0).1 - around(spin, 100, 0).1;
        Scale((ticks + 50 * INSTRUCTION) / (100 * INSTRUCTION))
    }

    /// Calls `f(a, b)`; returns its result and the ticks that passed around it.
    pub(super) fn around(f: Function, a: usize, b: usize) -> (usize, u32) {
        #[unsafe(naked)]
        extern "C" fn timed(a: usize, b: usize, f: Function, timer: *const u32) -> u64 {
            naked_asm!(
                "push {{r4, r5, r6, lr}}",
                "mov  r4, r3",
                "ldr  r5, [r4]",
                "blx  r2",
                "ldr  r4, [r4]",
                "subs r1, r5, r4",
                "pop  {{r4, r5, r6, pc}}",
            )
        }
        let mut syst = syst();
        syst.clear_current();
        let result_and_ticks = timed(a, b, f, (&raw const syst.cvr).cast());
        assert!(!syst.has_wrapped(), "a step too long for the timer");
        (result_and_ticks as usize, (result_and_ticks >> 32) as u32 & MASK)
    }

    fn syst() -> SYST {
        // SAFETY: nothing else in this firmware uses the timer.
        unsafe { Peripherals::steal() }.SYST
    }
}

/// RISC-V's own count of retired instructions, which QEMU keeps in units of virtual time.
#[cfg(target_arch = "riscv32")]
mod counter {
    use core::arch::naked_asm;

    use super::{Function, INSTRUCTION};

    pub(super) struct Scale;

    impl Scale {
        pub(super) fn instructions(&self, ticks: u32) -> u32 {
            ticks / INSTRUCTION
        }
    }

    pub(super) fn start() -> Scale {
        Scale
    }

    /// Calls `f(a, b)`; returns its result and the ticks that passed around it.
    pub(super) fn around(f: Function, a: usize, b: usize) -> (usize, u32) {
        #[unsafe(naked)]
        extern "C" fn timed(a: usize, b: usize, f: Function) -> u64 {
            naked_asm!(
                "addi sp, sp, -16",
                "sw   ra, 0(sp)",
                "sw   s2, 4(sp)",
                "csrr s2, minstret",
                "jalr a2",
                "csrr a1, minstret",
                "sub  a1, a1, s2",
                "lw   ra, 0(sp)",
                "lw   s2, 4(sp)",
                "addi sp, sp, 16",
                "ret",
            )
        }
        let result_and_ticks = timed(a, b, f);
        (result_and_ticks as usize, (result_and_ticks >> 32) as u32)
    }
}
