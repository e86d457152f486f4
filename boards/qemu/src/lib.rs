//! What the QEMU boards share: start-up, input and output, instruction and stack counts, faults.
#![no_std]

mod measure;

use core::panic::PanicInfo;

#[cfg(target_arch = "arm")]
pub use cortex_m_rt::entry;
pub use measure::Meter;
#[cfg(target_arch = "riscv32")]
pub use riscv_rt::entry;
pub use semihosting;

/// Says what went wrong and ends QEMU with exit status 101, so that the host sees it.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    semihosting::eprintln!("{info}");
    semihosting::process::exit(101)
}

/// A fault ends QEMU too, with exit status 102.
#[cfg(target_arch = "arm")]
#[cortex_m_rt::exception]
unsafe fn HardFault(frame: &cortex_m_rt::ExceptionFrame) -> ! {
    semihosting::eprintln!("hard fault at {:#010x}", frame.pc());
    semihosting::process::exit(102)
}

/// A trap ends QEMU too, with exit status 102.
#[cfg(target_arch = "riscv32")]
#[unsafe(export_name = "ExceptionHandler")]
fn exception(_: &riscv_rt::TrapFrame) -> ! {
    semihosting::eprintln!("trap");
    semihosting::process::exit(102)
}
