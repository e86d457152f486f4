//! What fuzzing starts from: a small blob of every kind of layer, way through a sequence and section,
//! so that no fuzzer has to guess one. With `GATELET_SEEDS=write` the test writes those that are
//! missing.

mod common;

use std::collections::BTreeSet;
use std::fs;

use common::blobs::{NOISE, corpus, seeds, with_model};
use common::{Random, USUAL, cells, classifier, layer_norm, sealed};
use ed25519_dalek::SigningKey;
use gatelet::blob::format::{extra, flags, header, layer};
use gatelet::{Packing, Stream, WeightType};
use gatelet_cli::audio::Settings;
use gatelet_cli::calibrate::calibrate;
use gatelet_cli::data::Sequences;
use gatelet_cli::graph::{
    Activation, Affine, Dense, Direction, Embedding, Graph, GraphBuilder, Op, Output,
};
use gatelet_cli::host::Blob;
use gatelet_cli::pack::{Notes, pack};
use gatelet_cli::quantize::quantize;
use gatelet_cli::vocabulary::Vocabulary;
use gatelet_cli::{self_test, sign};
use indicatif::ProgressBar;

const INPUTS: usize = 5;

type Seed = (String, Vec<u8>);

fn packed(graph: &Graph, x: &Sequences, weights: WeightType, notes: &Notes) -> Vec<u8> {
    let ranges = calibrate(graph, x, &ProgressBar::hidden());
    pack(&quantize(graph, &ranges, weights).unwrap(), Packing::Plain, notes).unwrap()
}

/// A recurrent cell of each kind, and a layer normalization.
fn layers(seeds: &mut Vec<Seed>) {
    const NAMES: [&str; 7] = [
        "lstm-hard",
        "gru-before-hard",
        "gru-after-hard",
        "lstm-peepholes-projection",
        "fastrnn",
        "fastgrnn",
        "norm",
    ];
    let mut random = Random(6);
    let x = random.sequences(2, 8, INPUTS);
    let norm = layer_norm(INPUTS, &mut random);
    let ops = cells(INPUTS, 3, &mut random).into_iter().skip(USUAL).chain([norm]);
    for (op, name) in ops.zip(NAMES) {
        let graph = classifier(vec![op], 2, Output::Last, &mut random);
        let blob = packed(&graph, &x, WeightType::Int8, &Notes::default());
        seeds.push((name.to_owned(), blob));
    }
}

/// A layer in both directions, of each way to answer.
fn both_ways(seeds: &mut Vec<Seed>) {
    let mut random = Random(7);
    let x = random.sequences(2, 8, INPUTS);
    for (cell, name, output) in [
        (0, "both-last", Output::Last),
        (2, "both-at-last", Output::AtLast),
        (3, "both-every", Output::EveryStep),
    ] {
        let mut builder = GraphBuilder::new(INPUTS);
        let mut op = || cells(INPUTS, 4, &mut random).swap_remove(cell);
        let (there, back) = (op(), op());
        builder.layer("there", there).unwrap();
        builder.beside("back", back, Direction::Reverse).unwrap();
        builder.layer("head", dense(2, builder.width(), &mut random)).unwrap();
        let graph = builder.finish(output).unwrap();
        seeds.push((name.to_owned(), packed(&graph, &x, WeightType::Int8, &Notes::default())));
    }
}

fn dense(units: usize, inputs: usize, random: &mut Random) -> Op {
    let (weights, bias) = (random.matrix(units, inputs), random.vector(units));
    Op::Dense(Dense { weights, bias, activation: Activation::Linear })
}

const TOKENS: [&str; 7] = ["<unk>", "<s>", "</s>", "a", "b", "é", "量"];

fn tokens(samples: usize, steps: usize) -> Sequences {
    let values = (0..samples * steps).map(|k| (k % TOKENS.len()) as f32).collect();
    Sequences::new(values, steps, 1, vec![steps; samples]).unwrap()
}

