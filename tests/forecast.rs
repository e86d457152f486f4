//! Forecasts fed back to the input: against a float reference, over gaps, ahead of a stream that does
//! not notice; and on real series, what they are worth.

mod common;

use common::{Random, cells, data, on_board};
use gatelet::decode::forecast::MISSING;
use gatelet::decode::{Detector, Forecaster};
use gatelet::{Error, Model, Packing, Stream, WeightType};
use gatelet_cli::calibrate::calibrate;
use gatelet_cli::data::{Dataset, Sequences};
use gatelet_cli::forecast::{Figures, Options, Outcome, Series, anomaly, forecast};
use gatelet_cli::graph::{Activation, Dense, GraphBuilder, Matrix, Op, Output};
use gatelet_cli::host::Blob;
use gatelet_cli::import::import;
use gatelet_cli::pack::{Notes, pack};
use gatelet_cli::quantize::quantize;
use indicatif::ProgressBar;

/// Three features, the first two forecast, each in units of its own.
fn random_blob(random: &mut Random, scale: [f64; 2], offset: [f64; 2]) -> Blob {
    let mut builder = GraphBuilder::new(3);
    builder.affine("scale", vec![1.0 / scale[0], 1.0 / scale[1], 1.0], vec![0.0; 3]).unwrap();
    builder.layer("cell", cells(3, 7, random).swap_remove(0)).unwrap();
    let dense = Dense {
        weights: random.matrix(2, 7),
        bias: random.vector(2),
        activation: Activation::Linear,
    };
    builder.layer("dense", Op::Dense(dense)).unwrap();
    builder.affine("unscale", scale.to_vec(), offset.to_vec()).unwrap();
    let graph = builder.finish(Output::EveryStep).unwrap();
    let x: Vec<f32> =
        (0..50 * 3).map(|k| (random.real(2.0) * [scale[0], scale[1], 1.0][k % 3]) as f32).collect();
    let x = Sequences::new(x, 10, 3, vec![10; 5]).unwrap();
    common::blob(&graph, &x, WeightType::Int8, Packing::Plain)
}

/// Numbers from everywhere, the largest of either sign, zeros, and gaps.
fn samples(random: &mut Random, steps: usize) -> Vec<[i16; 3]> {
    let mut one = || match random.next() % 8 {
        0 => MISSING,
        1 => i16::MAX,
        2 => -i16::MAX,
        3 => 0,
        _ => (random.next() as i16).max(-i16::MAX),
    };
    (0..steps).map(|_| std::array::from_fn(|_| one())).collect()
}

/// The input that stands for an output, in floats.
fn fed_back(model: &Model<'_>, k: usize, raw: i16) -> f64 {
    let (mean_y, step_y) = model.output_scaling(k).unwrap();
    let (mean_x, step_x) = model.normalization(k).unwrap();
    let y = f64::from(mean_y) + f64::from(raw) * f64::from(step_y);
    ((y - f64::from(mean_x)) / f64::from(step_x)).clamp(-32767.0, 32767.0)
}

#[test]
fn what_is_fed_back_means_what_was_said() {
    let mut random = Random(11);
    for (scale, offset) in [
        ([1.0, 1.0], [0.0, 0.0]),
        ([1e-3, 1e5], [0.2, -3e5]),
        ([0.02, 40.0], [0.0, 1000.0]),
        ([3.0, 1e-6], [1e9, 0.0]),
    ] {
        let blob = random_blob(&mut random, scale, offset);
        let model = blob.model().unwrap();
        let mut memory = vec![0; model.memory_words()];
        let mut online = Forecaster::<3>::new(Stream::new(model, &mut memory).unwrap()).unwrap();
        for x in samples(&mut random, 200) {
            online.update(&x).unwrap();
            for (k, raw) in online.forecast().iter().enumerate() {
                let exact = fed_back(&model, k, *raw);
                let found = f64::from(online.expected()[k]);
                // Means as f32 are off by themselves, by 2^-24 of what they are.
                let room = 0.51 + exact.abs() * 1e-6;
                assert!((found - exact).abs() <= room, "{scale:?}: {found} for {exact}");
            }
            if x[2] != MISSING {
                assert_eq!(online.expected()[2], x[2], "a covariate stays");
            }
        }
    }
}

/// The stream, with every input written out.
#[test]
fn gaps_are_filled_by_forecasts() {
    let mut random = Random(12);
    let blob = random_blob(&mut random, [2.0, 300.0], [5.0, -100.0]);
    let model = blob.model().unwrap();
    let (mut a, mut b) = (vec![0; model.memory_words()], vec![0; model.memory_words()]);
    let mut online = Forecaster::<4>::new(Stream::new(model, &mut a).unwrap()).unwrap();
    let mut plain = Stream::new(model, &mut b).unwrap();
    let mut expected = [0i16; 3];
    for x in samples(&mut random, 300) {
        for (expected, x) in expected.iter_mut().zip(x) {
            if x != MISSING {
                *expected = x;
            }
        }
        let y = plain.step(&expected).unwrap();
        assert_eq!(online.update(&x).unwrap(), y);
        expected.copy_from_slice(online.expected());
    }
    // A series that never comes is forecast all the same.
    online.reset();
    for _ in 0..1000 {
        online.update(&[MISSING; 3]).unwrap();
    }
}

