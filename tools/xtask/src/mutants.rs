//! Mutation testing of the engine's core: cargo-mutants changes one operator or result at a time, and
//! some test must notice.
//!
//! A mutant of the crate itself would build the host tool each time, which its tests need. So the
//! mutants are of a copy in `target/mutants`, whose unit tests are the engine's and those of `tests/`
//! that need no more than the engine: one small crate to build. `.cargo/mutants.toml` says which files
//! are mutated, and argues for each mutant that no test can notice.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::shell::{command, exists};

const FOLDER: &str = "target/mutants";

/// Tests that need nothing but the engine.
const TESTS: [&str; 6] = [
    "tests/accessors.rs",
    "tests/known_attacks.rs",
    "tests/malformed.rs",
    "tests/miri/tests/engine.rs",
    "tests/portable.rs",
    "tests/shapes.rs",
];

/// What takes long, and tests the CRC or other modules rather than what is mutated.
const SKIPPED: [&str; 6] = [
    "every_one_bit_flip",
    "every_swap",
    "every_truncation",
    "whatever_passes_can_be_stepped",
    "decode::",
    "audio::",
];

/// Makes the copy and tests its mutants; `arguments` go to cargo-mutants, such as
/// `--file src/fixed.rs`. True if no mutant survived.
pub(crate) fn run(arguments: &[&str]) -> Result<bool> {
    ensure!(
        exists("cargo-mutants"),
        "cargo-mutants is missing: install it with `cargo install cargo-mutants`"
    );
    copy().with_context(|| format!("cannot make {FOLDER}"))?;
    let mut mutants = command("cargo mutants --in-place --no-shuffle --features sign");
    mutants
        .current_dir(FOLDER)
        .args(["--config", "../../.cargo/mutants.toml", "--timeout", "20"])
        .args(arguments)
        .args(["--", "--lib", "--"])
        .args(SKIPPED.iter().flat_map(|name| ["--skip", name]))
        .env_remove("CARGO_TARGET_DIR");
    // 3: all were noticed, some because they never end.
    Ok(matches!(mutants.status()?.code(), Some(0 | 3)))
}

fn copy() -> Result<()> {
    let folder = Path::new(FOLDER);
    fs::create_dir_all(folder)?;
    for shared in ["tests", "tools"] {
        let link = folder.join(shared);
        if !link.exists() {
            symlink(Path::new("../..").join(shared), link)?;
        }
    }
    for file in ["build.rs", "Cargo.lock"] {
        fs::copy(file, folder.join(file))?;
    }
    let source = folder.join("src");
    if source.exists() {
        fs::remove_dir_all(&source)?;
    }
    copy_folder(Path::new("src"), &source)?;

    let lib = source.join("lib.rs");
    let text = fs::read_to_string(&lib)?;
    ensure!(text.contains("\n#![no_std]\n"), "src/lib.rs is not what it was");
    let mut text = text.replace("#![no_std]", "#![cfg_attr(not(test), no_std)]");
    text += "\n#[cfg(test)]\nextern crate self as gatelet;\n";
    for (k, test) in TESTS.iter().enumerate() {
        text += &format!("#[cfg(test)]\n#[path = \"../../../{test}\"]\nmod tests_{k};\n");
    }
    fs::write(lib, text)?;
    fs::write(folder.join("Cargo.toml"), manifest()?)?;
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() { copy_folder(&from, &to)? } else { fs::copy(from, to).map(drop)? }
    }
    Ok(())
}

/// The engine's manifest without other crates of the repository.
fn manifest() -> Result<String> {
    let mut manifest: toml::Table = fs::read_to_string("Cargo.toml")?.parse()?;
    if let Some(dependencies) = table(&mut manifest, "dev-dependencies") {
        dependencies.retain(|_, dependency| dependency.get("path").is_none());
    }
    if let Some(workspace) = table(&mut manifest, "workspace") {
        workspace.remove("members");
        workspace.remove("exclude");
    }
    if let Some(package) = table(&mut manifest, "package") {
        package.insert("autotests".to_owned(), false.into());
    }
    // What is built anew each time is built quickly, what it depends on runs quickly.
    let quick: toml::Table =
        "dev = { debug = false, package.\"*\" = { opt-level = 2 } }".parse()?;
    manifest.insert("profile".to_owned(), quick.into());
    Ok(manifest.to_string())
}

fn table<'m>(manifest: &'m mut toml::Table, name: &str) -> Option<&'m mut toml::Table> {
    manifest.get_mut(name)?.as_table_mut()
}
