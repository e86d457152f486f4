"""Trains one small recurrent classifier with Keras 3 and saves it as plain weights.

    vowels  12 -> cell(32) -> Dense(9)    softmax at the last real step
    motions  6 -> cell(32) -> Dense(4)    softmax at the last step
    hapt     6 -> cell(32) -> Dense(7)    softmax at every step
    digits  20 -> cell(64) -> Dense(10)   softmax at the last step

The cell `bigru` is two bidirectional GRUs on top of each other, half the units in each direction.

Training sees standardized features; the mean and deviation are then folded into the first layer, so
the saved model takes raw features and holds nothing but standard layers. Run data.py first.
"""

import argparse
import os
from functools import partial

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "2")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
import keras
import numpy as np
from safetensors.numpy import save_file

from data import DATA, SCRATCH, load
from torch_names import to_torch

# Plain RNNs start from the identity (Le, Jaitly and Hinton 2015), or they forget over tens of steps.
CELLS = {
    "lstm": keras.layers.LSTM,
    "gru": keras.layers.GRU,
    "rnn": partial(keras.layers.SimpleRNN, recurrent_initializer="identity"),
    "bigru": keras.layers.GRU,
    "rnn_relu": partial(keras.layers.SimpleRNN, activation="relu", recurrent_initializer="identity"),
}
# set -> (training set, test set, units, epochs, batch)
SETS = {
    "vowels": (DATA / "vowels/train.npz", DATA / "vowels/test.npz", 32, 150, 16),
    "motions": (DATA / "motions/train.npz", DATA / "motions/test.npz", 32, 200, 8),
    "hapt": (SCRATCH / "hapt/train.npz", DATA / "hapt/test.npz", 32, 25, 64),
    "digits": (SCRATCH / "digits/train.npz", SCRATCH / "digits/test.npz", 64, 60, 64),
}


def build(cell, inputs, units, classes, every_step, padded, noise=0.0, dropout=0.0):
    """The network; with noise and dropout, its form in training.

    Masking makes Keras skip the padding, which is all zeros: its result is then that of running the
    real steps only.
    """
    layers = [keras.Input((None, inputs))]
    if padded:
        layers.append(keras.layers.Masking())
    if noise:
        layers.append(keras.layers.GaussianNoise(noise))
    if cell == "bigru":
        for depth, sequences in enumerate([True, every_step]):
            gru = keras.layers.GRU(units // 2, return_sequences=sequences)
            layers.append(keras.layers.Bidirectional(gru, name=f"{cell}_{depth}"))
    else:
        layers.append(CELLS[cell](units, return_sequences=every_step, name=cell))
    if dropout:
        layers.append(keras.layers.Dropout(dropout))
    layers.append(keras.layers.Dense(classes, activation="softmax", name="dense"))
    return keras.Sequential(layers)


def real_steps(x, lengths):
    """True where x [N, T, I] holds data, False in the padding, [N, T]."""
    return np.arange(x.shape[1]) < lengths[:, None]


def fold(weights, mean, deviation, directions):
    """Weights of a layer of (x - mean) / deviation -> those of the same layer of x, in float64."""
    weights = [w.astype(np.float64) for w in weights]
    for kernel, _, bias in zip(*[iter(weights[: 3 * directions])] * 3):
        kernel /= deviation[:, None]
        offset = mean @ kernel
        if bias.ndim == 2:  # reset-after GRU: row 0 goes with the input
            bias[0] -= offset
        else:
            bias -= offset
    return weights


def train(name, cell, seed):
    """Returns the model of raw features and its test accuracy."""
    keras.utils.set_random_seed(seed)
    train_path, test_path, units, epochs, batch = SETS[name]
    x, y, lengths = load(train_path)
    real = real_steps(x, lengths)
    mean, deviation = x[real].mean(axis=0, dtype=np.float64), x[real].std(axis=0, dtype=np.float64)

    def standardize(x, lengths):
        return np.where(real_steps(x, lengths)[..., None], (x - mean) / deviation, 0.0).astype(np.float32)

    every_step = y.ndim == 2
    shape = cell, x.shape[2], units, int(y.max()) + 1, every_step, not real.all()
    model = build(*shape, noise=0.2, dropout=0.3)
    peak, clipnorm = 3e-3, 1.0
    if cell.startswith("rnn"):  # no gates to tame the gradient
        peak, clipnorm = 1e-3, 0.1
    steps = epochs * -(-len(x) // batch)
    rate = keras.optimizers.schedules.CosineDecay(1e-4, steps, warmup_target=peak, warmup_steps=steps // 20)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=1e-3, clipnorm=clipnorm)
    model.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(standardize(x, lengths), y, batch, epochs, verbose=2)

    raw = build(*shape)
    raw.set_weights(fold(model.get_weights(), mean, deviation, 2 if cell == "bigru" else 1))
    x, y, lengths = load(test_path)
    p = raw.predict(x, verbose=0)
    np.testing.assert_allclose(p, model.predict(standardize(x, lengths), verbose=0), atol=1e-3)
    return raw, float(np.mean(p.argmax(axis=-1) == y))


def save_torch(model, path):
    """The state dict of an nn.LSTM or nn.GRU called `rnn` followed by an nn.Linear called `fc`."""
    recurrent, dense = model.layers[-2:]
    state = {f"rnn.{key}": w for key, w in to_torch(recurrent.name, recurrent.get_weights()).items()}
    kernel, bias = dense.get_weights()
    state |= {"fc.weight": np.ascontiguousarray(kernel.T), "fc.bias": bias}
    save_file(state, path, metadata={"format": "pt"})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=SETS)
    parser.add_argument("cell", choices=CELLS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--formats", nargs="*", default=["keras"], choices=["keras", "h5", "safetensors"])
    args = parser.parse_args()

    model, accuracy = train(args.set, args.cell, args.seed)
    print(f"{args.set} {args.cell} seed {args.seed}: {model.count_params()} parameters, test accuracy {accuracy:.2%}")
    path = DATA / args.set / args.cell
    path.parent.mkdir(parents=True, exist_ok=True)
    for form in args.formats:
        if form == "safetensors":
            save_torch(model, f"{path}.safetensors")
        else:
            model.save(f"{path}.{form}")


if __name__ == "__main__":
    main()
