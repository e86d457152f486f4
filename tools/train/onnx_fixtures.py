"""ONNX files for the importer's tests, checked with onnxruntime.

tests/data/import/NAME.onnx is what Keras 3's model.export wrote of NAME.keras, NAME_keras2.onnx what
tf2onnx wrote of NAME_keras2.h5; torch_NAME_script.onnx and torch_NAME_dynamo.onnx hold the state dict
torch_NAME.safetensors in the nodes that PyTorch's two exporters write (from the sources of
torch.onnx.symbolic_opset9 and onnxscript's torch_lib; PyTorch itself is not needed). Their answers are in
the .npz files of fixtures.py, to which onnxruntime's must be equal. folded.onnx, lengths.onnx and
norm_onnx.onnx have their own .npz. onnx_random.zip has random networks, k.onnx, with x [N, T, I] and onnxruntime's answer, k.npz;
onnx_variants.zip such whose gates may be hard sigmoids and whose LSTMs may have peepholes. Those of
onnx_directed.zip run in both directions, as do those of onnx_layout.zip, with layout=1. NAME_loop.onnx is what Keras 3 exports as a loop, of NAME.keras;
onnx_loops.zip has such whose loop was changed at random.
tests/data/digits/lstm.onnx is Keras' export of lstm.keras.
"""

import argparse
import io
import os
import zipfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx
import tf_keras
from keras.src.export.tf2onnx_lib import patch_tf2onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

from golden import half, sequences

INT64_MAX = 2**63 - 1
DIRECTED = "both_only", "both_summed", "both_stacked"
LOOPS = (
    "rnn_tanh", "rnn_relu", "gru_reset_after", "gru_reset_before", "hard_sigmoid", "mixed_3layer",
    "both_only", "both_summed", "both_stacked", "backwards", "cells",
    "functional", "both_functional",
)
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
# Gates of ONNX among PyTorch's: i o f c of i f g o, z r h of r z n.
ONNX_ORDER = {"RNN": [0], "GRU": [1, 0, 2], "LSTM": [0, 3, 1, 2]}


