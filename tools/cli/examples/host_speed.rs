//! Milliseconds that the host engine takes for all samples of a data file, on one core:
//!
//! ```text
//! cargo run --release -p gatelet-cli --example host_speed -- MODEL.gate TEST.npz
//! ```
//!
//! `tools/train/host_speed.py` prints them beside onnxruntime's for the float model.

use std::path::Path;
use std::time::Instant;

use gatelet_cli::data::Dataset;
use gatelet_cli::host::{self, Blob};
use indicatif::ProgressBar;

const RUNS: usize = 30;

fn main() {
    let mut args = std::env::args().skip(1);
    let (Some(blob), Some(data)) = (args.next(), args.next()) else {
        return eprintln!("give a blob and a data file: host_speed MODEL.gate TEST.npz");
    };
    let blob = Blob::read(Path::new(&blob)).expect("a blob");
    let model = blob.model().expect("a valid blob");
    let x = Dataset::read(Path::new(&data)).expect("the data").x;
    let one_core = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    let milliseconds = (0..RUNS).map(|_| {
        let start = Instant::now();
        one_core.install(|| host::run(&model, &x, &ProgressBar::hidden()));
        start.elapsed().as_secs_f64() * 1e3
    });
    println!("{:.2}", milliseconds.fold(f64::INFINITY, f64::min));
}
