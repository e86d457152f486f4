//! gatelet's own errands: `cargo xtask demo`, `cargo xtask test`, and less usual ones.

mod demo;
mod mutants;
mod setup;
mod shell;
mod test;

use std::env;
use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "usage: cargo xtask demo | test | setup | mutants [ARGUMENTS]

  demo    from trained weights to a chip, on real speech
  test    every check that a change must pass
  setup   install what these two need and miss
  mutants mutation testing of the engine's core, half an hour; ARGUMENTS go to cargo-mutants";

/// The boards in QEMU.
const BOARDS: [&str; 7] =
    ["cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55", "riscv32"];

/// The boards on a desk.
const REAL_BOARDS: [&str; 4] = ["nrf52840-dk", "pico2", "nucleo-f411re", "esp32-c3"];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// True if all went well; otherwise what failed was said already.
fn run(arguments: &[&str]) -> Result<bool> {
    setup::enter_root()?;
    match arguments {
        ["setup"] => setup::install_for_tests().map(|()| true),
        ["demo"] => {
            setup::install()?;
            demo::demo().map(|()| true)
        }
        ["test"] => {
            setup::install_for_tests()?;
            test::run()
        }
        ["mutants", arguments @ ..] => mutants::run(arguments),
        _ => bail!("{USAGE}"),
    }
}
