"""One network over tokens in every format: Embedding(11, 6) -> LSTM(5) -> Dense(4, softmax).

Writes tests/data/import/tokens: .keras, .h5 (Keras 3), _keras2.h5, .onnx (by tf2onnx), _torch.onnx (as
PyTorch's exporter writes it, int64), .safetensors with a .toml, and .npz: x int [N, T], y
what Keras answers, embedded the table's row of every token, as Keras' layer gives it.
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


if __name__ == "__main__":
    main()
