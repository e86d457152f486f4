//! Nothing that the engine offers a device can panic, loading a blob included: a program that does it
//! all links without a panic handler. One planted panic, and it does not. Nor has it static variables.

#[path = "common/cores.rs"]
mod cores;

use std::path::Path;
use std::process::{Command, Output};

use cores::CORES;
use object::{Object, ObjectSection, SectionKind};

fn link(target: &str, cpu: &str, features: &str) -> Output {
    Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--target", target, "--features", features])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/panic-free"))
        .env("CARGO_ENCODED_RUSTFLAGS", format!("-Ctarget-cpu={cpu}"))
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join(cpu))
        .output()
        .expect("cargo runs")
}

#[test]
fn the_engine_links_without_a_panic_handler() {
    for (target, cpu) in CORES {
        let output = link(target, cpu, "");
        let messages = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "a panic is reachable on {cpu}:\n{messages}");
        assert_eq!(static_bytes(target, cpu), 0, "the engine has static variables on {cpu}");
    }
}

/// Bytes of `.data`, `.bss` and their like: the program's own are none.
fn static_bytes(target: &str, cpu: &str) -> u64 {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(cpu).join(target);
    let elf = std::fs::read(folder.join("release/panic-free")).unwrap();
    let file = object::File::parse(&*elf).unwrap();
    assert!(file.sections().any(|section| section.kind() == SectionKind::Text));
    let variable = |section: &object::Section<'_, '_>| {
        matches!(section.kind(), SectionKind::Data | SectionKind::UninitializedData)
    };
    file.sections().filter(variable).map(|section| section.size()).sum()
}

#[test]
fn a_planted_panic_is_found() {
    let output = link("thumbv7em-none-eabihf", "cortex-m4", "planted");
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && messages.contains("a_panic_is_reachable"), "{messages}");
}
