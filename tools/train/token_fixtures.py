"""One network over tokens in every format: Embedding(11, 6) -> LSTM(5) -> Dense(4, softmax).

Writes tests/data/import/tokens: .keras, .h5 (Keras 3), _keras2.h5, .onnx (by tf2onnx), _torch.onnx (as
PyTorch's exporter writes it, int64), .safetensors with a .toml, and .npz: x int [N, T], y
what Keras answers, embedded the table's row of every token, as Keras' layer gives it.

And seq2seq_{lstm,gru}: an encoder-decoder with two recurrent layers each, in .safetensors with a .toml;
.npz: x int [N, T], what the encoder and then what the decoder reads, encoder and lengths [N], y [M, 9] what
Keras' layers answer to the decoder's steps, those of all samples in a row.
"""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
import tf_keras
from keras.src.export.tf2onnx_lib import patch_tf2onnx
from safetensors.numpy import save_file

from onnx_fixtures import Nodes, answer, torch_script
from torch_names import to_torch

TOKENS, WIDTH, UNITS, CLASSES, N, STEPS = 11, 6, 5, 4, 4, 10
OUT = Path(__file__).resolve().parents[2] / "tests/data/import"


def network(k):
    return k.Sequential([
        k.layers.InputLayer((None,), dtype="int32"),
        k.layers.Embedding(TOKENS, WIDTH, name="embedding"),
        k.layers.LSTM(UNITS, name="lstm"),
        k.layers.Dense(CLASSES, activation="softmax", name="head"),
    ])


def seq2seq(cell):
    rng = np.random.default_rng(4)
    L = keras.layers
    cells = {"lstm": L.LSTM, "gru": L.GRU}
    parts = {}
    for part, tokens, width in (("encoder", 7, 5), ("decoder", 9, 4)):
        stack = [cells[cell](UNITS, return_sequences=True, return_state=True) for _ in range(2)]
        parts[part] = (L.Embedding(tokens, width), *stack)
    head = L.Dense(9)

    def run(part, x, states):
        embedding, *stack = parts[part]
        h, after = embedding(x), []
        for layer, state in zip(stack, states):
            h, *state = layer(h, initial_state=state)
            after.append(state)
        return h, after

    def both(source, target):
        _, states = run("encoder", source[None], [None, None])
        return head(run("decoder", target[None], states)[0])[0]

    both(np.zeros(2, np.int32), np.zeros(2, np.int32))  # builds the layers
    for layer in (*parts["encoder"], *parts["decoder"], head):
        layer.set_weights([0.8 * rng.standard_normal(w.shape).astype(np.float32) for w in layer.get_weights()])
    x, y = np.zeros((N, STEPS), np.int32), []
    encoder, lengths = rng.integers(1, 5, N), rng.integers(6, STEPS + 1, N)
    for row, source, length in zip(x, encoder, lengths):
        row[:source] = rng.integers(0, 7, source)
        row[source:length] = rng.integers(0, 9, length - source)
        y.append(both(row[:source], row[source:length]))
    np.savez_compressed(OUT / f"seq2seq_{cell}.npz", x=x, encoder=encoder, lengths=lengths, y=np.concatenate(y))

    state = {}
    for part, (embedding, *stack) in parts.items():
        state[f"{part}.embedding.weight"] = embedding.get_weights()[0]
        for k, layer in enumerate(stack):
            state |= {f"{part}.rnn.{name}": w for name, w in to_torch(cell, layer.get_weights(), k).items()}
    kernel, bias = head.get_weights()
    state |= {"fc.weight": np.ascontiguousarray(kernel.T), "fc.bias": bias}
    save_file(state, OUT / f"seq2seq_{cell}.safetensors", metadata={"format": "pt"})
    (OUT / f"seq2seq_{cell}.toml").write_text(
        'encoder = ["encoder.embedding", "encoder.rnn"]\nlayers = ["decoder.embedding", "decoder.rnn", "fc"]\n'
    )


def main():
    keras.utils.set_random_seed(3)
    rng = np.random.default_rng(3)
    model, keras2 = network(keras), network(tf_keras)
    for layer, layer2 in zip(model.layers, keras2.layers, strict=True):
        weights = [w + 0.3 * rng.standard_normal(w.shape).astype(np.float32) for w in layer.get_weights()]
        layer.set_weights(weights)
        layer2.set_weights(weights)
    x = rng.integers(0, TOKENS, (N, STEPS), dtype=np.int32)
    y = model.predict(x, verbose=0)
    np.testing.assert_allclose(keras2.predict(x, verbose=0), y, atol=1e-6)
    np.savez_compressed(OUT / "tokens.npz", x=x, y=y, embedded=model.layers[0](x))

    model.save(OUT / "tokens.keras")
    model.save(OUT / "tokens.h5")
    keras2.save(OUT / "tokens_keras2.h5")

    patch_tf2onnx()
    signature = [tf.TensorSpec((None, None), tf.int32, name="tokens")]
    proto, _ = tf2onnx.convert.from_function(tf.function(lambda x: keras2(x)), input_signature=signature, opset=17)
    onnx.save(proto, OUT / "tokens.onnx")

    (table,), lstm, (kernel, bias) = (layer.get_weights() for layer in model.layers)
    lstm = to_torch("lstm", lstm)
    state = {"tokens.weight": table, **{f"lstm.{name}": w for name, w in lstm.items()}}
    state |= {"fc.weight": np.ascontiguousarray(kernel.T), "fc.bias": bias}
    save_file(state, OUT / "tokens.safetensors", metadata={"format": "pt"})
    (OUT / "tokens.toml").write_text('embeddings = ["tokens"]\n\n[activation]\nfc = "softmax"\n')

    g = Nodes(["batch", "time"], element=onnx.TensorProto.INT64)
    steps, *_ = torch_script(g, "LSTM", lstm, 1, g("Gather", g.weight(table), "x"))
    last = g("Gather", steps, g.constant(-1), axis=1)
    logits = g("Gemm", last, g.weight(kernel.T), g.weight(bias), transB=1)
    onnx.save(g.model(g("Softmax", logits, axis=-1)), OUT / "tokens_torch.onnx")

    for path, kind in (("tokens.onnx", np.int32), ("tokens_torch.onnx", np.int64)):
        np.testing.assert_allclose(answer(onnx.load(OUT / path), x.astype(kind)), y, atol=1e-6)

    for cell in ("lstm", "gru"):
        seq2seq(cell)


if __name__ == "__main__":
    main()
