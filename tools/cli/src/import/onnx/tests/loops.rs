//! Loops that are no recurrent layer, and such as are made to do harm.

use super::*;

/// Keras' GRU with its loop and the loop's body edited.
fn edited(edit: impl FnOnce(&mut GraphProto, &mut NodeProto)) -> ModelProto {
    let mut model = ModelProto::decode(&bytes("gru_reset_after_loop.onnx")[..]).unwrap();
    let graph = model.graph.as_mut().unwrap();
    let at = graph.node.iter().position(|node| node.op_type == "Loop").unwrap();
    let mut node = graph.node[at].clone();
    edit(graph, &mut node);
    graph.node[at] = node;
    model
}

fn body(node: &mut NodeProto) -> &mut GraphProto {
    let body = node.attribute.iter_mut().find(|attribute| attribute.name == "body");
    body.unwrap().g.as_mut().unwrap()
}

fn kind<'a>(body: &'a mut GraphProto, op: &str) -> &'a mut NodeProto {
    body.node.iter_mut().find(|node| node.op_type == op).unwrap()
}

#[track_caller]
fn assert_loop_refused(model: &ModelProto, part: &str) {
    assert_refused(model, &["while_loop` (Loop)", "simple RNN, GRU or LSTM", ".keras, .h5", part]);
}

#[test]
fn other_cells_are_refused() {
    let changed =
        |from: &str, to: &'static str| edited(|_, node| kind(body(node), from).op_type = to.into());
    assert_loop_refused(&changed("Tanh", "Relu"), "none of the cells gatelet knows");
    assert_loop_refused(&changed("Sigmoid", "Tanh"), "none of the cells gatelet knows");
    assert_loop_refused(&changed("Sub", "Add"), "none of the cells gatelet knows");
    assert_loop_refused(&changed("Tanh", "Exp"), "(Exp): this kind of node is not supported");
}

#[test]
fn loops_that_leave_steps_out_are_refused() {
    let counted = |number: i64| {
        edited(|_, node| {
            let one = body(node).initializer.iter_mut().find(|t| t.name.ends_with("add/y:0"));
            one.unwrap().raw_data = Bytes::from((number as i32).to_le_bytes().to_vec());
        })
    };
    imported(&counted(1));
    assert_loop_refused(&counted(2), "counts steps by another number than 1");
    let input = |index: usize, tensor: TensorProto| {
        edited(|graph, node| {
            node.input[index] = tensor.name.clone();
            graph.initializer.push(tensor);
        })
    };
    let scalar = |number| TensorProto { dims: vec![], ..integers("number", &[number]) };
    assert_loop_refused(&input(0, scalar(7)), "can end before the sequence does");
    assert_loop_refused(&input(1, scalar(0)), "can end before the sequence does");
    assert_loop_refused(&input(2, scalar(1)), "counts steps from another than 0");
    let initial = edited(|graph, _| {
        let zero = graph.initializer.iter_mut().find(|t| t.dims.is_empty() && t.data_type == 1);
        zero.unwrap().raw_data = Bytes::from(0.5f32.to_le_bytes().to_vec());
    });
    assert_loop_refused(&initial, "initial state is not zero");
    assert_loop_refused(&input(5, floats("b", &[2, 14])), "shape [14] meets 15 features");
}

#[test]
fn damaged_and_hostile_loops_are_refused() {
    assert_loop_refused(&edited(|_, node| node.attribute.clear()), "no body");
    assert_loop_refused(&edited(|_, node| drop(body(node).input.pop())), "damaged");
    assert_loop_refused(&edited(|_, node| body(node).output.clear()), "damaged");
    let inside = edited(|_, node| {
        let inner = NodeProto { output: vec!["inner".into()], ..node.clone() };
        body(node).node.insert(0, inner);
        body(node).output[1].name = "inner".into();
    });
    assert_loop_refused(&inside, "a loop inside a loop");
    // Something applied to itself again and again.
    let repeated = |op: &str, inputs: usize| {
        edited(|_, looped| {
            let body = body(looped);
            let mut last = kind(body, "Tanh").output[0].clone();
            for k in 0..1000 {
                let next = format!("r{k}");
                body.node.push(node(op, &vec![&last[..]; inputs], &next));
                last = next;
            }
            body.output[2].name = last;
        })
    };
    assert_loop_refused(&repeated("Add", 2), "adds up more than 64 terms");
    assert_loop_refused(&repeated("Mul", 2), "nests functions more than 32 deep");
    assert_loop_refused(&repeated("Tanh", 1), "nests functions more than 32 deep");
    // Graphs inside graphs, until a reader's stack is full.
    let field = |number: u8, content: Vec<u8>| {
        let mut bytes = vec![number << 3 | 2];
        prost::encode_length_delimiter(content.len(), &mut bytes).unwrap();
        [bytes, content].concat()
    };
    // A graph's node's attribute is a graph.
    let graph = (0..1000).fold(vec![], |graph, _| field(1, field(5, field(6, graph))));
    let error = from_bytes(Path::new(""), field(7, graph)).unwrap_err();
    assert!(format!("{error:#}").contains("nested more than 32 deep"), "{error:#}");
}

#[test]
fn masks_of_the_input_are_dropped_with_a_note() {
    let masked = imported(&ModelProto::decode(&bytes("functional_loop.onnx")[..]).unwrap());
    assert!(masked.notes[0].contains("is dropped: give padded samples"), "{:?}", masked.notes);
    let nodes = vec![node("Equal", &["h", "zero"], "mask"), node("Mul", &["mask", "h"], "y")];
    assert_refused(
        &gru(&[0, 0, 3], nodes, vec![floats("zero", &[])]),
        &["`mask` (Equal)", "masks of the model's input"],
    );
}
