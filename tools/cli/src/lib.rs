//! The host side of gatelet: from trained weights to a blob, and its report.
//!
//! [`import`] reads a framework's file into a float [`graph`]; [`data`] reads
//! the samples it is calibrated and evaluated on; [`mod@reference`] computes in
//! float64 what the integer engine should say.

pub mod atomic;
pub mod audio;
pub mod bench;
pub mod budget;
pub mod calibrate;
pub mod data;
pub mod device;
pub mod estimate;
pub mod evaluate;
pub mod forecast;
pub mod graph;
pub mod host;
pub mod import;
pub mod inspect;
pub mod moments;
pub mod npz;
pub mod pack;
pub mod project;
pub mod provenance;
pub mod quantize;
pub mod reference;
pub mod report;
pub mod scaler;
pub mod self_test;
pub mod sign;
pub mod sqnr;
pub mod target;
pub mod terminal;
pub mod text;
pub mod vocabulary;
