//! Text to tokens, by a table in the blob; sections that lie; reviews classified and text generated, on
//! the host and on boards.

mod common;

use std::collections::BTreeMap;

use common::{data, on_board, on_host, sealed};
use gatelet::blob::format::{extra, header, vocabulary};
use gatelet::{Error, Packing, Stream, WeightType};
use gatelet_cli::calibrate::calibrate;
use gatelet_cli::data::{Dataset, Targets};
use gatelet_cli::evaluate::evaluate;
use gatelet_cli::graph::{Graph, Op};
use gatelet_cli::host::Blob;
use gatelet_cli::import::import;
use gatelet_cli::pack::{Notes, pack};
use gatelet_cli::quantize::quantize;
use gatelet_cli::text::{Generation, classify, generate};
use gatelet_cli::vocabulary::Vocabulary;
use indicatif::ProgressBar;

/// A blob that reads text.
fn reading(
    graph: &Graph,
    calibration: &Dataset,
    vocabulary: &Vocabulary,
    labels: &[String],
    packing: Packing,
) -> Blob {
    let Op::Embedding(embedding) = &graph.layers[0].op else { panic!("an embedding first") };
    let section = vocabulary.section(embedding.table.rows(), graph.outputs(), labels).unwrap();
    let seen = calibrate(graph, &calibration.x, &ProgressBar::hidden());
    let quantized = quantize(graph, &seen, WeightType::Int8).unwrap();
    let extras = BTreeMap::from([(extra::VOCABULARY, section)]);
    let notes = Notes { labels: labels.to_vec(), extras, ..Notes::default() };
    Blob::new(&pack(&quantized, packing, &notes).unwrap())
}

/// The network of eleven tokens, which are these.
fn eleven(tokens: [&str; 11]) -> Blob {
    let graph = import(&data("import/tokens.keras")).unwrap();
    let calibration = Dataset::read(&data("import/tokens.npz")).unwrap();
    let vocabulary = Vocabulary::new(tokens.map(str::to_owned).to_vec()).unwrap();
    reading(&graph, &calibration, &vocabulary, &[], Packing::Plain)
}

const TOKENS: [&str; 11] = ["<pad>", "<unk>", "好", "b", "a", "\n", "é", "😀", "z", "<s>", "</s>"];

#[test]
fn text_becomes_tokens() {
    let blob = eleven(TOKENS);
    let model = blob.model().unwrap();
    let vocabulary = model.vocabulary().unwrap();
    assert_eq!((model.tokens(), vocabulary.characters()), (11, 7));
    let encoded = |text: &[u8]| vocabulary.encode(text).collect::<Vec<_>>();
    assert_eq!(encoded("ab好😀é\n".as_bytes()), [4, 3, 2, 7, 6, 5]);
    assert!(encoded(b"").is_empty());
    // Unknown: a character that has no token, and the names of those that are none.
    assert_eq!(encoded("x坏<".as_bytes()), [1, 1, 1]);
    // Invalid UTF-8: one unknown for every sequence that a decoder replaces.
    for bytes in [
        &b"a\xffb"[..],
        b"\xe5\xa5",
        b"\xe5\xa5a",
        b"\xf0\x9f\x98",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\x80\x80b\xff",
    ] {
        let replaced = String::from_utf8_lossy(bytes);
        let expected: Vec<i16> = replaced.chars().map(|c| vocabulary.token(c)).collect();
        assert_eq!(encoded(bytes), expected, "{bytes:?}");
    }
    assert_eq!(vocabulary.tokens(b"a").collect::<Vec<_>>(), [9, 4, 10]);
    assert_eq!((vocabulary.start(), vocabulary.end()), (Some(9), Some(10)));
    for (token, name) in TOKENS.iter().enumerate() {
        let character = name.chars().next().filter(|_| name.chars().count() == 1);
        assert_eq!(vocabulary.character(token as i16), character);
    }
    assert_eq!((vocabulary.character(-1), vocabulary.character(11)), (None, None));
}

#[test]
fn a_text_is_read_as_its_tokens_are_stepped() {
    let blob = eleven(TOKENS);
    let model = blob.model().unwrap();
    let (mut first, mut second) = (vec![0; model.memory_words()], vec![0; model.memory_words()]);
    let mut stepped = Stream::new(model, &mut first).unwrap();
    let mut reading = Stream::new(model, &mut second).unwrap();
    let expected = stepped.run(&[9, 4, 1, 2, 10]).unwrap();
    assert_eq!(reading.read("ax好".as_bytes()).unwrap(), expected);
    assert_eq!(reading.state(), stepped.state());
}

