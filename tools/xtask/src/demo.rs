//! From trained weights to seven chips, on real speech.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::BOARDS;
use crate::shell::{read, run};

const GATELET: &str = "target/release/gatelet";
const DATA: &str = "tests/data/vowels";
const OUT: &str = "target/demo";

/// Runs the main job and prints what it shows.
pub(crate) fn demo() -> Result<()> {
    run("cargo build --release --locked --package gatelet-cli")?;
    std::fs::create_dir_all(OUT)?;
    println!("\nJapanese vowels: which of nine speakers is it? 12 cepstra a step, 370 utterances.");
    for cell in ["lstm", "gru", "rnn"] {
        cell_on_every_board(cell)?;
    }
    Ok(())
}

fn cell_on_every_board(cell: &str) -> Result<()> {
    let model = format!("{DATA}/{cell}.keras");
    let quantize = format!("{GATELET} quantize {model} --calib {DATA}/train.npz");
    println!();
    run(&format!("{quantize} -o {OUT}/{cell}.gate"))?;

    let eval = json(&format!(
        "{GATELET} eval {OUT}/{cell}.gate --data {DATA}/test.npz --float {model} --json"
    ))?;
    println!(
        "accuracy on the host    float {:.2} %, integers {:.2} %, the same answer to {:.2} %\n",
        percent(&eval, "float_accuracy")?,
        percent(&eval, "accuracy")?,
        percent(&eval, "agreement")?,
    );

    println!(
        "{:11} {:>10} {:>10} {:>13} {:>11} {:>9} {:>8}",
        "in QEMU", "utterances", "same bits", "instructions", "code", "RAM", "stack"
    );
    for board in BOARDS {
        let blob = format!("{OUT}/{cell}-{board}.gate");
        read(&format!("{quantize} -o {blob} --target {board}"))?;
        let device = json(&format!(
            "{GATELET} device {blob} --board {board} --input {DATA}/test.npz --json"
        ))?;
        println!(
            "{board:11} {:>10} {:>10} {:>13} {:>9} B {:>7} B {:>6} B",
            number(&device, "samples")?,
            if device["bit_exact"] == true { "yes" } else { "NO" },
            number(&device, "instructions_per_step")?,
            number(&device, "engine_text_bytes")?,
            number(&device, "ram_bytes")?,
            number(&device, "stack_bytes")?,
        );
    }
    Ok(())
}

/// The one JSON value that a command prints.
fn json(line: &str) -> Result<Value> {
    serde_json::from_str(&read(line)?).with_context(|| format!("`{line}` printed no JSON"))
}

fn number(value: &Value, key: &str) -> Result<u64> {
    value[key].as_u64().with_context(|| format!("no number `{key}` in {value}"))
}

fn percent(value: &Value, key: &str) -> Result<f64> {
    Ok(100.0 * value[key].as_f64().with_context(|| format!("no number `{key}` in {value}"))?)
}
