//! Models over tokens, encoder-decoders, forecasters and models in raw units, from the command line:
//! what each command makes of them, and what it says to what it does not take.

mod common;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::{Folder, data, gatelet, json, printed, refusal};
use gatelet_cli::npz::{self, Array, Npz, Values};

fn with_stdin(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_gatelet"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// Some of a file's arrays, as `change` makes them.
fn arrays(file: &str, names: &[&str], to: &str, change: impl Fn(&str, Array) -> Array) {
    let mut npz = Npz::open(Path::new(file)).unwrap();
    let mut array = |name: &str| change(name, npz.array(name).unwrap().unwrap());
    let arrays: Vec<_> = names.iter().map(|name| (*name, array(name))).collect();
    let arrays: Vec<_> = arrays.iter().map(|(name, array)| (*name, array)).collect();
    npz::write(Path::new(to), &arrays).unwrap();
}

impl Folder {
    fn quantized(&self, name: &str, model: &str, calib: &str, options: &[&str]) -> String {
        let blob = self.path(name);
        let arguments = ["quantize", model, "--calib", calib, "-o", &blob];
        printed(&[&arguments, options].concat());
        blob
    }

    fn sentiment(&self) -> String {
        let [model, calib, vocabulary, labels] =
            ["gru.keras", "calib.npz", "vocabulary.txt", "labels.txt"]
                .map(|name| data(&format!("sentiment/{name}")));
        let options = ["--vocabulary", &vocabulary, "--labels", &labels];
        self.quantized("sentiment.gate", &model, &calib, &options)
    }

    fn shakespeare(&self) -> String {
        let [model, calib, vocabulary] = ["gru.keras", "calib.npz", "vocabulary.txt"]
            .map(|name| data(&format!("shakespeare/{name}")));
        self.quantized("shakespeare.gate", &model, &calib, &["--vocabulary", &vocabulary])
    }

    fn airline(&self, options: &[&str]) -> String {
        let [model, calib] = ["airline.keras", "airline_calib.npz"];
        let [model, calib] = [model, calib].map(|name| data(&format!("series/{name}")));
        self.quantized("airline.gate", &model, &calib, options)
    }

    /// An encoder-decoder, and data for it.
    fn translator(&self) -> (String, String) {
        let (x, names) = (self.path("translator.npz"), ["x", "encoder", "lengths"]);
        arrays(&data("import/seq2seq_gru.npz"), &names, &x, |_, array| array);
        let model = data("import/seq2seq_gru.safetensors");
        (self.quantized("translator.gate", &model, &x, &[]), x)
    }

    /// A bidirectional model.
    fn bidirectional(&self) -> String {
        let x = self.path("bidirectional.npz");
        arrays(&data("import/both_stacked.npz"), &["x"], &x, |_, array| array);
        self.quantized("bidirectional.gate", &data("import/both_stacked.keras"), &x, &[])
    }
}

fn spot() -> String {
    data("spot/spot.gate")
}

fn vowels() -> String {
    data("blobs/vowels_gru_int8_plain.gate")
}

#[test]
fn texts_are_classified() {
    let folder = Folder::new();
    let blob = folder.sentiment();
    assert!(printed(&["classify", &blob, "很差"]).starts_with("negative "));
    let answer = json(&["classify", &blob, "质量还不错", "--json"]);
    assert_eq!((&answer["label"], &answer["characters"]), (&"positive".into(), &5.into()));
    // A character that no review has, and on standard input what is no UTF-8.
    let unknown = printed(&["classify", &blob, "\u{13000}好"]);
    assert!(unknown.contains("1 of 2 characters unknown"), "{unknown}");
    let piped = |input: &[u8]| with_stdin(&["classify", &blob, "-", "--json"], input);
    let invalid = piped(b"\xe5\xa5\xbd\xff\xe5\xa5\n");
    let invalid: serde_json::Value = serde_json::from_slice(&invalid.stdout).unwrap();
    assert_eq!((&invalid["characters"], &invalid["unknown"]), (&3.into(), &2.into()));

    assert!(refusal(&["classify", &blob, ""]).contains("the text is empty"));
    for (input, part) in [(&b"\n"[..], "the text is empty"), (&[b'a'; 1_048_577], "longer than")] {
        let output = piped(input);
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && message.contains(part), "{message}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn texts_are_continued() {
    let folder = Folder::new();
    let blob = folder.shakespeare();
    let say = |seed: &str| {
        printed(&["generate", &blob, "--prompt", "To be", "--length", "40", "--seed", seed])
    };
    let text = say("1");
    assert!(text.starts_with("To be") && text.chars().count() == 46, "{text:?}");
    assert!(text == say("1") && text != say("2"));
    let answer = json(&["generate", &blob, "--prompt", "To be", "--length", "40", "--json"]);
    assert_eq!(format!("To be{}\n", answer["text"].as_str().unwrap()), text);
    // A prompt of characters that no play has is a prompt; none at all is not.
    printed(&["generate", &blob, "--prompt", "好", "--length", "3"]);
    assert!(refusal(&["generate", &blob]).contains("--prompt"));
    for temperature in ["-1", "NaN", "warm"] {
        let option = format!("--temperature={temperature}");
        let message = gatelet(&["generate", &blob, "--prompt", "a", &option]).stderr;
        let message = String::from_utf8(message).unwrap();
        assert!(message.contains("it must be a number from 0 on"), "{message}");
    }
}

#[test]
fn series_are_forecast() {
    let folder = Folder::new();
    let blob = folder.airline(&["--anomaly", "threshold=5,warmup=12"]);
    let series = data("series/airline.csv");
    let forecast =
        |input: &str| json(&["forecast", &blob, "--input", input, "--horizon", "12", "--json"]);
    let answer = forecast(&series);
    let channel = &answer["series"][0]["channels"][0];
    assert_eq!((&answer["horizon"], &channel["name"]), (&12.into(), &"passengers".into()));
    assert_eq!(channel["forecast"].as_array().unwrap().len(), 12);
    assert!(answer["series"][0]["alarms"].is_array(), "the blob says when to raise one");
    // Months that nobody counted are replaced, and said to be missing.
    let text = std::fs::read_to_string(&series).unwrap();
    let gaps: Vec<String> = text
        .lines()
        .enumerate()
        .map(|(k, line)| match line.split_once(',') {
            Some((month, _)) if k % 10 == 5 => format!("{month},"),
            _ => line.to_owned(),
        })
        .collect();
    let answer = forecast(&folder.file("gaps.csv", gaps.join("\n")));
    assert_eq!(answer["series"][0]["missing"], 14);

    let refused = |name: &str, content: &str| {
        let input = folder.file(name, content);
        let plot = folder.path("plot.svg");
        let arguments = ["forecast", &blob, "--input", &input, "--horizon", "12", "--plot", &plot];
        let message = refusal(&arguments);
        assert!(message.contains(name) && !Path::new(&plot).exists(), "{message}");
        message
    };
    assert!(refused("word.csv", "1\n2\nmany\n").contains("line 3: `many` is no number"));
    assert!(refused("wide.csv", "1,2,3\n").contains("3 columns; the model takes 1 features"));
    assert!(refused("short.csv", "1\n2\n3\n").contains("too few"));
    assert!(refused("gone.csv", &",\n".repeat(99)).contains("too few"));
    assert!(refused("empty.csv", "").contains("empty"));
    assert!(refused("series.txt", "1\n").contains(".csv or .npz"));
}

#[test]
fn anomaly_settings_that_cannot_be_leave_no_file() {
    let folder = Folder::new();
    let out = folder.path("out.gate");
    let refused = |model: &str, calib: &str, settings: &str| {
        let (model, calib) = (data(model), data(calib));
        let arguments = ["quantize", &model, "--calib", &calib, "-o", &out, "--anomaly", settings];
        let message = refusal(&arguments);
        assert!(folder.names().is_empty(), "{settings} left {:?}", folder.names());
        message
    };
    let airline = |settings| refused("series/airline.keras", "series/airline_calib.npz", settings);
    assert!(airline("speed=1").contains("`speed` is not known"));
    assert!(airline("raise=0").contains("whole number, 1 to 255"));
    assert!(airline("warmup=500").contains("a shorter warmup"));
    let message = refused("vowels/lstm.keras", "vowels/train.npz", "");
    assert!(message.contains("does not forecast; it is a classifier"), "{message}");
    let message = refused("sentiment/gru.keras", "sentiment/calib.npz", "");
    assert!(message.contains("does not forecast; it is over tokens"), "{message}");
}

/// Data in other units and a scaler that leads back make the same integers.
#[test]
fn a_scaler_takes_raw_units() {
    let folder = Folder::new();
    let (model, calib, test) =
        (data("vowels/lstm.keras"), data("vowels/train.npz"), data("vowels/test.npz"));
    let raw = |from: &str, name: &str| {
        let to = folder.path(name);
        arrays(from, &["x", "y", "lengths"], &to, |name, array| match name {
            "x" => {
                let shape = array.shape.clone();
                let x = array.into_f32().into_iter().map(|x| 4.0 * x).collect();
                Array { shape, values: Values::F32(x) }
            }
            _ => array,
        });
        to
    };
    let (raw_calib, raw_test) = (raw(&calib, "calib.npz"), raw(&test, "test.npz"));
    let scaler = folder.file("scaler.json", r#"{"input": {"mean_": [0.0], "scale_": [4.0]}}"#);
    let plain = folder.quantized("plain.gate", &model, &calib, &[]);
    let scaled = folder.quantized("scaled.gate", &model, &raw_calib, &["--scaler", &scaler]);
    let answers = |blob: &str, test: &str| {
        let out = folder.path("answers.npz");
        printed(&["run", blob, "--input", test, "-o", &out]);
        Npz::open(Path::new(&out)).unwrap().array("raw").unwrap().unwrap()
    };
    assert!(answers(&plain, &test) == answers(&scaled, &raw_test));
    let both = ["eval", &scaled, "--data", &raw_test, "--float", &model, "--scaler", &scaler];
    let result = json(&[&both[..], &["--json"]].concat());
    assert!(result["agreement"].as_f64().unwrap() > 0.98, "{result}");

    let out = folder.path("out.gate");
    let refused = |name: &str, content: &str, part: &str| {
        let scaler = folder.file(name, content);
        let arguments = ["quantize", &model, "--calib", &calib, "-o", &out, "--scaler", &scaler];
        let message = refusal(&arguments);
        assert!(message.contains(name) && message.contains(part), "{message}");
        assert!(!Path::new(&out).exists());
    };
    refused("none.json", r#"{"median": [1.0]}"#, "holds no `mean` and `scale`");
    refused("broken.json", r#"{"mean": "#, "cannot read the scaler");
    refused("count.json", r#"{"input_mean": [0, 0], "input_scale": [1, 1]}"#, "does not fit");
    refused("zero.json", r#"{"input_mean": [0], "input_scale": [0]}"#, "does not fit");
    refused("scaler.pkl", "?", "give .npz, .json or .toml");
    let nowhere = folder.path("nowhere.json");
    let arguments = ["quantize", &model, "--calib", &calib, "-o", &out, "--scaler", &nowhere];
    assert!(refusal(&arguments).contains("nowhere.json"));
}

#[test]
fn vocabularies_that_do_not_fit_leave_no_file() {
    let folder = Folder::new();
    let out = folder.path("out.gate");
    let calib = folder.path("calib.npz");
    arrays(&data("import/tokens.npz"), &["x"], &calib, |_, array| array);
    let refused = |model: &str, calib: &str, vocabulary: &str| {
        let model = data(model);
        let arguments =
            ["quantize", &model, "--calib", calib, "-o", &out, "--vocabulary", vocabulary];
        let message = refusal(&arguments);
        assert!(!Path::new(&out).exists(), "{message}");
        message
    };
    let tokens = |name: &str, content: &str| {
        refused("import/tokens.keras", &calib, &folder.file(name, content))
    };
    assert!(tokens("few.txt", "a\nb\n").contains("2 tokens but the model knows 11"));
    assert!(tokens("twice.txt", "a\nb\na\n").contains("tokens 0 and 2 are both \"a\""));
    assert!(tokens("gap.txt", "a\n\nb\n").contains("a line is empty"));
    assert!(tokens("none.txt", "").contains("no tokens"));
    assert!(tokens("list.json", "[1, 2]").contains("which is no text"));
    let missing = refused("import/tokens.keras", &calib, &folder.path("missing.txt"));
    assert!(missing.contains("missing.txt"), "{missing}");
    let letters = folder.file("letters.txt", "a\nb\n");
    let message = refused("vowels/lstm.keras", &data("vowels/train.npz"), &letters);
    assert!(message.contains("takes features, not tokens: remove --vocabulary"), "{message}");
}

#[test]
fn an_encoder_decoder_is_a_kind_of_its_own() {
    let folder = Folder::new();
    let (blob, x) = folder.translator();
    let summary = json(&["inspect", &blob, "--json"]);
    assert_eq!(summary["layers"].as_array().unwrap().len(), 7);
    let out = folder.path("y.npz");
    printed(&["run", &blob, "--input", &x, "-o", &out]);
    let y = Npz::open(Path::new(&out)).unwrap().array("y").unwrap().unwrap();
    assert_eq!(y.shape, [4, 10, 9]);
    assert_eq!(json(&["eval", &blob, "--data", &x, "--json"])["samples"], 4);
    // Without the number of the encoder's steps.
    let bare = folder.path("bare.npz");
    arrays(&x, &["x"], &bare, |_, array| array);
    let asked = ["--board", "cortex-m7"];
    for arguments in [
        &["run", &blob, "--input", &bare, "-o", &folder.path("z.npz")][..],
        &["eval", &blob, "--data", &bare],
        &["device", &blob, "--input", &bare, asked[0], asked[1]],
    ] {
        let message = refusal(arguments);
        assert!(message.contains("needs an array `encoder`"), "{message}");
    }
}

#[test]
fn what_a_command_does_not_take_it_names_and_says_what_does() {
    let folder = Folder::new();
    let (sentiment, shakespeare) = (folder.sentiment(), folder.shakespeare());
    let (translator, _) = folder.translator();
    let bidirectional = folder.bidirectional();
    let series = data("series/airline.csv");
    for (blob, part) in [
        (&sentiment, "over tokens: try `gatelet classify`"),
        (&translator, "an encoder-decoder: try `gatelet generate`"),
        (&bidirectional, "bidirectional"),
        (&spot(), "one that hears: try `gatelet listen`"),
        (&vowels(), "a classifier: try `gatelet eval`"),
    ] {
        let message = refusal(&["forecast", blob, "--input", &series, "--horizon", "3"]);
        assert!(message.contains("does not forecast") && message.contains(part), "{message}");
    }
    for (blob, part) in [
        (
            &shakespeare,
            "answers at every step, so it does not classify a text: try `gatelet generate`",
        ),
        (&translator, "no vocabulary"),
        (&vowels(), "no vocabulary"),
    ] {
        let message = refusal(&["classify", blob, "a"]);
        assert!(message.contains(part), "{message}");
    }
    for (blob, part) in [
        (
            &sentiment,
            "answers once, after the last step, so it does not generate: try `gatelet classify`",
        ),
        (&translator, "no vocabulary"),
        (&vowels(), "no vocabulary"),
    ] {
        let message = refusal(&["generate", blob, "--prompt", "a"]);
        assert!(message.contains(part), "{message}");
    }
    for blob in [&sentiment, &translator, &vowels()] {
        let listen = refusal(&["listen", blob, "speech.wav"]);
        let device = refusal(&["device", blob, "--board", "cortex-m4", "--listen", "speech.wav"]);
        assert!(listen.contains("--audio") && device.contains("--audio"), "{listen}{device}");
    }
    // Features are no tokens.
    let test = data("vowels/test.npz");
    for blob in [&sentiment, &translator] {
        let message = refusal(&["eval", blob, "--data", &test]);
        assert!(message.contains("12"), "{message}");
    }
    let project = folder.path("project");
    let message = refusal(&["new", &project, "--board", "nucleo-f411re", "--model", &sentiment]);
    assert!(message.contains("6 inputs") && !Path::new(&project).exists(), "{message}");
}
