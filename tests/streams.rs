//! A stream may be cut anywhere, saved, restored and interleaved with others: always the same bits.

mod common;

use common::{Random, blob, cells, classifier};
use gatelet::{Error, Packing, Stream, WeightType};
use gatelet_cli::graph::Output;
use gatelet_cli::host::{self, Blob};

/// A stack of two layers of each kind, odd sizes, with an input of 37 steps.
fn models() -> Vec<(Blob, Vec<i16>)> {
    let mut random = Random(1);
    let lower = cells(5, 7, &mut random);
    let upper = cells(7, 6, &mut random);
    lower
        .into_iter()
        .zip(upper)
        .map(|(lower, upper)| {
            let x = random.sequences(1, 37, 5);
            let graph = classifier(vec![lower, upper], 3, Output::EveryStep, &mut random);
            let blob = blob(&graph, &x, WeightType::Int8, Packing::Plain);
            let input = host::quantize(&blob.model().unwrap(), x.sample(0));
            (blob, input)
        })
        .collect()
}

#[test]
fn steps_sequences_and_any_split_agree() {
    for (blob, input) in models() {
        let model = blob.model().unwrap();
        let words = model.memory_words();
        let (mut a, mut b) = (vec![0; words], vec![0; words]);
        let mut steps = Stream::new(model, &mut a).unwrap();
        let mut outputs = Vec::new();
        for x in input.chunks_exact(5) {
            outputs.push(steps.step(x).unwrap().to_vec());
        }
        for split in 0..=37 {
            let mut first = Stream::new(model, &mut b).unwrap();
            first.run(&input[..5 * split]).unwrap();
            let saved = first.state().to_vec();
            let mut memory = vec![0xdead_beef; words];
            let mut second = Stream::new(model, &mut memory).unwrap();
            second.restore(&saved).unwrap();
            let last = second.run(&input[5 * split..]).unwrap().to_vec();
            assert_eq!(last, outputs[36], "split after {split} steps");
            assert_eq!(second.state(), steps.state(), "split after {split} steps");
        }
    }
}

#[test]
fn streams_on_one_model_do_not_meet() {
    for (blob, input) in models() {
        let model = blob.model().unwrap();
        let reversed: Vec<i16> = input.iter().rev().copied().collect();
        let alone = |input: &[i16]| {
            let mut memory = vec![0; model.memory_words()];
            Stream::new(model, &mut memory).unwrap().run(input).unwrap().to_vec()
        };
        let (mut a, mut b) = (vec![0; model.memory_words()], vec![0; model.memory_words()]);
        let mut a = Stream::new(model, &mut a).unwrap();
        let mut b = Stream::new(model, &mut b).unwrap();
        for (x, y) in input.chunks_exact(5).zip(reversed.chunks_exact(5)) {
            a.step(x).unwrap();
            b.step(y).unwrap();
        }
        assert_eq!(a.output(), alone(&input));
        assert_eq!(b.output(), alone(&reversed));
        a.reset();
        assert_eq!(a.run(&reversed).unwrap(), alone(&reversed), "after a reset");
    }
}

#[test]
fn a_given_initial_state_is_where_the_sequence_starts() {
    for (blob, input) in models() {
        let model = blob.model().unwrap();
        let mut memory = vec![0; model.memory_words()];
        let mut stream = Stream::new(model, &mut memory).unwrap();
        let zero = stream.run(&input).unwrap().to_vec();
        let h: Vec<i16> = (0..7).map(|k| 20_000 - 5_000 * k).collect();
        let cells = [0, 1].map(|index| model.layer(index).unwrap().cells());
        let c: Vec<i32> = (0..cells[0] as i32).map(|k| (k - 3) << 20).collect();
        stream.reset();
        stream.set_state(0, &h, &c).unwrap();
        assert_eq!(stream.layer_output(0), h);
        assert_ne!(stream.run(&input[..5]).unwrap(), zero);
        stream.reset();
        stream.set_state(0, &[0; 7], &vec![0; cells[0]]).unwrap();
        stream.set_state(1, &[0; 6], &vec![0; cells[1]]).unwrap();
        assert_eq!(stream.run(&input).unwrap(), zero);
    }
}

/// A saved state may come back damaged: kernels count on its range.
#[test]
fn a_restored_state_is_brought_into_range() {
    for (blob, input) in models() {
        let model = blob.model().unwrap();
        let mut memory = vec![0; model.memory_words()];
        let mut stream = Stream::new(model, &mut memory).unwrap();
        for word in [0x7fff_ffff, 0x8000_0000, 0xa5a5_a5a5] {
            let state = vec![word; stream.state().len()];
            stream.restore(&state).unwrap();
            let cells = usize::from(matches!(
                model.layer(0).unwrap().kind(),
                gatelet::LayerKind::Lstm { .. } | gatelet::LayerKind::Gru { .. }
            ));
            for word in &stream.state()[..8 * cells] {
                assert!((*word as i32).unsigned_abs() < 1 << 29);
            }
            stream.run(&input).unwrap();
        }
    }
}

#[test]
fn wrong_shapes_are_refused() {
    let (blob, _) = models().remove(0);
    let model = blob.model().unwrap();
    let words = model.memory_words();
    let mut short = vec![0; words - 1];
    assert_eq!(
        Stream::new(model, &mut short).unwrap_err(),
        Error::Memory { needed: words, given: words - 1 }
    );
    let mut memory = vec![0; words];
    let mut stream = Stream::new(model, &mut memory).unwrap();
    assert_eq!(stream.step(&[0; 4]).unwrap_err(), Error::Shape { expected: 5, found: 4 });
    assert_eq!(stream.run(&[0; 11]).unwrap_err(), Error::Shape { expected: 5, found: 6 });
    assert!(stream.restore(&[0; 3]).is_err());
    assert!(stream.set_state(0, &[0; 6], &[0; 7]).is_err());
    assert!(stream.set_state(0, &[0; 7], &[]).is_err());
    assert!(stream.set_state(2, &[0; 3], &[]).is_err(), "a dense layer has no state");
    assert!(stream.set_state(3, &[0; 3], &[]).is_err(), "there is no such layer");
}
