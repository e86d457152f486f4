//! What quantization promises, whatever the network.

use gatelet::{Packing, WeightType};
use gatelet_cli::budget::search;
use gatelet_cli::calibrate::{Statistics, calibrate};
use gatelet_cli::data::{Dataset, Sequences, Targets};
use gatelet_cli::evaluate::{argmax, evaluate};
use gatelet_cli::graph::{
    Activation, Dense, Graph, GraphBuilder, Lstm, Matrix, Op, Output, Rnn, RnnActivation,
};
use gatelet_cli::host::{self, Blob};
use gatelet_cli::pack::{Notes, pack};
use gatelet_cli::quantize::{Quantized, quantize};
use gatelet_cli::reference;
use indicatif::ProgressBar;

/// Numbers that repeat, uniform in ±1.
struct Random(u64);

impl Random {
    fn real(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    fn matrix(&mut self, rows: usize, cols: usize, limit: f64) -> Matrix {
        Matrix::new(rows, cols, (0..rows * cols).map(|_| limit * self.real()).collect())
    }

    fn sequences(&mut self, samples: usize, steps: usize, features: usize) -> Sequences {
        let values = (0..samples * steps * features).map(|_| self.real() as f32).collect();
        Sequences::new(values, steps, features, vec![steps; samples]).unwrap()
    }
}

/// An LSTM and a softmax behind it.
fn lstm(inputs: usize, units: usize, limit: f64, random: &mut Random) -> Graph {
    let mut builder = GraphBuilder::new(inputs);
    let (input, recurrent) =
        (random.matrix(4 * units, inputs, limit), random.matrix(4 * units, units, limit));
    builder.layer("lstm", Op::Lstm(Lstm::new(input, recurrent, vec![0.1; 4 * units]))).unwrap();
    head(builder, random)
}

fn head(mut builder: GraphBuilder, random: &mut Random) -> Graph {
    let weights = random.matrix(5, builder.width(), 1.0);
    let (bias, activation) = (vec![0.0; 5], Activation::Softmax);
    builder.layer("head", Op::Dense(Dense { weights, bias, activation })).unwrap();
    builder.finish(Output::Last).unwrap()
}

fn statistics(graph: &Graph, x: &Sequences) -> Statistics {
    calibrate(graph, x, &ProgressBar::hidden())
}

fn blob(quantized: &Quantized) -> Blob {
    Blob::new(&pack(quantized, Packing::Plain, &Notes::default()).unwrap())
}

const TYPES: [WeightType; 3] = [WeightType::Int4, WeightType::Int8, WeightType::Int16];

#[test]
fn the_same_input_gives_the_same_bytes_on_any_number_of_threads() {
    let mut random = Random(1);
    let graph = lstm(7, 13, 0.6, &mut random);
    let x = random.sequences(50, 20, 7);
    for weights in TYPES {
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                blob(&quantize(&graph, &statistics(&graph, &x), weights).unwrap()).bytes().to_vec()
            })
        };
        assert!(on(1) == on(5), "{weights:?}");
    }
}

#[test]
fn no_row_can_overflow() {
    let mut random = Random(2);
    // Wide rows of large weights: the sum, not the largest weight, is what limits them.
    for (inputs, units, limit) in [(300, 20, 0.05), (3, 200, 4.0), (40, 9, 1e-3)] {
        let graph = lstm(inputs, units, limit, &mut random);
        let x = random.sequences(8, 10, inputs);
        let seen = statistics(&graph, &x);
        for weights in TYPES {
            for row in quantize(&graph, &seen, weights).unwrap().layers.iter().flat_map(|l| &l.rows)
            {
                for product in [&row.x, &row.h] {
                    let scale = |c: usize| product.scales.get(c / 32).map_or(1, |s| i64::from(*s));
                    let columns = product.weights.iter().enumerate();
                    let sum: i64 = columns.map(|(c, w)| i64::from(*w).abs() * scale(c)).sum();
                    assert!(sum * 32767 <= i64::from(i32::MAX), "{weights:?}: {sum}");
                    assert!(product.multiplier >= 0);
                }
            }
        }
    }
}

