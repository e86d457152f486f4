//! `gatelet features` and `gatelet listen` as a user meets them: folders of recordings, a microphone's
//! stream, and files that are not what they should be.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use gatelet_cli::data::{Dataset, Targets};
use hound::{SampleFormat, WavSpec, WavWriter};
use tempfile::TempDir;

fn gatelet(arguments: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gatelet")).args(arguments).output().unwrap()
}

fn refusal(arguments: &[&Path]) -> String {
    let output = gatelet(arguments);
    assert!(!output.status.success(), "{arguments:?} succeeded");
    String::from_utf8(output.stderr).unwrap()
}

fn blob() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/spot/spot.gate")
}

/// A second of a tone, in as many channels as asked for.
fn wav(path: &Path, rate: u32, bits: u16, channels: u16) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let spec = WavSpec {
        channels,
        sample_rate: rate,
        bits_per_sample: bits,
        sample_format: if bits == 32 { SampleFormat::Float } else { SampleFormat::Int },
    };
    let mut file = WavWriter::create(path, spec).unwrap();
    for n in 0..rate * u32::from(channels) {
        // The same 16 bits in every format.
        let sample = ((n / u32::from(channels)) * 997 % 4001) as i32 - 2000;
        match bits {
            32 => file.write_sample(sample as f32 / 32768.0).unwrap(),
            bits => file.write_sample(sample << (bits - 16)).unwrap(),
        }
    }
    file.finalize().unwrap();
}

#[test]
fn folders_are_classes_and_formats_make_no_difference() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    wav(&path("words/yes/a.wav"), 8000, 16, 1);
    wav(&path("words/no/b.WAV"), 8000, 24, 1);
    wav(&path("words/no/c.wav"), 8000, 32, 2);
    let output = gatelet(&[
        "features".as_ref(),
        &path("words"),
        "-o".as_ref(),
        &path("x.npz"),
        "--labels".as_ref(),
        &path("labels.txt"),
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let data = Dataset::read(&path("x.npz")).unwrap();
    assert_eq!((data.x.len(), data.x.steps(), data.x.features()), (3, 49, 24));
    assert_eq!(data.y, Some(Targets::Classes(vec![0, 0, 1])));
    assert_eq!(std::fs::read_to_string(path("labels.txt")).unwrap(), "no\nyes\n");
    assert_eq!(data.x.sample(0), data.x.sample(1));
    assert_eq!(data.x.sample(0), data.x.sample(2));
}

#[test]
fn settings_are_written_and_read_back() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    wav(&path("a.wav"), 16000, 16, 1);
    let (features, output) = (path("x.npz"), path("audio.toml"));
    let flags = ["--rate", "16000", "--window", "400", "--hop", "160", "--coefficients", "13"];
    let mut arguments: Vec<&Path> = vec!["features".as_ref()];
    let recording = path("a.wav");
    arguments.extend([
        recording.as_path(),
        "-o".as_ref(),
        &features,
        "--settings".as_ref(),
        &output,
    ]);
    arguments.extend(flags.iter().map(Path::new));
    assert!(gatelet(&arguments).status.success());
    let first = Dataset::read(&features).unwrap();
    assert_eq!((first.x.steps(), first.x.features()), (98, 13));
    let again = path("y.npz");
    let arguments =
        ["features".as_ref(), &*recording, "-o".as_ref(), &again, "--audio".as_ref(), &output];
    assert!(gatelet(&arguments).status.success());
    assert_eq!(first, Dataset::read(&again).unwrap());
}

#[test]
fn recordings_that_do_not_fit_are_refused_and_leave_nothing() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    wav(&path("fast.wav"), 44100, 16, 1);
    std::fs::write(path("text.wav"), "not a sound").unwrap();
    std::fs::create_dir(path("empty")).unwrap();
    std::fs::write(path("wrong.toml"), "windw = 256").unwrap();
    let out = path("x.npz");
    let refused = |name: &str| refusal(&["features".as_ref(), &path(name), "-o".as_ref(), &out]);
    assert!(refused("fast.wav").contains("44100 samples a second where 8000 are needed"));
    assert!(refused("text.wav").contains("not a WAV file"));
    assert!(refused("empty").contains("no .wav file"));
    assert!(refused("missing.wav").contains("missing.wav"));
    wav(&path("a.wav"), 8000, 16, 1);
    let wrong = path("wrong.toml");
    let message = refusal(&[
        "features".as_ref(),
        &path("a.wav"),
        "-o".as_ref(),
        &out,
        "--audio".as_ref(),
        &wrong,
    ]);
    assert!(message.contains("windw"), "{message}");
    assert!(!out.exists());
}

#[test]
fn a_stream_is_heard_like_a_file() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    wav(&path("a.wav"), 8000, 16, 1);
    let (recording, plot) = (path("a.wav"), path("a.svg"));
    let arguments: [&Path; 6] =
        ["listen".as_ref(), &blob(), &recording, "--json".as_ref(), "--plot".as_ref(), &plot];
    let output = gatelet(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let file: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(file["seconds"], 1.0);
    assert_eq!(file["frames"], 49);
    let svg = std::fs::read_to_string(&plot).unwrap();
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && !svg.contains("NaN"));

    let mut child = Command::new(env!("CARGO_BIN_EXE_gatelet"))
        .arg("listen")
        .arg(blob())
        .args(["-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut sound = Vec::new();
    std::io::Read::read_to_end(&mut File::open(&recording).unwrap(), &mut sound).unwrap();
    child.stdin.take().unwrap().write_all(&sound).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap(), file);
}

#[test]
fn a_model_that_does_not_hear_says_how_to_make_it() {
    let folder = TempDir::new().unwrap();
    let recording = folder.path().join("a.wav");
    wav(&recording, 8000, 16, 1);
    let deaf = blob().with_file_name("../blobs/digits_lstm_int8_dsp.gate");
    let message = refusal(&["listen".as_ref(), &deaf, &recording]);
    assert!(message.contains("--audio SETTINGS.toml"), "{message}");
}