def answer(model, *inputs):
    """The first output of a model, from onnxruntime."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {i.name: x for i, x in zip(session.get_inputs(), inputs, strict=True)})[0]


class Nodes:
    """A graph under construction; calling it adds a node and returns the name of what it makes."""

    def __init__(self, shape, opset=17, element=TensorProto.FLOAT):
        self.shape, self.opset, self.element = shape, opset, element
        self.nodes, self.weights = [], []

    def __call__(self, op, *inputs, outputs=1, **attributes):
        name = f"/{op}_{len(self.nodes)}"
        names = [f"{name}_output_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, name, **attributes))
        return names[0] if outputs == 1 else names

    def weight(self, array):
        name = f"onnx::w_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def constant(self, value, dtype=np.int64):
        """As PyTorch writes indices and shapes: a node."""
        return self("Constant", value=numpy_helper.from_array(np.array(value, dtype)))

    def transpose(self, x, *perm):
        return self("Transpose", x, perm=perm)

    def squeeze(self, x, *axes):
        return self("Squeeze", x, self.constant(axes)) if self.opset >= 13 else self("Squeeze", x, axes=axes)

    def unsqueeze(self, x, *axes):
        return self("Unsqueeze", x, self.constant(axes)) if self.opset >= 13 else self("Unsqueeze", x, axes=axes)

    def slice(self, x, start, end, axis):
        return self("Slice", x, *(self.constant([k]) for k in (start, end, axis)), self.constant([1]))

    def model(self, *outputs):
        x = helper.make_tensor_value_info("x", self.element, self.shape)
        ys = [helper.make_tensor_value_info(y, TensorProto.FLOAT, None) for y in outputs]
        graph = helper.make_graph(self.nodes, "main_graph", [x], ys, self.weights)
        opset = helper.make_opsetid("", self.opset)
        # No shapes of intermediate values: the importer does not need them.
        return helper.make_model(graph, opset_imports=[opset], ir_version=8, producer_name="onnx_fixtures")


def torch_parameters(weights, layer):
    return [weights[f"{name}_l{layer}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]


def in_onnx_order(cell, w):
    gates = np.split(w, GATES[cell])
    return np.concatenate([gates[k] for k in ONNX_ORDER[cell]])


def torch_script(g, cell, weights, layers, x="x", activation="Tanh"):
    """nn.RNN, nn.GRU or nn.LSTM, batch_first, as torch.onnx.export(dynamo=False) writes it."""
    hidden = weights["weight_hh_l0"].shape[1]
    batch = g("Gather", g("Shape", x), g.constant(0), axis=0)
    size = g("Concat", g.constant([layers]), g.unsqueeze(batch, 0), g.constant([hidden]), axis=0)
    zeros = [g("ConstantOfShape", size, value=numpy_helper.from_array(np.zeros(1, np.float32)))]
    zeros *= 2 if cell == "LSTM" else 1
    attributes = {"RNN": dict(activations=[activation]), "GRU": dict(linear_before_reset=1), "LSTM": {}}[cell]
    y, states = g.transpose(x, 1, 0, 2), []
    for layer in range(layers):
        w_ih, w_hh, b_ih, b_hh = (in_onnx_order(cell, w) for w in torch_parameters(weights, layer))
        parameters = [g.weight(w[None]) for w in (w_ih, w_hh, np.concatenate([b_ih, b_hh]))]
        first = [h if layers == 1 else g.slice(h, layer, layer + 1, 0) for h in zeros]
        y, *h = g(cell, y, *parameters, "", *first, outputs=len(first) + 1, hidden_size=hidden, **attributes)
        y = g.squeeze(y, 1)
        states.append(h)
    states = [h[0] if layers == 1 else g("Concat", *h, axis=0) for h in zip(*states)]
    return g.transpose(y, 1, 0, 2), *states


def torch_dynamo(g, cell, weights, layers, x="x"):
    """The same as torch.onnx.export(dynamo=True) writes it, before it folds constants; it has no nn.RNN."""
    hidden = weights["weight_hh_l0"].shape[1]
    batch = g("Reshape", g("Shape", x, start=0, end=1), g("Constant", value_ints=[-1]))
    size = g("Concat", g.constant([layers]), batch, g.constant([hidden]), axis=0)
    zeros = [g("Expand", g("Constant", value_float=0.0), size)]
    zeros *= 2 if cell == "LSTM" else 1
    attributes = dict(linear_before_reset=1) if cell == "GRU" else {}
    y, states = g.transpose(x, 1, 0, 2), []
    h_size = g("Shape", zeros[0], start=2, end=3)
    for layer in range(layers):
        first = [g.slice(h, layer, layer + 1, 0) for h in zeros]

        def reordered(w):
            ends = [g("Mul", h_size, g.constant([k])) for k in range(1, GATES[cell] + 1)]
            starts = [g.constant([0]), *ends]
            gates = [g("Slice", w, starts[k], ends[k], g.constant([0])) for k in ONNX_ORDER[cell]]
            return gates[0] if len(gates) == 1 else g("Concat", *gates, axis=0)

        w_ih, w_hh, b_ih, b_hh = (reordered(g.weight(w)) for w in torch_parameters(weights, layer))
        w_ih, w_hh, b = (g.unsqueeze(w, 0) for w in (w_ih, w_hh, g("Concat", b_ih, b_hh, axis=0)))
        outputs = dict(outputs=len(first) + 1, direction="forward", hidden_size=hidden)
        y, *h = g(cell, y, w_ih, w_hh, b, "", *first, **outputs, **attributes)
        y = g.transpose(y, 0, 2, 1, 3)
        sizes = [g.slice(g("Shape", y), k, k + 1, 0) for k in range(4)]
        rows = g("Reshape", g("Mul", *sizes[2:]), g("Constant", value_ints=[-1]))
        y = g("Reshape", y, g("Concat", *sizes[:2], rows, axis=0))
        states.append(h)
    states = [h[0] if layers == 1 else g("Concat", *h, axis=0) for h in zip(*states)]
    return g.transpose(y, 1, 0, 2), *states


def write_torch(out):
    # name: cell, layers, prefix of the recurrent module, name of the Linear
    networks = {
        "rnn_tanh": ("RNN", 1, "rnn.", "fc"),
        "rnn_relu": ("RNN", 1, "rnn.", "fc"),
        "lstm": ("LSTM", 1, "lstm.", "fc"),
        "gru": ("GRU", 1, "gru.", "head"),
        "lstm_2layer": ("LSTM", 2, "encoder.lstm.", "classifier.0"),
        "gru_3layer": ("GRU", 3, "net.gru.", "net.linear"),
        "lstm_only": ("LSTM", 1, "", None),
    }
    for name, (cell, layers, prefix, linear) in networks.items():
        state = load_file(out / f"torch_{name}.safetensors")
        weights = {key.removeprefix(prefix): w for key, w in state.items()}
        arrays = np.load(out / f"torch_{name}.npz")
        for style in ("script",) if cell == "RNN" else ("script", "dynamo"):
            g = Nodes(["batch", "time", 3], opset=17 if style == "script" else 18)
            if style == "script":
                activation = "Relu" if name == "rnn_relu" else "Tanh"
                y, *states = torch_script(g, cell, weights, layers, activation=activation)
            else:
                y, *states = torch_dynamo(g, cell, weights, layers)
            if linear is None:
                model, expected = g.model(y, *states), arrays["h"]
            else:
                w, b = state[f"{linear}.weight"], state[f"{linear}.bias"]
                if style == "script" and layers > 1:
                    # fc(h_n[-1])
                    last = g("Gather", states[0], g.constant(-1), axis=0)
                    y = g("Gemm", last, g.weight(w), g.weight(b), alpha=1.0, beta=1.0, transB=1)
                elif style == "script":
                    # fc(y[:, -1, :])
                    last = g("Gather", g.slice(y, 0, INT64_MAX, 0), g.constant(-1), axis=1)
                    last = g.slice(last, 0, INT64_MAX, 1)
                    y = g("Gemm", last, g.weight(w), g.weight(b), alpha=1.0, beta=1.0, transB=1)
                else:
                    # fc(y), every step
                    w = g.transpose(g.weight(w), 1, 0)
                    y = g("Add", g("MatMul", y, w), g.weight(b))
                y = g("Softmax", y, axis=-1)
                model, expected = g.model(y), arrays["y" if style == "script" else "y_steps"]
            np.testing.assert_allclose(answer(model, arrays["x"]), expected, atol=1e-5)
            # dynamo=True puts the weights beside the model.
            beside = style == "dynamo" and name == "lstm"
            file = f"torch_{name}_{style}.onnx"
            (out / f"{file}.data").unlink(missing_ok=True)
            external = dict(save_as_external_data=True, location=f"{file}.data", size_threshold=0) if beside else {}
            onnx.save(model, out / file, **external)


def keras_export(model, path):
    model.predict(np.zeros((2, 7, model.input_shape[-1]), np.float32), verbose=0)
    model.export(str(path), format="onnx", verbose=False)
    return onnx.load(path)


def folded(rng):
    L = keras.layers
    layers = [
        L.Rescaling(0.5, 0.1, name="rescaling"),
        L.LSTM(5, return_sequences=True, name="lower"),
        L.BatchNormalization(name="between"),
        L.LSTM(4, use_bias=False, name="upper"),
        L.BatchNormalization(scale=False, name="before"),
        L.Dense(5, name="hidden"),
        L.BatchNormalization(center=False, name="after"),
        L.ReLU(name="relu"),
        L.Dense(4, name="head"),
        L.Softmax(name="softmax"),
    ]
    model = keras.Sequential([L.InputLayer((None, 3)), *layers])
    for layer in layers[1:]:
        # Keras' initialisation leaves biases at 0 or 1; move everything a little.
        layer.set_weights([w + 0.1 * rng.standard_normal(w.shape) for w in layer.get_weights()])
    return model


def write_keras(out, digits, rng):
    for name in ("lstm", "lstm_2layer", "lstm_every_step", "lstm_only"):
        model = keras_export(keras.saving.load_model(out / f"{name}.keras"), out / f"{name}.onnx")
        arrays = np.load(out / f"{name}.npz")
        np.testing.assert_allclose(answer(model, arrays["x"]), arrays["y"], atol=1e-5)
    # Keras 3 writes any other layer as a loop.
    for name in LOOPS:
        model = keras_export(keras.saving.load_model(out / f"{name}.keras"), out / f"{name}_loop.onnx")
        arrays = np.load(out / f"{name}.npz")
        np.testing.assert_allclose(answer(model, arrays["x"]), arrays["y"], atol=1e-5)
    x = sequences(rng, 4, 10, 3)
    model = keras_export(folded(rng), out / "folded.onnx")
    np.savez_compressed(out / "folded.npz", x=x, y=answer(model, x))
    keras_export(keras.saving.load_model(digits / "lstm.keras"), digits / "lstm.onnx")
    patch_tf2onnx()
    for name in ("lstm", "gru_reset_after", "gru_time_distributed", *DIRECTED):
        keras2 = tf_keras.models.load_model(out / f"{name}_keras2.h5", compile=False)
        signature = [tf.TensorSpec((None, None, 3), tf.float32, name="x")]
        function = tf.function(keras2, input_signature=signature)
        model, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=17)
        arrays = np.load(out / f"{name}.npz")
        np.testing.assert_allclose(answer(model, arrays["x"]), arrays["y"], atol=1e-5)
        onnx.save(model, out / f"{name}_keras2.onnx")


def damaged_loop(model, rng):
    """The model with one thing in the body of a loop changed: often another network, seldom a cell."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    loop = next(node for node in model.graph.node if node.op_type == "Loop")
    body = next(attribute.g for attribute in loop.attribute if attribute.name == "body")
    node = body.node[rng.integers(len(body.node))]
    alike = next((ops for ops in (["Add", "Sub", "Mul"], ["Tanh", "Sigmoid", "Relu"]) if node.op_type in ops), None)
    made = [name for other in body.node for name in other.output]
    scalars = [t for t in body.initializer if list(t.dims) in ([], [2])]
    kind = rng.integers(4)
    if kind == 0 and alike:
        node.op_type = str(rng.choice(alike))
    elif kind == 1:
        node.input[rng.integers(len(node.input))] = str(rng.choice(made))
    elif kind == 2 and len(node.input) > 1:
        node.input[0], node.input[1] = node.input[1], node.input[0]
    elif kind == 3 and scalars:
        tensor = scalars[rng.integers(len(scalars))]
        array = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array((array + rng.integers(-2, 3)).astype(array.dtype), tensor.name))
    return model


