"""Running sound: what a listener misses, and what it hears that was never said.

Half an hour made of the 300 held-out digits (recordings 0 to 4 of each speaker and digit) with silence
and noise between them, and of all English prompts of Debian's asterisk-core-sounds-en-wav whose text
says no digit, by a voice that the model never heard. An event counts as right from 0.3 s before a digit
ends to 0.6 s after it; any other is a false accept.

    python continuous.py spot.gate tests/data/spot/lstm.keras --plot tests/data/spot/tradeoff.svg

compares the integers (`gatelet run`, from PCM) with the float model on features in float64, over all
thresholds, and prints the figures at the blob's own.
"""

import argparse
import gzip
import io
import json
import re
import subprocess
import tomllib
import wave
import zipfile
from pathlib import Path

import h5py
import numpy as np

import scenes
from data import DATA, SCRATCH
from lstm import Lstm
from scenes import NONE, RATE
from spot import GATELET, SOURCE

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TEXTS = Path("/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz")


def other_speech():
    """English prompts without a digit, and how long they are."""
    digits = re.compile(r"[0-9]|\[|\b(" + "|".join(NAMES) + r"|oh)\b", re.IGNORECASE)
    lines = (line.split(": ", 1) for line in gzip.open(TEXTS, "rt", errors="replace") if ": " in line)
    names = {name for name, text in lines if not digits.search(text)}
    files = [scenes.SOUNDS / "en" / f"{name}.wav" for name in sorted(names) if not name.startswith("digits/")]
    return [scenes.read_wav(f) for f in files if f.exists()]


def track(rng):
    """The sound in ±1, and its digits: (class, start, end) in samples."""
    recordings, label, _, index = scenes.digits(SOURCE)
    parts = [(recordings[k], int(label[k])) for k in np.flatnonzero(index < 5)]
    parts += [(pcm, NONE) for pcm in other_speech()]
    sound, words, at = [], [], 0
    for k in rng.permutation(len(parts)):
        pcm, word = parts[k]
        gap = np.zeros(int(rng.uniform(0.4, 1.5) * RATE))
        loudness = 10 ** (rng.uniform(-32, -16) / 20)
        sound += [gap, pcm * loudness / scenes.level(pcm)]
        at += len(gap)
        if word != NONE:
            words.append((word, at, at + len(pcm)))
        at += len(pcm)
    sound = np.concatenate(sound)
    # A minute without noise, one with some, one with more, and again.
    minute = 60 * RATE
    for k, first in enumerate(range(0, len(sound), minute)):
        part = sound[first : first + minute]
        part += scenes.noise(len(part), rng) * [0.0, 10 ** (-55 / 20), 10 ** (-45 / 20)][k % 3]
    return np.clip(sound, -1, 1), words


def log_mel(pcm, toml):
    """The front-end's features in float64."""
    window, hop, bands, high = toml["window"], toml["hop"], toml["bands"], toml["high"]
    mel = 2595.0 * np.log10(1.0 + np.array([toml["low"], high]) / 700.0)
    edges = 700.0 * (10.0 ** (np.linspace(*mel, bands + 2) / 2595.0) - 1.0)
    left, peak, right = (edges[k : k + bands, None] for k in range(3))
    f = np.arange(window // 2 + 1) * RATE / window
    bank = np.maximum(0.0, np.minimum((f - left) / (peak - left), (right - f) / (right - peak)))
    hann = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(window) / window)
    frames = np.lib.stride_tricks.sliding_window_view(pcm, window)[::hop]
    power = np.concatenate([np.abs(np.fft.rfft(part * hann)) ** 2 @ bank.T for part in np.array_split(frames, 100)])
    levels = np.log2((power + toml["floor"]) / toml["floor"])
    if toml.get("adaptation", 0):
        mean = np.zeros(bands)
        for level in levels:
            level -= mean
            mean += level / 2 ** toml["adaptation"]
    return levels


def keras_weights(path):
    """Kernel, recurrent kernel, bias of the LSTM, kernel and bias of the dense layer; without the framework."""
    with zipfile.ZipFile(path) as z, h5py.File(io.BytesIO(z.read("model.weights.h5"))) as f:
        lstm, dense = f["layers/lstm/cell/vars"], f["layers/dense/vars"]
        return [lstm[str(k)][()] for k in range(3)] + [dense[str(k)][()] for k in range(2)]


