//! Every check that a change must pass.

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

    println!("\n{} passed, {} failed", tally.passed, tally.failed);
    Ok(tally.failed == 0)
}