def write_loops(path, out, count):
    """Loops changed at random that onnxruntime still runs, with its answers."""
    networks, k = [], 0
    onnxruntime.set_default_logger_severity(4)
    while len(networks) < count:
        name = ("rnn_tanh", "gru_reset_after", "gru_reset_before", "hard_sigmoid")[k % 4]
        model = damaged_loop(onnx.load(out / f"{name}_loop.onnx"), np.random.default_rng(k))
        x = np.load(out / f"{name}.npz")["x"][:2]
        k += 1
        try:
            y = answer(model, x)
        except Exception:  # of many kinds, without a common type
            continue
        if np.isfinite(y).all():
            networks.append((model, x, y))
    write_archive(path, networks)


def random_variant(g, rng, cell, units, attributes, optional):
    """Gates that are hard sigmoids, and an LSTM's peepholes, now and then."""
    if cell != "RNN" and rng.random() < 0.6:
        attributes["activations"] = {"GRU": ["HardSigmoid", "Tanh"], "LSTM": ["HardSigmoid", "Tanh", "Tanh"]}[cell]
        if rng.random() < 0.6:
            attributes["activation_alpha"] = [float(rng.uniform(0.1, 0.4))]
            attributes["activation_beta"] = [float(rng.uniform(0.4, 0.6))]
    if cell == "LSTM" and rng.random() < 0.7:
        optional = optional or ["", "", ""]
        optional.append(g.weight(half(rng.standard_normal((1, 3 * units)))))
    return optional


