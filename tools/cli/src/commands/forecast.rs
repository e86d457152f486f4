//! `gatelet forecast`: what comes next, and how much such forecasts were worth so far.

use std::path::PathBuf;

use anyhow::{Context, Result};
use gatelet_cli::atomic;
use gatelet_cli::forecast::{Options, Outcome, Series, expect_forecaster, forecast, plot};
use gatelet_cli::host::Blob;
use gatelet_cli::scaler::import_scaled;
use serde::Serialize;

use super::show;

/// Forecasts a series, as the chip does, beside simpler forecasts
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  gatelet forecast demand.gate --input demand.csv --horizon 24
  gatelet forecast demand.gate --input demand.csv --horizon 24 --float demand.keras --plot demand.svg

Output k of the model is the next value of feature k; features beyond the outputs must be known in
advance. A CSV file has a row a step, features in the model's order, a column of times before them if
you like, and nothing where a value is missing; rows at its end may hold the future's known features
alone. MASE is the mean absolute error over that of the last season repeated, in the part of the
series that is not measured on: below 1 is better than that.")]
pub(crate) struct Args {
    /// The blob to forecast with
    blob: PathBuf,
    /// The series: a .csv file, or an .npz file with `x`, [N, T, I] or [T, I]
    #[arg(long)]
    input: PathBuf,
    /// Steps to forecast
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    horizon: u32,
    /// Steps of a season, of the simpler forecasts; found in the series if not given
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    season: Option<u32>,
    /// Steps at the end of the series to measure on, from each of them; a fifth if not given
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    test: Option<u32>,
    /// The trained model, to compare with
    #[arg(long)]
    float: Option<PathBuf>,
    /// The scaler that the blob was made with, for the trained model
    #[arg(long, value_name = "FILE", requires = "float")]
    scaler: Option<PathBuf>,
    /// Draw the (first) series and its forecasts
    #[arg(long, value_name = "OUT.svg")]
    plot: Option<PathBuf>,
    /// Print one JSON value
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Json {
    horizon: u32,
    series: Vec<Outcome>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let blob = Blob::read(&args.blob)?;
    expect_forecaster(&blob.model()?)?;
    let float = args.float.as_deref();
    let float = float.map(|path| import_scaled(path, args.scaler.as_deref())).transpose()?;
    let options = Options {
        horizon: args.horizon as usize,
        season: args.season.map(|season| season as usize),
        test: args.test.map(|test| test as usize),
    };
    let outcomes: Vec<Outcome> = Series::read(&args.input, blob.model()?.inputs())?
        .iter()
        .map(|series| forecast(&blob, float.as_ref(), series, options))
        .collect::<Result<_>>()
        .with_context(|| format!("cannot forecast {}", args.input.display()))?;
    if let (Some(path), Some(first)) = (&args.plot, outcomes.first()) {
        atomic::write_bytes(path, plot(first)?.as_bytes())?;
    }
    if args.json {
        let json = Json { horizon: args.horizon, series: outcomes };
        println!("{}", serde_json::to_string(&json)?);
        return Ok(());
    }
    outcomes.iter().for_each(|outcome| print(outcome, args.horizon));
    Ok(())
}

fn print(outcome: &Outcome, horizon: u32) {
    println!(
        "{}: {} steps, {} values missing; {horizon} steps forecast from each of {} in the last {}",
        outcome.series,
        show::thousands(outcome.steps),
        show::thousands(outcome.missing),
        show::thousands(outcome.origins),
        show::thousands(outcome.test_steps),
    );
    for channel in &outcome.channels {
        let name = format!("{}, season {}", channel.name, channel.season);
        println!("\n{name:26} {:>8} {:>12} {:>9}", "MASE", "first step", "sMAPE");
        for figures in &channel.figures {
            let method = match figures.method {
                "linear" => format!("linear, {} lags", channel.lags),
                method => method.to_owned(),
            };
            let number = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.3}"));
            println!(
                "{method:26} {:>8} {:>12} {:7.2} %",
                number(figures.mase),
                number(figures.mase_first_step),
                figures.smape
            );
        }
    }
    print!("\n{:>6}", "step");
    outcome.channels.iter().for_each(|channel| print!(" {:>14}", channel.name));
    println!();
    for step in 0..horizon as usize {
        print!("{:>6}", outcome.steps + step + 1);
        outcome.channels.iter().for_each(|channel| print!(" {:14.4}", channel.forecast[step]));
        println!();
    }
    if let Some(alarms) = &outcome.alarms {
        let steps: Vec<String> = alarms.iter().take(20).map(usize::to_string).collect();
        let more = if alarms.len() > steps.len() { ", ..." } else { "" };
        println!("\nalarm at {} steps: {}{more}", alarms.len(), steps.join(", "));
    }
}
