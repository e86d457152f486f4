//! The boards always link with `defmt.x`: an empty one unless defmt brings its own.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_DEFMT").is_none() {
        let folder = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
        fs::write(folder.join("defmt.x"), "").expect("OUT_DIR is writable");
        println!("cargo::rustc-link-search={}", folder.display());
    }
}
