//! The page: one file, nothing loaded from anywhere.

use std::fmt::Write as _;

use super::chart::{self, Line, escape, number};
use super::{Report, Saturation};
use crate::terminal::thousands;

pub(super) fn page(report: &Report) -> String {
    let sections = [
        header(report),
        tiles(report),
        advice(report),
        answers(report),
        layers(report),
        drift(report),
        saturation(report),
        histograms(report),
        memory(report),
        time(report),
        provenance(report),
    ];
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{} quantized</title><style>{}</style></head><body><main>\n{}</main></body></html>\n",
        escape(&report.model),
        include_str!("style.css"),
        sections.join("\n")
    )
}

fn header(report: &Report) -> String {
    format!(
        "<h1>{}, quantized</h1><p class=\"soft\">{} parameters, measured on {} sequences of {}</p>",
        escape(&report.model),
        thousands(report.parameters),
        thousands(report.evaluation.samples),
        escape(&report.data)
    )
}

fn tiles(report: &Report) -> String {
    let e = &report.evaluation;
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    let mut tiles = Vec::new();
    if let (Some(integer), Some(float)) = (e.accuracy, e.float_accuracy) {
        tiles.push((percent(integer), format!("accuracy; float {}", percent(float))));
    }
    if let (Some(integer), Some(float)) = (e.rmse, e.float_rmse) {
        tiles.push((number(integer), format!("RMSE; float {}", number(float))));
    }
    if let Some(agreement) = e.agreement {
        tiles.push((percent(agreement), "the same answer as float".to_owned()));
    }
    if let Some(db) = e.sqnr_db {
        tiles.push((format!("{db:.1} dB"), "signal to noise of the answers".to_owned()));
    }
    if let Some(error) = e.max_abs_error {
        tiles.push((number(error), "largest difference of an output".to_owned()));
    }
    let share = 100.0 * report.blob.blob_bytes as f64 / (4 * report.parameters) as f64;
    tiles.push((
        format!("{} B", thousands(report.blob.blob_bytes)),
        format!("of flash; {share:.0} % of float32"),
    ));
    tiles.push((format!("{} B", thousands(report.blob.ram_bytes)), "of RAM a stream".to_owned()));
    tiles.push((thousands(report.blob.macs_per_step), "products a step".to_owned()));
    let tiles: String = tiles
        .iter()
        .map(|(value, name)| {
            format!("<div class=\"tile\"><b>{value}</b><span>{}</span></div>", escape(name))
        })
        .collect();
    format!("<div class=\"tiles\">{tiles}</div>")
}

fn advice(report: &Report) -> String {
    let items: String =
        report.advice.iter().map(|line| format!("<li>{}</li>", escape(line))).collect();
    format!(
        "<section class=\"advice{}\"><h2>The layer that costs most: {}</h2><ul>{items}</ul></section>",
        if report.is_fine() { "" } else { " warn" },
        escape(&report.layers[report.worst].name)
    )
}

fn answers(report: &Report) -> String {
    if let Some([float, integer]) = &report.curves {
        let line = |name: &str, values: &[f64]| Line {
            name: name.to_owned(),
            values: values.iter().map(|v| Some(*v)).collect(),
        };
        let lines = [line("float", float), line("integer", integer)];
        return section(
            "Answers",
            "The first output of the first answers.",
            &chart::lines(&lines, "answer", "value"),
        );
    }
    let Some(confusion) = &report.confusion else { return String::new() };
    let numbers = || (0..confusion.integer.len()).map(|class| class.to_string()).collect();
    let labels = &report.blob.labels;
    let labels = if labels.is_empty() { numbers() } else { labels.clone() };
    let figure = |counts: &[Vec<usize>], caption: &str, rows: &str, columns: &str| {
        format!(
            "<figure>{}<figcaption>{caption}</figcaption></figure>",
            chart::confusion(counts, &labels, rows, columns)
        )
    };
    let figures = match &confusion.float {
        Some(float) => {
            figure(float, "the float model", "class", "answer")
                + &figure(&confusion.integer, "the blob", "class", "answer")
        }
        None => {
            figure(&confusion.integer, "no labels were given", "float answer", "integer answer")
        }
    };
    section(
        "Answers",
        "How often which class was taken for which; misses in the second colour.",
        &format!("<div class=\"pair\">{figures}</div>"),
    )
}

fn layers(report: &Report) -> String {
    let mut rows = String::new();
    let best = report.layers.iter().fold(1.0, |a: f64, layer| a.max(layer.sqnr_db));
    for (index, (layer, shape)) in report.layers.iter().zip(&report.blob.layers).enumerate() {
        let _ = write!(
            rows,
            "<tr{}><td>{}</td><td>{}</td><td>{} → {}</td><td>{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{:.1} dB<span class=\"meter\"><i style=\"width:{:.0}%\"></i></span></td>\
             <td class=\"n\">{:.1} dB</td></tr>",
            if index == report.worst { " class=\"worst\"" } else { "" },
            escape(&layer.name),
            escape(&shape.kind),
            shape.inputs,
            shape.units,
            shape.weights,
            thousands(shape.flash_bytes),
            layer.sqnr_db,
            (100.0 * layer.sqnr_db / best).clamp(0.0, 100.0),
            layer.alone_db
        );
    }
    section(
        "Layers",
        "Signal to quantization noise of each layer's output, fed by integer layers; and of the \
         network's answers if only this layer's weights were narrow.",
        &format!(
            "<div class=\"scroll\"><table><tr><th>layer</th><th>kind</th><th>shape</th><th>weights</th>\
             <th class=\"n\">flash, bytes</th><th class=\"n\">output</th><th class=\"n\">answers, alone</th></tr>\
             {rows}</table></div>"
        ),
    )
}

