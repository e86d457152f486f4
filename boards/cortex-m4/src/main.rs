#![no_std]
#![no_main]

use gatelet_qemu::{Meter, entry, semihosting};

#[entry]
fn main() -> ! {
    let meter = Meter::new();
    let mut sum = 0u32;
    for i in 0..4 {
        let c = meter.cost(|| { for k in 0..i*100 { sum = sum.rotate_left(3) ^ core::hint::black_box(k); } });
        semihosting::println!("{i} {c:?}");
    }
    semihosting::process::exit((sum == 1) as i32)
}