def random_layer(g, rng, cell, inputs, units, x, fixed, batch_axis, last, variants):
    """A recurrent node on x [T, N, I]; what it gives at every step, or at the last, [N, H]."""
    rows = GATES[cell] * units
    scale = 1.5 / np.sqrt(inputs + units)
    arrays = [half(scale * rng.standard_normal(s)) for s in ((1, rows, inputs), (1, rows, units), (1, 2 * rows))]
    if rng.random() < 0.3:
        parameters = [g("Cast", g.weight(w.astype(np.float16)), to=TensorProto.FLOAT) for w in arrays]
    elif rng.random() < 0.3:
        parameters = [g.transpose(g.weight(w.transpose(0, 2, 1)), 0, 2, 1) for w in arrays[:2]] + [g.weight(arrays[2])]
    else:
        parameters = [g.weight(w) for w in arrays]
    if rng.random() < 0.2:
        parameters[2] = ""
    attributes = {"hidden_size": units}
    if cell == "GRU":
        attributes["linear_before_reset"] = int(rng.integers(2))
    if cell == "RNN" and rng.random() < 0.5:
        attributes["activations"] = ["Relu"]
    elif rng.random() < 0.3:
        attributes["activations"] = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}[cell]
    optional = []
    if rng.random() < 0.6:
        shape = g("Shape", "x")
        size = g("Gather", shape, g.constant(batch_axis), axis=0)
        lengths = ""
        if rng.random() < 0.3:
            length = g("Cast", g("Gather", shape, g.constant([1 - batch_axis]), axis=0), to=TensorProto.INT32)
            lengths = g("Expand", length, g.unsqueeze(size, 0))
        size = g("Concat", g.constant([1]), g.unsqueeze(size, 0), g.constant([units]), axis=0)
        if fixed[0] and rng.random() < 0.5:
            zeros = g.weight(np.zeros((1, fixed[0], units), np.float32))
        elif rng.random() < 0.5:
            zeros = g("ConstantOfShape", size)
        else:
            # torch.Tensor.expand of before 2.5
            ones = g("ConstantOfShape", g.constant([3]), value=numpy_helper.from_array(np.ones(1, np.int64)))
            unknown = g("Mul", ones, g.constant(-1))
            size = g("Where", g("Equal", size, unknown), ones, size)
            zeros = g("Expand", g.constant(0, np.float32), size)
        optional = [lengths, zeros, zeros] if cell == "LSTM" else [lengths, zeros]
    if variants:
        optional = random_variant(g, rng, cell, units, attributes, optional)
    y, h = g(cell, x, *parameters, *optional, outputs=2, **attributes)
    if not last:
        if rng.random() < 0.5:
            return g.squeeze(y, 1)
        return g("Reshape", g.transpose(y, 0, 2, 1, 3), g.constant([0, 0, -1]))
    form = rng.integers(6)
    if form == 0:
        return g.squeeze(h, 0)
    if form == 1:
        return g("Gather", h, g.constant(0), axis=0)
    if form == 2:
        return g("Reshape", h, g.constant([-1, units]))
    y = g.squeeze(y, 1)
    if form == 3:
        return g("Gather", y, g.constant(-1), axis=0)
    if form == 4:
        return g.squeeze(g.slice(y, -1, INT64_MAX, 0), 0)
    index = g("Sub", g("Gather", g("Shape", y), g.constant(0), axis=0), g.constant(1))
    return g("Gather", y, index, axis=0)