#[test]
fn a_model_without_a_vocabulary_reads_no_text() {
    let blob = Blob::new(&common::golden_blobs().remove(0).1);
    let model = blob.model().unwrap();
    assert!(model.vocabulary().is_none() && model.tokens() == 0);
    let mut memory = vec![0; model.memory_words()];
    let mut stream = Stream::new(model, &mut memory).unwrap();
    assert_eq!(stream.read(b"a"), Err(Error::Vocabulary));
}

#[test]
fn vocabularies_that_lie_are_refused() {
    let blob = eleven(TOKENS);
    let u32_at = |at: usize| u32::from_le_bytes(blob.bytes()[at..][..4].try_into().unwrap());
    let directory = u32_at(header::EXTRAS) as usize;
    let section = u32_at(directory + 8) as usize;
    let forged = |at: usize, bytes: &[u8]| {
        let mut forged = blob.bytes().to_vec();
        forged[section + 4 + at..][..bytes.len()].copy_from_slice(bytes);
        Blob::new(&sealed(forged)).model().err()
    };
    let refused = Some(Error::Header { field: "vocabulary" });
    let eleven = 11u16.to_le_bytes();
    assert_eq!(forged(vocabulary::UNKNOWN, &eleven), refused);
    assert_eq!(forged(vocabulary::UNKNOWN, &[255, 255]), refused);
    assert_eq!(forged(vocabulary::START, &eleven), refused);
    assert_eq!(forged(vocabulary::START, &[255, 255]), None);
    assert_eq!(forged(vocabulary::OUTPUT_START, &4u16.to_le_bytes()), refused);
    assert_eq!(forged(vocabulary::OUTPUT_END, &3u16.to_le_bytes()), None);
    assert_eq!(forged(vocabulary::RESERVED, &[1]), refused);
    let first = vocabulary::BYTES;
    // Not ascending, twice the same, no character, a token that the model does not know.
    assert_eq!(forged(first, &u32::from('z').to_le_bytes()), refused);
    assert_eq!(forged(first, &u32::from('a').to_le_bytes()), refused);
    assert_eq!(forged(first + 24, &0x11_0000u32.to_le_bytes()), refused);
    assert_eq!(forged(first + 24, &0xD800u32.to_le_bytes()), refused);
    assert_eq!(forged(first + 28, &eleven), refused);
    // A length that is no whole number of entries, or less than the header.
    let length = u32_at(section);
    for length in [length - 1, length - 6 + 3, 11, 0] {
        let mut forged = blob.bytes().to_vec();
        forged[section..][..4].copy_from_slice(&length.to_le_bytes());
        assert_eq!(Blob::new(&sealed(forged)).model().err(), refused, "{length}");
    }
}

/// The sentiment model, as `gatelet quantize` makes it.
fn sentiment(packing: Packing) -> Blob {
    let graph = import(&data("sentiment/gru.keras")).unwrap();
    let calibration = Dataset::read(&data("sentiment/calib.npz")).unwrap();
    let vocabulary = Vocabulary::read(&data("sentiment/vocabulary.txt")).unwrap();
    let labels = ["negative", "positive"].map(str::to_owned);
    reading(&graph, &calibration, &vocabulary, &labels, packing)
}

/// Held-out reviews and whether they are positive.
fn reviews() -> Vec<(String, bool)> {
    let text = std::fs::read_to_string(data("sentiment/reviews.tsv")).unwrap();
    let review = |line: &str| {
        let (label, review) = line.split_once('\t').unwrap();
        (review.to_owned(), label == "1")
    };
    text.lines().map(review).collect()
}

#[test]
fn reviews_lose_a_tenth_of_a_point_or_less() {
    let blob = sentiment(Packing::Dsp);
    assert!(blob.bytes().len() <= 200 << 10, "{} bytes", blob.bytes().len());
    assert!(4 * blob.model().unwrap().memory_words() <= 4 << 10);
    let graph = import(&data("sentiment/gru.keras")).unwrap();
    let test = Dataset::read(&data("sentiment/test.npz")).unwrap();
    let result = evaluate(&blob, &test, Some(&graph), &ProgressBar::hidden()).unwrap();
    println!("{result:?}");
    assert!(result.samples >= 3000);
    let (accuracy, float) = (result.accuracy.unwrap(), result.float_accuracy.unwrap());
    assert!(float >= 0.81 && accuracy >= float - 0.001, "{accuracy} for {float}");
}

#[test]
fn text_is_classified_as_its_tokens_are() {
    let blob = sentiment(Packing::Plain);
    let model = blob.model().unwrap();
    let reviews = reviews();
    let right = reviews
        .iter()
        .filter(|(text, positive)| {
            let label = classify(&model, text.as_bytes()).unwrap().label;
            label == if *positive { "positive" } else { "negative" }
        })
        .count();
    assert!(right * 100 >= reviews.len() * 78, "{right} of {}", reviews.len());
    // Short, long, unknown, invalid, empty.
    let answer = |text: &[u8]| classify(&model, text).unwrap();
    assert_eq!(answer("很差".as_bytes()).label, "negative");
    assert_eq!(answer("好".repeat(10_000).as_bytes()).characters, 10_000);
    assert_eq!((answer("\u{13000}".as_bytes()).unknown, answer(b"\xff\xfe").unknown), (1, 2));
    assert!(format!("{:#}", classify(&model, b"").unwrap_err()).contains("empty"));
}

