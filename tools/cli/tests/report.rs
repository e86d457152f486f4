//! `quantize --report` and `quantize --budget` on the committed vowels models.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gatelet_cli::npz::{self, Array, Npz, Values};
use serde_json::Value;
use tempfile::TempDir;

fn vowels(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/vowels").join(name);
    path.to_str().unwrap().to_owned()
}

/// Runs `gatelet quantize` on a vowels model; the blob is `out.gate` in `folder`.
fn quantize(folder: &TempDir, cell: &str, options: &[&str]) -> Output {
    let blob = folder.path().join("out.gate");
    Command::new(env!("CARGO_BIN_EXE_gatelet"))
        .args(["quantize", &vowels(&format!("{cell}.keras")), "--calib", &vowels("train.npz")])
        .args(["-o", blob.to_str().unwrap()])
        .args(options)
        .output()
        .unwrap()
}

fn succeed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The one line of an error that left nothing in `folder`.
fn refused(output: &Output, folder: &TempDir) -> String {
    assert!(!output.status.success());
    let message = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(!folder.path().join("out.gate").exists(), "a blob was left behind");
    message
}

fn eval(folder: &TempDir) -> Value {
    let blob = folder.path().join("out.gate");
    let output = Command::new(env!("CARGO_BIN_EXE_gatelet"))
        .args(["eval", blob.to_str().unwrap(), "--data", &vowels("test.npz"), "--json"])
        .output()
        .unwrap();
    serde_json::from_str(&succeed(&output)).unwrap()
}

fn report(folder: &Path) -> (String, Value) {
    let page = std::fs::read_to_string(folder.join("index.html")).unwrap();
    let json = std::fs::read_to_string(folder.join("report.json")).unwrap();
    (page, serde_json::from_str(&json).unwrap())
}

fn sum(parts: &Value) -> u64 {
    parts.as_array().unwrap().iter().map(|part| part["bytes"].as_u64().unwrap()).sum()
}

fn counts(matrix: &Value) -> u64 {
    let rows = matrix.as_array().unwrap().iter();
    rows.flat_map(|row| row.as_array().unwrap()).map(|n| n.as_u64().unwrap()).sum()
}

#[test]
fn the_page_stands_alone_and_the_numbers_agree() {
    for cell in ["lstm", "gru", "rnn"] {
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("deep/report");
        let options = ["--data", &vowels("test.npz"), "--report", target.to_str().unwrap()];
        succeed(&quantize(&folder, cell, &options));
        let (page, numbers) = report(&target);
        for foreign in ["http", "<script", "<link", "<img", "url(", "NaN"] {
            assert!(!page.contains(foreign), "{cell}: the page holds {foreign}");
        }
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());

        let evaluation = &numbers["evaluation"];
        assert_eq!(evaluation["accuracy"], eval(&folder)["accuracy"], "{cell}");
        assert_eq!(counts(&numbers["confusion"]["float"]), 370, "{cell}");
        assert_eq!(counts(&numbers["confusion"]["integer"]), 370, "{cell}");
        let blob = std::fs::metadata(folder.path().join("out.gate")).unwrap().len();
        assert_eq!(sum(&numbers["flash"]), blob, "{cell}");
        assert_eq!(sum(&numbers["ram"]), numbers["blob"]["ram_bytes"].as_u64().unwrap(), "{cell}");
        let layers = numbers["layers"].as_array().unwrap();
        assert!(layers.iter().all(|layer| layer["sqnr_db"].as_f64().unwrap() > 20.0), "{cell}");
        assert!(!numbers["advice"].as_array().unwrap().is_empty(), "{cell}");
    }
}

