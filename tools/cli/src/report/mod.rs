//! The report: what quantization cost and where, as a page to look at and as numbers.

mod chart;
mod page;
mod signals;

use std::path::Path;

use anyhow::Result;
use gatelet::WeightType;
use indicatif::ProgressBar;
use serde::Serialize;

use crate::atomic;
use crate::calibrate::Statistics;
use crate::data::{Dataset, Targets};
use crate::evaluate::{Evaluation, argmax, evaluate};
use crate::graph::Graph;
use crate::host::{self, Blob};
use crate::inspect::{Summary, inspect};
use crate::pack::{Notes, pack};
use crate::quantize::{Layer, Quantized, Quantizer};
use crate::reference;
use crate::sqnr::{self, Noise, Recording};
use crate::terminal::thousands;
pub use signals::{Histogram, LayerSignals, Saturation, Signals};

/// Sequences that signals are watched on.
const WATCHED: usize = 200;
/// Answers shown as curves, where they are numbers.
const CURVE: usize = 200;
/// Classes that a confusion matrix can show.
const MOST_CLASSES: usize = 64;

/// What a report is made of.
pub struct Source<'a> {
    /// Name of the model's file.
    pub name: String,
    /// Name of the data's file.
    pub data_name: String,
    /// The float model.
    pub graph: &'a Graph,
    /// What calibration saw.
    pub seen: &'a Statistics,
    /// The integer model.
    pub quantized: &'a Quantized,
    /// The same, packed.
    pub blob: &'a Blob,
    /// What both are compared on.
    pub data: &'a Dataset,
}

/// Who is taken for whom: `[row][column]` counts.
#[derive(Clone, Debug, Serialize)]
pub struct Confusion {
    /// Rows are the classes of the data and columns the answers; without labels, rows are the float
    /// model's answers.
    pub float: Option<Vec<Vec<usize>>>,
    /// The integer model's answers.
    pub integer: Vec<Vec<usize>>,
}

/// A layer's part.
#[derive(Clone, Debug, Serialize)]
pub struct LayerReport {
    /// The framework's name.
    pub name: String,
    /// Of its output, fed by integer layers, in dB.
    pub sqnr_db: f64,
    /// Of the network's answers if all other layers had 16-bit weights, in dB.
    pub alone_db: f64,
    /// Of its output at every step, in dB; `None` where nothing was compared.
    pub sqnr_by_step: Vec<Option<f64>>,
    /// Float weights of the input matrix.
    pub input_weights: Histogram,
    /// Float weights of the recurrent matrix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recurrent_weights: Option<Histogram>,
    /// What its integers do.
    pub signals: LayerSignals,
}

/// A part of the flash or of the RAM.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// What it holds.
    pub name: String,
    /// Its size.
    pub bytes: usize,
}

/// The whole report.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Name of the model's file.
    pub model: String,
    /// Name of the data's file.
    pub data: String,
    /// Weights and biases of the float model.
    pub parameters: usize,
    /// What the blob says about itself.
    pub blob: Summary,
    /// Integers against float.
    pub evaluation: Evaluation,
    /// Of classifiers with a reasonable number of classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confusion: Option<Confusion>,
    /// First output of some answers, float and integer, where answers are numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub curves: Option<[Vec<f64>; 2]>,
    /// Layer by layer.
    pub layers: Vec<LayerReport>,
    /// Inputs that saturate.
    pub inputs: Saturation,
    /// What takes the flash.
    pub flash: Vec<Part>,
    /// What takes the RAM.
    pub ram: Vec<Part>,
    /// Index of the layer that costs most.
    pub worst: usize,
    /// What could be done, a sentence each.
    pub advice: Vec<String>,
}