/// What takes tokens, in every type of weights, and encoder-decoders.
fn texts(seeds: &mut Vec<Seed>) {
    let mut random = Random(8);
    let vocabulary = Vocabulary::new(TOKENS.map(str::to_owned).to_vec()).unwrap();
    let section = vocabulary.section(TOKENS.len(), TOKENS.len(), &[]).unwrap();
    let notes = Notes { extras: [(extra::VOCABULARY, section)].into(), ..Notes::default() };
    let embedding =
        |random: &mut Random| Op::Embedding(Embedding { table: random.matrix(TOKENS.len(), 5) });
    for weights in [WeightType::Int8, WeightType::Int16, WeightType::Int4] {
        let mut builder = GraphBuilder::new(1);
        builder.layer("embedding", embedding(&mut random)).unwrap();
        builder.layer("gru", cells(5, 4, &mut random).swap_remove(2)).unwrap();
        builder.layer("head", dense(TOKENS.len(), 4, &mut random)).unwrap();
        let graph = builder.finish(Output::EveryStep).unwrap();
        let name = format!("text-{weights:?}").to_lowercase();
        seeds.push((name, packed(&graph, &tokens(2, 8), weights, &notes)));
    }
    for (name, tokenized) in [("speller", true), ("encoder-decoder", false)] {
        let inputs = if tokenized { 1 } else { 5 };
        let mut builder = GraphBuilder::new(inputs);
        for part in ["encoder", "decoder"] {
            if part == "decoder" {
                builder.decoder(inputs).unwrap();
            }
            if tokenized {
                builder.layer(format!("{part} embedding"), embedding(&mut random)).unwrap();
            }
            builder.layer(part, cells(5, 4, &mut random).swap_remove(0)).unwrap();
        }
        builder.layer("head", dense(TOKENS.len(), 4, &mut random)).unwrap();
        let graph = builder.finish(Output::EveryStep).unwrap();
        let x = if tokenized { tokens(2, 8) } else { random.sequences(2, 8, 5) };
        let (x, none) = (x.encoded(vec![4, 4]).unwrap(), Notes::default());
        let notes = if tokenized { &notes } else { &none };
        seeds.push((name.to_owned(), packed(&graph, &x, WeightType::Int8, notes)));
    }
}

/// What hears, with bands and with cepstral coefficients.
fn spotters(seeds: &mut Vec<Seed>) {
    let mut random = Random(9);
    for (name, coefficients) in [("spotter-bands", 0), ("spotter-mfcc", 3)] {
        let settings = Settings {
            window: 60,
            hop: 40,
            bands: 4,
            low: 300.0,
            pre_emphasis: 0.9,
            coefficients,
            adaptation: 3,
            ..Settings::default()
        };
        let audio = settings.section().unwrap();
        let inputs = gatelet::audio::Settings::from_bytes(&audio).unwrap().features();
        let trigger = [2u16, 3, 1000, 0, 20_000].map(u16::to_le_bytes).concat();
        let extras = [(extra::AUDIO, audio), (extra::TRIGGER, trigger)].into();
        let rnn = cells(inputs, 4, &mut random).swap_remove(3);
        let graph = classifier(vec![rnn], 2, Output::EveryStep, &mut random);
        let notes = Notes { extras, labels: vec!["none".into(), "one".into()], ..Notes::default() };
        let x = random.sequences(2, 8, inputs);
        seeds.push((name.to_owned(), packed(&graph, &x, WeightType::Int8, &notes)));
    }
}

