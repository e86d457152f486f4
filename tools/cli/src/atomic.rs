//! Files and folders that appear whole or not at all.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Writes `path` through `fill`. The file appears under its name only after
/// everything succeeded; on any error nothing is left behind and a file that
/// was there before stays as it was.
///
/// # Errors
/// Those of `fill`, and of the file system, naming `path`.
pub fn write(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<&mut File>) -> Result<()>,
) -> Result<()> {
    let in_context = || format!("cannot write {}", path.display());
    let mut file = new_file(folder(path), ORDINARY).with_context(in_context)?;
    let mut writer = BufWriter::new(file.as_file_mut());
    fill(&mut writer)?;
    writer.flush().with_context(in_context)?;
    drop(writer);
    file.persist(path).with_context(in_context)?;
    Ok(())
}

/// Writes `bytes` to `path`, as [`write()`] does.
///
/// # Errors
/// Those of the file system, naming `path`.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    write(path, |file| {
        file.write_all(bytes).with_context(|| format!("cannot write {}", path.display()))
    })
}

/// Writes `bytes` to a new file with permissions `mode`.
///
/// # Errors
/// If there is a file of that name. Those of the file system, naming `path`.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let in_context = || format!("cannot write {}", path.display());
    let mut file = new_file(folder(path), mode).with_context(in_context)?;
    file.write_all(bytes).with_context(in_context)?;
    file.persist_noclobber(path).with_context(in_context)?;
    Ok(())
}

/// Writes files of the given names and texts into `folder`, made if it does not exist. None appears
/// before all are written; on any error a folder that was not there before is not left behind.
///
/// # Errors
/// Those of the file system, naming `folder`.
pub fn write_all(folder: &Path, files: &[(&str, &str)]) -> Result<()> {
    let in_context = || format!("cannot write {}", folder.display());
    let is_new = !folder.exists();
    std::fs::create_dir_all(folder).with_context(in_context)?;
    let write = || -> std::io::Result<()> {
        let mut written = Vec::new();
        for (name, text) in files {
            let mut file = new_file(folder, ORDINARY)?;
            file.write_all(text.as_bytes())?;
            written.push((name, file));
        }
        for (name, file) in written {
            file.persist(folder.join(name))?;
        }
        Ok(())
    };
    let result = write();
    if result.is_err() && is_new {
        // The error to tell is the first one.
        std::fs::remove_dir_all(folder).ok();
    }
    result.with_context(in_context)
}

/// Makes the folder `path` through `fill`, which is given a folder to write into. It appears under its
/// name only after everything succeeded; on any error nothing is left behind.
///
/// # Errors
/// If there is something at `path` already other than an empty folder; those of `fill`, and of the
/// file system, naming `path`.
pub fn write_folder(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let in_context = || format!("cannot write {}", path.display());
    if path.exists() {
        let is_empty = path.read_dir().is_ok_and(|mut entries| entries.next().is_none());
        ensure!(is_empty, "{} is there already: name a folder that is not", path.display());
    }
    let new = builder(0o777).tempdir_in(folder(path)).with_context(in_context)?;
    fill(new.path())?;
    if path.exists() {
        std::fs::remove_dir(path).with_context(in_context)?;
    }
    std::fs::rename(new.path(), path).with_context(in_context)
}

/// Where `path` is to appear: a rename is atomic only inside a file system.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Permissions of an ordinary file, of which the user's mask takes some away.
const ORDINARY: u32 = 0o666;

fn new_file(folder: &Path, mode: u32) -> std::io::Result<tempfile::NamedTempFile> {
    builder(mode).tempfile_in(folder)
}

/// Makes temporary files and folders with permissions that the user's mask reduces as usual.
fn builder(mode: u32) -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".gatelet-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    #[cfg(not(unix))]
    let _ = mode;
    builder
}
