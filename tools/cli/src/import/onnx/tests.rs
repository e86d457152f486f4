//! What is refused, what is noted, and files made to do harm. What is accepted
//! is compared with onnxruntime in `tests/onnx.rs`.

mod loops;

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::proto::tensor_shape_proto::Dimension as Dim;
use super::proto::{
    OperatorSetIdProto, StringStringEntryProto, TensorProto, TensorShapeProto, TypeProto,
    type_proto,
};
use super::*;

fn bytes(fixture: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/import");
    fs::read(folder.join(fixture)).unwrap()
}

/// The time that this thread has computed.
fn computed() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

/// The refusal of a model, in one sentence.
fn refusal(model: &ModelProto) -> String {
    let started = computed();
    let error =
        from_bytes(Path::new(""), model.encode_to_vec()).expect_err("a model to be refused");
    let took = computed() - started;
    let limit = Duration::from_secs(if cfg!(debug_assertions) { 20 } else { 2 });
    assert!(took < limit, "{took:?}");
    format!("{error:#}")
}

#[track_caller]
fn assert_refused(model: &ModelProto, parts: &[&str]) {
    let sentence = refusal(model);
    for part in parts {
        assert!(sentence.contains(part), "`{part}` is not in: {sentence}");
    }
    assert!(!sentence.contains('\n'), "more than a line: {sentence}");
}

fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        input: inputs.iter().map(|&name| name.into()).collect(),
        output: vec![output.into()],
        ..NodeProto::default()
    }
}

fn with(mut node: NodeProto, attribute: AttributeProto) -> NodeProto {
    node.attribute.retain(|other| other.name != attribute.name);
    node.attribute.push(attribute);
    node
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i, ..AttributeProto::default() }
}

fn texts(name: &str, texts: &[&str]) -> AttributeProto {
    let strings: Vec<Bytes> = texts.iter().map(|t| Bytes::from(t.as_bytes().to_vec())).collect();
    let s = strings[0].clone();
    AttributeProto { name: name.into(), s, strings, ..AttributeProto::default() }
}

/// A tensor of floats, 0.5 each.
fn floats(name: &str, dims: &[i64]) -> TensorProto {
    let count = dims.iter().product::<i64>() as usize;
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: data_type::FLOAT as i32,
        float_data: vec![0.5; count],
        ..TensorProto::default()
    }
}

fn integers(name: &str, numbers: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: vec![numbers.len() as i64],
        data_type: data_type::INT64 as i32,
        int64_data: numbers.to_vec(),
        ..TensorProto::default()
    }
}

/// An input of floats; a size of 0 is left open.
fn input(name: &str, sizes: &[i64]) -> ValueInfoProto {
    let dim =
        sizes.iter().map(|&size| Dim { value: (size != 0).then_some(Dimension::DimValue(size)) });
    let shape = Some(TensorShapeProto { dim: dim.collect() });
    let tensor_type = Some(type_proto::Tensor { elem_type: data_type::FLOAT as i32, shape });
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type }) }
}

