//! The command as a script uses it: exit status, one sentence on standard error, one JSON value on
//! standard output, and no file left behind where something went wrong.

mod common;

use std::path::Path;

use common::{Folder, data, gatelet, json, refusal};
use gatelet_cli::npz::{self, Array, Values};

impl Folder {
    /// An `.npz` with `x` of the given shape, its first value replaced.
    fn data(&self, name: &str, shape: [usize; 3], first: f32) -> String {
        let mut values = vec![0.5; shape.iter().product()];
        values[0] = first;
        let x = Array { shape: shape.to_vec(), values: Values::F32(values) };
        npz::write(Path::new(&self.path(name)), &[("x", &x)]).unwrap();
        self.path(name)
    }

    /// The vowels LSTM as a blob.
    fn blob(&self, name: &str) -> String {
        let (model, calib) = (vowels("lstm.keras"), vowels("train.npz"));
        let out = self.path(name);
        let output = gatelet(&["quantize", &model, "--calib", &calib, "-o", &out]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        out
    }
}

fn vowels(name: &str) -> String {
    data(&format!("vowels/{name}"))
}

#[test]
fn from_weights_to_answers() {
    let folder = Folder::new();
    let blob = folder.blob("lstm.gate");
    let (test, model) = (vowels("test.npz"), vowels("lstm.keras"));

    let summary = json(&["inspect", &blob, "--json"]);
    assert_eq!(summary["layers"][0]["kind"], "lstm");
    assert_eq!(summary["macs_per_step"], 4 * 32 * (12 + 32) + 32 * 9);
    assert_eq!(summary["blob_bytes"], std::fs::metadata(&blob).unwrap().len());

    let result = json(&["eval", &blob, "--data", &test, "--float", &model, "--json"]);
    assert_eq!(result["samples"], 370);
    for key in ["accuracy", "float_accuracy", "agreement", "max_abs_error", "sqnr_db", "blob_bytes"]
    {
        assert!(result[key].is_number(), "{key} in {result}");
    }
    let alone = json(&["eval", &blob, "--data", &test, "--json"]);
    assert_eq!(alone["accuracy"], result["accuracy"]);
    assert!(alone["agreement"].is_null(), "nothing to agree with");

    let answers = folder.path("y.npz");
    assert!(gatelet(&["run", &blob, "--input", &test, "-o", &answers]).status.success());
    let mut answers = npz::Npz::open(Path::new(&answers)).unwrap();
    let (y, raw) = (answers.array("y").unwrap().unwrap(), answers.array("raw").unwrap().unwrap());
    assert_eq!((&y.shape[..], &raw.shape[..]), (&[370, 9][..], &[370, 9][..]));
    for (y, raw) in y.into_f32().iter().zip(raw.into_i64().unwrap()) {
        assert_eq!(*y, raw as f32 / 32768.0);
    }
}

/// Every kind of layer that the vowels networks do not have.
#[test]
fn other_layers_go_the_same_way() {
    let folder = Folder::new();
    for name in ["tokens", "hard_sigmoid", "norm", "both_stacked"] {
        let file = |end: &str| data(&format!("import/{name}{end}"));
        let (model, data, blob) = (file(".keras"), file(".npz"), folder.path("out.gate"));
        let output = gatelet(&["quantize", &model, "--calib", &data, "-o", &blob]);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let answers = folder.path("y.npz");
        assert!(gatelet(&["run", &blob, "--input", &data, "-o", &answers]).status.success());
        let y = |file: &str| {
            let mut file = npz::Npz::open(Path::new(file)).unwrap();
            file.array("y").unwrap().unwrap().into_f32()
        };
        let (found, expected) = (y(&answers), y(&data));
        assert_eq!(found.len(), expected.len(), "{name}");
        let errors = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
        let worst = errors.fold(0.0, f32::max);
        assert!(worst < 0.02, "{name}: {worst}");
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let folder = Folder::new();
    let (a, b) = (folder.blob("a.gate"), folder.blob("b.gate"));
    assert!(std::fs::read(a).unwrap() == std::fs::read(b).unwrap());
}

#[test]
fn what_quantize_refuses_leaves_no_file() {
    let folder = Folder::new();
    let out = folder.path("out.gate");
    let (model, calib) = (vowels("lstm.keras"), vowels("train.npz"));
    let narrow = folder.data("narrow.npz", [2, 3, 11], 0.5);
    let nan = folder.data("nan.npz", [2, 3, 12], f32::NAN);
    let infinite = folder.data("infinite.npz", [2, 3, 12], f32::INFINITY);
    let labels = folder.path("labels.txt");
    std::fs::write(&labels, "only one\n").unwrap();
    let damaged = folder.path("damaged.keras");
    std::fs::write(&damaged, &std::fs::read(&model).unwrap()[..1000]).unwrap();
    let unknown = folder.path("model.pickle");
    std::fs::write(&unknown, "?").unwrap();
    let before = folder.names().len();

    let refused = |arguments: &[&str]| {
        let message = refusal(&[&["quantize", "-o", &out], arguments].concat());
        assert_eq!(folder.names().len(), before, "{arguments:?} left {:?}", folder.names());
        message
    };
    let missing = refused(&["nowhere.keras", "--calib", &calib]);
    assert!(missing.contains("nowhere.keras"), "{missing}");
    let missing = refused(&[&model, "--calib", "nowhere.npz"]);
    assert!(missing.contains("nowhere.npz"), "{missing}");
    let shape = refused(&[&model, "--calib", &narrow]);
    assert!(shape.contains("11") && shape.contains("12"), "{shape}");
    let nan = refused(&[&model, "--calib", &nan]);
    assert!(nan.contains("x[0, 0, 0] is NaN"), "{nan}");
    let infinite = refused(&[&model, "--calib", &infinite]);
    assert!(infinite.contains("x[0, 0, 0] is inf"), "{infinite}");
    let labels = refused(&[&model, "--calib", &calib, "--labels", &labels]);
    assert!(labels.contains("1 labels for 9 outputs"), "{labels}");
    let damaged = refused(&[&damaged, "--calib", &calib]);
    assert!(damaged.contains("damaged.keras"), "{damaged}");
    let unknown = refused(&[&unknown, "--calib", &calib]);
    assert!(unknown.contains(".keras") && unknown.contains(".safetensors"), "{unknown}");
    let nowhere = refusal(&["quantize", &model, "--calib", &calib, "-o", "/nowhere/out.gate"]);
    assert!(nowhere.contains("/nowhere/out.gate"), "{nowhere}");
}

#[test]
fn a_refused_run_keeps_the_file_that_was_there() {
    let folder = Folder::new();
    let blob = folder.blob("lstm.gate");
    let good = std::fs::read(&blob).unwrap();
    let nan = folder.data("nan.npz", [2, 3, 12], f32::NAN);
    refusal(&["quantize", &vowels("lstm.keras"), "--calib", &nan, "-o", &blob]);
    assert!(std::fs::read(&blob).unwrap() == good);
}

#[test]
fn blobs_and_data_that_do_not_fit_are_refused() {
    let folder = Folder::new();
    let blob = folder.blob("lstm.gate");
    let narrow = folder.data("narrow.npz", [2, 3, 11], 0.5);
    let out = folder.path("y.npz");
    let corrupt = folder.path("corrupt.gate");
    let mut bytes = std::fs::read(&blob).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&corrupt, bytes).unwrap();

    let message = refusal(&["inspect", &corrupt]);
    assert!(message.contains("corrupt.gate") && message.contains("CRC-32"), "{message}");
    let message = refusal(&["inspect", &vowels("lstm.keras")]);
    assert!(message.contains("GATE"), "{message}");
    let message = refusal(&["run", &blob, "--input", &narrow, "-o", &out]);
    assert!(message.contains("11") && message.contains("12"), "{message}");
    assert!(!Path::new(&out).exists());
    let (test, other) = (vowels("test.npz"), data("hapt/lstm.keras"));
    let message = refusal(&["eval", &blob, "--data", &test, "--float", &other]);
    assert!(message.contains("12 -> 9") && message.contains("6 -> 7"), "{message}");
}

#[test]
fn every_command_explains_itself_with_an_example() {
    for command in [
        "quantize", "inspect", "run", "eval", "device", "bench", "classify", "generate",
        "forecast", "listen",
    ] {
        let output = gatelet(&[command, "--help"]);
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && help.contains("\nExample"), "{command}: {help}");
    }
}