def random_dense(g, rng, inputs, units, x, rank, steps):
    w, b = half(rng.standard_normal((inputs, units)) / np.sqrt(inputs)), half(rng.standard_normal(units))
    if rank == 2 and rng.random() < 0.6:
        trans = int(rng.integers(2))
        scales = dict(alpha=float(rng.choice([1, 0.5])), beta=float(rng.choice([1, 2])))
        return g("Gemm", x, g.weight(w.T if trans else w), g.weight(b), transB=trans, **scales)
    shape = None
    if rank == 3 and rng.random() < 0.6:
        # Rows of all steps of all sequences, as TensorFlow does it.
        free = g("Gather", g("Shape", x), g.constant([0, 1]), axis=0)
        shape = g("Concat", free, g.constant([units]), axis=0)
        x = g("Reshape", x, g.constant([-1, inputs]))
    y = g("MatMul", x, g.weight(w))
    y = g("Reshape", y, shape) if shape else y
    bias = g.weight(b)
    return g("Add", *((bias, y) if rng.random() < 0.5 else (y, bias)))


def random_network(rng, variants):
    """(model, x [N, T, I], answer [N, T, O] or [N, O])."""
    n, steps, inputs = int(rng.integers(1, 4)), int(rng.integers(2, 9)), int(rng.integers(1, 6))
    batch_first, last = rng.random() < 0.5, rng.random() < 0.6
    fixed = [n if rng.random() < 0.4 else None, steps if rng.random() < 0.4 else None]
    shape = [fixed[0] or "batch", fixed[1] or "time"]
    batch_axis = 0 if batch_first else 1
    g = Nodes([*(shape if batch_first else shape[::-1]), inputs], opset=int(rng.choice([12, 13, 15, 18])))
    y, width = "x", inputs
    if rng.random() < 0.4:
        y = g("Mul", g("Sub", y, g.weight(half(rng.standard_normal(inputs)))), g.weight(half([[rng.uniform(0.5, 2)]])))
    if batch_first:
        y = g.transpose(y, 1, 0, 2)
    layers = int(rng.integers(1, 4))
    for layer in range(layers):
        units, at_end = int(rng.integers(1, 8)), layer == layers - 1
        cell = str(rng.choice(list(GATES)))
        at = (fixed, batch_axis, last and at_end)
        y, width = random_layer(g, rng, cell, width, units, y, *at, variants), units
        between = rng.integers(5)
        if at_end or between == 0:
            continue
        if between == 1:
            y = g("Dropout", y, outputs=2)[0]
        elif between == 2:
            statistics = [half(rng.uniform(0.5, 2, width)) for _ in range(4)]
            y = g.transpose(y, 1, 2, 0)
            y = g.transpose(g("BatchNormalization", y, *map(g.weight, statistics), epsilon=1e-3), 2, 0, 1)
        elif between == 3:
            units = int(rng.integers(1, 8))
            y, width = g("Relu", random_dense(g, rng, width, units, y, 3, steps)), units
        else:
            y = g("Add", g("Mul", y, g.weight(half(rng.uniform(0.5, 2, width)))), g.weight(half(rng.uniform(size=width))))
    rank, end = 2 if last else 3, ""
    for _ in range(int(rng.integers(0, 3))):
        units = int(rng.integers(1, 6))
        y, width = random_dense(g, rng, width, units, y, rank, steps), units
        end = str(rng.choice(["Relu", "Tanh", "Sigmoid", ""]))
        y = g(end, y) if end else y
    if rng.random() < 0.5:
        end = str(rng.choice(["Softmax", "LogSoftmax"]))
        y = g(end, y, axis=int(rng.choice([-1, rank - 1])))
    if rank == 3 and batch_first:
        y = g.transpose(y, 1, 0, 2)
    if width == 1 and rng.random() < 0.5:
        y = g.squeeze(y, -1)
    model = g.model(y)
    x = sequences(rng, n, steps, inputs)
    expected = answer(model, x if batch_first else x.transpose(1, 0, 2))
    if end == "LogSoftmax":
        expected = np.exp(expected)
    if rank == 3 and not batch_first:
        expected = np.moveaxis(expected, 0, 1)
    return model, x, np.ascontiguousarray(expected)


