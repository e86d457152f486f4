//! A microphone that is a list of samples: sound in, lines and light out.

mod common;

use std::collections::BTreeMap;

use embedded_hal::digital::PinState;
use embedded_hal_mock::eh1::MockError;
use embedded_hal_mock::eh1::digital::{Mock as Pin, State, Transaction};
use embedded_io::{ErrorKind, ErrorType, Read};
use gatelet::audio::Listener;
use gatelet::blob::format::extra;
use gatelet_app::{Light, Spotter, SpotterError, window};
use gatelet_cli::audio::{Settings, Trigger, frames, listen};
use gatelet_cli::host::Blob;

const RATE: usize = 8000;
const BANDS: usize = 8;

/// Hears loud sound: bands of 40 dB and more above the floor.
fn blob() -> Blob {
    let audio = Settings { bands: BANDS as u16, ..Settings::default() }.section().unwrap();
    let settings = gatelet::audio::Settings::from_bytes(&audio).unwrap();
    let features = frames(settings, &sound(&[(true, RATE / 2), (false, RATE / 2)]));
    let step = settings.step();
    let x: Vec<f32> = features.into_iter().map(|v| f32::from(v) * step).collect();
    let loud = x[..BANDS].iter().map(|v| f64::from(*v)).sum::<f64>() / 2.0;
    let trigger: Trigger = toml::from_str("none = ['quiet']\nwindow = 4\nrefractory = 10").unwrap();
    let trigger = trigger.section(&["quiet", "loud"].map(str::to_owned)).unwrap();
    let extras = BTreeMap::from([(extra::AUDIO, audio), (extra::TRIGGER, trigger)]);
    common::blob(
        &common::detector(&[1.0; BANDS], 0.0, loud),
        x,
        ["quiet", "loud"],
        Some(step),
        extras,
    )
}

/// Stretches of noise and of silence.
fn sound(stretches: &[(bool, usize)]) -> Vec<i16> {
    let mut state = 1u32;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 17) as i16 - (1 << 14)
    };
    let stretch = |&(loud, samples): &(bool, usize)| {
        (0..samples).map(|_| if loud { noise() } else { 0 }).collect::<Vec<_>>()
    };
    stretches.iter().flat_map(stretch).collect()
}

/// Gives samples in pieces of any length, and fails in between.
struct Microphone {
    pieces: Vec<Result<Vec<u8>, ErrorKind>>,
}

impl Microphone {
    fn new(samples: &[i16]) -> Self {
        let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_ne_bytes()).collect();
        Self { pieces: bytes.chunks(34).rev().map(|piece| Ok(piece.to_vec())).collect() }
    }
}

impl ErrorType for Microphone {
    type Error = ErrorKind;
}

impl Read for Microphone {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, ErrorKind> {
        let Some(piece) = self.pieces.pop() else { return Ok(0) };
        let mut piece = piece?;
        let rest = piece.split_off(bytes.len().min(piece.len()));
        bytes[..piece.len()].copy_from_slice(&piece);
        if !rest.is_empty() {
            self.pieces.push(Ok(rest));
        }
        Ok(piece.len())
    }
}

fn pin(states: &[State]) -> Pin {
    Pin::new(&states.iter().map(|state| Transaction::set(*state)).collect::<Vec<_>>())
}

/// Listens to all of `microphone`, after errors too; the errors and the log.
fn run(blob: &Blob, microphone: &mut Microphone, mut led: Pin) -> (Vec<SpotterError>, String) {
    let model = blob.model().unwrap();
    assert_eq!(window(&model), 4);
    let mut memory = vec![0; Listener::<2, 4>::words(&model)];
    let mut log = Vec::new();
    let light = Light::new(led.clone(), PinState::High).unwrap();
    let mut spotter = Spotter::<_, _, 2, 4>::new(model, &mut memory, light, &mut log).unwrap();
    let mut errors = Vec::new();
    while let Err(error) = spotter.listen(microphone) {
        errors.push(error);
    }
    led.done();
    (errors, String::from_utf8(log).unwrap())
}

#[test]
fn it_says_and_shows_what_the_host_hears() {
    let blob = blob();
    let pcm = sound(&[(false, RATE), (true, RATE), (false, RATE), (true, RATE), (false, RATE)]);
    let mut said = Vec::new();
    listen(blob.model().unwrap(), [Ok(pcm.clone())].into_iter(), |event| said.push(event.clone()))
        .unwrap();
    assert_eq!(said.len(), 2);

    use State::{High, Low};
    let led = pin(&[Low, High, Low, High, Low]);
    let (errors, log) = run(&blob, &mut Microphone::new(&pcm), led);
    assert_eq!(errors, []);
    let expected: Vec<_> = said
        .iter()
        .map(|event| format!("{:.3} s: loud ({} %)", event.seconds, (event.score * 100.0).floor()))
        .collect();
    assert_eq!(log.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn lost_sound_is_told_and_what_was_heard_before_it_forgotten() {
    let blob = blob();
    // Loud for too short a time, twice: put together it would be an event.
    let short = sound(&[(true, 240)]);
    let silence = sound(&[(false, RATE)]);
    let mut microphone = Microphone::new(&silence);
    microphone.pieces.extend(Microphone::new(&short).pieces);
    microphone.pieces.push(Err(ErrorKind::OutOfMemory));
    microphone.pieces.extend(Microphone::new(&short).pieces);
    let (errors, log) = run(&blob, &mut microphone, pin(&[State::Low]));
    assert_eq!(errors, [SpotterError::Sound(ErrorKind::OutOfMemory)]);
    assert_eq!(log, "");

    let joined = [short.clone(), short, silence].concat();
    let (errors, log) =
        run(&blob, &mut Microphone::new(&joined), pin(&[State::Low, State::High, State::Low]));
    assert_eq!((errors.len(), log.lines().count()), (0, 1));
}

#[test]
fn a_broken_led_and_a_full_log_are_told() {
    let blob = blob();
    let pcm = sound(&[(false, RATE), (true, RATE)]);
    let broken =
        Transaction::set(State::High).with_error(MockError::Io(std::io::ErrorKind::NotConnected));
    let led = Pin::new(&[Transaction::set(State::Low), broken, Transaction::set(State::Low)]);
    let (errors, _) = run(&blob, &mut Microphone::new(&pcm), led);
    assert_eq!(errors, [SpotterError::Led]);

    let model = blob.model().unwrap();
    let mut memory = vec![0; Listener::<2, 4>::words(&model)];
    let mut led = pin(&[State::Low]);
    let light = Light::new(led.clone(), PinState::High).unwrap();
    let mut full = [0; 3];
    let spotter = Spotter::<_, _, 2, 4>::new(model, &mut memory, light, &mut full[..]);
    assert_eq!(spotter.unwrap().listen(&mut Microphone::new(&pcm)), Err(SpotterError::Log));
    led.done();
}