#[test]
fn every_bit_of_the_weights_pays() {
    let mut random = Random(3);
    let graph = lstm(20, 32, 0.4, &mut random);
    let x = random.sequences(60, 30, 20);
    let seen = statistics(&graph, &x);
    let sqnr = TYPES.map(|weights| {
        let blob = blob(&quantize(&graph, &seen, weights).unwrap());
        seen.trial.layers(&blob.model().unwrap())[0].db()
    });
    println!("SQNR of the LSTM {sqnr:.1?} dB");
    assert!(sqnr[0] > 18.0 && sqnr[1] > sqnr[0] + 20.0 && sqnr[2] > sqnr[1] + 12.0, "{sqnr:?}");
}

#[test]
fn a_layer_that_needs_more_bits_gets_them() {
    let mut random = Random(4);
    let mut builder = GraphBuilder::new(4);
    // Units that reach several hundred: one of them can move a logit further than 8 bits can say.
    let (input, recurrent) = (random.matrix(8, 4, 400.0), random.matrix(8, 8, 0.1));
    let activation = RnnActivation::Relu;
    builder
        .layer("rnn", Op::Rnn(Rnn { input, recurrent, bias: vec![0.0; 8], activation }))
        .unwrap();
    let graph = head(builder, &mut random);
    let x = random.sequences(20, 10, 4);
    let quantized = quantize(&graph, &statistics(&graph, &x), WeightType::Int8).unwrap();
    assert_eq!(quantized.layers[0].weights, WeightType::Int8);
    assert_eq!(quantized.layers[1].weights, WeightType::Int16);
}

#[test]
fn a_wild_value_does_not_cost_the_others_their_precision() {
    let mut random = Random(5);
    let graph = lstm(3, 16, 1.0, &mut random);
    let clean = random.sequences(100, 20, 3);
    let mut values: Vec<f32> = (0..100).flat_map(|n| clean.sample(n).to_vec()).collect();
    values[3000] = 1e6;
    let wild = Sequences::new(values, 20, 3, vec![20; 100]).unwrap();
    let sqnr = |x: &Sequences, saturating: &[usize]| {
        let seen = statistics(&graph, x);
        let quantized = quantize(&graph, &seen, WeightType::Int8).unwrap();
        assert_eq!(quantized.saturating(&seen), saturating);
        let blob = blob(&quantized);
        statistics(&graph, &clean).trial.layers(&blob.model().unwrap())[0].db()
    };
    let (clean, wild) = (sqnr(&clean, &[]), sqnr(&wild, &[0]));
    assert!(wild > 30.0 && wild > clean - 10.0, "{clean} dB, {wild} dB with a wild value");
}

#[test]
fn inputs_that_never_move_are_no_obstacle() {
    let mut random = Random(6);
    let graph = lstm(3, 5, 0.5, &mut random);
    let x = Sequences::new(vec![0.25; 4 * 6 * 3], 6, 3, vec![6; 4]).unwrap();
    for weights in TYPES {
        let quantized = quantize(&graph, &statistics(&graph, &x), weights).unwrap();
        assert!(blob(&quantized).model().is_ok());
    }
}

#[test]
fn a_deep_stack_is_widened_layer_by_layer() {
    let mut random = Random(7);
    let mut builder = GraphBuilder::new(6);
    for k in 0..4 {
        let (input, recurrent) =
            (random.matrix(12, builder.width(), 0.8), random.matrix(12, 12, 0.4));
        let rnn = Rnn { input, recurrent, bias: vec![0.1; 12], activation: RnnActivation::Tanh };
        builder.layer(format!("rnn{k}"), Op::Rnn(rnn)).unwrap();
    }
    let graph = head(builder, &mut random);
    let x = random.sequences(120, 12, 6);
    let answers = reference::forward(&graph, &x).into_iter().map(|r| argmax(r.last(5)) as i64);
    let y = Some(Targets::Classes(answers.collect()));
    let data = Dataset { x: x.clone(), y };
    let seen = statistics(&graph, &x);
    let find =
        |budget| search(&graph, &seen, &data, budget, Packing::Plain, &ProgressBar::hidden());
    let found = find(2.5).unwrap();
    assert_eq!(found.combinations, 243);
    let (last, before) = found.trials.split_last().unwrap();
    assert!(last.cost <= 2.5 && before.iter().all(|trial| trial.cost > 2.5));
    assert!(found.trials.is_sorted_by_key(|trial| trial.bytes));
    assert_eq!(blob(&found.model).bytes().len(), last.bytes);
    // Whatever may be lost, nothing is smaller than 4 bits everywhere.
    assert_eq!(find(100.0).unwrap().trials.len(), 1);
    let message = find(-1.0).unwrap_err().to_string();
    assert!(message.contains("no weights keep within"), "{message}");
}

