//! Installs what is missing: Rust's targets, components and Miri through rustup, QEMU, a C++ compiler and
//! recordings through apt.

use std::path::Path;
use std::{env, fs};

use anyhow::{Context, Result, bail};

use crate::shell::{exists, read, run};

/// Makes the root of the repository the current folder.
pub(crate) fn enter_root() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    env::set_current_dir(&root).with_context(|| format!("cannot enter {}", root.display()))
}

/// Installs what is missing.
///
/// # Errors
/// Where it cannot; the message says what to run by hand.
pub(crate) fn install() -> Result<()> {
    rust()?;
    qemu()?;
    voices();
    Ok(())
}

/// Installs what the tests alone need.
///
/// # Errors
/// As [`install`].
pub(crate) fn install_for_tests() -> Result<()> {
    install()?;
    nightly()?;
    cpp()?;
    pip();
    Ok(())
}

/// For Miri alone.
fn nightly() -> Result<()> {
    const MIRI: &str = "--component miri --component rust-src";
    if !read("rustup toolchain list")?.lines().any(|line| line.starts_with("nightly")) {
        return run(&format!("rustup toolchain install nightly --profile minimal {MIRI}"));
    }
    let installed = read("rustup component list --toolchain nightly --installed")?;
    let has = |name| installed.lines().any(|line| line.starts_with(name));
    if has("miri") && has("rust-src") {
        return Ok(());
    }
    run("rustup component add --toolchain nightly miri rust-src")
}

/// For libFuzzer, which is C++.
fn cpp() -> Result<()> {
    if exists("c++") {
        return Ok(());
    }
    let Some(apt) = apt() else {
        bail!(
            "a C++ compiler is missing: install it, on Debian or Ubuntu with `apt-get install g++` as \
             root"
        );
    };
    run(&format!("{apt} update -q"))?;
    run(&format!("{apt} install -y --no-install-recommends g++"))
}

/// rustup does this by itself unless told not to install toolchains automatically.
fn rust() -> Result<()> {
    let file: toml::Table = fs::read_to_string("rust-toolchain.toml")?.parse()?;
    let installed = read("rustup component list --installed")?;
    for (kind, key, prefix) in [("target", "targets", "rust-std-"), ("component", "components", "")]
    {
        let wanted = file["toolchain"][key].as_array().context("rust-toolchain.toml: no list")?;
        for name in wanted.iter().filter_map(|name| name.as_str()) {
            // A component's line may go on with the host's name.
            let wanted = format!("{prefix}{name}");
            if !installed.lines().any(|line| line.starts_with(&wanted)) {
                run(&format!("rustup {kind} add {name}"))?;
            }
        }
    }
    Ok(())
}

fn qemu() -> Result<()> {
    if exists("qemu-system-arm") && exists("qemu-system-riscv32") {
        return Ok(());
    }
    let Some(apt) = apt() else {
        bail!(
            "QEMU is missing: install qemu-system-arm and qemu-system-riscv32, on Debian or Ubuntu \
             with `apt-get install qemu-system-arm qemu-system-misc` as root"
        );
    };
    run(&format!("{apt} update -q"))?;
    // Debian moved RISC-V to a package of its own.
    let riscv = match read("apt-cache show qemu-system-riscv") {
        Ok(_) => "qemu-system-riscv",
        Err(_) => "qemu-system-misc",
    };
    let install = format!("{apt} install -y --no-install-recommends");
    let packages = format!("qemu-system-arm {riscv}");
    if run(&format!("{install} --no-remove {packages}")).is_ok() {
        return Ok(());
    }
    // A `qemu-utils` from elsewhere than QEMU itself is in the way: bring it to the same version.
    let versions = read("apt-cache show --no-all-versions qemu-system-arm")?;
    let version = versions.lines().find_map(|line| line.strip_prefix("Version: "));
    let version = version.context("apt does not know qemu-system-arm")?;
    run(&format!("{install} --allow-downgrades {packages} qemu-utils={version}"))
}

/// Recordings of a voice that the digit models never heard.
fn voices() {
    if !Path::new("/usr/share/asterisk/sounds/en/digits/1.wav").exists() {
        optional("asterisk-core-sounds-en-wav", "an unheard voice is not listened to");
    }
}

/// Fetches the Python packages that hold a trained encoder-decoder and the words it spells.
fn pip() {
    if read("python3 -m pip --version").is_err() {
        optional("python3-pip", "the speller of English words is not tested");
    }
}

/// A package that the rest does without: what needs it says so.
fn optional(package: &str, without: &str) {
    let installed = apt().is_some_and(|apt| {
        run(&format!("{apt} update -q")).is_ok()
            && run(&format!("{apt} install -y --no-install-recommends {package}")).is_ok()
    });
    if !installed {
        println!("note: without Debian's {package}, {without}");
    }
}

/// The command that installs packages, if this user can.
fn apt() -> Option<String> {
    let sudo = if read("id -u").is_ok_and(|id| id.trim() == "0") { "" } else { "sudo " };
    let able = exists("apt-get") && (sudo.is_empty() || exists("sudo"));
    able.then(|| format!("{sudo}apt-get"))
}