impl Report {
    /// Measures everything. `progress` advances by sequences evaluated.
    ///
    /// # Errors
    /// If the data do not fit the model.
    pub fn new(source: Source<'_>, progress: &ProgressBar) -> Result<Self> {
        let Source { name, data_name, graph, seen, quantized, blob, data } = source;
        let model = blob.model()?;
        let evaluation = evaluate(blob, data, Some(graph), progress)?;
        let x = data.x.spread(WATCHED);
        let signals = Signals::new(graph, quantized, &model, &x);
        let recording = Recording::new(graph, x);
        let steps = recording.steps(&model);
        let sensitivity = Sensitivity::new(graph, seen, quantized, &recording)?;

        let layers = graph.layers.iter().zip(signals.layers).enumerate();
        let layers: Vec<LayerReport> = layers
            .map(|(index, (layer, signals))| LayerReport {
                name: layer.name.clone(),
                sqnr_db: Noise::total(&steps[index]).db(),
                alone_db: sensitivity.alone[index],
                sqnr_by_step: steps[index]
                    .iter()
                    .map(|noise| noise.is_something().then(|| noise.db()))
                    .collect(),
                input_weights: Histogram::of(layer.op.input_matrix().values()),
                recurrent_weights: layer.op.recurrent_matrix().map(|m| Histogram::of(m.values())),
                signals,
            })
            .collect();
        let worst = (0..layers.len())
            .min_by(|a, b| layers[*a].alone_db.total_cmp(&layers[*b].alone_db))
            .unwrap_or_default();
        let answers = Answers::new(graph, blob, data)?;
        let summary = inspect(blob)?;
        let mut report = Self {
            model: name,
            data: data_name,
            parameters: graph.parameters(),
            evaluation,
            confusion: answers.confusion(data),
            curves: answers.curves(data),
            layers,
            inputs: signals.inputs,
            flash: flash(&summary, quantized),
            ram: ram(&summary, quantized),
            blob: summary,
            worst,
            advice: Vec::new(),
        };
        report.advice = report.advise(&sensitivity, quantized);
        Ok(report)
    }

    /// Writes `index.html` and `report.json` into `folder`, which is made if it does not exist. The
    /// files appear only when all of them could be written.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self)? + "\n";
        atomic::write_all(folder, &[("index.html", &page::page(self)), ("report.json", &json)])
    }

    /// True if what is lost cannot matter: the answers are as good as those of 16 bits.
    fn is_fine(&self) -> bool {
        self.evaluation.sqnr_db.is_some_and(|db| db >= 60.0) && self.advice.len() <= 1
    }

    fn advise(&self, sensitivity: &Sensitivity, quantized: &Quantized) -> Vec<String> {
        let mut advice = Vec::new();
        let worst = &quantized.layers[self.worst];
        let type_of = |weights: WeightType| format!("{weights:?}").to_lowercase();
        let alone = self.layers[self.worst].alone_db;
        let name = &worst.name;
        advice.push(match &sensitivity.wider {
            _ if self.is_fine() => format!(
                "Nothing needs to be done: the answers keep {:.1} dB. Most of what is lost is lost in {name}, \
                 which alone would leave {alone:.1} dB.",
                sensitivity.all
            ),
            Some(wider) => format!(
                "Alone with its {} weights, {name} would leave {alone:.1} dB of the answers. With {} weights in \
                 this layer, all layers together reach {:.1} dB instead of {:.1} dB, for {} bytes more: \
                 --budget finds out whether it pays.",
                type_of(worst.weights),
                type_of(wider.weights),
                wider.db,
                sensitivity.all,
                thousands(wider.bytes)
            ),
            None => format!(
                "{name} has the widest weights there are; {:.1} dB is what 16-bit signals leave.",
                sensitivity.all
            ),
        });
        advice.extend(sqnr::advice(quantized, self.layers.iter().map(|layer| layer.sqnr_db)));
        if self.inputs.percent() > 0.1 {
            advice.push(format!(
                "{:.2} % of the inputs lie beyond what calibration saw: calibrate on more of the field's data.",
                self.inputs.percent()
            ));
        }
        for (layer, report) in quantized.layers.iter().zip(&self.layers) {
            let known: Vec<f64> = report.sqnr_by_step.iter().flatten().copied().collect();
            let quarter = known.len() / 4;
            if quarter > 0 {
                let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
                let (first, last) =
                    (mean(&known[..quarter]), mean(&known[known.len() - quarter..]));
                if first - last > 10.0 {
                    advice.push(format!(
                        "{} drifts: {first:.0} dB in the first quarter of the steps, {last:.0} dB in the last. \
                         Reset the state between events, or give the layer wider weights.",
                        layer.name
                    ));
                }
            }
            if report.signals.cells.is_some_and(|cells| cells.saturated > 0) {
                advice.push(format!(
                    "Cell states of {} reach ±512 and saturate: a forget gate is stuck open.",
                    layer.name
                ));
            }
        }
        advice
    }
}

