"""Golden vectors: one layer, random weights, inputs, and its float64 output at every step.

tests/data/golden/keras_*.npz come from Keras layers computing in float64, torch_*.npz from the
NumPy reference in PyTorch's conventions (reference.py). Before anything is written, each torch_*
case is also run through Keras with converted weights and must agree to 1e-12, or where Keras has no
such layer through onnxruntime to 1e-5.

Weights and inputs are float32 arrays whose values fit in float16, so that the files compress.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
import keras
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import reference
from torch_names import to_keras

# (inputs, hidden units, sequences, steps)
RECURRENT = [
    (1, 1, 4, 24),
    (3, 2, 4, 24),
    (2, 3, 4, 24),
    (7, 5, 4, 20),
    (8, 16, 4, 20),
    (13, 33, 3, 16),
    (20, 64, 2, 16),
    (12, 128, 2, 12),
]
# Of layers that are less usual.
FEWER = [RECURRENT[k] for k in (0, 2, 3, 5, 6)]
# (inputs, units)
DENSE = [(1, 1), (3, 2), (2, 3), (5, 16), (16, 5), (33, 64), (64, 10), (128, 33), (16, 128)]
ACTIVATIONS = ["linear", "relu", "tanh", "sigmoid", "softmax"]

STATES = dict(return_sequences=True, return_state=True, dtype="float64")
KERAS = {
    "rnn_tanh": lambda h: keras.layers.SimpleRNN(h, **STATES),
    "rnn_relu": lambda h: keras.layers.SimpleRNN(h, activation="relu", **STATES),
    "lstm": lambda h: keras.layers.LSTM(h, **STATES),
    "gru_reset_before": lambda h: keras.layers.GRU(h, reset_after=False, **STATES),
    "gru_reset_after": lambda h: keras.layers.GRU(h, reset_after=True, **STATES),
}

HARD = dict(recurrent_activation="hard_sigmoid", **STATES)
KERAS_FEWER = {
    "lstm_hard": lambda h: keras.layers.LSTM(h, **HARD),
    "gru_reset_before_hard": lambda h: keras.layers.GRU(h, reset_after=False, **HARD),
    "gru_reset_after_hard": lambda h: keras.layers.GRU(h, reset_after=True, **HARD),
}

# name -> (cell, gates, reference function)
TORCH = {
    "rnn_tanh": ("rnn", 1, reference.rnn),
    "rnn_relu": ("rnn", 1, lambda w, x: reference.rnn(w, x, activation=reference.relu)),
    "lstm": ("lstm", 4, reference.lstm),
    "gru": ("gru", 3, reference.gru),
}


def half(a):
    """The nearest float16 values, as float32."""
    return np.asarray(a).astype(np.float16).astype(np.float32)


def sequences(rng, n, steps, inputs):
    """Smooth random sequences of unit variance, as sensor features are, [n, steps, inputs]."""
    x = rng.standard_normal((n, steps, inputs))
    for t in range(1, steps):
        x[:, t] = 0.8 * x[:, t - 1] + 0.6 * x[:, t]
    return half(x)


def glorot(rng, rows, columns):
    limit = np.sqrt(6.0 / (rows + columns))
    return rng.uniform(-limit, limit, (rows, columns))


def orthogonal(rng, size):
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return q * np.sign(np.diag(r))


def keras_weights(rng, name, inputs, hidden):
    """kernel, recurrent_kernel, bias as Keras initialises them, with biases as training leaves them."""
    gates = {"rnn": 1, "lst": 4, "gru": 3}[name[:3]]
    gain = 0.7 if name == "rnn_relu" else 1.0  # keep an unbounded unit from growing
    kernel = np.hstack([glorot(rng, inputs, hidden) for _ in range(gates)])
    recurrent = np.hstack([gain * orthogonal(rng, hidden) for _ in range(gates)])
    bias = 0.2 * rng.standard_normal((2, gates * hidden) if "reset_after" in name else gates * hidden)
    if name.startswith("lstm"):
        bias[hidden : 2 * hidden] += 1.0
    return [half(w) for w in (kernel, recurrent, bias)]


def torch_weights(rng, gates, hidden, inputs, layer=0):
    """Uniform in +-1/sqrt(H), PyTorch's default initialisation."""
    shapes = {"weight_ih": (inputs,), "weight_hh": (hidden,), "bias_ih": (), "bias_hh": ()}
    limit = 1.0 / np.sqrt(hidden)
    return {
        f"{name}_l{layer}": half(rng.uniform(-limit, limit, (gates * hidden, *tail)))
        for name, tail in shapes.items()
    }


