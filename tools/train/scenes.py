"""Scenes: a few seconds of sound with spoken digits in it, and what a listener should say at every frame.

A scene has one speaker, heard as somebody else: faster and higher or slower and lower, in another
room, through another microphone, over noise. Between the digits there is silence, and speech that is
no digit: English by synthetic voices (voices.py), prompts in French, Italian and Russian (Debian's
asterisk-core-sounds-{fr,it,ru}-wav), digits played backwards, and digits broken off. In some scenes
there is hardly anything else.
"""

import wave
from pathlib import Path

import numpy as np
from scipy.signal import fftconvolve, lfilter

RATE = 8000
SOUNDS = Path("/usr/share/asterisk/sounds")
LENGTH = int(4.8 * RATE)  # the running mean of the front-end goes over 2.6 s
NONE = 10  # the class of everything that is no digit


def digits(path):
    """The recordings: pcm (a list of float arrays in ±1), label, speaker, index."""
    with np.load(path) as f:
        pcm, offsets = f["pcm"] / 32768.0, f["offsets"]
        recordings = [pcm[a:b] for a, b in zip(offsets[:-1], offsets[1:])]
        return recordings, f["label"], f["speaker"], f["index"]


def read_wav(path):
    with wave.open(str(path)) as w:
        return np.frombuffer(w.readframes(w.getnframes()), "<i2") / 32768.0


def prompts(languages):
    """Speech without digits, one array for each file."""
    files = sorted(f for language in languages for f in (SOUNDS / language).rglob("*.wav") if "digits" not in f.parts)
    return [pcm for pcm in map(read_wav, files) if len(pcm) > RATE // 4 and np.abs(pcm).max() > 0.02]


def resample(x, factor):
    """Plays x faster by a factor: shorter and higher."""
    n = max(2, int(len(x) / factor))
    return np.interp(np.arange(n) * factor, np.arange(len(x)), x)


def stretch(x, factor, rng):
    """Shorter by a factor at the same pitch: overlapping pieces of 30 ms, each moved to where it fits
    best (WSOLA, Verhelst and Roelands 1993)."""
    size, hop, reach = 240, 120, 60
    window = np.hanning(size + 1)[:-1]
    steps = int((len(x) - size - reach) / (hop * factor))
    if steps < 2:
        return x
    out = np.zeros(hop * steps + size)
    follow = x[:size]
    for k in range(steps):
        start = int(k * hop * factor)
        first = max(0, start - reach)
        around = x[first : start + reach + size]
        if len(around) < size:
            break
        at = first + int(np.argmax(np.correlate(around, follow[: len(around)], "valid")))
        out[k * hop : k * hop + size] += window * x[at : at + size]
        follow = x[at + hop : at + hop + size]
        if len(follow) < size:
            break
    return out[: k * hop + size]


def noise(length, rng):
    """Unit noise with a spectrum of f^-a: white to brown."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    spectrum[1:] *= np.arange(1, len(spectrum)) ** -(rng.uniform(0.0, 2.0) / 2)
    spectrum[0] = 0.0
    x = np.fft.irfft(spectrum, length)
    return x / x.std()


def level(x):
    """Root mean square of the louder half."""
    energy = np.sort(x**2)[len(x) // 2 :]
    return np.sqrt(energy.mean() + 1e-12)


def somebody(speech, rng):
    """A recording of one of the collections."""
    collection = speech[rng.integers(len(speech))]
    return collection[rng.integers(len(collection))]


def scene(recordings, labels, chosen, speech, mild, rng):
    """PCM int16 [LENGTH] and its digits: (class, first sample, end) of each. `chosen` are the digits of
    one speaker; `speech` holds collections of speech without digits. A mild scene is in a quiet room, by
    the speaker as he is."""
    x = np.zeros(LENGTH)
    far = 0.1 if mild else rng.choice([0.2, 1.0])  # how far from the real speaker
    voice, tempo = np.exp(far * rng.uniform(-0.22, 0.3)), np.exp(far * rng.uniform(-0.2, 0.2))
    said, longest, pause = (0.2, 3.0, 0.5) if rng.random() < 0.3 else (0.72, 1.2, 0.9)  # of much speech, or of little
    at, words = int(rng.uniform(0.02, 0.5) * RATE), []
    while True:
        kind = rng.random()
        if kind < said:
            k = rng.choice(chosen)
            part, word = recordings[k], int(labels[k])
        elif kind < 0.9:
            source = somebody(speech, rng)
            length = int(rng.uniform(0.25, longest) * RATE)
            start = rng.integers(max(1, len(source) - length))
            part, word = source[start : start + length], NONE
        elif kind < 0.95:
            part, word = recordings[rng.choice(chosen)][::-1], NONE
        else:
            part = recordings[rng.choice(chosen)]
            part, word = part[: int(len(part) * rng.uniform(0.25, 0.5))], NONE
        part = stretch(resample(part, voice), tempo, rng)
        part = part * (0.1 / level(part)) * np.exp(rng.uniform(-0.4, 0.4))
        if at + len(part) > LENGTH:
            break
        x[at : at + len(part)] += part
        if word != NONE:
            words.append((word, at, at + len(part)))
        at += len(part) + int(rng.uniform(0.12, pause) * RATE)
    if not mild and rng.random() < 0.3:  # a room
        n = int(rng.uniform(0.05, 0.25) * RATE)
        echo = rng.standard_normal(n) * np.exp(-6.0 * np.arange(n) / n) * rng.uniform(0.05, 0.3)
        echo[0] = 1.0
        x = fftconvolve(x, echo)[:LENGTH]
    if not mild:
        x = lfilter([1.0, rng.uniform(-0.7, 0.7)], [1.0, rng.uniform(-0.3, 0.3)], x)  # a microphone
    loudness = 10 ** (rng.uniform(-38, -12) / 20)
    x *= loudness / max(level(x), 1e-6)
    if rng.random() < (0.4 if mild else 0.85):
        x += noise(LENGTH, rng) * loudness * 10 ** (-rng.uniform(30 if mild else 5, 45) / 20)
    if not mild and rng.random() < 0.1:
        source = somebody(speech, rng)
        x += np.resize(source, LENGTH) / level(source) * loudness * 10 ** (-rng.uniform(15, 30) / 20)
    x += rng.uniform(-0.01, 0.01) if rng.random() < 0.2 else 0.0  # an offset
    return np.clip(np.round(x * 32768), -32768, 32767).astype(np.int16), words


def answers(words, frames, window, hop):
    """What to say at every frame, and how much it counts: a digit from just before its end until 0.2 s
    after it; nothing in between is wrong about the moment."""
    y, weight = np.full(frames, NONE, np.int64), np.ones(frames, np.float32)
    heard = np.arange(frames) * hop + window  # samples that the frame has heard
    for word, start, end in words:
        after = (heard - end) / RATE
        weight[(heard > start) & (after < -0.2)] = 0.3
        weight[(after >= -0.2) & (after < 0.36)] = 0.0
        said = (after >= -0.06) & (after < 0.2)
        y[said], weight[said] = word, 2.5
    return y, weight
