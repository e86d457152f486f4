//! Updates the digits model while it runs, on a Cortex-M4 in QEMU: an LSTM gives way to a GRU.
#![no_std]
#![no_main]

use gatelet_app::update::{Ended, RamFlash, update_while_running};
use semihosting::{eprintln, println, process};

gatelet::include_model!(struct Old, "../../../tests/data/blobs/digits_lstm_int8_dsp.gate");
gatelet::include_model!(struct New, "../../../tests/data/blobs/digits_gru_int8_dsp.gate");

const PAGE: usize = 1024;
const SLOT: usize = 32 * PAGE;

#[gatelet_qemu::entry]
fn main() -> ! {
    let mut flash = [RamFlash::<SLOT, PAGE>::new(), RamFlash::new()];
    let (mut running, mut testing) = ([0; 1024], [0; 1024]);
    let ended = update_while_running(
        flash.each_mut(),
        [Old::BLOB, New::BLOB],
        (&mut running, &mut testing),
        |arrived, answer| println!("{arrived:5} bytes arrived; the old model says {answer}"),
    );
    match ended {
        Ok(Ended { steps, answer, erased }) => {
            println!("the new model says {answer}; {steps} steps of the old one meanwhile");
            println!("pages erased, slot by slot: {erased:?}");
            process::exit(0)
        }
        Err(reason) => {
            eprintln!("{reason}");
            process::exit(1)
        }
    }
}
