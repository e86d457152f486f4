//! Files that appear whole or not at all.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};

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
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let in_context = || format!("cannot write {}", path.display());
    // In the same folder, since a rename is atomic only inside a file system.
    let mut file = new_file(folder).with_context(in_context)?;
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

/// A temporary file with the permissions of an ordinary one.
fn new_file(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".gatelet-");
    #[cfg(unix)]
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    #[cfg(unix)]
    builder.permissions(permissions);
    builder.tempfile_in(folder)
}
