"""Log-mel features of a short recording: the digits front end, exactly.

    input     mono PCM at 8 kHz, int16, divided by 32768
    length    5,240 samples = 64 frames: the first 5,240 are kept, a shorter recording is followed by
              zeros; nothing is centred
    frame t   samples 80 t .. 80 t + 199 (25 ms, a hop of 10 ms), t = 0 .. 63
    window    Hann, periodic: w[n] = 0.5 - 0.5 cos(2 pi n / 200)
    spectrum  P[k] = |X[k]|^2, X the 256-point DFT of the windowed frame followed by 56 zeros,
              k = 0 .. 128; bin k lies at 31.25 k Hz
    mel bank  20 triangles, edges e[0] .. e[21] equally spaced on mel(f) = 2595 log10(1 + f / 700)
              between 100 and 4,000 Hz; triangle j weighs bin frequency f (in Hz, not rounded to bins) by
              max(0, min((f - e[j]) / (e[j+1] - e[j]), (e[j+2] - f) / (e[j+2] - e[j+1]))),
              its peak is 1
    output    ln(sum over k of triangle[j][k] P[k] + 1e-5), [64, 20]; silence is ln(1e-5) = -11.51

No pre-emphasis, no dither, no normalization: the model sees these numbers. All of it in float64; the
result is rounded to float32.
"""

import numpy as np

RATE, WINDOW, HOP, FFT, FRAMES, BANDS = 8000, 200, 80, 256, 64, 20
SAMPLES = WINDOW + HOP * (FRAMES - 1)
LOW_HZ, HIGH_HZ, FLOOR = 100.0, 4000.0, 1e-5


def mel_bank():
    """Triangle weights [BANDS, FFT / 2 + 1]."""
    low, high = (2595.0 * np.log10(1.0 + f / 700.0) for f in (LOW_HZ, HIGH_HZ))
    edges = 700.0 * (10.0 ** (np.linspace(low, high, BANDS + 2) / 2595.0) - 1.0)
    left, peak, right = (edges[k : k + BANDS, None] for k in range(3))
    f = np.arange(FFT // 2 + 1) * RATE / FFT
    return np.maximum(0.0, np.minimum((f - left) / (peak - left), (right - f) / (right - peak)))


def log_mel(pcm):
    """int16 [any length] -> float32 [FRAMES, BANDS]."""
    signal = np.zeros(SAMPLES)
    signal[: len(pcm)] = pcm[:SAMPLES] / 32768.0
    frames = np.lib.stride_tricks.sliding_window_view(signal, WINDOW)[::HOP]
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(WINDOW) / WINDOW)
    power = np.abs(np.fft.rfft(frames * window, FFT)) ** 2
    return np.log(power @ mel_bank().T + FLOOR).astype(np.float32)
