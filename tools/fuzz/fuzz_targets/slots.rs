//! A device's flash with anything in it, its records sealed so that their CRCs do not save the reader:
//! it boots, takes an update of anything, and boots again.
#![no_main]

use gatelet::Model;
use gatelet::storage::Slots;
use gatelet_app::update::RamFlash;
use libfuzzer_sys::fuzz_target;

const PAGE: usize = 256;
const SLOT: usize = 4 * PAGE;
const RECORD: usize = 32;

fuzz_target!(|bytes: &[u8]| {
    let ([a, b], arriving) = match bytes.as_chunks::<SLOT>() {
        ([a, b, ..], _) => ([*a, *b], &bytes[2 * SLOT..]),
        _ => return,
    };
    let mut flash = [a, b].map(|slot| RamFlash::<SLOT, PAGE>::holding(sealed(slot)));
    let mut memory = [0; 512];
    let (mut slots, _) =
        Slots::boot(flash.each_mut(), |bytes| Model::from_bytes(bytes), &mut memory).unwrap();
    let (_, mut update) = slots.update().unwrap();
    if arriving.chunks(100).all(|chunk| update.write(chunk).is_ok()) {
        let _ = update.finish();
    }
    slots.switch(&mut memory).unwrap();
    let _ = slots.model();
});

/// Gives marks and a CRC to the first records of the log.
fn sealed(mut slot: [u8; SLOT]) -> [u8; SLOT] {
    let log = &mut slot[SLOT - PAGE..];
    for (record, mark) in log.chunks_mut(RECORD).zip([b"WRIT", b"CONF", b"REJE"]) {
        // Erased, or a mark of another's, as the input has it.
        if record[0] & 1 == 0 {
            record[..4].copy_from_slice(mark);
        }
        let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&record[..12]);
        record[12..16].copy_from_slice(&crc.to_le_bytes());
    }
    slot
}