def run_keras(layer, weights, x):
    """h at every step [N, T, H] and, for an LSTM, the final cell state [N, H]."""
    layer.build(x.shape)
    layer.set_weights(weights)
    states = [np.asarray(s) for s in layer(x.astype(np.float64))]
    return {"h": states[0], "c": states[2]} if len(states) == 3 else {"h": states[0]}


def keras_cells(rng, layers, sizes):
    for name, make in layers.items():
        for inputs, hidden, n, steps in sizes:
            x = sequences(rng, n, steps, inputs)
            weights = keras_weights(rng, name, inputs, hidden)
            named = dict(zip(("kernel", "recurrent_kernel", "bias"), weights))
            yield f"keras_{name}_{inputs}x{hidden}", named | {"x": x} | run_keras(make(hidden), weights, x)


def keras_layers(rng):
    yield from keras_cells(rng, KERAS, RECURRENT)
    for activation in ACTIVATIONS:
        for inputs, units in DENSE:
            x = sequences(rng, 2, 8, inputs)
            kernel, bias = half(glorot(rng, inputs, units)), half(0.2 * rng.standard_normal(units))
            layer = keras.layers.Dense(units, activation=activation, dtype="float64")
            layer.build(x.shape)
            layer.set_weights([kernel, bias])
            y = np.asarray(layer(x.astype(np.float64)))
            yield f"keras_dense_{activation}_{inputs}x{units}", {"x": x, "kernel": kernel, "bias": bias, "y": y}


def torch_layers(rng):
    for name, (cell, gates, run) in TORCH.items():
        for inputs, hidden, n, steps in RECURRENT:
            x = sequences(rng, n, steps, inputs)
            weights = torch_weights(rng, gates, hidden, inputs)
            out = run(weights, x.astype(np.float64))
            out = {"h": out[0], "c": out[1]} if cell == "lstm" else {"h": out}
            same = KERAS["gru_reset_after" if cell == "gru" else name](hidden)
            double = {key: w.astype(np.float64) for key, w in weights.items()}
            for key, value in run_keras(same, to_keras(cell, double), x).items():
                np.testing.assert_allclose(out[key], value, atol=1e-12)
            yield f"torch_{name}_{inputs}x{hidden}", weights | {"x": x} | out


def in_onnxruntime(weights, x):
    """What an ONNX LSTM with peepholes gives at every step: gates and peepholes are i, o, f (and c)."""
    hidden = weights["weight_hh_l0"].shape[1]

    def gates(w, order):
        return np.concatenate([np.split(w, len(order))[k] for k in order])[None].astype(np.float32)

    w, r, b_ih, b_hh = (gates(weights[f"{n}_l0"], (0, 3, 1, 2)) for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    constants = dict(w=w, r=r, b=np.concatenate([b_ih, b_hh], axis=1), p=gates(weights["peepholes"], (0, 2, 1)))
    node = helper.make_node("LSTM", ["x", "w", "r", "b", "", "", "", "p"], ["y"], hidden_size=hidden)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    ends[0].type.tensor_type.shape.CopyFrom(helper.make_tensor_value_info("x", 1, ["t", "n", x.shape[2]]).type.tensor_type.shape)
    weights = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph([node], "lstm", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x.transpose(1, 0, 2)})[0][:, 0].transpose(1, 0, 2)


