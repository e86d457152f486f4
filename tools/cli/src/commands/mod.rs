//! The commands: what each takes and prints. The work itself is in the library.

use anyhow::Result;

mod bench;
mod classify;
mod device;
mod eval;
mod features;
mod forecast;
mod generate;
mod inspect;
mod keygen;
mod listen;
mod new;
mod quantize;
mod run;
mod show;
mod sign;
mod verify;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    Features(features::Args),
    Quantize(quantize::Args),
    Inspect(inspect::Args),
    Run(run::Args),
    Listen(listen::Args),
    Eval(eval::Args),
    Forecast(forecast::Args),
    Device(device::Args),
    Bench(bench::Args),
    Keygen(keygen::Args),
    Sign(sign::Args),
    Verify(verify::Args),
    New(new::Args),
    Classify(classify::Args),
    Generate(generate::Args),
}

impl Command {
    pub(crate) fn run(&self) -> Result<()> {
        match self {
            Self::Features(args) => features::run(args),
            Self::Quantize(args) => quantize::run(args),
            Self::Inspect(args) => inspect::run(args),
            Self::Run(args) => run::run(args),
            Self::Listen(args) => listen::run(args),
            Self::Eval(args) => eval::run(args),
            Self::Forecast(args) => forecast::run(args),
            Self::Device(args) => device::run(args),
            Self::Bench(args) => bench::run(args),
            Self::Keygen(args) => keygen::run(args),
            Self::Sign(args) => sign::run(args),
            Self::Verify(args) => verify::run(args),
            Self::New(args) => new::run(args),
            Self::Classify(args) => classify::run(args),
            Self::Generate(args) => generate::run(args),
        }
    }
}