/// What each layer does to the answers.
struct Sensitivity {
    /// SQNR of the answers as the model is, in dB.
    all: f64,
    /// With only that layer's weights narrow.
    alone: Vec<f64>,
    /// If the worst layer's weights were wider.
    wider: Option<Wider>,
}

struct Wider {
    weights: WeightType,
    db: f64,
    bytes: usize,
}

impl Sensitivity {
    fn new(
        graph: &Graph,
        seen: &Statistics,
        quantized: &Quantized,
        recording: &Recording,
    ) -> Result<Self> {
        let quantizer = Quantizer::of(graph, seen, quantized);
        let measure = |layers: &[Layer]| -> Result<(f64, usize)> {
            let packed = pack(
                &quantizer.model(layers.to_vec()),
                gatelet::Packing::Plain,
                &Notes::default(),
            )?;
            let blob = Blob::new(&packed);
            let noise = recording.layers(&blob.model()?);
            Ok((noise[noise.len() - 1].db(), packed.len()))
        };
        let with = |layers: &[Layer], index: usize, layer: &Layer| {
            let mut layers = layers.to_vec();
            layers[index] = layer.clone();
            layers
        };
        let (all, bytes) = measure(&quantized.layers)?;
        let widest = quantizer.layers(WeightType::Int16)?;
        let alone: Vec<f64> = quantized
            .layers
            .iter()
            .enumerate()
            .map(|(index, layer)| Ok(measure(&with(&widest, index, layer))?.0))
            .collect::<Result<_>>()?;
        let worst = (0..alone.len()).min_by(|a, b| alone[*a].total_cmp(&alone[*b])).unwrap_or(0);
        let next = match quantized.layers[worst].weights {
            WeightType::Int4 => Some(WeightType::Int8),
            WeightType::Int8 => Some(WeightType::Int16),
            _ => None,
        };
        let wider = next
            .map(|weights| {
                let layers = with(&quantized.layers, worst, &quantizer.layer(worst, weights)?);
                let (db, more) = measure(&layers)?;
                Ok::<_, anyhow::Error>(Wider { weights, db, bytes: more.saturating_sub(bytes) })
            })
            .transpose()?;
        Ok(Self { all, alone, wider })
    }
}

/// Answers of both models.
struct Answers {
    width: usize,
    float: Vec<Vec<f64>>,
    integer: Vec<Vec<f64>>,
}

impl Answers {
    fn new(graph: &Graph, blob: &Blob, data: &Dataset) -> Result<Self> {
        let model = blob.model()?;
        let raw = host::run(&model, &data.x, &ProgressBar::hidden());
        let integer = raw.iter().map(|raw| host::dequantize(&model, raw)).collect();
        let float = reference::answers(graph, &data.x);
        Ok(Self { width: graph.outputs(), float, integer })
    }

