//! Embeddings against the rows that Keras' layer gives, in every weight type and packing; tokens that
//! the table does not have.

mod common;

use common::{blob, data};
use gatelet::blob::format::{header, layer};
use gatelet::{Error, LayerKind, Model, Packing, Stream, WeightType};
use gatelet_cli::data::{Dataset, Sequences};
use gatelet_cli::host::Blob;
use gatelet_cli::import::import;
use gatelet_cli::npz::Npz;
use gatelet_cli::reference;

/// Outputs of the layer at `index` for `tokens`, as numbers.
fn outputs(model: Model<'_>, index: usize, tokens: &[i16]) -> Vec<f64> {
    let mut memory = vec![0; model.memory_words()];
    let mut stream = Stream::new(model, &mut memory).unwrap();
    let scale = f64::from(model.layer(index).unwrap().scale());
    let step = |token: &i16| {
        stream.step(&[*token]).unwrap();
        stream.layer_output(index).iter().map(|v| f64::from(*v) * scale).collect::<Vec<_>>()
    };
    tokens.iter().flat_map(step).collect()
}

#[test]
fn rows_are_those_of_keras_in_every_type_and_packing() {
    use Packing::{Columns, Dsp, Helium, Plain};
    let graph = import(&data("import/tokens.keras")).unwrap();
    let file = data("import/tokens.npz");
    let x = Dataset::read(&file).unwrap().x;
    let tokens: Vec<i16> =
        (0..x.len()).flat_map(|n| x.sample(n)).map(|token| *token as i16).collect();
    let expected = Npz::open(&file).unwrap().array("embedded").unwrap().unwrap().into_f64();
    let peak = expected.iter().fold(0.0, |a: f64, v| a.max(v.abs()));
    for (weights, tolerance) in [
        (WeightType::Int16, 1e-4),
        (WeightType::Int8, 0.5 / 127.0 + 1e-4),
        // A row keeps 8 bits in a model of 4-bit weights.
        (WeightType::Int4, 0.5 / 127.0 + 1e-4),
    ] {
        for packing in [Plain, Dsp, Helium, Columns] {
            let blob = blob(&graph, &x, weights, packing);
            let model = blob.model().unwrap();
            assert_eq!((model.inputs(), model.layer(0).unwrap().inputs()), (1, 11));
            let found = outputs(model, 0, &tokens);
            let error = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            println!("{weights:?} {packing:?}: {:.5} of the peak", error / peak);
            assert!(error <= tolerance * peak, "{weights:?} {packing:?}: {error} of {peak}");
        }
    }
}

#[test]
fn a_token_that_the_table_does_not_have_is_token_0() {
    let graph = import(&data("import/tokens.keras")).unwrap();
    let x = Dataset::read(&data("import/tokens.npz")).unwrap().x;
    for weights in [WeightType::Int16, WeightType::Int8, WeightType::Int4] {
        let blob = blob(&graph, &x, weights, Packing::Plain);
        let model = blob.model().unwrap();
        let expected = outputs(model, 0, &[0]);
        assert_ne!(outputs(model, 0, &[10]), expected);
        for token in [11, 12, 1000, i16::MAX, -1, -11, i16::MIN] {
            assert_eq!(outputs(model, 0, &[token]), expected, "token {token}");
        }
    }
    // The float reference agrees about what such a token means.
    let of = |token: f32| {
        let x = Sequences::new(vec![token], 1, 1, vec![1]).unwrap();
        reference::forward(&graph, &x).remove(0).outputs
    };
    assert_eq!(of(-1.0), of(0.0));
    assert_eq!(of(11.0), of(0.0));
    assert_ne!(of(10.0), of(0.0));
}

#[test]
fn an_embedding_that_cannot_be_is_refused() {
    let graph = import(&data("import/tokens.keras")).unwrap();
    let x = Dataset::read(&data("import/tokens.npz")).unwrap().x;
    let blob = blob(&graph, &x, WeightType::Int8, Packing::Plain);
    assert_eq!(blob.model().unwrap().layer(0).unwrap().kind(), LayerKind::Embedding);
    let first = header::BYTES;
    let refusal = |at: usize, bytes: &[u8]| {
        let mut forged = blob.bytes().to_vec();
        forged[at..][..bytes.len()].copy_from_slice(bytes);
        Blob::new(&common::sealed(forged)).model().err()
    };
    let layer = |field| Some(Error::Layer { layer: 0, field });
    // More tokens, or wider ones, than there are bytes for.
    assert_eq!(refusal(first + layer::INPUTS, &u16::MAX.to_le_bytes()), layer("inputs"));
    assert_eq!(refusal(first + layer::INPUTS, &32768u16.to_le_bytes()), layer("data"));
    assert_eq!(refusal(first + layer::INPUTS, &[0, 0]), layer("inputs"));
    assert_eq!(refusal(first + layer::VARIANT, &[1]), layer("kind"));
    assert_eq!(refusal(first + layer::SHIFT, &[17]), layer("shift"));
    assert_eq!(refusal(first + layer::DATA, &u32::MAX.to_le_bytes()), layer("data"));
    // Only the first layer takes tokens.
    let second = first + layer::BYTES;
    let refused = refusal(second + layer::KIND, &[5, 0]);
    assert_eq!(refused, Some(Error::Layer { layer: 1, field: "kind" }));
}
