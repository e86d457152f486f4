//! Compares the core's kernels with the portable ones: exit status 0 if they agree on every bit.
#![no_std]
#![no_main]

#[gatelet_qemu::entry]
fn main() -> ! {
    gatelet_qemu::compare_kernels()
}