/// What forecasts in units of its own, tells anomalies, and proves itself; and that one signed.
fn forecasters(seeds: &mut Vec<Seed>) {
    let mut random = Random(10);
    let x = random.sequences(2, 8, 2);
    let mut builder = GraphBuilder::new(2);
    builder.layer("lstm", cells(2, 4, &mut random).swap_remove(0)).unwrap();
    builder.layer("head", dense(2, 4, &mut random)).unwrap();
    let graph = builder.finish(Output::EveryStep).unwrap();
    let affine = || Affine { scale: vec![2.0, 0.5], offset: vec![10.0, -1.0] };
    let graph = graph.scaled(&affine(), &affine()).unwrap();
    let anomaly = [&[0, 8, 1, 0, 6, 1, 3, 0][..], &[0, 0, 1, 0].repeat(2)].concat();
    let mut notes = Notes { extras: [(extra::ANOMALY, anomaly)].into(), ..Notes::default() };
    notes.metadata.push(("made".to_owned(), "by hand".to_owned()));
    let blob = Blob::new(&packed(&graph, &x, WeightType::Int8, &notes));
    notes.extras.insert(extra::SELF_TEST, self_test::section(&blob.model().unwrap(), &x));
    let blob = packed(&graph, &x, WeightType::Int8, &notes);
    let key = SigningKey::from_bytes(&[7; 32]);
    let signed = sign::sign(&Blob::new(&blob), &key, 3).unwrap();
    seeds.push(("forecaster".to_owned(), blob));
    seeds.push(("forecaster-signed".to_owned(), signed));
}

fn made() -> Vec<Seed> {
    let mut seeds = Vec::new();
    layers(&mut seeds);
    both_ways(&mut seeds);
    texts(&mut seeds);
    spotters(&mut seeds);
    forecasters(&mut seeds);
    seeds
}

/// Kind and variant of the layers, kinds of sections, and other features that the blob has.
fn features(blob: &[u8]) -> BTreeSet<String> {
    let word = |at: usize| u32::from_le_bytes(blob[at..][..4].try_into().unwrap()) as usize;
    let mut features = BTreeSet::new();
    for index in 0..usize::from(blob[header::LAYERS]) {
        let at = header::BYTES + index * layer::BYTES;
        features.insert(format!(
            "layer {} {:#x}",
            blob[at + layer::KIND],
            blob[at + layer::VARIANT]
        ));
        if blob[at + layer::KIND] == 5 {
            features.insert(format!("tokens of weights {}", blob[at + layer::WEIGHTS]));
        }
    }
    let directory = word(header::EXTRAS);
    let count = if directory == 0 { 0 } else { word(directory) };
    let entries = (0..count).map(|k| directory + 4 + extra::BYTES * k);
    features.extend(entries.map(|at| format!("section {}", word(at))));
    features.insert(format!("flags {}", blob[header::FLAGS]));
    if blob[header::ENCODER] > 0 {
        features.insert("encoder".to_owned());
    }
    features
}

#[test]
fn fuzzing_starts_from_every_kind_of_layer_and_section() {
    let made = made();
    if std::env::var("GATELET_SEEDS").is_ok_and(|value| value == "write") {
        for (name, blob) in &made {
            let path = corpus().join(name).with_extension("seed");
            if !path.exists() {
                fs::write(path, [&blob[..], &[0x5a; NOISE]].concat()).unwrap();
            }
        }
    }
    // What the tool can make, fuzzing has: and the engine loads and steps it.
    let (mut wanted, mut found) = (BTreeSet::new(), BTreeSet::new());
    for (_, blob) in &made {
        wanted.extend(features(blob));
    }
    for (name, blob) in seeds() {
        assert_eq!(sealed(blob.clone()), blob, "{name}");
        with_model(&blob, |model| {
            let model = model.unwrap_or_else(|error| panic!("{name}: {error}"));
            let mut memory = vec![0; model.memory_words()];
            let x = vec![1; model.inputs()];
            assert_eq!(model.self_test(&mut memory), Ok(()), "{name}");
            let mut stream = Stream::new(model, &mut memory).unwrap();
            assert_eq!(stream.step(&x).map(<[i16]>::len), Ok(model.outputs()), "{name}");
        });
        found.extend(features(&blob));
    }
    assert_eq!(found, wanted);
    for kind in extra::KINDS {
        assert!(found.contains(&format!("section {kind}")), "no section {kind}");
    }
    for kind in 1..=8 {
        let prefix = format!("layer {kind} ");
        let has = |found: &BTreeSet<String>| found.iter().any(|f| f.starts_with(&prefix));
        // Plain layers are in the rest of the corpus.
        assert!(has(&found), "no layer of kind {kind}");
    }
    let both = flags::LAST_STEP | flags::AT_LAST_STEP;
    assert!(found.contains(&format!("flags {both}")) && found.contains("encoder"));
}