def lstm_variants(rng):
    """LSTMs with peepholes, with a projection, with both, in PyTorch's conventions."""
    for peepholes, projected in ((True, False), (False, True), (True, True)):
        for inputs, hidden, n, steps in FEWER:
            x = sequences(rng, n, steps, inputs)
            weights = torch_weights(rng, 4, hidden, inputs)
            if peepholes:
                weights["peepholes"] = half(0.5 * rng.standard_normal(3 * hidden))
            if projected:
                units = (2 * hidden + 2) // 3
                weights["weight_hr_l0"] = half(rng.uniform(-1, 1, (units, hidden)) / np.sqrt(hidden))
                weights["weight_hh_l0"] = np.ascontiguousarray(weights["weight_hh_l0"][:, :units])
            h, c = reference.lstm(weights, x.astype(np.float64))
            if not projected:
                np.testing.assert_allclose(in_onnxruntime(weights, x), h, atol=1e-5)
            name = "lstm" + "_peepholes" * peepholes + "_projected" * projected
            yield f"torch_{name}_{inputs}x{hidden}", weights | {"x": x, "h": h, "c": c}


def norms(rng):
    """Layer normalization in Keras, float64."""
    for units, epsilon in ((2, 1e-3), (3, 1e-5), (16, 1e-3), (33, 1e-6), (128, 1e-3)):
        x = half(3 * sequences(rng, 2, 12, units) + rng.standard_normal(units))
        gamma, beta = half(rng.standard_normal(units)), half(0.5 * rng.standard_normal(units))
        layer = keras.layers.LayerNormalization(epsilon=epsilon, dtype="float64")
        layer.build(x.shape)
        layer.set_weights([gamma, beta])
        y = np.asarray(layer(x.astype(np.float64)))
        np.testing.assert_allclose(reference.layer_norm({"weight": gamma, "bias": beta}, x.astype(np.float64), epsilon), y, atol=1e-9)
        yield f"keras_norm_{units}x{units}", {"x": x, "gamma": gamma, "beta": beta, "epsilon": np.float64(epsilon), "y": y}


def edgeml_weights(rng, name, inputs, hidden, w_rank=None, u_rank=None):
    """Under EdgeML's names, in the sizes that training leaves."""
    weights = {}
    for matrix, columns, rank in (("W", inputs, w_rank), ("U", hidden, u_rank)):
        if rank is None:
            weights[matrix] = glorot(rng, hidden, columns)
        else:
            weights |= {f"{matrix}1": glorot(rng, rank, columns), f"{matrix}2": glorot(rng, hidden, rank)}
    weights["bias_update"] = 0.3 * rng.standard_normal((1, hidden))
    if name == "fastgrnn":
        weights["bias_gate"] = 0.3 * rng.standard_normal((1, hidden))
        scalars = {"zeta": 1.0, "nu": -4.0}
    else:
        scalars = {"alpha": -1.0, "beta": 1.0}
    weights |= {key: np.full((1, 1), value + 0.3 * rng.standard_normal()) for key, value in scalars.items()}
    return {key: half(w) for key, w in weights.items()}


def fast_cells(rng):
    for name in ("fastrnn", "fastgrnn"):
        for low_rank in (False, True):
            for inputs, hidden, n, steps in FEWER:
                x = sequences(rng, n, steps, inputs)
                weights = edgeml_weights(rng, name, inputs, hidden, u_rank=(hidden + 2) // 3 if low_rank else None)
                h = reference.fast(weights, x.astype(np.float64))
                kind = f"{name}_low_rank" if low_rank else name
                yield f"edgeml_{kind}_{inputs}x{hidden}", weights | {"x": x, "h": h}


def main():
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=root / "tests/data/golden")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    usual = (*keras_layers(rng), *torch_layers(rng))
    rng = np.random.default_rng(2)
    fewer = (*keras_cells(rng, KERAS_FEWER, FEWER), *lstm_variants(rng))
    fewer += (*norms(rng), *fast_cells(rng))
    for name, arrays in (*usual, *fewer):
        np.savez_compressed(args.out / f"{name}.npz", **arrays)
        print(name, {key: a.shape for key, a in arrays.items()})


if __name__ == "__main__":
    main()
