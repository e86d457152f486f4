//! The boards, and how their firmware is built and run.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use gatelet::{LayerKind, Model, WeightType};

use crate::target::packing;

use super::elf::Elf;

/// The boards in QEMU. A board's crate is the folder of its name in the repository's `boards`.
pub const BOARDS: [&str; 7] =
    ["cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55", "riscv32"];

/// The boards on a desk, with sensors.
pub const REAL_BOARDS: [&str; 4] = ["nrf52840-dk", "pico2", "nucleo-f411re", "esp32-c3"];

/// Longest that a firmware may run.
const PATIENCE: Duration = Duration::from_secs(900);

/// A board.
#[derive(Clone, Debug)]
pub struct Board {
    /// As on the command line.
    pub name: &'static str,
    folder: PathBuf,
    /// Rust's name of the target.
    target: String,
    /// The program that runs a firmware, QEMU or a debug probe's, and its arguments; the firmware's
    /// file comes last.
    runner: Vec<String>,
}

/// A board's firmware with a blob inside. While it lives, no other takes its place.
pub(super) struct Firmware {
    path: PathBuf,
    pub(super) elf: Elf,
    _lock: File,
}

impl Board {
    /// The board of that name.
    ///
    /// # Errors
    /// If there is none, or its crate is not there.
    pub fn named(name: &str) -> Result<Self> {
        let boards = [&BOARDS[..], &REAL_BOARDS].concat();
        let Some(name) = boards.iter().copied().find(|board| *board == name) else {
            bail!("there is no board `{name}`; choose one of {}", boards.join(", "));
        };
        let folder = repository().join("boards").join(name);
        let Ok(config) = fs::read_to_string(folder.join(".cargo/config.toml")) else {
            bail!("{} is not there: run gatelet from a clone of its repository", folder.display());
        };
        let config: toml::Table = config.parse()?;
        let target = config.get("build").and_then(|build| build.get("target"));
        let runner = config
            .get("target")
            .and_then(|targets| targets.get("cfg(target_os = \"none\")")?.get("runner"));
        let text = |value: Option<&toml::Value>| {
            let text = value.and_then(toml::Value::as_str).map(str::to_owned);
            text.with_context(|| format!("the configuration of {name} lacks a target or runner"))
        };
        Ok(Self {
            name,
            folder,
            target: text(target)?,
            runner: text(runner)?.split_whitespace().map(str::to_owned).collect(),
        })
    }

    /// Where its crate is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// True if it runs in QEMU.
    pub fn is_emulated(&self) -> bool {
        BOARDS.contains(&self.name)
    }

    /// What tells a user how to run it.
    pub(crate) fn readme(&self) -> PathBuf {
        let folder = if self.is_emulated() { "qemu" } else { self.name };
        repository().join("boards").join(folder).join("README.md")
    }

    /// Rust's name of its target.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// Builds the firmware around the blob `model` in the file `blob`, with the cells it needs.
    pub(super) fn build(&self, blob: &Path, model: Model<'_>) -> Result<Firmware> {
        self.build_with(blob, features(self.name, model), &[], &format!("gatelet-{}", self.name))
    }

    /// Builds the firmware that hears, with the model inside.
    pub(super) fn build_listener(&self, blob: &Path, model: Model<'_>) -> Result<Firmware> {
        let mut features = features(self.name, model);
        features.insert("audio");
        self.build_with(blob, features, &["--example", "listen"], "examples/listen")
    }

    /// Builds what `arguments` choose of the board's crate: the file `binary`.
    fn build_with(
        &self,
        blob: &Path,
        features: BTreeSet<&str>,
        arguments: &[&str],
        binary: &str,
    ) -> Result<Firmware> {
        let blob =
            blob.canonicalize().with_context(|| format!("cannot read {}", blob.display()))?;
        let folder = self.folder.join("target");
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let lock = File::create(folder.join(".device"))?;
        lock.lock()?;

        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo
            .args(["build", "--release", "--quiet", "--color=never"])
            .args(["--target-dir", "target", "--no-default-features", "--features"])
            .arg(features.into_iter().collect::<Vec<_>>().join(","))
            .args(arguments)
            .current_dir(&self.folder)
            .env("GATELET_MODEL", blob);
        // They would override the board's own configuration.
        for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
            cargo.env_remove(variable);
        }
        let output = cargo.output().context("cannot run cargo: install Rust with rustup")?;
        let messages = String::from_utf8_lossy(&output.stderr);
        ensure!(
            !messages.contains("can't find crate for `core`"),
            "Rust's target for {} is not installed: run `rustup target add {}`",
            self.name,
            self.target
        );
        ensure!(
            output.status.success(),
            "the firmware of {} does not build:\n{}",
            self.name,
            messages.trim_end()
        );

        let path = folder.join(&self.target).join("release").join(binary);
        let elf = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Firmware { path, elf: Elf::parse(&elf)?, _lock: lock })
    }

    /// Runs the firmware on `input` in QEMU and returns what it answered.
    pub(super) fn run(&self, firmware: &Firmware, input: &[u8]) -> Result<Vec<u8>> {
        let (qemu, arguments) = self.runner.split_first().context("the runner is empty")?;
        let mut stdin = tempfile::tempfile()?;
        stdin.write_all(input)?;
        stdin.rewind()?;
        let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let child = Command::new(qemu)
            .args(arguments)
            .arg(&firmware.path)
            .stdin(stdin)
            .stdout(stdout.try_clone()?)
            .stderr(stderr.try_clone()?)
            .spawn();
        let mut child = match child {
            Err(error) if error.kind() == ErrorKind::NotFound => bail!(
                "{qemu} is not installed: run `sudo apt-get install {}`",
                if qemu.ends_with("-arm") { "qemu-system-arm" } else { "qemu-system-misc" }
            ),
            child => child.with_context(|| format!("cannot run {qemu}"))?,
        };

        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                child.kill()?;
                child.wait()?;
                bail!(
                    "{} did not finish in {} s: give it less input",
                    self.name,
                    PATIENCE.as_secs()
                );
            }
            thread::sleep(Duration::from_millis(5));
        };
        if !status.success() {
            let mut messages = String::new();
            stderr.rewind()?;
            stderr.read_to_string(&mut messages)?;
            bail!("the firmware of {} failed ({status}): {}", self.name, messages.trim_end());
        }
        let mut answer = Vec::new();
        stdout.rewind()?;
        stdout.read_to_end(&mut answer)?;
        Ok(answer)
    }
}

/// The clone that this tool was built from.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new(""))
}

/// The engine's features that `model` needs on `board`.
fn features(board: &str, model: Model<'_>) -> BTreeSet<&'static str> {
    let layers = (0..model.depth()).filter_map(|index| model.layer(index));
    let mut features = BTreeSet::new();
    if model.packing() != packing(board) {
        features.insert("packings");
    }
    if model.steps() > 0 {
        features.insert("bidirectional");
    }
    for layer in layers {
        features.extend(match layer.kind() {
            LayerKind::Rnn(_) => Some("rnn"),
            LayerKind::Lstm { .. } => Some("lstm"),
            LayerKind::LayerNorm => Some("layer-norm"),
            LayerKind::FastRnn | LayerKind::FastGrnn => Some("fast"),
            LayerKind::Gru { .. } => Some("gru"),
            LayerKind::Embedding => Some("embedding"),
            _ => None,
        });
        if layer.kind().is_variant() {
            features.insert("variants");
        }
        features.extend(match layer.weight_type() {
            WeightType::Int16 => Some("int16"),
            WeightType::Int4 => Some("int4"),
            _ => None,
        });
    }
    features
}