#[test]
fn looking_ahead_is_running_on_without_samples_and_leaves_no_trace() {
    let mut random = Random(13);
    let blob = random_blob(&mut random, [0.5, 20.0], [1.0, 2.0]);
    let model = blob.model().unwrap();
    let words = model.memory_words();
    let (mut a, mut b, mut spare) = (vec![0; words], vec![0; words], vec![7; words]);
    let mut online = Forecaster::<3>::new(Stream::new(model, &mut a).unwrap()).unwrap();
    let past = samples(&mut random, 40);
    for (step, x) in past.iter().enumerate() {
        online.update(x).unwrap();
        // Of the hour, known in advance, too much, too little, and not all.
        let hours: Vec<i16> =
            (0..step as i16).map(|k| [100 * k, MISSING][k as usize % 2]).collect();
        let mut ahead = [0; 24];
        online.ahead(&hours, &mut spare, &mut ahead).unwrap();

        let mut other = Forecaster::<3>::new(Stream::new(model, &mut b).unwrap()).unwrap();
        past[..=step].iter().for_each(|x| _ = other.update(x).unwrap());
        assert_eq!(other.forecast(), online.forecast(), "it left a trace");
        for (k, y) in ahead.chunks_exact(2).enumerate() {
            assert_eq!(y, other.forecast(), "{k} steps ahead of {step}");
            let hour = hours.get(k).copied().unwrap_or(MISSING);
            other.update(&[MISSING, MISSING, hour]).unwrap();
        }
    }
}

#[test]
fn streams_on_one_model_do_not_meet() {
    let mut random = Random(14);
    let blob = random_blob(&mut random, [1.0, 1.0], [0.0, 0.0]);
    let model = blob.model().unwrap();
    let series = [samples(&mut random, 30), samples(&mut random, 30)];
    let alone = series.each_ref().map(|series| {
        let mut memory = vec![0; model.memory_words()];
        let mut online = Forecaster::<3>::new(Stream::new(model, &mut memory).unwrap()).unwrap();
        series.iter().map(|x| online.update(x).unwrap().to_vec()).collect::<Vec<_>>()
    });
    let mut memory = [vec![0; model.memory_words()], vec![0; model.memory_words()]];
    let mut together = memory
        .each_mut()
        .map(|memory| Forecaster::<3>::new(Stream::new(model, memory).unwrap()).unwrap());
    for step in 0..30 {
        for (k, online) in together.iter_mut().enumerate() {
            assert_eq!(online.update(&series[k][step]).unwrap(), alone[k][step]);
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut random = Random(15);
    let blob = random_blob(&mut random, [1.0, 1.0], [0.0, 0.0]);
    let model = blob.model().unwrap();
    let words = model.memory_words();
    let (mut memory, mut spare) = (vec![0; words], vec![0; words]);
    let small = Forecaster::<2>::new(Stream::new(model, &mut memory).unwrap());
    assert_eq!(small.err(), Some(Error::Memory { needed: 3, given: 2 }));
    let mut online = Forecaster::<3>::new(Stream::new(model, &mut memory).unwrap()).unwrap();
    assert_eq!(online.update(&[0; 2]), Err(Error::Shape { expected: 3, found: 2 }));
    let loose = online.ahead(&[], &mut spare, &mut [0; 5]);
    assert_eq!(loose, Err(Error::Shape { expected: 2, found: 1 }));
    let short = online.ahead(&[], &mut spare[1..], &mut [0; 4]);
    assert_eq!(short, Err(Error::Memory { needed: words, given: words - 1 }));
    online.ahead(&[], &mut spare, &mut []).unwrap();
    assert_eq!(Detector::<2>::new(&model).err(), Some(Error::Header { field: "anomaly" }));

    // More outputs than inputs; and outputs so coarse that they say nothing about the input.
    let mut refusal = |inputs: usize, outputs: usize, coarse: f64| {
        let mut builder = GraphBuilder::new(inputs);
        let weights = Matrix::new(outputs, inputs, vec![coarse; outputs * inputs]);
        let dense = Dense { weights, bias: vec![0.0; outputs], activation: Activation::Linear };
        builder.layer("dense", Op::Dense(dense)).unwrap();
        let graph = builder.finish(Output::EveryStep).unwrap();
        let x = random.sequences(3, 4, inputs);
        let blob = common::blob(&graph, &x, WeightType::Int16, Packing::Plain);
        let model = blob.model().unwrap();
        let mut memory = vec![0; model.memory_words()];
        Forecaster::<4>::new(Stream::new(model, &mut memory).unwrap()).err()
    };
    assert_eq!(refusal(1, 2, 1.0), Some(Error::Shape { expected: 1, found: 2 }));
    assert_eq!(refusal(1, 1, 1000.0), Some(Error::Header { field: "outputs" }));
    assert_eq!(refusal(1, 1, 50.0), None);
}

#[test]
fn nan_is_a_gap() {
    let mut random = Random(16);
    let blob = random_blob(&mut random, [1.0, 1.0], [0.0, 0.0]);
    let model = blob.model().unwrap();
    let mut memory = vec![0; model.memory_words()];
    let online = Forecaster::<3>::new(Stream::new(model, &mut memory).unwrap()).unwrap();
    let mut x = [0; 3];
    online.quantize(&[f32::NAN, f32::NEG_INFINITY, 0.0], &mut x);
    assert_eq!((x[0], x[1]), (MISSING, -32767));
    assert_ne!(x[2], MISSING);
}

/// The committed forecaster of a series, with the settings of an anomaly detector.
fn forecaster(name: &str, settings: &str) -> Blob {
    let graph = import(&data(&format!("series/{name}.keras"))).unwrap();
    let x = Dataset::read(&data(&format!("series/{name}_calib.npz"))).unwrap().x;
    let seen = calibrate(&graph, &x, &ProgressBar::hidden());
    let quantized = quantize(&graph, &seen, WeightType::Int8).unwrap();
    let plain = Blob::new(&pack(&quantized, Packing::Plain, &Notes::default()).unwrap());
    let settings = anomaly::parse(settings).unwrap();
    let section = anomaly::section(plain.model().unwrap(), &x, settings).unwrap();
    let mut notes = Notes::default();
    notes.extras.insert(gatelet::blob::format::extra::ANOMALY, section);
    Blob::new(&pack(&quantized, Packing::Plain, &notes).unwrap())
}

fn series(name: &str, inputs: usize) -> Series {
    Series::read(&data(&format!("series/{name}.csv")), inputs).unwrap().remove(0)
}

fn figures<'a>(outcome: &'a Outcome, channel: usize, method: &str) -> &'a Figures {
    outcome.channels[channel].figures.iter().find(|f| f.method == method).unwrap()
}