def events(p, threshold, window, hysteresis, refractory):
    """(frame, class) of every event, as src/decode/trigger.rs defines them."""
    sums = np.cumsum(np.pad(p, ((window, 0), (0, 0))), axis=0)
    scores = (sums[window:] - sums[:-window]) / window
    best, held, rest, found = scores.argmax(axis=1), None, 0, []
    for frame in range(len(p)):
        if held is not None and scores[frame, held] < threshold - hysteresis:
            held = None
        if rest > 0:
            rest -= 1
            continue
        k = int(best[frame])
        if k != NONE and scores[frame, k] >= threshold and k != held:
            found.append((frame, k))
            held, rest = k, refractory
    return found


def judge(found, words, hop, window):
    """Missed digits, false accepts."""
    said = [False] * len(words)
    false = 0
    for frame, k in found:
        at = frame * hop + window
        hits = [n for n, (word, _, end) in enumerate(words) if word == k and -0.3 <= (at - end) / RATE <= 0.6]
        if hits and not said[hits[0]]:
            said[hits[0]] = True
        else:
            false += 1
    return said.count(False), false


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("blob"), parser.add_argument("model")
    parser.add_argument("--plot")
    args = parser.parse_args()
    audio = tomllib.loads((DATA / "spot/audio.toml").read_text())
    trigger = tomllib.loads((DATA / "spot/trigger.toml").read_text())
    settings = trigger["window"], trigger["hysteresis"], trigger["refractory"]
    sound, words = track(np.random.default_rng(3))
    pcm = np.round(sound * 32767).astype(np.int16)
    hours = (len(pcm) - sum(end - start for _, start, end in words)) / RATE / 3600

    folder = SCRATCH / "spot"
    folder.mkdir(parents=True, exist_ok=True)
    file = str(folder / "continuous.wav")
    with wave.open(file, "wb") as w:
        w.setparams((1, 2, RATE, 0, "NONE", ""))
        w.writeframes(pcm.tobytes())
    gatelet = lambda *a: subprocess.run([GATELET, *a], check=True, capture_output=True, text=True).stdout
    gatelet("features", file, "-o", str(folder / "x.npz"), "--audio", str(DATA / "spot/audio.toml"))
    gatelet("run", args.blob, "--input", str(folder / "x.npz"), "-o", str(folder / "y.npz"))
    integer = np.load(folder / "y.npz")["y"][0].astype(np.float64)

    net = Lstm(1, 1, 1, np.random.default_rng(0))
    net.weights = keras_weights(args.model)
    floating = net.predict(log_mel(pcm / 32768.0, audio)[None].astype(np.float32))[0].astype(np.float64)

    heard = json.loads(gatelet("listen", args.blob, file, "--json"))["events"]
    own = events(integer, trigger["threshold"], *settings)
    assert [(e["frame"], e["output"]) for e in heard] == own, "the recipe and the tool disagree"
    print(f"{len(words)} digits, {hours * 60:.1f} minutes of everything else")
    print(f"same answer in {np.mean(integer.argmax(axis=1) == floating.argmax(axis=1)):.3%} of {len(integer)} frames")
    curves = {}
    for name, p in (("float", floating), ("integer", integer)):
        curve = []
        for threshold in np.linspace(0.3, 0.98, 35):
            missed, false = judge(events(p, threshold, *settings), words, audio["hop"], audio["window"])
            curve.append((threshold, missed / len(words), false / hours))
        curves[name] = curve
        missed, false = judge(events(p, trigger["threshold"], *settings), words, audio["hop"], audio["window"])
        print(f"{name:8} at {trigger['threshold']}: {missed / len(words):.1%} missed, {false / hours:.0f} false accepts an hour")
    if args.plot:
        draw(curves, args.plot)


def draw(curves, path):
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "gatelet"
    import matplotlib.pyplot as plt

    plt.figure(figsize=(6, 4))
    for (name, curve), style in zip(curves.items(), ("o-", "x--")):
        _, missed, false = np.array(curve).T
        plt.plot(false, 100 * missed, style, markersize=4, label=name)
    plt.xlabel("false accepts an hour"), plt.ylabel("missed digits, %")
    plt.grid(alpha=0.3), plt.legend(), plt.tight_layout()
    plt.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
