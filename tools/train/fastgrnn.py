"""Trains a small FastGRNN of low rank and saves it under EdgeML's PyTorch names.

    vowels  12 -> FastGRNN(24, W of rank 8, U of rank 8) -> Dense(9)    softmax at the last real step

As in train.py, training sees standardized features, and the mean and deviation are folded into the first
matrix. The cell is a Keras one written from the paper (Kusupati et al. 2018), independent of reference.py;
what comes out must agree with that. Writes tests/data/SET/fastgrnn.safetensors and .toml.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "2")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
import keras
import numpy as np
from keras import ops
from safetensors.numpy import save_file

import reference
from data import DATA, load

SET, UNITS, W_RANK, U_RANK, EPOCHS, BATCH = "vowels", 24, 8, 8, 200, 16


def through(x, right, left):
    """left (right x), row by row."""
    return ops.matmul(ops.matmul(x, ops.transpose(right)), ops.transpose(left))


class FastGRNNCell(keras.layers.Layer):
    """h' = z h + (sigmoid(zeta) (1 - z) + sigmoid(nu)) tanh(p + b_h), z = sigmoid(p + b_z), p = W x + U h."""

    def __init__(self, units, w_rank, u_rank):
        super().__init__()
        self.units, self.w_rank, self.u_rank = units, w_rank, u_rank
        self.state_size = units

    def build(self, shape):
        weights = dict(
            W1=(self.w_rank, shape[-1]), W2=(self.units, self.w_rank), U1=(self.u_rank, self.units), U2=(self.units, self.u_rank)
        )
        for name, size in weights.items():
            setattr(self, name, self.add_weight(shape=size, name=name))
        for name in ("bias_gate", "bias_update"):
            setattr(self, name, self.add_weight(shape=(1, self.units), name=name, initializer="ones"))
        self.zeta = self.add_weight(shape=(1, 1), name="zeta", initializer=keras.initializers.Constant(1.0))
        self.nu = self.add_weight(shape=(1, 1), name="nu", initializer=keras.initializers.Constant(-4.0))

    def call(self, x, states):
        h = states[0]
        p = through(x, self.W1, self.W2) + through(h, self.U1, self.U2)
        z, n = ops.sigmoid(p + self.bias_gate), ops.tanh(p + self.bias_update)
        h = z * h + (ops.sigmoid(self.zeta) * (1.0 - z) + ops.sigmoid(self.nu)) * n
        return h, [h]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    keras.utils.set_random_seed(args.seed)
    folder = DATA / SET
    x, y, lengths = load(folder / "train.npz")
    real = np.arange(x.shape[1]) < lengths[:, None]
    mean, deviation = x[real].mean(axis=0, dtype=np.float64), x[real].std(axis=0, dtype=np.float64)
    x = np.where(real[..., None], (x - mean) / deviation, 0.0).astype(np.float32)

    cell = FastGRNNCell(UNITS, W_RANK, U_RANK)
    dense = keras.layers.Dense(int(y.max()) + 1, activation="softmax")
    layers = [keras.Input(x.shape[1:]), keras.layers.Masking(), keras.layers.GaussianNoise(0.2)]
    model = keras.Sequential([*layers, keras.layers.RNN(cell), keras.layers.Dropout(0.2), dense])
    steps = EPOCHS * -(-len(x) // BATCH)
    rate = keras.optimizers.schedules.CosineDecay(1e-4, steps, warmup_target=1e-2, warmup_steps=steps // 20)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=1e-3, clipnorm=1.0), loss="sparse_categorical_crossentropy")
    model.fit(x, y, BATCH, EPOCHS, verbose=0)

    state = {v.name: np.asarray(v, np.float64) for v in cell.weights}
    # W (x - mean) / deviation: the offset goes into both biases.
    state["W1"] = state["W1"] / deviation
    offset = state["W2"] @ (state["W1"] @ mean)
    state["bias_gate"], state["bias_update"] = state["bias_gate"] - offset, state["bias_update"] - offset
    kernel, bias = dense.get_weights()
    fc = {"weight": np.ascontiguousarray(kernel.T), "bias": bias}
    raw, truth, lengths = load(folder / "test.npz")
    h = reference.fast(state, raw.astype(np.float64))[np.arange(len(raw)), lengths - 1]
    p = reference.softmax(reference.linear(fc, h))
    test = np.where((np.arange(raw.shape[1]) < lengths[:, None])[..., None], (raw - mean) / deviation, 0.0)
    np.testing.assert_allclose(model.predict(test.astype(np.float32), verbose=0), p, atol=1e-3)
    parameters = sum(w.size for w in (*state.values(), *fc.values()))
    print(f"{SET} FastGRNN({UNITS}): {parameters} parameters, test accuracy {np.mean(p.argmax(axis=-1) == truth):.2%}")

    state = {f"rnn.cell.{key}": w.astype(np.float32) for key, w in state.items()} | {f"fc.{key}": w for key, w in fc.items()}
    save_file(state, folder / "fastgrnn.safetensors", metadata={"format": "pt"})
    (folder / "fastgrnn.toml").write_text('[activation]\nfc = "softmax"\n')


if __name__ == "__main__":
    main()