/// As the table of `tests/data/series/README.md` says, where the LSTM loses included.
#[test]
fn int8_forecasts_are_worth_those_of_float() {
    for (name, inputs, horizon, season, wins) in [
        ("airline", 1, 12, 12, false),
        ("solar", 1, 24, 24, true),
        ("demand", 1, 24, 168, true),
        ("household", 4, 24, 24, true),
    ] {
        let blob = forecaster(name, "");
        let graph = import(&data(&format!("series/{name}.keras"))).unwrap();
        let options = Options { horizon, season: Some(season), test: None };
        let outcome = forecast(&blob, Some(&graph), &series(name, inputs), options).unwrap();
        println!("{name}: {:?}", outcome.channels.iter().map(|c| &c.figures).collect::<Vec<_>>());
        for (k, channel) in outcome.channels.iter().enumerate() {
            let of = |method| figures(&outcome, k, method);
            let mase = |method| of(method).mase.unwrap();
            assert!(
                (mase("integer") / mase("float") - 1.0).abs() < 0.02,
                "{name} {}",
                channel.name
            );
            assert!(
                (of("integer").smape - of("float").smape).abs() < 0.2,
                "{name} {}",
                channel.name
            );
            let best = mase("seasonal-naive").min(mase("linear"));
            assert_eq!(mase("integer") < best, wins, "{name} {}", channel.name);
            assert_eq!(channel.forecast.len(), horizon);
        }
    }
}

/// 30 hours in a row, and a covariate of the future that is not given.
#[test]
fn a_gap_in_a_real_series_costs_little() {
    let blob = forecaster("household", "");
    let options = Options { horizon: 24, season: Some(24), test: None };
    let whole = series("household", 4);
    let mut gappy = whole.clone();
    for row in &mut gappy.rows[3180..3210] {
        row[..2].fill(f64::NAN);
    }
    let mase = |series: &Series| {
        let outcome = forecast(&blob, None, series, options).unwrap();
        (outcome.missing, figures(&outcome, 0, "integer").mase.unwrap())
    };
    let ((before, whole), (after, gappy)) = (mase(&whole), mase(&gappy));
    assert_eq!(after - before, 60);
    assert!((gappy / whole - 1.0).abs() < 0.02, "{gappy} with a gap, {whole} without");
}

