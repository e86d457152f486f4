//! A firmware project around a blob: the board's own crate, moved out of the repository.
//!
//! There is no template that could drift: the files are those of `boards/BOARD` in the clone that this
//! tool was built from. Three things change: dependencies by path lead back to the clone,
//! `GATELET_MODEL` names the project's copy of the blob, and the toolchain file asks for the board's
//! target alone.

use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, ensure};
use gatelet::Model;
use toml_edit::{Array, DocumentMut};

use crate::atomic;
use crate::device::{self, Board, Sample, repository};
use crate::host::Blob;

/// What of a board's crate makes a project, where the board has it.
const FILES: [&str; 5] = [".cargo/config.toml", "Cargo.lock", "Cargo.toml", "build.rs", "memory.x"];

/// Writes a project for `board` around `blob` to `folder`: whole, or not at all.
///
/// # Errors
/// If the board's program is for other models, there is something in `folder`, or it cannot be
/// written; the message says why.
pub fn create(folder: &Path, board: &Board, blob: &Blob) -> Result<()> {
    let model = blob.model()?;
    expect_fit(board, &model)?;
    atomic::write_folder(folder, |project| {
        let files = FILES.map(PathBuf::from).into_iter();
        for file in files.chain(sources(board.folder())?) {
            if board.folder().join(&file).exists() {
                copy(&board.folder().join(&file), &project.join(&file))?;
            }
        }
        copy(&board.readme(), &project.join("README.md"))?;
        edit(&project.join("Cargo.toml"), |manifest| {
            // They stay behind.
            manifest.remove("example");
            lead_back(manifest, board.folder());
        })?;
        edit(&project.join(".cargo/config.toml"), |config| {
            config["env"]["GATELET_MODEL"]["value"] = toml_edit::value("model.gate");
        })?;
        let toolchain = project.join("rust-toolchain.toml");
        copy(&repository().join("rust-toolchain.toml"), &toolchain)?;
        edit(&toolchain, |file| {
            file["toolchain"]["targets"] = toml_edit::value(Array::from_iter([board.target()]));
        })?;
        fs::write(project.join("model.gate"), blob.bytes())?;
        fs::write(project.join(".gitignore"), "/target\n")?;
        if board.is_emulated() {
            let samples = device::encode(&model, &Sample::random(&model, 4));
            fs::write(project.join("samples.bin"), samples)?;
        }
        Ok(())
    })
}

/// What a board senses is what its model takes.
fn expect_fit(board: &Board, model: &Model<'_>) -> Result<()> {
    match board.name {
        "nrf52840-dk" | "pico2" => ensure!(
            model.audio().is_some() && model.trigger().is_some(),
            "{} has a microphone: quantize a model of sound with --audio and --trigger",
            board.name
        ),
        "nucleo-f411re" | "esp32-c3" => ensure!(
            model.inputs() == 6 && model.steps() == 0,
            "{} has an accelerometer and a gyroscope: it needs a model of 6 inputs that runs forwards, \
             this one has {}",
            board.name,
            model.inputs()
        ),
        _ => {}
    }
    Ok(())
}

/// The files of `src`, relative to `folder`.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = folder.join("src").read_dir()?;
    entries.map(|entry| Ok(Path::new("src").join(entry?.file_name()))).collect()
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().unwrap_or(to))?;
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

fn edit(file: &Path, change: impl FnOnce(&mut DocumentMut)) -> Result<()> {
    let mut document = fs::read_to_string(file)?.parse()?;
    change(&mut document);
    Ok(fs::write(file, document.to_string())?)
}

/// Makes the paths of a manifest's dependencies, relative to `folder`, absolute.
fn lead_back(manifest: &mut DocumentMut, folder: &Path) {
    let Some(dependencies) = manifest["dependencies"].as_table_like_mut() else { return };
    for (_, dependency) in dependencies.iter_mut() {
        let path = dependency.as_table_like_mut().and_then(|table| table.get_mut("path"));
        if let Some(path) = path
            && let Some(relative) = path.as_str()
        {
            let absolute = normal(&folder.join(relative));
            *path = toml_edit::value(absolute.display().to_string());
        }
    }
}

/// `path` without `..`.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut path, component| {
        match component {
            Component::ParentDir => _ = path.pop(),
            component => path.push(component),
        }
        path
    })
}
