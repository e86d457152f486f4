"""Tiny model files for the importer's tests, each with an input and its framework's float output.

tests/data/import/NAME.keras, NAME.h5 (Keras 3) and NAME_keras2.h5 (tf_keras) hold the same network and
weights; NAME.npz has x [N, T, I] and y. torch_NAME.safetensors are state dicts with PyTorch's names;
their .npz, from reference.py, has x, h (the last layer's output at every step) and, where the
network ends in a Linear, y_steps = softmax at every step and y = the last of them.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
import keras
import numpy as np
import tf_keras
from safetensors.numpy import save_file

import reference
from golden import edgeml_weights, half, sequences, torch_weights
from torch_names import to_torch

INPUTS, CLASSES, N, STEPS = 3, 4, 4, 10
PROJECTED = 2  # proj_size


def keras_networks(k):
    """name -> model, built with Keras module k (Keras 3 or tf_keras)."""
    L = k.layers

    def head(name="head"):
        return L.Dense(CLASSES, activation="softmax", name=name)

    def sequential(*layers):
        return k.Sequential([L.InputLayer((None, INPUTS)), *layers])

    def functional():
        x = inputs = k.Input((None, INPUTS), name="features")
        for layer in (
            L.Masking(name="masking"),
            L.LSTM(6, dropout=0.1, name="lstm"),
            L.Dropout(0.5, name="dropout"),
            L.Dense(5, activation="relu", name="hidden"),
            L.Dense(CLASSES, name="logits"),
            L.Activation("softmax", name="softmax"),
        ):
            x = layer(x)
        return k.Model(inputs, x, name="functional")

    return {
        "rnn_tanh": sequential(L.SimpleRNN(5, name="rnn"), head()),
        "rnn_relu": sequential(L.SimpleRNN(5, activation="relu", name="rnn"), head()),
        "lstm": sequential(L.LSTM(5, name="lstm"), head()),
        "gru_reset_after": sequential(L.GRU(5, name="gru"), head()),
        "gru_reset_before": sequential(L.GRU(5, reset_after=False, name="gru"), head()),
        "lstm_2layer": sequential(L.LSTM(6, return_sequences=True, name="lower"), L.LSTM(5, name="upper"), head()),
        "mixed_3layer": sequential(
            L.GRU(6, return_sequences=True, name="gru"),
            L.LSTM(7, return_sequences=True, name="lstm"),
            L.SimpleRNN(5, name="rnn"),
            head(),
        ),
        "lstm_only": sequential(L.LSTM(5, return_sequences=True, name="lstm")),
        "lstm_every_step": sequential(L.LSTM(5, return_sequences=True, name="lstm"), head()),
        "gru_time_distributed": sequential(
            L.GRU(5, return_sequences=True, name="gru"), L.TimeDistributed(head("inner"), name="head")
        ),
        "functional": functional(),
    }


def folded_networks(k):
    """As keras_networks: layers that an importer folds into their neighbours."""
    L = k.layers
    adapted = L.Normalization(name="adapted")
    adapted.adapt(sequences(np.random.default_rng(4), 20, STEPS, INPUTS) * [0.1, 1, 10] + [1, 2, 3])
    inner = k.Sequential(
        [L.InputLayer((None, INPUTS)), L.SimpleRNN(5, use_bias=False, return_sequences=True, name="rnn")],
        name="inner",
    )
    return {
        "normalized": k.Sequential(
            [
                L.InputLayer((None, INPUTS)),
                adapted,
                L.LSTM(5, return_sequences=True, name="lstm"),
                L.BatchNormalization(name="between"),
                L.GRU(4, use_bias=False, name="gru"),
                L.BatchNormalization(scale=False, name="before"),
                L.Dense(5, name="hidden"),
                L.BatchNormalization(center=False, name="after"),
                L.ReLU(name="relu"),
                L.Dense(CLASSES, name="head"),
                L.Softmax(name="softmax"),
            ]
        ),
        "nested": k.Sequential(
            [
                L.InputLayer((None, INPUTS)),
                L.Rescaling(0.5, 0.1, name="rescaling"),
                L.Normalization(mean=[0.1, 0.2, 0.3], variance=[1, 2, 3], name="given"),
                inner,
                L.Softmax(name="softmax"),
            ]
        ),
    }


def directed_networks(k):
    """As keras_networks: layers that run backwards, cells, and a mask that does nothing on full sequences."""
    L = k.layers

    def sequential(*layers):
        return k.Sequential([L.InputLayer((None, INPUTS)), *layers])

    def both(layer, merge="concat"):
        return L.Bidirectional(layer, merge_mode=merge, name=f"both_{layer.name}")

    def functional():
        x = inputs = k.Input((None, INPUTS), name="features")
        for layer in (
            L.Masking(name="masking"),
            both(L.GRU(8, return_sequences=True, name="gru")),
            L.BatchNormalization(name="between"),
            both(L.LSTM(4, name="lstm")),
            L.Dense(CLASSES, activation="softmax", name="head"),
        ):
            x = layer(x)
        return k.Model(inputs, x, name="functional")

    return {
        "both_functional": functional(),
        # Sizes that are not whole blocks, sums and means.
        "both_merged": sequential(
            both(L.SimpleRNN(5, return_sequences=True, name="rnn"), "sum"),
            both(L.GRU(3, return_sequences=True, reset_after=False, name="gru"), "ave"),
            both(L.LSTM(6, return_sequences=True, name="lstm")),
            L.TimeDistributed(L.Dense(CLASSES, name="inner"), name="head"),
        ),
        "both_stacked": sequential(
            both(L.GRU(8, return_sequences=True, name="lower")),
            both(L.GRU(8, name="upper")),
            L.Dense(CLASSES, activation="softmax", name="head"),
        ),
        "both_only": sequential(both(L.GRU(5, name="gru"))),
        "both_summed": sequential(both(L.LSTM(4, return_sequences=True, name="lstm"), "sum")),
        "backwards": sequential(
            L.LSTM(5, go_backwards=True, return_sequences=True, name="lstm"),
            both(L.GRU(4, return_sequences=True, name="gru")),
            L.SimpleRNN(5, return_sequences=True, name="rnn"),
            L.GRU(5, go_backwards=True, return_sequences=True, name="back"),
            L.Dense(CLASSES, name="head"),
        ),
        "cells": sequential(
            L.RNN([L.GRUCell(5, name="a"), L.LSTMCell(4, name="b"), L.GRUCell(3, name="c")],
                  return_sequences=True, name="stack"),
            L.RNN(L.SimpleRNNCell(5, name="d"), name="rnn"),
            L.Dense(CLASSES, name="head"),
        ),
    }


def write_keras(out, rng, networks):
    keras2 = networks(tf_keras)
    for name, model in networks(keras).items():
        for layer, layer2 in zip(model.layers, keras2[name].layers, strict=True):
            # Adapted to the same data; it would not use weights set afterwards.
            if layer.name != "adapted":
                # Keras' initialisation leaves biases at 0 or 1; move everything a little.
                weights = [w + 0.1 * rng.standard_normal(w.shape).astype(np.float32) for w in layer.get_weights()]
                layer.set_weights(weights)
                layer2.set_weights(weights)
        x = sequences(rng, N, STEPS, INPUTS)
        y = model.predict(x, verbose=0)
        np.testing.assert_allclose(keras2[name].predict(x, verbose=0), y, atol=1e-6)
        model.save(out / f"{name}.keras")
        model.save(out / f"{name}.h5")
        keras2[name].save(out / f"{name}_keras2.h5")
        np.savez_compressed(out / f"{name}.npz", x=x, y=y)


def write_padded(out, rng):
    """both_padded.npz: zeros past `lengths` steps, which the mask of both_functional skips."""
    x, lengths = sequences(rng, N, STEPS, INPUTS), np.array([10, 1, 4, 9], np.int32)
    x[np.arange(STEPS) >= lengths[:, None]] = 0
    model = keras.models.load_model(out / "both_functional.keras")
    np.savez_compressed(out / "both_padded.npz", x=x, lengths=lengths, y=model.predict(x, verbose=0))


def write_hard(out, rng):
    """Hard sigmoids, whose slope is 1/6 in Keras 3 and 0.2 before: y and y_keras2."""
    weights, arrays = None, {"x": sequences(rng, N, STEPS, INPUTS)}
    for k, file, y in ((keras, "hard_sigmoid", "y"), (tf_keras, "hard_sigmoid_keras2", "y_keras2")):
        L = k.layers
        model = k.Sequential(
            [
                L.InputLayer((None, INPUTS)),
                L.LSTM(6, recurrent_activation="hard_sigmoid", return_sequences=True, name="lstm"),
                L.GRU(5, recurrent_activation="hard_sigmoid", return_sequences=True, name="after"),
                L.GRU(4, recurrent_activation="hard_sigmoid", reset_after=False, name="before"),
                L.Dense(CLASSES, activation="softmax", name="head"),
            ]
        )
        weights = weights or [w + 0.5 * rng.standard_normal(w.shape).astype(np.float32) for w in model.get_weights()]
        model.set_weights(weights)
        arrays[y] = model.predict(arrays["x"], verbose=0)
        model.save(out / f"{file}.h5")
        if k is keras:
            model.save(out / f"{file}.keras")
    np.savez_compressed(out / "hard_sigmoid.npz", **arrays)


def write_torch(out, rng):
    # name: gates, layers, prefix of the recurrent module, name of the Linear, reference
    networks = {
        "rnn_tanh": (1, 1, "rnn.", "fc", reference.rnn),
        "rnn_relu": (1, 1, "rnn.", "fc", lambda *a: reference.rnn(*a, activation=reference.relu)),
        "lstm": (4, 1, "lstm.", "fc", lambda *a: reference.lstm(*a)[0]),
        "gru": (3, 1, "gru.", "head", reference.gru),
        "lstm_2layer": (4, 2, "encoder.lstm.", "classifier.0", lambda *a: reference.lstm(*a)[0]),
        "gru_3layer": (3, 3, "net.gru.", "net.linear", reference.gru),
        "lstm_only": (4, 1, "", None, lambda *a: reference.lstm(*a)[0]),
        "lstm_projected": (4, 2, "lstm.", "fc", lambda *a: reference.lstm(*a)[0]),
    }
    hidden = 5
    for name, (gates, layers, prefix, linear, run) in networks.items():
        if name == "lstm_projected":
            rng = np.random.default_rng(8)
        x = sequences(rng, N, STEPS, INPUTS)
        h, state = x.astype(np.float64), {}
        for layer in range(layers):
            weights = torch_weights(rng, gates, hidden, h.shape[2], layer)
            if name == "lstm_projected":
                weights[f"weight_hr_l{layer}"] = half(rng.uniform(-1, 1, (PROJECTED, hidden)))
                weights[f"weight_hh_l{layer}"] = np.ascontiguousarray(weights[f"weight_hh_l{layer}"][:, :PROJECTED])
            h = run(weights, h, layer)
            state |= {prefix + key: w for key, w in weights.items()}
        arrays = {"x": x, "h": h}
        if linear:
            fc = {
                "weight": rng.uniform(-1, 1, (CLASSES, h.shape[2])).astype(np.float32),
                "bias": rng.uniform(-1, 1, CLASSES).astype(np.float32),
            }
            state |= {f"{linear}.{key}": w for key, w in fc.items()}
            y_steps = reference.softmax(reference.linear(fc, h))
            arrays |= {"y_steps": y_steps, "y": y_steps[:, -1]}
        save_file(state, out / f"torch_{name}.safetensors", metadata={"format": "pt"})
        np.savez_compressed(out / f"torch_{name}.npz", **arrays)


def write_stacked(out):
    """both_stacked.safetensors: the same network as an nn.GRU, bidirectional, of two layers."""
    model, state = keras.models.load_model(out / "both_stacked.keras"), {}
    *recurrent, head = model.layers
    for layer, both in enumerate(recurrent):
        for mark, direction in (("", both.forward_layer), ("_reverse", both.backward_layer)):
            weights = to_torch("gru", direction.get_weights(), layer)
            state |= {f"gru.{key}{mark}": w for key, w in weights.items()}
    kernel, bias = head.get_weights()
    state |= {"head.weight": np.ascontiguousarray(kernel.T), "head.bias": bias}
    save_file(state, out / "both_stacked.safetensors", metadata={"format": "pt"})
    toml = 'output = "last"\n\n[activation]\nhead = "softmax"\n'
    (out / "both_stacked.toml").write_text(toml)


def write_torch_both(out, rng):
    """A bidirectional nn.GRU of two layers: y_last of the final states, y_last_step, y_every_step."""
    x, hidden, layers = sequences(rng, N, STEPS, INPUTS), 5, 2
    steps, state = x.astype(np.float64), {}
    for layer in range(layers):
        there, back = (torch_weights(rng, 3, hidden, steps.shape[2], layer) for _ in range(2))
        outputs = reference.gru(there, steps, layer), reference.gru(back, steps[:, ::-1], layer)
        steps = np.concatenate([outputs[0], outputs[1][:, ::-1]], axis=2)
        state |= {f"gru.{key}": w for key, w in there.items()} | {f"gru.{key}_reverse": w for key, w in back.items()}
    final = np.concatenate([output[:, -1] for output in outputs], axis=1)
    fc = {
        "weight": rng.uniform(-1, 1, (CLASSES, 2 * hidden)).astype(np.float32),
        "bias": rng.uniform(-1, 1, CLASSES).astype(np.float32),
    }
    state |= {f"fc.{key}": w for key, w in fc.items()}
    answer = lambda h: reference.softmax(reference.linear(fc, h))
    save_file(state, out / "torch_gru_2layer_both.safetensors", metadata={"format": "pt"})
    answers = {"y_last": answer(final), "y_last_step": answer(steps[:, -1]), "y_every_step": answer(steps)}
    np.savez_compressed(out / "torch_gru_2layer_both.npz", x=x, **answers)


def write_edgeml(out, rng):
    """State dicts under EdgeML's names, W and U of low rank; of FastGRNN as its wrapper saves it, twice."""
    for name in ("fastrnn", "fastgrnn"):
        x = sequences(rng, N, STEPS, INPUTS)
        weights = edgeml_weights(rng, name, INPUTS, 6, w_rank=2, u_rank=3)
        fc = {"weight": rng.uniform(-1, 1, (CLASSES, 6)).astype(np.float32), "bias": np.zeros(CLASSES, np.float32)}
        state = {f"rnn.cell.{key}": w for key, w in weights.items()} | {f"fc.{key}": w for key, w in fc.items()}
        if name == "fastgrnn":
            state |= {f"rnn.unrollRNN.RNNCell.{key}": w for key, w in weights.items()}
        y = reference.linear(fc, reference.fast(weights, x.astype(np.float64)))
        save_file(state, out / f"edgeml_{name}.safetensors", metadata={"format": "pt"})
        np.savez_compressed(out / f"edgeml_{name}.npz", x=x, y=y[:, -1])