#[test]
fn weights_that_are_too_narrow_are_said_to_be() {
    let folder = TempDir::new().unwrap();
    let to = folder.path().join("report");
    let narrow = succeed(&quantize(
        &folder,
        "rnn",
        &["--weights", "int4", "--report", to.to_str().unwrap()],
    ));
    let (page, numbers) = report(&to);
    let sentence = "rnn keeps only 16.7 dB with int4 weights: use --weights int8, or --budget";
    assert!(narrow.contains(&format!("advice: {sentence}")), "{narrow}");
    assert!(page.contains(sentence));
    let advice = numbers["advice"].as_array().unwrap();
    assert!(advice.iter().any(|advice| advice.as_str().unwrap().starts_with(sentence)));
    for (cell, weights) in [("rnn", "int8"), ("gru", "int4")] {
        let output = succeed(&quantize(&folder, cell, &["--weights", weights]));
        assert!(!output.contains("advice"), "{cell}: {output}");
    }
}

#[test]
fn without_answers_the_float_model_is_the_yardstick() {
    let folder = TempDir::new().unwrap();
    let x = Npz::open(Path::new(&vowels("test.npz"))).unwrap().array("x").unwrap().unwrap();
    let data = folder.path().join("x.npz");
    npz::write(&data, &[("x", &x)]).unwrap();
    let target = folder.path().join("report");
    let options = ["--data", data.to_str().unwrap(), "--report", target.to_str().unwrap()];
    succeed(&quantize(&folder, "gru", &options));
    let (_, numbers) = report(&target);
    assert!(numbers["confusion"]["float"].is_null());
    assert_eq!(counts(&numbers["confusion"]["integer"]), 370);
    assert!(numbers["evaluation"]["accuracy"].is_null());
}

/// The vowels with the classes as numbers, one-hot, so that the error counts.
fn one_hot(folder: &TempDir) -> PathBuf {
    let mut test = Npz::open(Path::new(&vowels("test.npz"))).unwrap();
    let mut array = |name| test.array(name).unwrap().unwrap();
    let (x, lengths) = (array("x"), array("lengths"));
    let labels = array("y").into_i64().unwrap();
    let values = labels.iter().flat_map(|l| (0..9).map(move |k| f32::from(*l == k))).collect();
    let y = Array { shape: vec![labels.len(), 9], values: Values::F32(values) };
    let path = folder.path().join("one_hot.npz");
    npz::write(&path, &[("x", &x), ("y", &y), ("lengths", &lengths)]).unwrap();
    path
}

#[test]
fn a_budget_buys_the_smallest_blob() {
    let folder = TempDir::new().unwrap();
    let bytes = || std::fs::read(folder.path().join("out.gate")).unwrap();
    succeed(&quantize(&folder, "rnn", &[]));
    let int8 = bytes().len();
    let (points, test) = ("0.6", vowels("test.npz"));
    let options = ["--budget", points, "--data", &test];
    let text = succeed(&quantize(&folder, "rnn", &options));
    assert!(text.contains("within the budget") && text.contains("of 9 combinations"), "{text}");
    let found = bytes();
    assert!(found.len() < int8, "{} bytes, {int8} with int8 everywhere", found.len());
    let float = 0.967_567_567;
    assert!(100.0 * (float - eval(&folder)["accuracy"].as_f64().unwrap()) <= 0.6);
    succeed(&quantize(&folder, "rnn", &options));
    assert!(found == bytes(), "the same search found another blob");

    let numbers = one_hot(&folder);
    let options = ["--budget", "2", "--data", numbers.to_str().unwrap()];
    let text = succeed(&quantize(&folder, "gru", &options));
    assert!(text.contains("% of RMSE"), "{text}");
}

#[test]
fn what_cannot_be_done_is_said_in_a_sentence() {
    let folder = TempDir::new().unwrap();
    let test = vowels("test.npz");
    let message = refused(&quantize(&folder, "rnn", &["--budget", "1"]), &folder);
    assert!(message.contains("--data"), "{message}");
    let message = refused(&quantize(&folder, "rnn", &["--data", &test]), &folder);
    assert!(message.contains("--report"), "{message}");
    let message = refused(&quantize(&folder, "rnn", &["--budget=-1", "--data", &test]), &folder);
    assert!(message.contains("from 0 on"), "{message}");
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let options = ["--report", file.to_str().unwrap()];
    let message = refused(&quantize(&folder, "rnn", &options), &folder);
    assert!(message.contains("cannot write"), "{message}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "in the way");
}