fn drift(report: &Report) -> String {
    let lines: Vec<Line> = report
        .layers
        .iter()
        .map(|layer| Line { name: layer.name.clone(), values: layer.sqnr_by_step.clone() })
        .collect();
    section(
        "Drift",
        "Signal to quantization noise at every step: errors that a recurrent layer carries on would \
         make its line fall.",
        &chart::lines(&lines, "step", "dB"),
    )
}

fn saturation(report: &Report) -> String {
    let mut rows = String::new();
    let mut row = |what: &str, limit: &str, saturation: &Saturation| {
        let _ = write!(
            rows,
            "<tr><td>{}</td><td>{limit}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{:.3} %</td></tr>",
            escape(what),
            thousands(saturation.saturated as usize),
            thousands(saturation.values as usize),
            saturation.percent()
        );
    };
    row("input", "16 bits", &report.inputs);
    for layer in &report.layers {
        let name = &layer.name;
        for (gate, beyond) in &layer.signals.gates {
            let limit = if matches!(*gate, "g" | "tanh") { "±8" } else { "±16" };
            row(&format!("{name}: pre-activation {gate}"), limit, beyond);
        }
        if let Some(cells) = &layer.signals.cells {
            row(&format!("{name}: cell state"), "±512", cells);
        }
        row(&format!("{name}: output"), "16 bits", &layer.signals.outputs);
    }
    section(
        "Saturation",
        "Beyond ±16 a sigmoid is open or shut and beyond ±8 a tanh is ±1, in float too: no loss. An \
         input that saturates is one that calibration did not see.",
        &format!(
            "<div class=\"scroll\"><table><tr><th>signal</th><th>limit</th><th class=\"n\">at or beyond</th>\
             <th class=\"n\">of</th><th class=\"n\">share</th></tr>{rows}</table></div>"
        ),
    )
}

fn histograms(report: &Report) -> String {
    let mut html = String::new();
    for layer in &report.layers {
        let figure = |histogram, index, caption: &str| {
            format!(
                "<figure>{}<figcaption>{caption}</figcaption></figure>",
                chart::histogram(histogram, index)
            )
        };
        let _ = write!(
            html,
            "<h3>{}</h3><div class=\"small\">{}",
            escape(&layer.name),
            figure(&layer.input_weights, 0, "input weights")
        );
        if let Some(recurrent) = &layer.recurrent_weights {
            html += &figure(recurrent, 1, "recurrent weights");
        }
        html += &figure(&layer.signals.histogram, 2, "output");
        html += "</div>";
    }
    section(
        "Weights and activations",
        "Heights are square roots of counts, so that tails show.",
        &html,
    )
}

fn memory(report: &Report) -> String {
    section(
        "Memory",
        "What takes the flash, and what takes the RAM of one stream.",
        &format!(
            "<div class=\"pair\"><div><h3>Flash</h3>{}</div><div><h3>RAM</h3>{}</div></div>",
            chart::parts(&report.flash),
            chart::parts(&report.ram)
        ),
    )
}

fn time(report: &Report) -> String {
    const CLOCK_MHZ: f64 = 100.0;
    let rows: String = report
        .blob
        .estimates
        .iter()
        .map(|core| {
            format!(
                "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{} ms</td></tr>",
                escape(core.core),
                thousands(core.instructions_per_step as usize),
                thousands(core.cycles_per_step as usize),
                number(core.milliseconds(CLOCK_MHZ))
            )
        })
        .collect();
    section(
        "Time",
        "One step, estimated: with the weights laid out for the core, and without wait states of the \
         flash. <code>gatelet device</code> counts.",
        &format!(
            "<div class=\"scroll\"><table><tr><th>core</th><th class=\"n\">instructions</th>\
             <th class=\"n\">cycles</th><th class=\"n\">at {CLOCK_MHZ} MHz</th></tr>{rows}</table></div>"
        ),
    )
}

fn provenance(report: &Report) -> String {
    let rows: String = report
        .blob
        .metadata
        .iter()
        .map(|(key, value)| {
            format!("<tr><td>{}</td><td><code>{}</code></td></tr>", escape(key), escape(value))
        })
        .collect();
    section(
        "Provenance",
        "The same numbers are in <code>report.json</code> beside this page.",
        &format!("<div class=\"scroll\"><table>{rows}</table></div>"),
    )
}

fn section(title: &str, note: &str, body: &str) -> String {
    format!("<section><h2>{title}</h2><p class=\"note\">{note}</p>{body}</section>")
}
