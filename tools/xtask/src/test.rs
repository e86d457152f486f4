//! Every check that a change must pass.

use std::env;
use std::fs;
use std::io::{Write, stdout};
use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use crate::shell::command;
use crate::{BOARDS, REAL_BOARDS};

/// A target and core for each of the engine's kernels.
const TARGETS: [(&str, &str); 6] = [
    ("thumbv6m-none-eabi", "cortex-m0"),
    ("thumbv7m-none-eabi", "cortex-m3"),
    ("thumbv7em-none-eabihf", "cortex-m4"),
    ("thumbv8m.main-none-eabihf", "cortex-m33"),
    ("thumbv8m.main-none-eabihf", "cortex-m55"),
    ("riscv32imac-unknown-none-elf", "generic-rv32"),
];

/// Readers of what comes from outside: a target each in `tools/fuzz`.
const FUZZED: [&str; 8] = ["blob", "slots", "onnx", "hdf5", "keras", "safetensors", "npz", "wav"];
/// For each of them, a minute together.
const FUZZ_SECONDS: u32 = 8;

/// What has passed and failed so far.
#[derive(Default)]
struct Tally {
    passed: u32,
    failed: u32,
}

impl Tally {
    /// Runs a stage, and shows what it printed if it fails.
    fn stage(&mut self, name: &str, mut command: Command) -> Result<()> {
        print!("{name:<60}");
        stdout().flush()?;
        let start = Instant::now();
        let output = command.output()?;
        let seconds = start.elapsed().as_secs_f32();
        if output.status.success() {
            self.passed += 1;
            println!("ok      {seconds:>6.1} s");
        } else {
            self.failed += 1;
            println!("FAILED  {seconds:>6.1} s\n{command:?}");
            stdout().write_all(&output.stdout)?;
            stdout().write_all(&output.stderr)?;
        }
        Ok(())
    }
}

/// Runs every check and says whether all passed. The last line counts them.
pub(crate) fn run() -> Result<bool> {
    let mut tally = Tally::default();

    let mut rustfmt = command("rustfmt --check --edition 2024");
    rustfmt.args(["boards/qemu/src/lib.rs", "boards/probe/src/lib.rs"]);
    rustfmt.args(BOARDS.map(|board| format!("boards/{board}/src/main.rs")));
    rustfmt.args(REAL_BOARDS.map(|board| format!("boards/{board}/src/main.rs")));
    rustfmt.args(BOARDS.map(|board| format!("boards/{board}/examples/kernels.rs")));
    tally.stage("format", command("cargo fmt --all --check"))?;
    tally.stage("format of the boards", rustfmt)?;

    let clippy = "cargo clippy --release --locked";
    let deny = "-- --deny warnings";
    tally.stage("clippy", command(&format!("{clippy} --workspace --all-targets {deny}")))?;
    for (target, cpu) in TARGETS {
        let mut command = command(&format!("{clippy} --package gatelet --target {target} {deny}"));
        command.env("CARGO_ENCODED_RUSTFLAGS", format!("-Ctarget-cpu={cpu}"));
        tally.stage(&format!("clippy of the engine on {cpu}"), command)?;
    }
    for target in ["thumbv6m-none-eabi", "riscv32imac-unknown-none-elf"] {
        let mut command = command(&format!("{clippy} --target {target} {deny}"));
        command.current_dir("boards/qemu");
        tally.stage(&format!("clippy of what boards share, {target}"), command)?;
    }
    for board in BOARDS {
        let mut command = command(&format!("{clippy} --bins --examples {deny}"));
        command.current_dir(format!("boards/{board}"));
        tally.stage(&format!("clippy of {board}"), command)?;
    }
    // Release builds, which link, are a matter of the tests of `gatelet new`.
    for board in REAL_BOARDS {
        let mut command = command(&format!("{clippy} --bins {deny}"));
        command.current_dir(format!("boards/{board}"));
        tally.stage(&format!("clippy of {board}"), command)?;
    }

    let mut doc = command("cargo doc --locked --workspace --no-deps");
    doc.env("RUSTDOCFLAGS", "--deny warnings");
    tally.stage("documentation", doc)?;
    tally.stage("package", command("cargo package --locked --allow-dirty --package gatelet"))?;
    tally.stage("tests", command("cargo test --release --locked --workspace --no-fail-fast"))?;
    let mut refused = command("cargo test --locked");
    refused.current_dir("tests/without-features");
    tally.stage("blobs that need a feature left out", refused)?;
    miri(&mut tally)?;
    fuzz(&mut tally)?;

    println!("\n{} passed, {} failed", tally.passed, tally.failed);
    Ok(tally.failed == 0)
}

/// No undefined behaviour in the engine, and the same bits where bytes are the other way round.
fn miri(tally: &mut Tally) -> Result<()> {
    let line = "rustup run nightly cargo miri test --locked";
    for (machine, arguments, flags) in [
        ("x86-64 with AVX2", "", "-Ctarget-feature=+avx2"),
        ("s390x, big-endian", " --target s390x-unknown-linux-gnu", ""),
    ] {
        let mut command = command(&format!("{line}{arguments}"));
        command.current_dir("tests/miri");
        command.env("MIRIFLAGS", "-Zmiri-disable-isolation").env("RUSTFLAGS", flags);
        tally.stage(&format!("the engine under Miri, {machine}"), command)?;
    }
    Ok(())
}

/// Goes on from the corpora in `tools/fuzz`. What is found that is new lands in `target/fuzz`.
fn fuzz(tally: &mut Tally) -> Result<()> {
    let folder = env::current_dir()?.join("target/fuzz");
    for target in FUZZED {
        let corpus = folder.join(target);
        fs::create_dir_all(&corpus)?;
        let line = format!("cargo run --quiet --release --locked --bin {target} --");
        let mut command = command(&line);
        command
            .current_dir("tools/fuzz")
            .arg(&corpus)
            .args([&format!("corpus/{target}"), "../../tests/data/import"])
            .arg(format!("-artifact_prefix={}/{target}-", folder.display()))
            .arg(format!("-max_total_time={FUZZ_SECONDS}"))
            .args(["-max_len=65536", "-timeout=10", "-rss_limit_mb=2048", "-malloc_limit_mb=1024"]);
        tally.stage(&format!("fuzzing of {target}, {FUZZ_SECONDS} s"), command)?;
    }
    Ok(())
}
