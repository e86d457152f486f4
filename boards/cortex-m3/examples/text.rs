//! Answers lines of text on standard input with the model of `GATELET_MODEL`.
#![no_std]
#![no_main]

gatelet::include_model!(struct Net, env!("GATELET_MODEL"));

#[gatelet_qemu::entry]
fn main() -> ! {
    gatelet_qemu::answer_text(&mut Net::new().stream())
}
