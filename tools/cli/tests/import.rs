//! Every model file of `tests/data/import` against what its framework
//! answered, and models that must be refused.

use std::fs;
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};

use gatelet_cli::data::Dataset;
use gatelet_cli::graph::Graph;
use gatelet_cli::import::import;
use gatelet_cli::npz::Npz;
use gatelet_cli::reference::answers;
use serde_json::{Value, json};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

/// Frameworks compute in float32.
const TOLERANCE: f64 = 1e-5;

const KERAS: [&str; 20] = [
    "rnn_tanh",
    "rnn_relu",
    "lstm",
    "gru_reset_after",
    "gru_reset_before",
    "lstm_2layer",
    "mixed_3layer",
    "lstm_only",
    "lstm_every_step",
    "gru_time_distributed",
    "functional",
    "normalized",
    "nested",
    "both_functional",
    "both_merged",
    "both_stacked",
    "both_only",
    "both_summed",
    "backwards",
    "cells",
];

fn data(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/import").join(file)
}

/// The outputs that count, sample after sample.
fn outputs(graph: &Graph, x: &Path) -> Vec<f64> {
    answers(graph, &Dataset::read(x).unwrap().x).concat()
}

fn assert_answers(model: &Path, x: &Path, expected: &str) {
    let graph = import(model).unwrap();
    let expected = Npz::open(x).unwrap().array(expected).unwrap().unwrap().into_f32();
    let outputs = outputs(&graph, x);
    assert_eq!(outputs.len(), expected.len(), "{}", model.display());
    let errors = outputs.iter().zip(&expected).map(|(a, &b)| (a - f64::from(b)).abs());
    let worst = errors.fold(0.0, f64::max);
    assert!(worst < TOLERANCE, "{}: {worst}", model.display());
}

/// The sentence with which `model` is refused.
fn refusal(model: &Path) -> String {
    let error = import(model).expect_err("a model to be refused");
    format!("{error:#}")
}

#[track_caller]
fn assert_refused(model: &Path, parts: &[&str]) {
    let sentence = refusal(model);
    for part in parts {
        assert!(sentence.contains(part), "`{part}` is not in: {sentence}");
    }
    assert!(!sentence.contains('\n'), "more than a line: {sentence}");
}

#[test]
fn keras_models_answer_as_keras_did() {
    for name in KERAS {
        for file in [".keras", ".h5", "_keras2.h5"] {
            assert_answers(&data(&format!("{name}{file}")), &data(&format!("{name}.npz")), "y");
        }
    }
}

#[test]
fn layer_normalization_answers_as_in_keras_and_pytorch() {
    assert_answers(&data("norm.keras"), &data("norm.npz"), "y");
    assert_answers(&data("norm.h5"), &data("norm.npz"), "y");
    let folder = TempDir::new().unwrap();
    let toml = "layers = [\"lstm\", \"norm\", \"fc\"]\n[activation]\nfc = \"softmax\"\n[epsilon]\nnorm = 1e-3\n";
    assert_answers(&state_dict(&folder, "norm", toml), &data("torch_norm.npz"), "y");
    assert_refused(
        &state_dict(&folder, "norm", "[activation]\nfc = \"softmax\"\n"),
        &["nn.LayerNorm `norm`", "`layers`"],
    );
}

#[test]
fn cells_of_edgeml_answer_as_published() {
    for name in ["fastrnn", "fastgrnn"] {
        let model = data(&format!("edgeml_{name}.safetensors"));
        assert_answers(&model, &data(&format!("edgeml_{name}.npz")), "y");
    }
}

/// Keras 3 and its predecessors mean different functions by it.
#[test]
fn hard_sigmoid_is_that_of_the_version() {
    let x = data("hard_sigmoid.npz");
    assert_answers(&data("hard_sigmoid.keras"), &x, "y");
    assert_answers(&data("hard_sigmoid.h5"), &x, "y");
    assert_answers(&data("hard_sigmoid_keras2.h5"), &x, "y_keras2");
}