/// A model from `x` to `y`.
fn model(sizes: &[i64], nodes: Vec<NodeProto>, weights: Vec<TensorProto>) -> ModelProto {
    let graph = GraphProto {
        node: nodes,
        initializer: weights,
        input: vec![input("x", sizes)],
        output: vec![ValueInfoProto { name: "y".into(), r#type: None }],
    };
    let opset = OperatorSetIdProto { domain: String::new(), version: 18 };
    ModelProto { graph: Some(graph), opset_import: vec![opset], ..ModelProto::default() }
}

/// GRU(2) on `[time, batch, 3]`, followed by other nodes on its `h`
/// (`[time, 1, batch, 2]`), `last` (`[1, batch, 2]`).
fn gru(sizes: &[i64], rest: Vec<NodeProto>, weights: Vec<TensorProto>) -> ModelProto {
    let mut gru = node("GRU", &["x", "w", "r"], "h");
    gru.name = "gru".into();
    gru.output.push("last".into());
    let own = vec![floats("w", &[1, 6, 3]), floats("r", &[1, 6, 2])];
    model(sizes, [vec![gru], rest].concat(), [own, weights].concat())
}

fn imported(model: &ModelProto) -> Graph {
    from_bytes(Path::new(""), model.encode_to_vec()).unwrap()
}

/// PyTorch's LSTM with its recurrent node edited.
fn edited(edit: impl FnOnce(&mut NodeProto, &mut Vec<TensorProto>)) -> ModelProto {
    let mut model = ModelProto::decode(&bytes("torch_lstm_script.onnx")[..]).unwrap();
    let graph = model.graph.as_mut().unwrap();
    let node = graph.node.iter_mut().find(|node| node.op_type == "LSTM").unwrap();
    edit(node, &mut graph.initializer);
    model
}

#[test]
fn recurrent_nodes_that_cannot_be_represented_are_refused_by_name() {
    let attribute =
        |attribute: AttributeProto| edited(|node, _| *node = with(node.clone(), attribute));
    let name = "node `/LSTM_";
    assert_refused(
        &attribute(texts("direction", &["bidirectional"])),
        &[name, "(LSTM): its weights are for 1 directions, but it has 2"],
    );
    assert_refused(
        &attribute(texts("direction", &["sideways"])),
        &[name, "direction is sideways", "forward, reverse and bidirectional"],
    );
    let clip = |f| AttributeProto { name: "clip".into(), f, ..AttributeProto::default() };
    assert_refused(&attribute(clip(3.0)), &[name, "clips its sums at 3", "16 or more"]);
    imported(&attribute(clip(16.0)));
    let hard = edited(|node, _| {
        *node = with(node.clone(), clip(16.0));
        let attributes = [
            texts("activations", &["HardSigmoid", "Tanh", "Tanh"]),
            AttributeProto {
                name: "activation_alpha".into(),
                floats: vec![0.02],
                ..AttributeProto::default()
            },
        ];
        attributes.into_iter().for_each(|attribute| *node = with(node.clone(), attribute));
    });
    assert_refused(&hard, &[name, "clips its sums at 16"]);
    assert_refused(
        &attribute(texts("activations", &["Elu", "Tanh", "Tanh"])),
        &[name, "elu, tanh, tanh", "takes sigmoid, tanh, tanh or hardsigmoid, tanh, tanh"],
    );
    assert_refused(&attribute(int("input_forget", 1)), &[name, "input_forget"]);
    assert_refused(&attribute(int("hidden_size", 6)), &["[1, 20, 3], expected [1, 24, 3]"]);
    assert_refused(&attribute(int("hidden_size", 1 << 62)), &["units", "1 to 4096"]);
    assert_refused(&attribute(int("hidden_size", -1)), &["units"]);
    assert_refused(&attribute(int("layout", 1)), &["axis 1 of [batch, time, 1, features]"]);

    let operand = |index: usize, tensor: TensorProto| {
        edited(|node, weights| {
            node.input.resize(node.input.len().max(index + 1), String::new());
            node.input[index] = tensor.name.clone();
            weights.push(tensor);
        })
    };
    assert_refused(
        &operand(5, floats("h", &[1, 4, 5])),
        &[name, "initial_h is not zero", "Stream::set_state"],
    );
    assert_refused(
        &operand(6, floats("c", &[1, 4, 5])),
        &[name, "initial_c is not zero", "Stream::set_state"],
    );
    assert_refused(&operand(7, floats("p", &[1, 16])), &[name, "peepholes", "expected [1, 15]"]);
    assert_refused(&operand(4, integers("l", &[4, 3])), &[name, "sequence_lens", "`lengths`"]);
    let lengths = edited(|node, _| {
        node.input.resize(node.input.len().max(5), String::new());
        node.input[4] = "lengths".into();
    });
    let mut given = lengths.clone();
    let mut own = input("lengths", &[0]);
    own.r#type.as_mut().unwrap().tensor_type.as_mut().unwrap().elem_type = data_type::INT32 as i32;
    given.graph.as_mut().unwrap().input.push(own);
    assert!(imported(&given).notes[0].contains("sequence_lens"), "{:?}", imported(&given).notes);
    assert_refused(&lengths, &[name, "nothing before it makes its input `lengths`"]);
    assert_refused(&operand(3, floats("b", &[1, 20])), &["[1, 20], expected [1, 40]"]);
    let zeros = |dims: &[i64]| {
        let mut zeros = floats("zeros", dims);
        zeros.float_data.fill(0.0);
        zeros
    };
    imported(&operand(5, zeros(&[1, 4, 5])));
    imported(&operand(7, zeros(&[1, 15])));
}

#[test]
fn weights_that_cannot_be_read_are_refused_by_name() {
    let tensor = |edit: &dyn Fn(&mut TensorProto)| {
        edited(|node, weights| {
            edit(weights.iter_mut().find(|tensor| tensor.name == node.input[1]).unwrap());
        })
    };
    let external = |location: &'static str| {
        tensor(&|t: &mut TensorProto| {
            t.data_location = 1;
            let (key, value) = ("location".into(), location.into());
            t.external_data.push(StringStringEntryProto { key, value });
        })
    };
    for location in ["weights.bin", "", "/etc/passwd", "../weights.bin", "folder/"] {
        let parts = ["`onnx::w_0`", &format!("`{location}`"), "beside the model"];
        assert_refused(&external(location), &parts);
    }
    assert_refused(&tensor(&|t| t.data_type = 3), &["`onnx::w_0`", "data type 3", "float16"]);
    assert_refused(&tensor(&|t| t.data_type = 11), &["`onnx::w_0`", "damaged"]);
    assert_refused(&tensor(&|t| t.dims[0] = -1), &["`onnx::w_0`", "negative"]);
    assert_refused(&tensor(&|t| t.dims[0] = 1 << 40), &["`onnx::w_0`", "exceed"]);
    assert_refused(&tensor(&|t| t.dims = vec![1 << 40, 0, 1 << 40]), &["`onnx::w_0`"]);
    assert_refused(&tensor(&|t| t.dims = vec![1; 17]), &["more than 16 dimensions"]);
    assert_refused(&tensor(&|t| t.raw_data = t.raw_data.slice(1..)), &["damaged"]);
    let nan = |t: &mut TensorProto| {
        t.raw_data = [&f32::NAN.to_le_bytes()[..], &t.raw_data[4..]].concat().into();
    };
    assert_refused(&tensor(&nan), &["NaN"]);
}

#[test]
fn networks_that_are_no_stack_are_refused() {
    let refused = |nodes: Vec<NodeProto>, weights: Vec<TensorProto>, parts: &[&str]| {
        assert_refused(&gru(&[0, 0, 3], nodes, weights), parts);
    };
    refused(vec![node("Add", &["h", "h"], "y")], vec![], &["`y` (Add)", "two branches"]);
    let branches =
        vec![node("Relu", &["h"], "a"), node("Tanh", &["h"], "b"), node("Add", &["a", "b"], "y")];
    refused(branches, vec![], &["`b` (Tanh)", "plain stack"]);
    let elsewhere = vec![
        node("Relu", &["h"], "a"),
        node("Shape", &["a"], "s"),
        node("Reshape", &["h", "s"], "y"),
    ];
    refused(elsewhere, vec![], &["output `y` is not what the last layer gives"]);
    refused(
        vec![node("GlobalAveragePool", &["h"], "y")],
        vec![],
        &["(GlobalAveragePool)", "takes LSTM, GRU, RNN"],
    );
    refused(vec![node("Gather", &["w", "h"], "y")], vec![], &["an embedding", "the model's input"]);
    refused(vec![node("Softmax", &["h"], "a"), node("Neg", &["a"], "y")], vec![], &["softmax"]);
    refused(
        vec![with(node("Softmax", &["h"], "y"), int("axis", 0))],
        vec![],
        &["axis 0 of [time, 1, batch, features]"],
    );
    let mixed =
        vec![with(node("Flatten", &["h"], "f"), int("axis", 1)), node("MatMul", &["f", "w"], "y")];
    refused(mixed, vec![], &["its weights have shape [1, 6, 3]"]);
    let mixed =
        vec![with(node("Flatten", &["h"], "f"), int("axis", 1)), node("MatMul", &["f", "m"], "y")];
    refused(mixed, vec![floats("m", &[2, 2])], &["mixes axis 1 of [time, batch*features]"]);
    let cell = |rest: NodeProto| {
        let mut lstm = node("LSTM", &["x", "v", "u"], "all");
        lstm.output.extend(["".into(), "c".into()]);
        let weights = vec![floats("v", &[1, 8, 3]), floats("u", &[1, 8, 2])];
        model(&[0, 0, 3], vec![lstm, rest], weights)
    };
    assert_refused(&cell(node("Identity", &["c"], "y")), &["output `y`", "cell state"]);
    assert_refused(&cell(node("Squeeze", &["c"], "y")), &["`y` (Squeeze)", "cell state"]);
    assert_refused(&cell(node("Relu", &["c"], "y")), &["`y` (Relu)", "cell state"]);
    let slice = |starts: i64, ends: i64, steps: i64| {
        let tensors = [("s", starts), ("e", ends), ("a", 0), ("p", steps)];
        let weights = tensors.iter().map(|(name, n)| integers(name, &[*n])).collect();
        gru(&[0, 0, 3], vec![node("Slice", &["h", "s", "e", "a", "p"], "y")], weights)
    };
    assert_refused(&slice(-1, i64::MIN, -1), &["output `y`", "from the last to the first"]);
    assert_refused(&slice(0, 1, 1), &["output `y` is that of the first step", "last step"]);
    assert_refused(&slice(0, i64::MAX, 2), &["axis 0 of [time, 1, batch, features]"]);
    assert_refused(&slice(i64::MIN, i64::MAX, i64::MIN), &["part of axis 0"]);
    assert_refused(&slice(0, 0, 0), &["step is 0"]);
    assert_eq!(imported(&slice(-1, i64::MAX, 1)).output, Output::Last);
    assert_eq!(imported(&slice(i64::MIN, i64::MAX, 1)).output, Output::EveryStep);
}

#[test]
fn a_network_cannot_compute_with_sizes() {
    let size = vec![
        node("Shape", &["h"], "s"),
        with(node("Cast", &["s"], "f"), int("to", data_type::FLOAT)),
        node("Gather", &["f", "zero"], "t"),
        node("Mul", &["h", "t"], "y"),
    ];
    let model = gru(&[0, 0, 3], size, vec![integers("zero", &[0])]);
    assert_refused(&model, &["`y` (Mul)", "number of sequences or steps"]);
}

#[test]
fn what_is_assumed_is_noted() {
    let squeeze = || node("Squeeze", &["last", "axes"], "y");
    let axes = || integers("axes", &[0]);
    let graph = imported(&gru(&[0, 0, 3], vec![squeeze()], vec![axes()]));
    assert_eq!(graph.output, Output::Last);
    assert!(matches!(&graph.notes[..], [note] if note.contains("[time, batch, features]")));

    // One step at a time, the state passed from call to call.
    let mut stream = gru(&[1, 1, 3], vec![squeeze()], vec![axes()]);
    let inner = stream.graph.as_mut().unwrap();
    inner.input.push(input("state", &[1, 1, 2]));
    inner.node[0].input.extend([String::new(), String::new(), "state".into()]);
    inner.output.push(ValueInfoProto { name: "last".into(), r#type: None });
    let graph = imported(&stream);
    assert_eq!(graph.output, Output::EveryStep);
    let expected = ["starts at zero", "`last` is not given", "one step of a stream"];
    assert_eq!(graph.notes.len(), expected.len(), "{:?}", graph.notes);
    for (note, part) in graph.notes.iter().zip(expected) {
        assert!(note.contains(part), "`{part}` is not in: {note}");
    }
    // That input can be nothing else.
    stream.graph.as_mut().unwrap().node.push(node("Add", &["y", "state"], "z"));
    stream.graph.as_mut().unwrap().output[0].name = "z".into();
    assert_refused(&stream, &["another input of the model"]);

    let mut before = gru(&[0, 1, 3], vec![squeeze()], vec![axes()]);
    before.producer_name = "pytorch".into();
    let graph = imported(&before);
    assert!(graph.notes[0].contains("`gru` (GRU) has linear_before_reset=0"), "{:?}", graph.notes);

    let softmax = with(node("LogSoftmax", &["last"], "y"), int("axis", -1));
    let graph = imported(&gru(&[1, 0, 3], vec![softmax], vec![]));
    assert!(graph.notes[0].contains("probabilities"), "{:?}", graph.notes);
}

#[test]
fn a_single_sequence_needs_no_batch_axis() {
    let nodes = vec![
        node("Unsqueeze", &["x", "axes"], "batched"),
        node("GRU", &["batched", "w", "r"], "h"),
        node("Squeeze", &["h"], "y"),
    ];
    let weights = vec![floats("w", &[1, 6, 3]), floats("r", &[1, 6, 2]), integers("axes", &[1])];
    let graph = imported(&model(&[0, 3], nodes, weights));
    assert_eq!((graph.output, graph.notes.len()), (Output::EveryStep, 0));
}

#[test]
fn what_is_no_model_is_refused() {
    let parsed =
        |bytes: &[u8]| format!("{:#}", from_bytes(Path::new(""), bytes.to_vec()).unwrap_err());
    assert!(parsed(b"").contains("no graph"));
    assert!(parsed(b"no model").contains("no ONNX model"));
    assert!(parsed(&[0xff; 8]).contains("no ONNX model"));
    let y = || vec![node("Identity", &["last"], "y")];
    let edited = |edit: &dyn Fn(&mut ModelProto)| {
        let mut model = gru(&[0, 0, 3], y(), vec![]);
        edit(&mut model);
        model
    };
    let graph = |edit: &dyn Fn(&mut GraphProto)| edited(&|m| edit(m.graph.as_mut().unwrap()));
    assert_refused(&edited(&|m| m.opset_import.clear()), &["opset_import"]);
    assert_refused(&edited(&|m| m.opset_import[0].version = 6), &["version 6", "7 or later"]);
    assert_refused(&graph(&|g| g.node[0].domain = "com.microsoft".into()), &["com.microsoft"]);
    assert_refused(&graph(&|g| g.output.clear()), &["no output"]);
    assert_refused(&graph(&|g| g.input.clear()), &["no input"]);
    assert_refused(&graph(&|g| g.input[0].r#type = None), &["`x` has no shape"]);
    assert_refused(&graph(&|g| g.input[0] = input("x", &[0, 0, 0])), &["number of features"]);
    assert_refused(&graph(&|g| g.input[0] = input("x", &[0, 0, 1, 3])), &["4 axes"]);
    assert_refused(&graph(&|g| g.input[0] = input("x", &[0, -5, 3])), &["axis of -5"]);
    assert_refused(&graph(&|g| g.input[0] = input("x", &[0, 0, 1 << 20])), &["4096"]);
    assert_refused(&graph(&|g| g.input[0] = input("x", &[0, 0, 4])), &["3 inputs but is given 4"]);
    assert_refused(&graph(&|g| g.output[0].name = "z".into()), &["nothing makes"]);
    assert_refused(&graph(&|g| g.output[0].name = "w".into()), &["does not depend"]);
    assert_refused(&graph(&|g| g.node.swap(0, 1)), &["circle"]);
    assert_refused(&graph(&|g| g.node[0].input[0] = "y".into()), &["circle"]);
    assert_refused(&graph(&|g| g.node.push(g.node[1].clone())), &["two nodes make `y`"]);
    assert_refused(&graph(&|g| g.node[1].input.clear()), &["no input 0"]);
}

#[test]
fn models_that_would_fill_the_memory_are_refused() {
    let constants = |nodes: Vec<NodeProto>| {
        let weights = vec![floats("a0", &[1 << 10]), integers("huge", &[1 << 40, 1 << 40])];
        assert_refused(&model(&[0, 0, 3], nodes, weights), &[]);
    };
    // Doubled sixty times.
    let doubled = |op: &str| {
        let mut nodes: Vec<_> = (0..60)
            .map(|k| {
                let before = format!("a{k}");
                with(node(op, &[&before, &before], &format!("a{}", k + 1)), int("axis", 0))
            })
            .collect();
        nodes.push(node("Identity", &["a60"], "y"));
        nodes
    };
    constants(doubled("Concat"));
    constants(vec![node("Expand", &["a0", "huge"], "y")]);
    let filled = || node("ConstantOfShape", &["huge"], "b");
    constants(vec![filled(), node("Add", &["b", "a0"], "y")]);
    constants(vec![filled(), node("Gather", &["a0", "b"], "y")]);
    constants(vec![filled(), node("Flatten", &["b"], "c"), node("Reshape", &["c", "huge"], "y")]);
    constants(vec![filled(), node("Gemm", &["x", "b"], "y")]);
    // One weight, in ten thousand layers.
    let chain = (0..10_000).map(|k| {
        let gemm = node("Gemm", &[&format!("h{k}"), "w"], &format!("h{}", k + 1));
        with(gemm, int("transB", 1))
    });
    let mut chain: Vec<_> = chain.collect();
    chain[0].input[0] = "x".into();
    chain.push(node("Identity", &["h10000"], "y"));
    let chain = model(&[0, 1024], chain, vec![floats("w", &[1024, 1024])]);
    assert_refused(&chain, &["exceed"]);
    let mut nodes: Vec<_> = (0..20)
        .map(|k| node("Unsqueeze", &[&format!("u{k}"), "axes"], &format!("u{}", k + 1)))
        .collect();
    nodes.insert(0, node("Identity", &["x"], "u0"));
    nodes.push(node("Identity", &["u20"], "y"));
    assert_refused(&model(&[0, 0, 3], nodes, vec![integers("axes", &[0])]), &["16 axes"]);
    // A graph of empty nodes, two bytes each in the file and two hundred in
    // memory; and of a list of integers, one byte each and eight.
    let field = |number: u8, content: Vec<u8>| {
        let mut bytes = vec![number << 3 | 2];
        prost::encode_length_delimiter(content.len(), &mut bytes).unwrap();
        [bytes, content].concat()
    };
    let nodes = field(7, [0x0a, 0].repeat(1 << 20));
    let integers = field(7, field(5, field(7, vec![0; 32 << 20])));
    for file in [nodes, integers] {
        let sentence = format!("{:#}", from_bytes(Path::new(""), file).unwrap_err());
        assert!(sentence.contains("more nodes and values"), "{sentence}");
    }
}

#[test]
fn truncated_files_are_refused() {
    for name in ["torch_lstm_script.onnx", "torch_gru_dynamo.onnx", "lengths.onnx"] {
        let bytes = bytes(name);
        for length in 0..bytes.len() {
            assert!(
                from_bytes(Path::new(""), bytes[..length].to_vec()).is_err(),
                "{name} cut to {length}"
            );
        }
    }
}

/// A generator of numbers below a bound.
fn random(mut seed: u32) -> impl FnMut(usize) -> usize {
    move |below| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as usize % below
    }
}

const TO_DAMAGE: [&str; 5] = [
    "lstm.onnx",
    "gru_time_distributed_keras2.onnx",
    "torch_gru_dynamo.onnx",
    "lengths.onnx",
    "rnn_tanh_loop.onnx",
];

#[test]
fn damaged_files_do_not_panic() {
    let mut random = random(1);
    for name in TO_DAMAGE {
        let bytes = bytes(name);
        for _ in 0..2000 {
            let mut damaged = bytes.clone();
            for _ in 0..=random(3) {
                damaged[random(bytes.len())] = random(256) as u8;
            }
            let _ = from_bytes(Path::new(""), damaged);
        }
    }
}

#[test]
fn nonsense_models_do_not_panic() {
    const NUMBERS: [i64; 12] =
        [0, 1, -1, 2, 3, -2, 1 << 20, 1 << 40, i64::MAX, i64::MIN, i64::MIN + 1, 1_000_003];
    let mut random = random(2);
    for name in TO_DAMAGE {
        let original = ModelProto::decode(&bytes(name)[..]).unwrap();
        let graph = original.graph.as_ref().unwrap();
        let names: Vec<_> = graph.node.iter().flat_map(|n| [&n.input[..], &n.output]).collect();
        let names = names.concat();
        let kinds: Vec<_> = graph.node.iter().map(|node| &node.op_type).collect();
        for _ in 0..1000 {
            let mut model = original.clone();
            let graph = model.graph.as_mut().unwrap();
            for _ in 0..=random(3) {
                let number = NUMBERS[random(NUMBERS.len())];
                let count = graph.node.len();
                let node = &mut graph.node[random(count)];
                let attributes = node.attribute.len();
                let inputs = node.input.len();
                let tensors = graph.initializer.len();
                match random(8) {
                    0 if inputs > 0 => {
                        node.input[random(inputs)] = names[random(names.len())].clone()
                    }
                    1 => node.op_type = kinds[random(kinds.len())].clone(),
                    2 if attributes > 0 => node.attribute[random(attributes)].i = number,
                    3 if attributes > 0 => {
                        let list = &mut node.attribute[random(attributes)].ints;
                        list.push(number);
                        let last = list.len() - 1;
                        list.swap(random(last + 1), last);
                    }
                    4 if attributes > 0 => drop(node.attribute.swap_remove(random(attributes))),
                    5 => node.input.push(names[random(names.len())].clone()),
                    6 if tensors > 0 => {
                        let tensor = &mut graph.initializer[random(tensors)];
                        tensor.dims.push(number);
                    }
                    _ if tensors > 0 => {
                        let tensor = &mut graph.initializer[random(tensors)];
                        if tensor.data_type == data_type::INT64 as i32 {
                            *tensor = integers(&tensor.name, &[number]);
                        }
                    }
                    _ => {}
                }
            }
            let _ = from_bytes(Path::new(""), model.encode_to_vec());
        }
    }
}