#[test]
fn boards_classify_reviews_as_the_host_does() {
    let mut input = Vec::new();
    for (text, _) in reviews().iter().take(40) {
        input.extend(text.as_bytes());
        input.push(b'\n');
    }
    input.extend(b"\xff\xe5\xa5\n\nx");
    // The smallest core too: 256 KB of flash and 16 KB of RAM hold model, vocabulary and engine.
    for (board, packing) in [("cortex-m0", Packing::Columns), ("cortex-m4", Packing::Dsp)] {
        let blob = sentiment(packing);
        let expected = on_host(&blob, &input);
        assert_eq!(expected.iter().filter(|b| **b == b'\n').count(), 43);
        let found = on_board(board, "text", "sentiment", &blob, &input);
        assert_eq!(String::from_utf8_lossy(&found), String::from_utf8_lossy(&expected), "{board}");
    }
}

/// The language model, as `gatelet quantize` makes it.
fn shakespeare(packing: Packing) -> Blob {
    let graph = import(&data("shakespeare/gru.keras")).unwrap();
    let calibration = Dataset::read(&data("shakespeare/calib.npz")).unwrap();
    let vocabulary = Vocabulary::read(&data("shakespeare/vocabulary.txt")).unwrap();
    reading(&graph, &calibration, &vocabulary, &[], packing)
}

#[test]
fn a_language_model_loses_a_hundredth_of_a_bit_or_less() {
    let graph = import(&data("shakespeare/gru.keras")).unwrap();
    let mut test = Dataset::read(&data("shakespeare/test.npz")).unwrap();
    // A fifth of the play is enough to tell.
    let n = test.x.len() / 5;
    let steps = test.x.steps();
    let Some(Targets::StepClasses(labels)) = &test.y else { panic!("a label for every step") };
    let picked = (0..n).flat_map(|k| labels[k * test.x.len() / n * steps..][..steps].to_vec());
    test.y = Some(Targets::StepClasses(picked.collect()));
    test.x = test.x.spread(n);
    let blob = shakespeare(Packing::Plain);
    let result = evaluate(&blob, &test, Some(&graph), &ProgressBar::hidden()).unwrap();
    println!("{result:?}");
    let (bits, float) = (result.bits_per_symbol.unwrap(), result.float_bits_per_symbol.unwrap());
    // As Keras measured it on all of the play.
    assert!((float - 2.465).abs() < 0.05, "{float}");
    assert!(bits < float + 0.01, "{bits} for {float}");
}

#[test]
fn text_is_generated_as_it_is_evaluated() {
    let blob = shakespeare(Packing::Plain);
    let model = blob.model().unwrap();
    let text = |prompt: &str, temperature, seed| {
        generate(
            &model,
            prompt.as_bytes(),
            Generation { length: 120, temperature: Some(temperature), seed },
        )
        .unwrap()
    };
    let prompt = "PROSPERO.\nMy ";
    let (first, second) = (text(prompt, 0.7, 1), text(prompt, 0.7, 2));
    println!("{prompt}{first}");
    assert_eq!(first.chars().count(), 120);
    assert!(first == text(prompt, 0.7, 1) && first != second);
    // Without chance, every seed says the same.
    assert_eq!(text(prompt, 0.0, 1), text(prompt, 0.0, 2));
    // Cold text repeats itself, hot text does not spell.
    let likely = |text: &str| text.matches("the").count();
    assert!(likely(&text("\n", 0.2, 3)) > likely(&text("\n", 5.0, 3)));
    let refusal = generate(&model, b"", Generation { length: 1, temperature: None, seed: 1 });
    assert!(format!("{:#}", refusal.unwrap_err()).contains("--prompt"));
}

#[test]
fn boards_generate_what_the_host_does() {
    let blob = shakespeare(Packing::Plain);
    let prompt = b"To be, or not to be";
    let expected = on_host(&blob, prompt);
    let model = blob.model().unwrap();
    let how = Generation { length: 200, temperature: None, seed: 1 };
    assert_eq!(expected, (generate(&model, prompt, how).unwrap() + "\n").into_bytes());
    for board in ["cortex-m0", "cortex-m55", "riscv32"] {
        let found = on_board(board, "text", "shakespeare", &blob, prompt);
        assert_eq!(String::from_utf8_lossy(&found), String::from_utf8_lossy(&expected), "{board}");
    }
}
