"""Spoken digits in running sound: an LSTM(64) that says at every frame which digit just ended, if any.

    python spot.py train                     tests/data/spot/lstm.keras, from the official training set
    python spot.py blob                      tests/data/spot/spot.gate of it, calibrated on 300 scenes
    python spot.py unheard                   accuracy on each speaker by a model of the five others

voices.py makes the synthetic voices first. Features are the chip's own: `gatelet features` with
tests/data/spot/audio.toml makes them. A recording counts as recognized if the digit with the highest
posterior, averaged over 0.12 s, is the right one.
"""

import argparse
import os
import subprocess
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import numpy as np

import scenes
import voices
from scenes import NONE
from lstm import Lstm, train
from data import DATA, ROOT, SCRATCH

SOURCE = ROOT.parent / "shared/data/fsdd/fsdd.npz"
FOLDER = DATA / "spot"
BANDS, UNITS, BATCH, PEAK, SMOOTH = 24, 64, 32, 5e-3, 6
MANY, OWN = (0.65, 0.3), (0.8, 0.6)  # shares of the scenes by the speakers, and of those as they are
SYNTHETIC = {"piper": 0.3, "flite": 0.3, "espeak": 0.4}
SPEAKERS = ["george", "jackson", "lucas", "nicolas", "theo", "yweweler"]
WORKERS = int(os.environ.get("WORKERS", os.cpu_count()))
SOURCES = []
GATELET = os.environ.get("GATELET", str(ROOT / "target/release/gatelet"))


def features(recordings):
    """Features of int16 recordings: x [N, T, I], lengths [N]."""
    SCRATCH.joinpath("spot").mkdir(parents=True, exist_ok=True)
    source, result = SCRATCH / f"spot/pcm{os.getpid()}.npz", SCRATCH / f"spot/x{os.getpid()}.npz"
    np.savez(source, pcm=np.concatenate(recordings), offsets=np.cumsum([0] + [len(r) for r in recordings]))
    audio = ["--audio", str(FOLDER / "audio.toml")]
    subprocess.run([GATELET, "features", str(source), "-o", str(result), *audio], check=True, stdout=subprocess.DEVNULL)
    with np.load(result) as f:
        x, lengths = f["x"], f["lengths"]
    source.unlink(), result.unlink()
    return x, lengths


def settings():
    """Window and hop of the front-end, in samples."""
    import tomllib

    toml = tomllib.loads((FOLDER / "audio.toml").read_text())
    return toml["window"], toml["hop"]


def scene(chosen, mild, seed):
    recordings, label, speech = SOURCES
    return scenes.scene(recordings, label, chosen, speech, mild, np.random.default_rng(seed))


def training_set(count, speakers, official, rng, shares=MANY):
    """`count` scenes by the speakers and by synthetic voices: x [N, T, I], y [N, T], weight [N, T], speaker [N]."""
    recordings, label, speaker, index = scenes.digits(SOURCE)
    synthetic, words, voice = voices.load()
    other = [pcm for pcm, word in zip(synthetic, words) if word == NONE]
    chosen = {s: np.flatnonzero((speaker == s) & ((index >= 5) | (not official))) for s in speakers}
    chosen |= {v: len(label) + np.flatnonzero((voice == v) & (words != NONE)) for v in np.unique(voice)}
    kinds = {k: [v for v in np.unique(voice) if v.split()[0] == k] for k in SYNTHETIC}

    def somebody(k):
        if rng.random() < shares[0]:
            return speakers[k % len(speakers)], rng.random() < shares[1]
        return rng.choice(kinds[rng.choice(list(SYNTHETIC), p=list(SYNTHETIC.values()))]), False

    SOURCES[:] = recordings + synthetic, np.append(label, words), [other, other, scenes.prompts(["fr", "it", "ru"])]
    who = [somebody(k) for k in range(count)]
    with get_context("fork").Pool(WORKERS) as pool:  # the workers inherit the sources
        made = pool.starmap(scene, [(chosen[s], mild, rng.integers(2**32)) for s, mild in who])
    pieces = [made[first : first + 2000] for first in range(0, count, 2000)]
    x = np.concatenate([features([pcm for pcm, _ in piece])[0] for piece in pieces])
    y, weight = zip(*(scenes.answers(words, x.shape[1], *settings()) for _, words in made))
    return x, np.stack(y), np.stack(weight), np.array([s for s, _ in who])


