//! Spoken digits in running sound, from PCM to events: accuracy, an unheard voice, every board, and a
//! million frames.

mod common;

use std::path::Path;

use common::data;
use gatelet::audio::{Frontend, Listener};
use gatelet::blob::format::extra;
use gatelet::{Model, Packing, Stream, WeightType};
use gatelet_cli::audio::{Recordings, Settings, Trigger, features, listen};
use gatelet_cli::calibrate::calibrate;
use gatelet_cli::device::{self, Board};
use gatelet_cli::host::Blob;
use gatelet_cli::import::import;
use gatelet_cli::npz::Npz;
use gatelet_cli::pack::{Notes, pack};
use gatelet_cli::quantize::quantize;
use gatelet_cli::target;
use indicatif::ProgressBar;

/// Frames that a recording's posteriors are averaged over.
const SMOOTH: usize = 6;

fn absent(what: &str) {
    println!("not run: {what} is absent");
    assert!(std::env::var_os("CI").is_none(), "CI has {what} and must test with it");
}

fn labels() -> Vec<String> {
    let labels = std::fs::read_to_string(data("spot/labels.txt")).unwrap();
    labels.lines().map(str::to_owned).collect()
}

/// A recording of every speaker and digit that the model was trained with, one after the other.
fn training(path: &Path) -> Vec<i16> {
    let index = Npz::open(path).unwrap().array("index").unwrap().unwrap().into_i64().unwrap();
    let recordings = Recordings::read(path, 8000).unwrap();
    let chosen = recordings.pcm.iter().zip(index).filter(|(_, index)| *index == 5);
    chosen.flat_map(|(pcm, _)| pcm.iter().copied().chain([0; 2400])).collect()
}

/// The committed float model in a board's packing, quantized by what it sees of `pcm`.
fn blob(pcm: Vec<i16>, packing: Packing) -> Blob {
    let graph = import(&data("spot/lstm.keras")).unwrap();
    let audio = Settings::read(&data("spot/audio.toml")).unwrap().section().unwrap();
    let trigger = Trigger::read(&data("spot/trigger.toml")).unwrap().section(&labels()).unwrap();
    let settings = gatelet::audio::Settings::from_bytes(&audio).unwrap();
    let recordings = Recordings { pcm: vec![pcm], ..Recordings::default() };
    let x = features(settings, &recordings, &ProgressBar::hidden()).unwrap().x;
    let mut seen = calibrate(&graph, &x, &ProgressBar::hidden());
    seen.input_step = Some(settings.step());
    let quantized = quantize(&graph, &seen, WeightType::Int8).unwrap();
    let extras = [(extra::AUDIO, audio), (extra::TRIGGER, trigger)].into();
    let notes = Notes { labels: labels(), extras, ..Notes::default() };
    Blob::new(&pack(&quantized, packing, &notes).unwrap())
}

/// The blob that is in the repository.
fn committed() -> Blob {
    Blob::read(&data("spot/spot.gate")).unwrap()
}

/// The digit with the highest smoothed posterior in a recording between silences.
fn answer(model: Model<'_>, pcm: &[i16]) -> usize {
    let settings = model.audio().unwrap();
    let (mut memory, mut network) = (vec![0; settings.words()], vec![0; model.memory_words()]);
    let mut frontend = Frontend::new(settings, &mut memory).unwrap();
    let mut stream = Stream::new(model, &mut network).unwrap();
    let mut frames: Vec<Vec<i32>> = vec![vec![0; 10]; SMOOTH];
    for mut pcm in [&[0; 1600], pcm, &[0; 2400]] {
        while let Some(features) = frontend.next_frame(&mut pcm) {
            let outputs = stream.step(features).unwrap();
            frames.push(outputs[..10].iter().map(|p| i32::from(*p)).collect());
        }
    }
    let score = |digit: usize| -> i32 {
        frames.windows(SMOOTH).map(|w| w.iter().map(|f| f[digit]).sum()).max().unwrap_or(0)
    };
    (0..10).max_by_key(|digit| score(*digit)).unwrap()
}

