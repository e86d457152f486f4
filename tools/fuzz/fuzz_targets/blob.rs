//! A blob from anywhere, sealed so that its CRC does not save the reader: refused, or everything can
//! be done with it, whatever its weights, its inputs and the state put into it.
#![no_main]

use gatelet::audio::{Frontend, Listener};
use gatelet::blob::format::{self, header};
use gatelet::decode::Sampler;
use gatelet::decode::trigger::Trigger;
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

fn drive(model: Model<'_>, noise: [u8; 8]) {
    let noise = u64::from_le_bytes(noise);
    let mut memory = vec![0; model.memory_words()];
    let _ = model.self_test(&mut memory);
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
        let _ = (stream.layer_output(index), stream.layer_state(index));
    }
    step(&mut stream, &x);
    let features: Vec<f32> = x.iter().map(|x| f32::from_bits((*x as u32) << 16)).collect();
    model.quantize(&features, &mut x);
    step(&mut stream, &x);
    let raw = stream.outputs().to_vec();
    model.dequantize(&raw, &mut vec![0.0; model.outputs()]);
    read(&mut stream, noise);
    listen(model, noise);
    assert!(model.labels().count() + model.metadata().len() < usize::MAX);
}

/// One step; a sequence that is full starts over.
fn step(stream: &mut Stream<'_, '_>, x: &[i16]) {
    let outputs = stream.model().outputs();
    match stream.step(x) {
        Ok(y) => assert_eq!(y.len(), outputs),
        Err(error) => {
            assert!(matches!(error, Error::Steps { .. }), "{error}");
            stream.reset();
        }
    }
}

fn read(stream: &mut Stream<'_, '_>, noise: u64) {
    let text = noise.to_le_bytes();
    let mut sampler = Sampler::new(stream.model().output_scale(), noise as u8 as f32 / 64.0, noise);
    if stream.read(&text).is_err() || stream.prompt(b"Ab ").is_err() {
        stream.reset();
    }
    if let Some(vocabulary) = stream.model().vocabulary() {
        for _ in 0..4 {
            let Some(token) = stream.generate(|logits| sampler.pick(logits)) else { break };
            let _ = vocabulary.character(token);
        }
        let _ = vocabulary.character(noise as i16);
    }
}

fn listen(model: Model<'_>, noise: u64) {
    let pcm: Vec<i16> = (0..600).map(|k| noise.rotate_left(5 * k) as i16).collect();
    let mut memory = vec![0; Listener::<8, 128>::words(&model)];
    if let Ok(mut listener) = Listener::<8, 128>::new(model, &mut memory) {
        let mut pcm = &pcm[..];
        while listener.next_frame(&mut pcm).is_some() {}
    } else if let Some(settings) = model.audio() {
        let mut frontend = Frontend::new(settings, &mut memory).expect("the words it asked for");
        let mut pcm = &pcm[..];
        while frontend.next_frame(&mut pcm).is_some() {}
    }
    if let Some(settings) = model.trigger()
        && let Ok(mut trigger) = Trigger::<8, 128>::new(settings)
    {
        for k in 0..8 {
            trigger.push(&[noise.rotate_left(9 * k) as i16; 8]);
        }
    }
}