def directed_node(g, rng, cell, inputs, units, x, direction, activation):
    """A recurrent node on x [T, N, I] with weights in every direction; its Y and Y_h."""
    rows, count = GATES[cell] * units, 2 if direction == "bidirectional" else 1
    scale = 1.5 / np.sqrt(inputs + units)
    shapes = (count, rows, inputs), (count, rows, units), (count, 2 * rows)
    parameters = [g.weight(half(scale * rng.standard_normal(shape))) for shape in shapes]
    attributes = {"GRU": dict(linear_before_reset=int(rng.integers(2))), "RNN": dict(activations=[activation] * count)}
    return g(cell, x, *parameters, outputs=2, direction=direction, hidden_size=units, **attributes.get(cell, {}))


def turned(g, rng, x):
    """The steps of x [T, N, I] from the last to the first."""
    if rng.random() < 0.5:
        return g("Slice", x, *(g.constant([k]) for k in (-1, -INT64_MAX, 0, -1)))
    length = g("Gather", g("Shape", x), g.constant([0]), axis=0)
    batch = g("Gather", g("Shape", x), g.constant([1]), axis=0)
    return g("ReverseSequence", x, g("Expand", length, batch), time_axis=0, batch_axis=1)


def directed_layer(g, rng, inputs, x, last):
    """One or two directions on x [T, N, I]: their outputs at every step or one, and how many."""
    cell, units, activation = str(rng.choice(list(GATES))), int(rng.integers(1, 8)), str(rng.choice(["Tanh", "Relu"]))
    node = lambda x, direction, units=units: directed_node(g, rng, cell, inputs, units, x, direction, activation)
    form = rng.integers(4)
    if form == 0:
        y, h = node(x, "reverse")
        if not last:
            return g.squeeze(y, 1), units
        # The state after the first step, or the output at the last.
        return (g.squeeze(h, 0) if rng.random() < 0.5 else g("Gather", g.squeeze(y, 1), g.constant(-1), axis=0)), units
    if form == 1:
        y, h = node(x, "bidirectional")
        y = g("Reshape", g.transpose(y, 0, 2, 1, 3), g.constant([0, 0, -1]))
        take = int(rng.integers(5))
        if not last:
            return y, 2 * units
        if take == 0:
            return g("Reshape", g.transpose(h, 1, 0, 2), g.constant([0, -1])), 2 * units
        if take == 1:
            return g("Concat", *(g("Gather", h, g.constant(k), axis=0) for k in (0, 1)), axis=1), 2 * units
        if take == 2:
            halves = g("Split", h, g.constant([1, 1]), axis=0, outputs=2)
            return g("Concat", *(g.squeeze(half, 0) for half in halves), axis=-1), 2 * units
        if take == 3:
            ends = g("Gather", y, g.constant(-1), axis=0), g("Gather", y, g.constant(0), axis=0)
            ends = g.slice(ends[0], 0, units, 1), g.slice(ends[1], units, INT64_MAX, 1)
            return g("Concat", *ends, axis=1), 2 * units
        return g("Gather", y, g.constant(-1), axis=0), 2 * units
    # Two nodes: the second turned around by itself or by what is around it.
    add = form == 3
    other = units if add else int(rng.integers(1, 8))
    there, there_h = node(x, "forward")
    if rng.random() < 0.5:
        back, back_h = node(x, "reverse", other)
        back = g.squeeze(back, 1)
    else:
        back, back_h = node(turned(g, rng, x), "forward", other)
        back = turned(g, rng, g.squeeze(back, 1))
    pair = (g.squeeze(there_h, 0), g.squeeze(back_h, 0)) if last else (g.squeeze(there, 1), back)
    return (g("Add", *pair), units) if add else (g("Concat", *pair, axis=-1), units + other)


