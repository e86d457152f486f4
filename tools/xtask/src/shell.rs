//! Running other programs.

use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};

/// A command from its words.
pub(crate) fn command(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}

/// Runs a command, its output in plain sight.
pub(crate) fn run(line: &str) -> Result<()> {
    println!("$ {line}");
    let status = command(line).status().with_context(|| format!("cannot run `{line}`"))?;
    ensure!(status.success(), "`{line}` failed ({status})");
    Ok(())
}

/// Runs a command and returns what it prints.
pub(crate) fn read(line: &str) -> Result<String> {
    let Output { status, stdout, stderr } =
        command(line).output().with_context(|| format!("cannot run `{line}`"))?;
    ensure!(status.success(), "`{line}` failed: {}", String::from_utf8_lossy(&stderr).trim_end());
    Ok(String::from_utf8(stdout)?)
}

/// True if `program` can be started.
pub(crate) fn exists(program: &str) -> bool {
    command(program).arg("--version").output().is_ok()
}