#[test]
fn a_series_that_stands_still_is_no_obstacle() {
    let blob = forecaster("demand", "");
    let options = Options { horizon: 10, season: None, test: None };
    for value in [0.0, 2500.0, 1e30] {
        let constant = Series {
            name: "constant".to_owned(),
            features: vec!["kW".to_owned()],
            rows: vec![vec![value]; 200],
        };
        let outcome = forecast(&blob, None, &constant, options).unwrap();
        assert_eq!(figures(&outcome, 0, "integer").mase, None, "nothing to scale by");
        assert!(outcome.channels[0].forecast.iter().all(|v| v.is_finite()));
    }
    let short = Series { name: "short".to_owned(), features: vec![], rows: vec![vec![1.0]; 15] };
    let error = forecast(&blob, None, &short, options).unwrap_err().to_string();
    assert!(error.contains("too few to measure"), "{error}");
}

/// Spikes and a stuck sensor in the demand, where the detector is quiet without them.
#[test]
fn what_no_one_could_expect_raises_the_alarm() {
    let blob = forecaster("demand", "threshold=10,raise=1,clear=2");
    let model = blob.model().unwrap();
    let options = Options { horizon: 1, season: Some(24), test: None };
    let alarms = |series: &Series| forecast(&blob, None, series, options).unwrap().alarms.unwrap();
    let quiet = series("demand", 1);
    let before = alarms(&quiet);
    assert!(before.len() < 25, "1 % of the steps: {before:?}");
    let spikes = [600, 1100, 1600, 2100];
    let mut spiky = quiet.clone();
    for step in spikes {
        spiky.rows[step][0] += 2500.0;
    }
    let found = alarms(&spiky);
    assert!(spikes.iter().all(|step| found.contains(step)), "{found:?}");
    // Scores of the spikes alone, as a firmware would ask for them.
    let mut memory = vec![0; model.memory_words()];
    let mut online = Forecaster::<1>::new(Stream::new(model, &mut memory).unwrap()).unwrap();
    let mut detector = Detector::<1>::new(&model).unwrap();
    for (step, row) in spiky.rows.iter().enumerate() {
        let mut x = [0];
        online.quantize(&[row[0] as f32], &mut x);
        let verdict = detector.update(&online, &x);
        assert_eq!(verdict.alarm, found.contains(&step), "step {step}");
        assert_eq!(verdict.score.is_none(), step < 24);
        online.update(&x).unwrap();
    }
}

#[test]
fn gaps_in_calibration_are_refused() {
    let error = Sequences::new(vec![1.0, f32::NAN], 2, 1, vec![2]).unwrap_err().to_string();
    assert!(error.contains("x[0, 1, 0] is NaN: clean the data"), "{error}");
}

/// What the firmware's logic answers on this machine.
fn on_host(model: Model<'_>, mut input: &[u8]) -> Vec<u8> {
    let (mut memory, mut spare) = (vec![0; model.memory_words()], vec![0; model.memory_words()]);
    let mut online = Forecaster::<4>::new(Stream::new(model, &mut memory).unwrap()).unwrap();
    let mut output = Vec::new();
    gatelet_app::forecast(&mut online, &mut spare, &mut input, &mut output).unwrap();
    output
}

/// A home's hours with a gap, a spike and the extremes: every forecast of a day ahead, every score.
#[test]
fn boards_forecast_as_the_host_does() {
    let blob = Blob::read(&data("blobs/household_lstm_int8_dsp.gate")).unwrap();
    let model = blob.model().unwrap();
    let mut samples = Vec::new();
    let mut memory = vec![0; model.memory_words()];
    let online = Forecaster::<4>::new(Stream::new(model, &mut memory).unwrap()).unwrap();
    for row in &series("household", 4).rows[2570..2630] {
        let row: Vec<f32> = row.iter().map(|v| *v as f32).collect();
        let mut x = [0; 4];
        online.quantize(&row, &mut x);
        samples.push(x);
    }
    assert!(samples.iter().any(|x| x[0] == MISSING), "these hours have a gap");
    samples[30] = [i16::MAX, -i16::MAX, MISSING, i16::MAX];
    let mut input = (samples.len() as u32).to_le_bytes().to_vec();
    input.extend(samples.iter().flatten().flat_map(|x| x.to_le_bytes()));
    let expected = on_host(model, &input);
    assert_eq!(expected.len(), samples.len() * (4 + 24 * 2 * 2));
    let scores = expected.chunks_exact(100).map(|step| u16::from_le_bytes([step[0], step[1]]));
    assert!(scores.clone().any(|score| score > 10 << 8) && scores.clone().any(|score| score == 0));

    for board in
        ["cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55", "riscv32"]
    {
        let output = on_board(board, "forecast", "household", &blob, &input);
        assert!(output == expected, "{board} differs");
    }
}