    fn confusion(&self, data: &Dataset) -> Option<Confusion> {
        let classes = self.width;
        if !(2..=MOST_CLASSES).contains(&classes) {
            return None;
        }
        let answers = |of: &[Vec<f64>]| -> Vec<Vec<usize>> {
            of.iter().map(|answers| answers.chunks_exact(classes).map(argmax).collect()).collect()
        };
        let (float, integer) = (answers(&self.float), answers(&self.integer));
        let count = |rows: &[Vec<usize>], columns: &[Vec<usize>]| {
            let mut counts = vec![vec![0; classes]; classes];
            for (row, column) in rows.iter().flatten().zip(columns.iter().flatten()) {
                if *row < classes {
                    counts[*row][*column] += 1;
                }
            }
            counts
        };
        let label = |label: &i64| usize::try_from(*label).unwrap_or(usize::MAX);
        let truth: Vec<Vec<usize>> = match &data.y {
            None => return Some(Confusion { float: None, integer: count(&float, &integer) }),
            Some(Targets::Values { .. }) => return None,
            Some(Targets::Classes(labels)) => labels.iter().map(|l| vec![label(l)]).collect(),
            Some(Targets::StepClasses(labels)) => labels
                .chunks_exact(data.x.steps())
                .enumerate()
                .map(|(n, labels)| labels[data.x.answered(n)].iter().map(label).collect())
                .collect(),
        };
        // One label a sequence judges the last answer.
        let judged = |answers: Vec<Vec<usize>>| -> Vec<Vec<usize>> {
            let pairs = answers.into_iter().zip(&truth);
            pairs.map(|(mut a, t)| a.split_off(a.len().saturating_sub(t.len()))).collect()
        };
        let (float, integer) = (judged(float), judged(integer));
        Some(Confusion { float: Some(count(&truth, &float)), integer: count(&truth, &integer) })
    }

    fn curves(&self, data: &Dataset) -> Option<[Vec<f64>; 2]> {
        let numbers = matches!(data.y, Some(Targets::Values { .. })) || self.width == 1;
        let first = |of: &[Vec<f64>]| -> Vec<f64> {
            of.iter().flatten().step_by(self.width).take(CURVE).copied().collect()
        };
        numbers.then(|| [first(&self.float), first(&self.integer)])
    }
}

fn flash(summary: &Summary, quantized: &Quantized) -> Vec<Part> {
    let mut parts = Vec::new();
    for (layer, shape) in quantized.layers.iter().zip(&summary.layers) {
        let rows = shape.row_bytes;
        parts.push(Part {
            name: format!("{}: weights", layer.name),
            bytes: shape.flash_bytes - rows,
        });
        parts.push(Part { name: format!("{}: biases, multipliers", layer.name), bytes: rows });
    }
    parts.push(Part { name: "input normalization".to_owned(), bytes: 8 * summary.inputs });
    let labels = summary.labels.join("\n").len();
    if labels > 0 {
        parts.push(Part { name: "labels".to_owned(), bytes: labels + 4 });
    }
    let metadata: usize = summary.metadata.iter().map(|(k, v)| k.len() + v.len() + 3).sum();
    if metadata > 0 {
        parts.push(Part { name: "metadata".to_owned(), bytes: metadata + 3 });
    }
    parts.push(Part {
        name: "header, layer table".to_owned(),
        bytes: 48 + 20 * summary.layers.len(),
    });
    let known: usize = parts.iter().map(|part| part.bytes).sum();
    let rest = summary.blob_bytes.saturating_sub(known);
    parts.push(Part { name: "alignment, checksum".to_owned(), bytes: rest });
    parts
}

fn ram(summary: &Summary, quantized: &Quantized) -> Vec<Part> {
    use gatelet::LayerKind::{FastGrnn, FastRnn, Gru, Lstm};
    let padded = |n: usize| n.next_multiple_of(4);
    let mut parts = vec![Part { name: "input".to_owned(), bytes: 2 * padded(summary.inputs) }];
    parts.extend(quantized.layers.iter().map(|layer| Part {
        name: format!("{}: state", layer.name),
        bytes: 2 * padded(layer.units)
            + if matches!(layer.kind, Lstm { .. } | Gru { .. } | FastRnn | FastGrnn) {
                4 * padded(layer.cells)
            } else {
                0
            },
    }));
    let known: usize = parts.iter().map(|part| part.bytes).sum();
    let scratch = summary.ram_bytes.saturating_sub(known);
    parts.push(Part { name: "scratch within a step".to_owned(), bytes: scratch });
    parts
}