def directed_network(rng):
    """As random_network, of layers that run backwards and beside each other."""
    n, steps, inputs = int(rng.integers(1, 4)), int(rng.integers(2, 9)), int(rng.integers(1, 6))
    last = rng.random() < 0.6
    g = Nodes([None, None, inputs], opset=int(rng.choice([13, 15, 17])))
    y, width = g.transpose("x", 1, 0, 2), inputs
    layers = int(rng.integers(1, 4))
    for layer in range(layers):
        y, width = directed_layer(g, rng, width, y, last and layer == layers - 1)
        if rng.random() < 0.3:
            y = g("Mul", y, g.weight(half(rng.uniform(0.5, 2, width))))
    if rng.random() < 0.7:
        units = int(rng.integers(1, 6))
        y = g("Softmax", random_dense(g, rng, width, units, y, 2 if last else 3, steps), axis=-1)
    if not last:
        y = g.transpose(y, 1, 0, 2)
    x = sequences(rng, n, steps, inputs)
    model = g.model(y)
    return model, x, answer(model, x)


def write_random(path, count, network):
    write_archive(path, (network(np.random.default_rng(k)) for k in range(count)))


def write_archive(path, networks):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for k, (model, x, y) in enumerate(networks):
            arrays = io.BytesIO()
            np.savez(arrays, x=x, y=y)
            for name, data in ((f"{k}.onnx", model.SerializeToString()), (f"{k}.npz", arrays.getvalue())):
                # One date, so that the archive repeats byte for byte.
                info = zipfile.ZipInfo(name)
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, data)


