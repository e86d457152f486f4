//! What the QEMU boards share: start-up, input and output, instruction and stack counts, faults.
//!
//! A board's firmware is a filter: it reads samples on QEMU's standard input and answers on its
//! standard output, as [`gatelet_app::serve`] says. Exit status 0 means that every sample was
//! answered; 101 is a panic, 102 a fault, both explained on standard error. With the feature `defmt`
//! it logs every step instead: pipe its output into `defmt-print`.
#![no_std]

mod console;
mod measure;

use core::panic::PanicInfo;

#[cfg(feature = "defmt")]
use defmt_semihosting as _;
#[doc(hidden)]
pub use gatelet_app::Network;
use semihosting::{eprintln, io, process};

#[cfg(target_arch = "arm")]
#[doc(hidden)]
pub use cortex_m_rt::entry;
#[cfg(target_arch = "riscv32")]
#[doc(hidden)]
pub use riscv_rt::entry;

/// The firmware that runs `$net`, a type of `gatelet::include_model!`.
#[macro_export]
macro_rules! firmware {
    ($net:ident) => {
        impl $crate::Network<{ $net::INPUTS }, { $net::OUTPUTS }> for $net {
            const WHOLE: bool = $net::STEPS > 0;
            const ENCODES: bool = $net::MODEL.encoder() > 0;
            // Functions of their own, so that the host can tell what is the engine's.
            #[inline(never)]
            fn step(&mut self, x: &[i16; $net::INPUTS]) -> &[i16; $net::OUTPUTS] {
                self.step(x)
            }
            #[inline(never)]
            fn advance(&mut self, x: &[i16; $net::INPUTS]) {
                self.advance(x);
            }
            #[inline(never)]
            fn outputs(&mut self) -> &[i16] {
                self.outputs()
            }
            #[inline(never)]
            fn encode(&mut self, x: &[i16; $net::INPUTS]) {
                self.encode(x);
            }
            #[inline(never)]
            fn hand_over(&mut self) {
                self.hand_over();
            }
            #[inline(never)]
            fn state(&self) -> &[u32] {
                self.state()
            }
            #[inline(never)]
            fn reset(&mut self) {
                self.reset();
            }
        }

        #[$crate::entry]
        fn main() -> ! {
            $crate::run(&mut $net::new())
        }
    };
}

/// Answers all of standard input and ends QEMU.
///
/// # Panics
/// If standard input is not as [`gatelet_app::serve`] wants it.
pub fn run<const INPUTS: usize, const OUTPUTS: usize>(
    net: &mut impl Network<INPUTS, OUTPUTS>,
) -> ! {
    let meter = measure::Meter::new();
    let mut input = console::Console(io::stdin().expect("semihosting"));
    let mut output = console::Console(io::stdout().expect("semihosting"));
    gatelet_app::serve(net, &meter, &mut input, &mut output).expect("samples on standard input");
    process::exit(0)
}

/// Answers lines of text on standard input, as [`gatelet_app::text`] says, and ends QEMU.
///
/// # Panics
/// If the model reads no text, or a line is too long.
pub fn answer_text(stream: &mut gatelet::Stream<'_, '_>) -> ! {
    let mut input = console::Console(io::stdin().expect("semihosting"));
    let mut output = console::Console(io::stdout().expect("semihosting"));
    gatelet_app::text::answer(stream, &mut input, &mut output).expect("text on standard input");
    process::exit(0)
}

/// Forecasts all of standard input with a `spare` memory to look ahead in, and ends QEMU.
///
/// # Panics
/// If standard input is not as [`gatelet_app::forecast`] wants it, or the model is no forecaster.
#[cfg(feature = "forecast")]
pub fn forecast<const N: usize>(stream: gatelet::Stream<'_, '_>, spare: &mut [u32]) -> ! {
    let mut input = console::Console(io::stdin().expect("semihosting"));
    let mut output = console::Console(io::stdout().expect("semihosting"));
    let mut forecaster = gatelet::decode::Forecaster::<N>::new(stream).expect("a forecaster");
    gatelet_app::forecast(&mut forecaster, spare, &mut input, &mut output)
        .expect("samples on standard input");
    process::exit(0)
}

/// The firmware that hears with `$net`, a type of `gatelet::include_model!` whose blob has settings of
/// front-end and trigger.
#[cfg(feature = "audio")]
#[macro_export]
macro_rules! listener {
    ($net:ident) => {
        #[$crate::entry]
        fn main() -> ! {
            const WINDOW: usize = match $net::MODEL.trigger() {
                Some(settings) => settings.window(),
                None => 1,
            };
            type Listener<'m> = gatelet::audio::Listener<'static, 'm, { $net::OUTPUTS }, WINDOW>;
            let mut memory = [0; Listener::words(&$net::MODEL)];
            $crate::hear(
                &mut Listener::new($net::MODEL, &mut memory).ok().expect("a model that hears"),
            )
        }
    };
}

/// Hears all of standard input and ends QEMU.
///
/// # Panics
/// If standard input is not as [`gatelet_app::hear`] wants it.
#[cfg(feature = "audio")]
pub fn hear<const OUTPUTS: usize, const WINDOW: usize>(
    listener: &mut gatelet::audio::Listener<'_, '_, OUTPUTS, WINDOW>,
) -> ! {
    let meter = measure::Meter::new();
    let mut input = console::Console(io::stdin().ok().expect("semihosting"));
    let mut output = console::Console(io::stdout().ok().expect("semihosting"));
    // What `expect` would print of an error is half of the firmware.
    gatelet_app::hear(listener, &meter, &mut input, &mut output).ok().expect("samples as expected");
    process::exit(0)
}

/// Loads `blob`, starts a stream in `memory`, and takes a step; writes how many bytes of stack each
/// of the three used, `u32`, to standard output, and ends QEMU.
///
/// # Panics
/// If the engine refuses the blob, the memory or the input.
pub fn load(blob: &[u8], memory: &mut [u32], x: &[i16]) -> ! {
    use embedded_io::Write;

    let meter = measure::Meter::new();
    let mut model = None;
    let of_load = meter.stack(&mut || model = gatelet::Model::from_bytes(blob).ok());
    let (model, mut stream) = (model.expect("a blob that the engine takes"), None);
    let mut memory = Some(memory);
    let of_start = meter.stack(&mut || {
        stream = memory.take().and_then(|memory| gatelet::Stream::new(model, memory).ok());
    });
    let mut stream = stream.expect("the words it asked for");
    let mut answered = false;
    let of_step = meter.stack(&mut || answered = stream.step(x).is_ok());
    assert!(answered, "a step was refused");
    let mut output = console::Console(io::stdout().expect("semihosting"));
    for bytes in [of_load, of_start, of_step] {
        output.write_all(&bytes.to_le_bytes()).expect("standard output");
    }
    process::exit(0)
}

/// Compares the core's kernels with the portable ones and ends QEMU; a difference is a panic.
pub fn compare_kernels() -> ! {
    gatelet_app::compare_kernels();
    process::exit(0)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    eprintln!("{info}");
    process::exit(101)
}

#[cfg(target_arch = "arm")]
#[cortex_m_rt::exception]
unsafe fn HardFault(frame: &cortex_m_rt::ExceptionFrame) -> ! {
    eprintln!("hard fault at {:#010x}", frame.pc());
    process::exit(102)
}

#[cfg(target_arch = "riscv32")]
#[unsafe(export_name = "ExceptionHandler")]
fn exception(frame: &riscv_rt::TrapFrame) -> ! {
    eprintln!("trap, called from {:#010x}", frame.ra);
    process::exit(102)
}