def masked(x, rng):
    """Some bands and moments silenced (SpecAugment, Park et al. 2019), and a little noise."""
    x = x + rng.normal(0.0, 0.3, x.shape).astype(np.float32)
    for sample in x:
        width, length = rng.integers(0, 4), rng.integers(0, 4)
        band, moment = rng.integers(x.shape[2] - width), rng.integers(x.shape[1] - length)
        sample[:, band : band + width] = 0.0
        sample[moment : moment + length] = 0.0
    return x


def fit(net, x, y, weight, epochs, peak, seed):
    """Trains a network of raw features: on standardized ones, which its first layer then undoes."""
    mean, deviation = x.mean(axis=(0, 1), dtype=np.float64), x.std(axis=(0, 1), dtype=np.float64)

    def change(batch, rng):
        return (masked(batch, rng) - mean) / deviation

    def rescale(factor, offset):
        kernel = net.weights[0].astype(np.float64)
        net.weights[2] = (net.weights[2] + offset @ kernel).astype(np.float32)
        net.weights[0] = (kernel * factor[:, None]).astype(np.float32)

    rescale(deviation, mean)
    train(net, x, y, weight, epochs, BATCH, peak, change, seed, WORKERS)
    rescale(1.0 / deviation, -mean / deviation)


def save(net, path):
    """As a Keras model."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((None, len(net.weights[0]))),
            layers.LSTM(UNITS, return_sequences=True, name="lstm"),
            layers.Dense(NONE + 1, activation="softmax", name="dense"),
        ]
    )
    model.set_weights(net.weights)
    model.save(path)


def recognized(net, chosen):
    """The digit that the network hears in each recording, with 0.2 s of silence before and 0.3 s after."""
    recordings, *_ = scenes.digits(SOURCE)
    pcm = [np.round(recordings[k] * 32768).astype(np.int16) for k in chosen]
    x, lengths = features([np.pad(r, (1600, 2400)) for r in pcm])
    p = net.predict(x)[..., :NONE]
    sums = np.cumsum(np.pad(p, ((0, 0), (SMOOTH, 0), (0, 0))), axis=1)
    smooth = sums[:, SMOOTH:] - sums[:, :-SMOOTH]
    smooth[np.arange(p.shape[1]) >= lengths[:, None]] = 0.0
    return smooth.max(axis=1).argmax(axis=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=["train", "blob", "unheard"])
    parser.add_argument("--scenes", type=int, default=10000)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speakers", nargs="*", default=SPEAKERS)
    parser.add_argument("--output", default=str(FOLDER / "lstm.keras"))
    args = parser.parse_args()
    _, label, speaker, index = scenes.digits(SOURCE)
    rng = np.random.default_rng(args.seed)
    if args.job == "train":
        net = Lstm(BANDS, UNITS, NONE + 1, rng)
        # Many voices first, then for a shorter time more of the speakers as they are.
        for part, peak, shares in ((1.0, PEAK, MANY), (0.3, 1.5e-3, OWN)):
            x, y, weight, _ = training_set(int(args.scenes * part), SPEAKERS, True, rng, shares)
            fit(net, x, y, weight, int(args.epochs * part), peak, args.seed)
        test = np.flatnonzero(index < 5)
        print(f"official split: {np.mean(recognized(net, test) == label[test]):.2%}")
        save(net, args.output)
        return
    if args.job == "blob":
        x, *_ = training_set(300, SPEAKERS, True, rng)
        calibration = SCRATCH / "spot/calib.npz"
        np.savez_compressed(calibration, x=x)
        with_settings = [f"--{name}={FOLDER / name}.toml" for name in ("audio", "trigger")]
        labels, blob = f"--labels={FOLDER / 'labels.txt'}", FOLDER / "spot.gate"
        command = [GATELET, "quantize", args.output, "--calib", calibration, "-o", blob, labels, *with_settings]
        subprocess.run(command, check=True)
        return
    x, y, weight, who = training_set(args.scenes, SPEAKERS, False, rng)
    for unheard in args.speakers:
        others = who != unheard
        net = Lstm(BANDS, UNITS, NONE + 1, np.random.default_rng(args.seed))
        fit(net, x[others], y[others], weight[others], args.epochs, PEAK, args.seed)
        test = np.flatnonzero(speaker == unheard)
        print(f"{unheard}: {np.mean(recognized(net, test) == label[test]):.2%}", flush=True)


if __name__ == "__main__":
    main()