#[test]
fn held_out_recordings_are_recognized_from_pcm() {
    let Some(path) = gatelet_fsdd::recordings() else { return absent("../shared/data/fsdd") };
    let index = Npz::open(&path).unwrap().array("index").unwrap().unwrap().into_i64().unwrap();
    let recordings = Recordings::read(&path, 8000).unwrap();
    let classes = recordings.classes.unwrap();
    let blob = committed();
    let model = blob.model().unwrap();
    let test: Vec<usize> = (0..classes.len()).filter(|k| index[*k] < 5).collect();
    let right = test.iter().filter(|&&k| answer(model, &recordings.pcm[k]) as i64 == classes[k]);
    let accuracy = right.count() as f64 / test.len() as f64;
    println!("{} recordings: {:.2} %", test.len(), 100.0 * accuracy);
    assert_eq!(test.len(), 300);
    assert!(accuracy >= 0.98, "{accuracy}");
}

#[test]
fn an_unheard_voice_is_heard_on_every_board() {
    let Some(pcm) = gatelet_fsdd::unheard_voice().unwrap() else {
        return absent("Debian's asterisk-core-sounds-en-wav");
    };
    let heard = |blob: &Blob| {
        listen(blob.model().unwrap(), std::iter::once(Ok(pcm.clone())), |_| {}).unwrap().events
    };
    let events = heard(&committed());
    let said: Vec<&str> = events.iter().map(|event| &event.label[..]).collect();
    let right = labels().iter().filter(|label| said.contains(&&label[..])).count();
    println!("{said:?}");
    assert!(right >= 7, "{right} of 10: {said:?}");

    let Some(path) = gatelet_fsdd::recordings() else { return absent("../shared/data/fsdd") };
    let training = training(&path);
    for board in device::BOARDS {
        let blob = blob(training.clone(), target::packing(board));
        let model = blob.model().unwrap();
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{board}-spot.gate"));
        std::fs::write(&path, blob.bytes()).unwrap();
        let report = device::listen(&Board::named(board).unwrap(), &path, model, &pcm);
        let report = report.unwrap_or_else(|error| panic!("{board}: {error:#}"));
        println!("{report:?}");
        assert_eq!(report.first_difference, None, "{board} differs");
        assert_eq!(report.panic_path, None, "{board} can panic");
        assert_eq!(report.events, heard(&blob));
        assert!(report.flash_bytes <= 64 * 1024, "{board}: {} bytes of flash", report.flash_bytes);
        assert!(report.ram_bytes <= 16 * 1024, "{board}: {} bytes of RAM", report.ram_bytes);
        // At 100 frames a second, twice as many as this model's.
        let most = match board {
            "cortex-m0" => 300_000,
            "cortex-m4" | "cortex-m7" | "cortex-m33" | "cortex-m55" => 75_000,
            _ => 200_000,
        };
        let found = report.instructions_per_frame;
        assert!(found <= most, "{board}: {found} instructions a frame");
    }
}

/// 5.5 hours of sound: a second that repeats gives the same features at the end as at the start, and
/// answers that differ by no more than the last bits, in which a network's rounding may go in circles.
#[test]
fn a_million_frames_do_not_drift() {
    let blob = committed();
    let model = blob.model().unwrap();
    let mut memory = vec![0; Listener::<11, 8>::words(&model)];
    let mut listener = Listener::<11, 8>::new(model, &mut memory).unwrap();
    // A whole number of hops of tones that come and go.
    let second: Vec<i16> = (0..8000i32)
        .map(|n| (((n * n / 700) % 2000 - 1000) * ((n / 800) % 3) + (n * 7919) % 41) as i16)
        .collect();
    let mut round = || {
        let (mut pcm, mut features, mut outputs) = (&second[..], Vec::new(), Vec::new());
        while let Some(frame) = listener.next_frame(&mut pcm) {
            features.extend_from_slice(frame.features);
            outputs.extend_from_slice(frame.outputs);
        }
        (features, outputs)
    };
    // The running mean settles first.
    (0..100).for_each(|_| drop(round()));
    let early = round();
    (0..19_900).for_each(|_| drop(round()));
    let late = round();
    assert_eq!((early.0.len(), early.1.len()), (50 * model.inputs(), 50 * model.outputs()));
    assert!(early.0 == late.0, "features drift");
    let furthest = early.1.iter().zip(&late.1).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(furthest <= Some(2), "outputs drift by {furthest:?}");
}
