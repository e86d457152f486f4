//! Loads the blob of `GATELET_MODEL` at run time, steps, and says how much of the stack each took.
#![no_std]
#![no_main]

gatelet::include_model!(struct Net, env!("GATELET_MODEL"));

#[gatelet_qemu::entry]
fn main() -> ! {
    gatelet_qemu::load(Net::BLOB, &mut [0; Net::MEMORY_WORDS], &[0; Net::INPUTS])
}