def layout_network(rng):
    """layout=1, which onnxruntime does not run: answers come from the same network with layout=0. Sums are
    large, and half of the networks clip them where sigmoid and tanh are flat."""
    cell = str(rng.choice(list(GATES)))
    direction = str(rng.choice(["forward", "reverse", "bidirectional"]))
    count, inputs, units = 1 + (direction == "bidirectional"), int(rng.integers(1, 6)), int(rng.integers(1, 7))
    rows, last, scale = GATES[cell] * units, rng.random() < 0.5, float(rng.choice([1, 6]))
    shapes = (count, rows, inputs), (count, rows, units), (count, 2 * rows)
    arrays = [half(scale * rng.standard_normal(s) / np.sqrt(s[-1])) for s in shapes]
    attributes = dict(direction=direction, hidden_size=units)
    if rng.random() < 0.5:
        attributes["clip"] = 16.0
    if cell == "GRU":
        attributes["linear_before_reset"] = int(rng.integers(2))
    dense = half(rng.standard_normal((count * units, 2)))
    models = []
    for layout in (0, 1):
        g = Nodes([None, None, inputs])
        x = "x" if layout else g.transpose("x", 1, 0, 2)
        y, h = g(cell, x, *map(g.weight, arrays), outputs=2, layout=layout, **attributes)
        if not layout:
            y, h = g.transpose(y, 2, 0, 1, 3), g.transpose(h, 1, 0, 2)
        y = g("Reshape", h if last else y, g.constant([0, -1] if last else [0, 0, -1]))
        models.append(g.model(g("MatMul", y, g.weight(dense))))
    x = sequences(rng, 3, int(rng.integers(2, 9)), inputs)
    return models[1], x, answer(models[0], x)


def write_lengths(out, rng):
    """sequence_lens as an input of the model, in both directions."""
    arrays = [half(rng.standard_normal(s)) for s in ((2, 12, 3), (2, 12, 4), (2, 24))]
    g = Nodes(["batch", "time", 3])
    _, h = g(
        "GRU", g.transpose("x", 1, 0, 2), *map(g.weight, arrays), "lengths", outputs=2, hidden_size=4,
        direction="bidirectional", linear_before_reset=1,
    )
    y = g("Reshape", g.transpose(h, 1, 0, 2), g.constant([0, -1]))
    model = g.model(g("MatMul", y, g.weight(half(rng.standard_normal((8, 2))))))
    model.graph.input.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch"]))
    x, lengths = sequences(rng, 4, 10, 3), np.array([10, 1, 7, 4], np.int32)
    np.savez_compressed(out / "lengths.npz", x=x, lengths=lengths, y=answer(model, x, lengths))
    onnx.save(model, out / "lengths.onnx")


def write_norm(out, rng):
    """LayerNormalization (operators from version 17 on) on the input and behind an LSTM."""
    g = Nodes(["batch", "time", 3], opset=17)

    def norm(x, width, **attributes):
        gamma, beta = half(rng.standard_normal(width)), half(rng.standard_normal(width))
        return g("LayerNormalization", x, g.weight(gamma), g.weight(beta), **attributes)

    arrays = [half(rng.standard_normal(s)) for s in ((1, 20, 3), (1, 20, 5), (1, 40))]
    x = g.transpose(norm("x", 3, axis=-1, epsilon=1e-3), 1, 0, 2)
    y = norm(g.squeeze(g("LSTM", x, *map(g.weight, arrays), outputs=2, hidden_size=5)[0], 1), 5)
    y = g("MatMul", g("Gather", y, g.constant(-1), axis=0), g.weight(half(rng.standard_normal((5, 2)))))
    model, x = g.model(y), sequences(rng, 4, 10, 3)
    np.savez_compressed(out / "norm_onnx.npz", x=x, y=answer(model, x))
    onnx.save(model, out / "norm_onnx.onnx")


def main():
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=root / "tests/data/import")
    parser.add_argument("--digits", type=Path, default=root / "tests/data/digits")
    parser.add_argument("--random", type=int, default=48, help="random networks")
    args = parser.parse_args()
    write_torch(args.out)
    write_lengths(args.out, np.random.default_rng(5))
    write_norm(args.out, np.random.default_rng(8))
    write_random(args.out / "onnx_random.zip", args.random, lambda rng: random_network(rng, variants=False))
    write_random(args.out / "onnx_variants.zip", args.random, lambda rng: random_network(rng, variants=True))
    write_random(args.out / "onnx_directed.zip", args.random, directed_network)
    write_random(args.out / "onnx_layout.zip", args.random, layout_network)
    write_keras(args.out, args.digits, np.random.default_rng(6))
    write_loops(args.out / "onnx_loops.zip", args.out, args.random)


if __name__ == "__main__":
    main()