/// What one step for all outputs could not tell apart, a step for each can.
#[test]
fn outputs_of_very_different_sizes_keep_their_precision() {
    let mut random = Random(8);
    let (units, steps) = (6, 20);
    let mut builder = GraphBuilder::new(2);
    let (input, recurrent) =
        (random.matrix(4 * units, 2, 0.8), random.matrix(4 * units, units, 0.5));
    builder.layer("lstm", Op::Lstm(Lstm::new(input, recurrent, vec![0.1; 24]))).unwrap();
    let weights = random.matrix(2, units, 1.0);
    let dense = Dense { weights, bias: vec![0.0; 2], activation: Activation::Linear };
    builder.layer("dense", Op::Dense(dense)).unwrap();
    // Pascal and a share.
    builder.affine("unscale", vec![2500.0, 0.01], vec![101_325.0, 0.4]).unwrap();
    let graph = builder.finish(Output::EveryStep).unwrap();
    assert_eq!(graph.layers.len(), 2, "it takes no layer");

    let x = random.sequences(40, steps, 2);
    let quantized = quantize(&graph, &statistics(&graph, &x), WeightType::Int8).unwrap();
    let blob = blob(&quantized);
    let model = blob.model().unwrap();
    assert!((model.output_scaling(0).unwrap().0 - 101_325.0).abs() < 0.1);
    let integer = host::run(&model, &x, &ProgressBar::hidden());
    for (float, raw) in reference::answers(&graph, &x).iter().zip(&integer) {
        let found = host::dequantize(&model, raw);
        for (exact, found) in float.chunks_exact(2).zip(found.chunks_exact(2)) {
            assert!((exact[0] - found[0]).abs() < 50.0, "{exact:?} {found:?}");
            assert!((exact[1] - found[1]).abs() < 0.0002, "{exact:?} {found:?}");
        }
        // On the chip the same, in single precision.
        let mut chip = [0.0; 2];
        model.dequantize(&raw[..2], &mut chip);
        assert!((f64::from(chip[1]) - found[1]).abs() < 1e-6);
    }
    // The shares, 0.4 of one in 100,000, do not hide what the network says of them.
    let data = Dataset { x, y: None };
    let result = evaluate(&blob, &data, Some(&graph), &ProgressBar::hidden()).unwrap();
    assert!((30.0..70.0).contains(&result.sqnr_db.unwrap()), "{result:?}");
}

/// Scales that no blob can hold, and offsets alone, go into the layer.
#[test]
fn what_no_step_can_stand_for_stays_in_the_network() {
    let mut random = Random(9);
    let x = random.sequences(10, 5, 2);
    for (scale, offset) in [([-2.0, 0.0], [1.0, 3.0]), ([1.0, 1.0], [5.0, -5.0])] {
        for activation in [Activation::Linear, Activation::Tanh] {
            let mut builder = GraphBuilder::new(2);
            let weights = Matrix::diagonal(&[0.5, 0.25]);
            let dense = Dense { weights, bias: vec![0.0; 2], activation };
            builder.layer("dense", Op::Dense(dense)).unwrap();
            builder.affine("affine", scale.to_vec(), offset.to_vec()).unwrap();
            let graph = builder.finish(Output::Last).unwrap();
            let plain = |v: f64| if activation == Activation::Tanh { v.tanh() } else { v };
            for (sample, answer) in reference::answers(&graph, &x).iter().enumerate() {
                let last = &x.sample(sample)[8..];
                let expected = [0, 1]
                    .map(|k| scale[k] * plain(f64::from(last[k]) * [0.5, 0.25][k]) + offset[k]);
                let close = answer.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
                assert!(close, "{answer:?} {expected:?}");
            }
            let scaled = scale[0] == 1.0 && activation == Activation::Tanh;
            assert_eq!(graph.answers.is_some(), scaled, "{scale:?} {activation:?}");
        }
    }
}
