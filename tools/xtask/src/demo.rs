//! From trained weights to seven chips, on real speech.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::BOARDS;
use crate::shell::{read, run};

const GATELET: &str = "target/release/gatelet";
const OUT: &str = "target/demo";
/// Recordings that lie beside the repository, where they are.
const DIGITS: &str = "../shared/data/fsdd/fsdd.npz";

/// Runs the main job and prints what it shows.
pub(crate) fn demo() -> Result<()> {
    std::fs::create_dir_all(OUT)?;
    run("cargo build --release --locked --target-dir target -p gatelet-cli -p gatelet-fsdd")?;

    println!("\n# Japanese vowels: which of nine speakers? 12 cepstra a step, 370 utterances");
    for cell in ["lstm", "gru"] {
        on_every_board(
            "vowels",
            cell,
            "tests/data/vowels/train.npz",
            "tests/data/vowels/test.npz",
        )?;
    }
    println!(
        "\n# Digits in running sound, by a voice that the model never heard: from PCM to events"
    );
    run(&format!("target/release/gatelet-fsdd {OUT}/digits")).ok();
    let sound = format!("{OUT}/digits/unheard.wav");
    if Path::new(&sound).exists() {
        hear(&sound)?;
    } else {
        println!("not run: Debian's asterisk-core-sounds-en-wav is absent");
    }
    println!("\n# Spoken digits: 20 log-mel features a step, 300 recordings");
    if !Path::new(DIGITS).exists() {
        println!("not run: {DIGITS} is absent");
        return Ok(());
    }
    for cell in ["lstm", "gru"] {
        let (calibration, test) =
            (format!("{OUT}/digits/calib.npz"), format!("{OUT}/digits/test.npz"));
        on_every_board("digits", cell, &calibration, &test)?;
    }
    Ok(())
}

/// Listens to a recording on the host and on a board.
fn hear(sound: &str) -> Result<()> {
    let blob = "tests/data/spot/spot.gate";
    run(&format!("{GATELET} listen {blob} {sound} --plot {OUT}/heard.svg"))?;
    println!("picture: {OUT}/heard.svg");
    let heard =
        json(&format!("{GATELET} device {blob} --board cortex-m4 --listen {sound} --json"))?;
    println!(
        "Cortex-M4 in QEMU: {} events, same bits: {}; {} instructions a second of sound, {} B of flash \
         and {} B of RAM for the whole firmware",
        heard["events"].as_array().map_or(0, Vec::len),
        if heard["bit_exact"] == true { "yes" } else { "NO" },
        number(&heard, "instructions_per_second")?,
        number(&heard, "flash_bytes")?,
        number(&heard, "ram_bytes")?,
    );
    Ok(())
}

/// Quantizes a model, evaluates it on the host, and runs every sample on every board.
fn on_every_board(set: &str, cell: &str, calibration: &str, test: &str) -> Result<()> {
    let model = format!("tests/data/{set}/{cell}.keras");
    let quantize = format!("{GATELET} quantize {model} --calib {calibration}");
    let blob = format!("{OUT}/{set}-{cell}");
    println!();
    run(&format!("{quantize} -o {blob}.gate"))?;

    let eval = json(&format!("{GATELET} eval {blob}.gate --data {test} --float {model} --json"))?;
    println!(
        "accuracy on the host: float {:.2} %, integers {:.2} %; the same answer to {:.2} %\n",
        percent(&eval, "float_accuracy")?,
        percent(&eval, "accuracy")?,
        percent(&eval, "agreement")?,
    );

    println!(
        "{:11} {:>8} {:>10} {:>19} {:>9} {:>8} {:>8}",
        "in QEMU", "samples", "same bits", "instructions a step", "code", "RAM", "stack"
    );
    for board in BOARDS {
        let blob = format!("{blob}-{board}.gate");
        read(&format!("{quantize} -o {blob} --target {board}"))?;
        let device =
            json(&format!("{GATELET} device {blob} --board {board} --input {test} --json"))?;
        println!(
            "{board:11} {:>8} {:>10} {:>19} {:>7} B {:>6} B {:>6} B",
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
