"""The host engine beside onnxruntime's float LSTM: all 300 spoken digits, one core, best of 30 runs.

python tools/train/host_speed.py [TARGET ...]    targets of `gatelet quantize`: host, cortex-m4, ...
"""

import os
import subprocess
import sys
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy
import onnxruntime

RUNS = 30
ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "tests/data/digits"
DATA = ROOT / "target/digits"


def onnxruntime_ms(x, batch):
    """Milliseconds for all of x, `batch` samples a call."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(DIGITS / "lstm.onnx", options, ["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    best = float("inf")
    for _ in range(RUNS):
        start = time.perf_counter()
        for first in range(0, len(x), batch):
            session.run(None, {name: x[first : first + batch]})
        best = min(best, time.perf_counter() - start)
    return 1e3 * best


def gatelet_ms(target):
    """Milliseconds for all of x, from float features to outputs."""
    cargo = ["cargo", "run", "--quiet", "--release", "--package", "gatelet-cli"]
    blob = ROOT / f"target/host_speed-{target}.gate"
    subprocess.run(
        [*cargo, "--", "quantize", DIGITS / "lstm.keras"]
        + ["--calib", DATA / "calib.npz", "-o", blob, "--target", target],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    command = [*cargo, "--example", "host_speed", "--", blob, DATA / "test.npz"]
    return float(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)


def main():
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    x = numpy.load(DATA / "test.npz")["x"].astype(numpy.float32)
    float_ms = onnxruntime_ms(x, len(x))
    print(f"onnxruntime, one batch of {len(x)}: {float_ms:.1f} ms; one by one: {onnxruntime_ms(x, 1):.1f} ms")
    for target in sys.argv[1:] or ["host", "cortex-m4"]:
        ms = gatelet_ms(target)
        print(f"gatelet, packed for {target}: {ms:.1f} ms, {float_ms / ms:.2f} times as fast as the batch")


main()
