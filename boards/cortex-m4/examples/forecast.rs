//! Forecasts the samples of standard input with the model of `GATELET_MODEL`.
#![no_std]
#![no_main]

gatelet::include_model!(struct Net, env!("GATELET_MODEL"));

#[gatelet_qemu::entry]
fn main() -> ! {
    gatelet_qemu::forecast::<{ Net::INPUTS }>(Net::new().stream(), &mut [0; Net::MEMORY_WORDS])
}
