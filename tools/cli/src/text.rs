//! Text through a blob on the host, by the very engine that runs on the chip.

use anyhow::{Context, Result, ensure};
use gatelet::decode::{Sampler, largest};
use gatelet::{Activation, LayerKind, Model, Stream};
use serde::Serialize;

/// What a text was taken for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// The likeliest label, or its number if the blob has no labels.
    pub label: String,
    /// Its probability.
    pub probability: f64,
    /// Of every label, in order.
    pub probabilities: Vec<f64>,
    /// Tokens read for characters.
    pub characters: usize,
    /// How many of them were unknown, or no UTF-8.
    pub unknown: usize,
}

/// Classifies a text of UTF-8; what is none counts as unknown characters.
///
/// # Errors
/// If the text is empty, or the model does not classify text.
pub fn classify(model: &Model<'_>, text: &[u8]) -> Result<Answer> {
    let vocabulary = model.vocabulary().context(gatelet::Error::Vocabulary)?;
    ensure!(
        model.answers_last(),
        "the model answers at every step, so it does not classify a text: try `gatelet generate`"
    );
    ensure!(!text.is_empty(), "the text is empty: give at least one character");
    let (characters, unknown) = vocabulary.encode(text).fold((0, 0), |(all, unknown), t| {
        (all + 1, unknown + usize::from(t == vocabulary.unknown()))
    });
    let mut memory = vec![0; model.memory_words()];
    let raw = Stream::new(*model, &mut memory)?.read(text)?.to_vec();
    let probabilities = probabilities(model, &raw);
    let (best, probability) = probabilities
        .iter()
        .enumerate()
        .rev()
        .max_by(|a, b| a.1.total_cmp(b.1))
        .context("the model has no output")?;
    Ok(Answer {
        label: model.labels().nth(best).map_or_else(|| best.to_string(), str::to_owned),
        probability: *probability,
        probabilities: probabilities.clone(),
        characters,
        unknown,
    })
}

/// How output is generated.
#[derive(Clone, Copy, Debug)]
pub struct Generation {
    /// Most tokens.
    pub length: usize,
    /// See [`Sampler::new`]; without it 0.7, and of an encoder-decoder always the likeliest token.
    pub temperature: Option<f32>,
    /// See [`Sampler::new`].
    pub seed: u64,
}

/// What a model generates from `prompt`: the text behind it, or, from an encoder-decoder, the names of
/// the tokens that it says to it.
///
/// # Errors
/// If the model does not generate text, or the prompt is empty and the model has no token to start
/// from.
pub fn generate(model: &Model<'_>, prompt: &[u8], how: Generation) -> Result<String> {
    let vocabulary = model.vocabulary().context(gatelet::Error::Vocabulary)?;
    ensure!(
        !model.answers_last(),
        "the model answers once, after the last step, so it does not generate: try `gatelet classify`"
    );
    let last = model.layer(model.depth() - 1).context("the model has no layer")?;
    ensure!(
        last.kind() == LayerKind::Dense(Activation::Linear),
        "the model gives no logits; sampling needs a last layer without activation, so leave it out \
         of the model"
    );
    let is_decoder = model.encoder() > 0;
    ensure!(
        is_decoder || model.outputs() == model.tokens(),
        "the model gives {} outputs but knows {} tokens; it does not continue a text",
        model.outputs(),
        model.tokens()
    );
    ensure!(
        !prompt.is_empty() || vocabulary.start().is_some() && !is_decoder,
        "the model has no token to start from: give it a --prompt"
    );
    let mut memory = vec![0; model.memory_words()];
    let mut stream = Stream::new(*model, &mut memory)?;
    ensure!(
        !is_decoder || vocabulary.output_start().is_some(),
        "the model does not say what its decoder starts from: quantize with --labels, one of them <s>"
    );
    let temperature = how.temperature.or((!is_decoder).then_some(0.7));
    let mut sampler = temperature.map(|t| Sampler::new(model.output_scale(), t, how.seed));
    let mut pick = |logits: &[i16]| match &mut sampler {
        Some(sampler) => sampler.pick(logits),
        None => largest(logits),
    };
    stream.prompt(prompt)?;
    let tokens = (0..how.length).map_while(|_| stream.generate(&mut pick));
    if is_decoder {
        let labels: Vec<&str> = model.labels().collect();
        let name = |token: i16| {
            let label = labels.get(token as usize);
            label.map_or_else(|| token.to_string(), |label| (*label).to_owned())
        };
        return Ok(tokens.map(name).collect::<Vec<_>>().join(" "));
    }
    let character = |token| vocabulary.character(token).unwrap_or(char::REPLACEMENT_CHARACTER);
    Ok(tokens.map(character).collect())
}

/// What the outputs mean: themselves after a softmax; two classes after a single sigmoid; else logits.
fn probabilities(model: &Model<'_>, raw: &[i16]) -> Vec<f64> {
    let scale = f64::from(model.output_scale());
    let values: Vec<f64> = raw.iter().map(|v| f64::from(*v) * scale).collect();
    let last = model.depth().checked_sub(1).and_then(|index| model.layer(index));
    match (last.map(|layer| layer.kind()), &values[..]) {
        (Some(LayerKind::Dense(Activation::Softmax)), _) => values,
        (Some(LayerKind::Dense(Activation::Sigmoid)), [p]) => vec![1.0 - p, *p],
        _ => {
            let largest = values.iter().fold(f64::NEG_INFINITY, |a, v| a.max(*v));
            let exps: Vec<f64> = values.iter().map(|v| libm::exp(v - largest)).collect();
            let sum: f64 = exps.iter().sum();
            exps.iter().map(|e| e / sum).collect()
        }
    }
}