def write_norms(out, rng):
    """norm.keras, .h5: LayerNormalization on the input and behind an LSTM; torch_norm.safetensors: behind one."""
    L = keras.layers
    model = keras.Sequential(
        [
            L.InputLayer((None, INPUTS)),
            L.LayerNormalization(name="of_input"),
            L.LSTM(6, return_sequences=True, name="lstm"),
            L.LayerNormalization(scale=False, epsilon=1e-5, name="of_lstm"),
            L.GRU(5, name="gru"),
            L.BatchNormalization(name="between"),
            L.LayerNormalization(name="of_gru"),
            L.Dense(CLASSES, activation="softmax", name="head"),
        ]
    )
    model.set_weights([w + 0.2 * np.abs(rng.standard_normal(w.shape)).astype(np.float32) for w in model.get_weights()])
    x = sequences(rng, N, STEPS, INPUTS)
    model.save(out / "norm.keras")
    model.save(out / "norm.h5")
    np.savez_compressed(out / "norm.npz", x=x, y=model.predict(x, verbose=0))

    weights = torch_weights(rng, 4, 6, INPUTS)
    norm = {"weight": half(rng.standard_normal(6)), "bias": half(rng.standard_normal(6))}
    fc = {"weight": half(rng.standard_normal((CLASSES, 6))), "bias": half(rng.standard_normal(CLASSES))}
    state = {f"lstm.{key}": w for key, w in weights.items()}
    state |= {f"norm.{key}": w for key, w in norm.items()} | {f"fc.{key}": w for key, w in fc.items()}
    h = reference.layer_norm(norm, reference.lstm(weights, x.astype(np.float64))[0], 1e-3)
    save_file(state, out / "torch_norm.safetensors", metadata={"format": "pt"})
    np.savez_compressed(out / "torch_norm.npz", x=x, y=reference.softmax(reference.linear(fc, h))[:, -1])


def main():
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=root / "tests/data/import")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(2)
    write_keras(args.out, rng, keras_networks)
    write_torch(args.out, rng)
    write_keras(args.out, rng, folded_networks)
    rng = np.random.default_rng(3)
    write_keras(args.out, rng, directed_networks)
    write_padded(args.out, rng)
    write_stacked(args.out)
    write_torch_both(args.out, rng)
    write_hard(args.out, np.random.default_rng(7))
    write_edgeml(args.out, np.random.default_rng(9))
    write_norms(args.out, np.random.default_rng(10))


if __name__ == "__main__":
    main()
