//! gatelet's own errands: `cargo xtask demo` and `cargo xtask test`.

mod setup;
mod shell;
mod test;

use std::env;
use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "usage: cargo xtask demo | test | setup

  demo    from trained weights to a chip, on real speech
  test    every check that a change must pass
  setup   install what these two need and miss";

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
        ["setup"] => setup::install().map(|()| true),
        ["test"] => {
            setup::install()?;
            test::run()
        }
        _ => bail!("{USAGE}"),
    }
}