#[test]
fn a_mask_skips_what_lengths_leave_out() {
    for file in [".keras", ".h5", "_keras2.h5"] {
        assert_answers(&data(&format!("both_functional{file}")), &data("both_padded.npz"), "y");
    }
}

#[test]
fn every_keras_format_gives_the_same_network() {
    for name in KERAS {
        let layers = |file: &str| {
            let graph = import(&data(&format!("{name}{file}"))).unwrap();
            (graph.layers.into_iter().map(|layer| layer.op).collect::<Vec<_>>(), graph.output)
        };
        let network = layers(".keras");
        assert!(network == layers(".h5"), "{name}");
        // The two versions of Keras adapt a normalization a bit differently.
        assert!(network == layers("_keras2.h5") || name == "normalized", "{name}");
    }
}

/// A copy of a state dict with a TOML file beside it.
fn state_dict(folder: &TempDir, name: &str, toml: &str) -> PathBuf {
    let model = folder.path().join("model.safetensors");
    fs::copy(data(&format!("torch_{name}.safetensors")), &model).unwrap();
    fs::write(folder.path().join("model.toml"), toml).unwrap();
    model
}

#[test]
fn state_dicts_answer_as_pytorch_would() {
    let folder = TempDir::new().unwrap();
    for (name, activation) in [
        ("rnn_tanh", r#"fc = "softmax""#),
        ("rnn_relu", "rnn = \"relu\"\nfc = \"softmax\""),
        ("lstm", r#"fc = "softmax""#),
        ("gru", r#"head = "softmax""#),
        ("lstm_2layer", r#""classifier.0" = "softmax""#),
        ("gru_3layer", r#""net.linear" = "softmax""#),
        ("lstm_projected", r#"fc = "softmax""#),
    ] {
        let x = data(&format!("torch_{name}.npz"));
        let toml = format!("[activation]\n{activation}\n");
        assert_answers(&state_dict(&folder, name, &toml), &x, "y");
        let toml = format!("output = \"every-step\"\n{toml}");
        assert_answers(&state_dict(&folder, name, &toml), &x, "y_steps");
    }
    for output in ["last", "last-step", "every-step"] {
        let x = data("torch_gru_2layer_both.npz");
        let toml = format!("output = \"{output}\"\n[activation]\nfc = \"softmax\"\n");
        let expected = format!("y_{}", output.replace('-', "_"));
        assert_answers(&state_dict(&folder, "gru_2layer_both", &toml), &x, &expected);
    }
    let unsaid = state_dict(&folder, "gru_2layer_both", "");
    assert_refused(&unsaid, &["which outputs of its bidirectional layer count", "\"last-step\""]);
    let bare = state_dict(&folder, "lstm_only", "output = \"every-step\"");
    assert_answers(&bare, &data("torch_lstm_only.npz"), "h");
}

#[test]
fn a_state_dict_alone_gives_logits_and_says_what_was_assumed() {
    let graph = import(&data("torch_lstm.safetensors")).unwrap();
    assert!(matches!(&graph.notes[..], [note] if note.contains("lstm, fc")), "{:?}", graph.notes);
    let x = data("torch_lstm.npz");
    let expected = Npz::open(&x).unwrap().array("y").unwrap().unwrap().into_f32();
    for (logits, expected) in outputs(&graph, &x).chunks(4).zip(expected.chunks(4)) {
        let sum: f64 = logits.iter().map(|v| v.exp()).sum();
        for (logit, &expected) in logits.iter().zip(expected) {
            assert!((logit.exp() / sum - f64::from(expected)).abs() < TOLERANCE);
        }
    }
}

#[test]
fn a_toml_file_that_does_not_fit_is_refused() {
    let folder = TempDir::new().unwrap();
    for (toml, parts) in [
        ("layers = [\"fc\", \"lstm\"]", &["which activation follows `fc`", "model.toml"][..]),
        ("layers = [\"lstm\"]", &["module `fc` is not in `layers`"]),
        ("layers = [\"lstm\", \"lstm\", \"fc\"]", &["`lstm` twice or wrongly"]),
        ("[activation]\nhead = \"relu\"", &["names `head`"]),
        ("[activation]\nlstm = \"relu\"", &["does not apply to an LSTM"]),
        ("outputs = \"last\"", &["model.toml, line 1: unknown field `outputs`"]),
    ] {
        assert_refused(&state_dict(&folder, "lstm", toml), parts);
    }
}

/// A state dict whose header is `header`, followed by `bytes` zeros.
fn raw_state_dict(folder: &TempDir, header: &Value, bytes: usize) -> PathBuf {
    let header = header.to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.resize(file.len() + bytes, 0);
    let path = folder.path().join("raw.safetensors");
    fs::write(&path, file).unwrap();
    path
}

#[test]
fn state_dicts_of_other_modules_are_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let tensor = |shape: &[usize], from: usize| {
        let bytes = 4 * shape.iter().product::<usize>();
        json!({"dtype": "F32", "shape": shape, "data_offsets": [from, from + bytes]})
    };
    let header = json!({"gru.weight_ih_l0_reverse": tensor(&[6, 3], 0)});
    assert_refused(&raw_state_dict(&folder, &header, 72), &["`gru`", "weight_ih_l0_reverse"]);
    let both = ["gru.weight_hh_l0", "gru.weight_ih_l0", "gru.weight_ih_l0_reverse"];
    let header: serde_json::Map<String, Value> = both
        .iter()
        .enumerate()
        .map(|(k, name)| ((*name).into(), tensor(&[3, 1], 12 * k)))
        .collect();
    assert_refused(&raw_state_dict(&folder, &header.into(), 36), &["`gru` lacks some"]);
    let header = json!({"conv.weight": tensor(&[2, 3, 1], 0), "conv.bias": tensor(&[2], 24)});
    assert_refused(&raw_state_dict(&folder, &header, 32), &["`conv.weight`", "nn.Linear"]);
    let header =
        json!({"rnn.weight_ih_l0": tensor(&[4, 3], 0), "rnn.weight_hh_l0": tensor(&[4, 2], 48)});
    assert_refused(
        &raw_state_dict(&folder, &header, 80),
        &["`rnn.weight_hh_l0`", "1, 3 or 4 times"],
    );
    // Two sizes that no order brings together.
    let header = json!({"a.weight": tensor(&[4, 3], 0), "rnn.weight_ih_l0": tensor(&[2, 3], 48),
        "rnn.weight_hh_l0": tensor(&[2, 2], 72)});
    assert_refused(
        &raw_state_dict(&folder, &header, 88),
        &["`a` takes 3 inputs but is given 2", "rnn, a"],
    );
}

#[test]
fn cells_and_half_precision_are_read_in_the_order_of_names() {
    let folder = TempDir::new().unwrap();
    let header = json!({
        "fc10.weight": {"dtype": "BF16", "shape": [2, 4], "data_offsets": [0, 16]},
        "fc2.weight": {"dtype": "F16", "shape": [4, 2], "data_offsets": [16, 32]},
        "cell.weight_ih": {"dtype": "F64", "shape": [6, 1], "data_offsets": [32, 80]},
        "cell.weight_hh": {"dtype": "F32", "shape": [6, 2], "data_offsets": [80, 128]},
    });
    let model = raw_state_dict(&folder, &header, 128);
    assert_refused(&model, &["which activation follows `fc2`", "raw.toml"]);
    fs::write(folder.path().join("raw.toml"), "[activation]\nfc2 = \"relu\"\n").unwrap();
    let graph = import(&model).unwrap();
    let layers: Vec<_> =
        graph.layers.iter().map(|l| (&l.name[..], l.op.kind(), l.units())).collect();
    assert_eq!(layers, [("cell", "GRU", 2), ("fc2", "Dense", 4), ("fc10", "Dense", 2)]);
}

#[test]
fn sizes_that_overflow_or_exceed_the_budget_are_refused() {
    let folder = TempDir::new().unwrap();
    let header = json!({"fc.weight": {"dtype": "F32", "shape": [1u64 << 40, 1u64 << 40],
        "data_offsets": [0, 16]}});
    assert_refused(&raw_state_dict(&folder, &header, 16), &["safetensors"]);
    let header =
        json!({"fc.weight": {"dtype": "F32", "shape": [0, 1u64 << 40], "data_offsets": [0, 0]}});
    assert_refused(&raw_state_dict(&folder, &header, 0), &["fc"]);
    let path = folder.path().join("eight.safetensors");
    fs::write(&path, [0xff; 8]).unwrap();
    assert_refused(&path, &["not a safetensors file"]);
}

/// A copy of the `.keras` file `name` with its description changed.
fn edited(folder: &TempDir, name: &str, edit: impl FnOnce(&mut Value)) -> PathBuf {
    let bytes = fs::read(data(&format!("{name}.keras"))).unwrap();
    let mut archive = ZipArchive::new(Cursor::new(bytes)).unwrap();
    let path = folder.path().join("edited.keras");
    let mut copy = ZipWriter::new(fs::File::create(&path).unwrap());
    let mut edit = Some(edit);
    for index in 0..archive.len() {
        let mut member = archive.by_index(index).unwrap();
        let mut bytes = Vec::new();
        member.read_to_end(&mut bytes).unwrap();
        if member.name().unwrap() == "config.json" {
            let mut config = serde_json::from_slice(&bytes).unwrap();
            edit.take().unwrap()(&mut config);
            bytes = config.to_string().into_bytes();
        }
        copy.start_file(member.name().unwrap(), SimpleFileOptions::default()).unwrap();
        copy.write_all(&bytes).unwrap();
    }
    copy.finish().unwrap();
    path
}

#[test]
fn keras_layers_that_cannot_be_represented_are_refused_by_name() {
    let folder = TempDir::new().unwrap();
    // Layer 0 of the description is the input, 1 the LSTM, 2 the dense layer.
    let refused = |edit: fn(&mut Value), parts: &[&str]| {
        assert_refused(&edited(&folder, "lstm", edit), parts);
    };
    let lstm = import(&data("lstm.keras")).unwrap().layers[0].name.clone();
    refused(
        |c| c["config"]["layers"][1]["class_name"] = json!("ConvLSTM1D"),
        &[&format!("`{lstm}` (ConvLSTM1D)"), "not supported", "SimpleRNN, LSTM, GRU"],
    );
    refused(
        |c| c["config"]["layers"][1]["config"]["recurrent_activation"] = json!("relu"),
        &[
            &format!("`{lstm}` (LSTM)"),
            "recurrent_activation \"relu\"",
            "gatelet takes \"sigmoid\" and \"hard_sigmoid\"",
        ],
    );
    assert_refused(
        &edited(&folder, "lstm_every_step", |c| {
            c["config"]["layers"][1]["config"]["go_backwards"] = json!(true);
        }),
        &["from the last to the first", "go_backwards"],
    );
    assert_refused(
        &edited(&folder, "both_only", |c| {
            c["config"]["layers"][1]["config"]["merge_mode"] = json!("mul");
        }),
        &["`both_gru` (Bidirectional)", "merge_mode \"mul\"", "\"concat\", \"sum\""],
    );
    refused(
        |c| c["config"]["layers"][1]["config"]["units"] = json!(6),
        &["[3, 20], expected [3, 24]"],
    );
    refused(
        |c| c["config"]["layers"][1]["config"]["units"] = json!(1u64 << 62),
        &["number of units"],
    );
    refused(|c| c["config"]["layers"][1]["config"]["units"] = json!(-1), &["number of units"]);
    refused(
        |c| c["config"]["layers"][2]["config"]["activation"] = json!("gelu"),
        &["\"gelu\"", "relu"],
    );
    refused(
        |c| c["config"]["layers"][0]["config"]["batch_shape"] = json!([null, 10, null]),
        &["[null,10,null]", "[batch, time, features]"],
    );
    refused(|c| c["class_name"] = json!("MyModel"), &["`MyModel`", "Sequential or Functional"]);
    refused(|c| c["config"]["layers"].as_array_mut().unwrap().truncate(2), &["belong to no layer"]);
    refused(
        |c| {
            let layers = c["config"]["layers"].as_array_mut().unwrap();
            layers.push(layers[2].clone());
        },
        &["two layers are called"],
    );
}

#[test]
fn functional_models_that_are_no_chain_are_refused() {
    let folder = TempDir::new().unwrap();
    let refused = |edit: fn(&mut Value), parts: &[&str]| {
        assert_refused(&edited(&folder, "functional", edit), parts);
    };
    fn layer<'a>(config: &'a mut Value, name: &str) -> &'a mut Value {
        let layers = config["config"]["layers"].as_array_mut().unwrap();
        layers.iter_mut().find(|layer| layer["name"] == name).unwrap()
    }
    refused(
        |c| {
            layer(c, "hidden")["inbound_nodes"][0]["args"][0]["config"]["keras_history"][0] =
                json!("logits")
        },
        &["circle"],
    );
    refused(
        |c| {
            let other = layer(c, "logits")["inbound_nodes"][0]["args"][0].clone();
            let args = layer(c, "softmax")["inbound_nodes"][0]["args"].as_array_mut().unwrap();
            args.push(other);
        },
        &["`softmax`", "exactly one input"],
    );
    refused(
        |c| c["config"]["output_layers"] = json!([["softmax", 0, 0], ["hidden", 0, 0]]),
        &["output_layers"],
    );
    refused(|c| c["config"]["output_layers"] = json!(["nowhere", 0, 0]), &["no layer `nowhere`"]);
}

#[test]
fn what_is_no_model_is_refused() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str| {
        let path = folder.path().join(name);
        fs::write(&path, b"no model").unwrap();
        path
    };
    assert_refused(&folder.path().join("missing.keras"), &["cannot open", "missing.keras"]);
    assert_refused(&file("model.tflite"), &["model.tflite", ".keras, .h5"]);
    assert_refused(&file("text.keras"), &["text.keras", "not a Keras 3 archive"]);
    assert_refused(&file("text.h5"), &["text.h5", "not an HDF5 file"]);
    assert_refused(&file("text.safetensors"), &["not a safetensors file"]);
}

/// Files of every format, the smallest there are.
const ONE_OF_EACH: [&str; 4] =
    ["lstm_only.keras", "lstm_only.h5", "lstm_only_keras2.h5", "torch_gru.safetensors"];

#[test]
fn truncated_files_are_refused() {
    let folder = TempDir::new().unwrap();
    for name in ONE_OF_EACH {
        let bytes = fs::read(data(name)).unwrap();
        let path = folder.path().join(name);
        for length in (0..bytes.len()).step_by(61).chain([bytes.len() - 1]) {
            fs::write(&path, &bytes[..length]).unwrap();
            assert!(import(&path).is_err(), "{name} cut to {length} of {} bytes", bytes.len());
        }
    }
}

#[test]
fn damaged_files_do_not_panic() {
    let folder = TempDir::new().unwrap();
    for name in ONE_OF_EACH {
        let bytes = fs::read(data(name)).unwrap();
        let path = folder.path().join(name);
        let mut seed = 1u32;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as usize % below
        };
        for _ in 0..300 {
            let mut damaged = bytes.clone();
            for _ in 0..=random(3) {
                damaged[random(bytes.len())] = random(256) as u8;
            }
            fs::write(&path, damaged).unwrap();
            let _ = import(&path);
        }
    }
}

#[test]
fn a_network_over_tokens_answers_as_keras_did_in_every_format() {
    let expected = import(&data("tokens.keras")).unwrap();
    for file in [
        "tokens.keras",
        "tokens.h5",
        "tokens_keras2.h5",
        "tokens.onnx",
        "tokens_torch.onnx",
        "tokens.safetensors",
    ] {
        assert_answers(&data(file), &data("tokens.npz"), "y");
        let graph = import(&data(file)).unwrap();
        let ops = |graph: &Graph| graph.layers.iter().map(|l| l.op.clone()).collect::<Vec<_>>();
        assert_eq!(ops(&graph), ops(&expected), "{file}");
    }
}
