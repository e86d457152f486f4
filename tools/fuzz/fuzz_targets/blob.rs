//! A blob from anywhere, sealed so that its CRC does not save the reader: refused, or it can be
//! stepped, whatever its weights, its inputs and the state put into it.
#![no_main]

use gatelet::blob::format::{self, header};
use gatelet::{Error, Model, Stream};
use libfuzzer_sys::fuzz_target;

static CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// Words of memory that a blob may ask for here: more is only slower.
const MOST_WORDS: usize = 1 << 16;

fuzz_target!(|bytes: &[u8]| {
    let Some((blob, noise)) = bytes.split_last_chunk::<8>() else { return };
    let mut words = vec![0u128; blob.len().div_ceil(16)];
    let sealed: &mut [u8] = &mut bytemuck::cast_slice_mut(&mut words)[..blob.len()];
    sealed.copy_from_slice(blob);
    if blob.len() >= header::BYTES + format::CRC_BYTES {
        seal(sealed);
    }
    match Model::from_bytes(sealed) {
        Ok(model) if model.memory_words() <= MOST_WORDS => drive(model, *noise),
        Err(Error::Checksum { .. } | Error::Alignment) => panic!("a seal that does not hold"),
        Ok(_) | Err(_) => {}
    }
});

/// Makes magic, version, length and CRC right.
fn seal(blob: &mut [u8]) {
    let (length, end) = (blob.len() as u32, blob.len() - format::CRC_BYTES);
    blob[..4].copy_from_slice(&format::MAGIC);
    blob[header::MAJOR..][..2].copy_from_slice(&format::MAJOR.to_le_bytes());
    blob[header::LENGTH..][..4].copy_from_slice(&length.to_le_bytes());
    let crc = CRC.checksum(&blob[..end]);
    blob[end..].copy_from_slice(&crc.to_le_bytes());
}

/// Does all that can be done with a model.
fn drive(model: Model<'_>, noise: [u8; 8]) {
    let noise = u64::from_le_bytes(noise);
    let mut memory = vec![0; model.memory_words()];
    let mut stream = Stream::new(model, &mut memory).expect("the words it asked for");
    let mut x: Vec<i16> = (0..model.inputs())
        .map(|k| (noise.rotate_left(7 * k as u32) as i16).wrapping_add(k as i16))
        .collect();
    step(&mut stream, &x);
    x.fill(if noise & 1 == 0 { i16::MIN } else { i16::MAX });
    step(&mut stream, &x);

    let state: Vec<u32> =
        (0..stream.state().len()).map(|k| noise.rotate_left(11 * k as u32) as u32).collect();
    stream.restore(&state).expect("a state of its length");
    step(&mut stream, &x);
    for index in 0..model.depth() {
        let units = model.layer(index).expect("a layer of the table").units();
        let c = vec![noise as i32; units];
        let _ = stream.set_state(index, &vec![noise as i16; units], &c);
        assert_eq!(stream.layer_output(index).len(), units);
    }
    step(&mut stream, &x);
    let features: Vec<f32> = x.iter().map(|x| f32::from_bits((*x as u32) << 16)).collect();
    model.quantize(&features, &mut x);
    step(&mut stream, &x);
    assert!(model.labels().count() + model.metadata().len() < usize::MAX);
}

fn step(stream: &mut Stream<'_, '_>, x: &[i16]) {
    let outputs = stream.model().outputs();
    assert_eq!(stream.step(x).expect("an input of its width").len(), outputs);
}
