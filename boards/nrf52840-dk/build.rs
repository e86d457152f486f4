//! Puts `memory.x` where the linker looks.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=memory.x");
    let folder = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    fs::copy("memory.x", folder.join("memory.x")).expect("OUT_DIR is writable");
    println!("cargo::rustc-link-search={}", folder.display());
}
