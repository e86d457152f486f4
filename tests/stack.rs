//! The most stack that loading a blob, starting a stream and a step can take, whatever the blob: by
//! the frames of all functions within reach, on every core; and what a blob that goes the deepest way
//! takes of a painted stack, on every board.

mod common;
#[path = "common/cores.rs"]
mod cores;

use std::path::Path;
use std::process::Command;

use common::{blobs::seeds, on_board};
use cores::CORES;
use gatelet_cli::device::{BOARDS, Depth, stack_of};
use gatelet_cli::host::Blob;

/// The most bytes of loading a blob, starting a stream, and stepping, of any kind of layer, packed for
/// any core. (What the usual layers take, packed for theirs, is in `tests/speed.rs`.)
const MOST: [u32; 3] = [512, 192, 1536];

/// A step on the Cortex-M55, whose compiler makes wide vectors of the portable products.
const MOST_OF_HELIUM: u32 = 1920;

/// On a core or board.
fn most(name: &str) -> [u32; 3] {
    let [load, start, step] = MOST;
    [load, start, if name == "cortex-m55" { MOST_OF_HELIUM } else { step }]
}

/// A program that does no more, as the boards build theirs.
fn program(target: &str, cpu: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stack").join(cpu);
    let flags =
        [&format!("-Ctarget-cpu={cpu}") as &str, "-Zemit-stack-sizes", "-Clink-arg=--emit-relocs"];
    let output = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--bin", "stack", "--target", target])
        .args(["--config", "profile.release.package.gatelet.opt-level='s'"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/panic-free"))
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env("CARGO_TARGET_DIR", &folder)
        // The sizes of frames are an unstable option, of any compiler.
        .env("RUSTC_BOOTSTRAP", "1")
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(folder.join(target).join("release/stack")).unwrap()
}

#[test]
fn no_blob_takes_more_stack_than_promised() {
    for (target, cpu) in CORES {
        let elf = program(target, cpu);
        for (function, most) in ["load", "start", "step"].into_iter().zip(most(cpu)) {
            let depth = stack_of(&elf, function).unwrap_or_else(|error| panic!("{cpu}: {error:#}"));
            let Depth { bytes, told, read, path } = depth;
            println!(
                "{function} on {cpu}: {bytes} bytes, {told} frames told, {read} read: {path:?}"
            );
            assert!(told > 0 && bytes > 0, "{function} on {cpu}: the compiler tells no frames");
            assert!(bytes <= u64::from(most), "{function} on {cpu}: {bytes} bytes of {most}");
        }
    }
}

#[test]
fn a_painted_stack_shows_no_more() {
    // Cells, peepholes and a projection, packed for another core: the deepest that there is.
    let (name, blob) =
        seeds().into_iter().find(|(name, _)| name == "lstm-peepholes-projection").unwrap();
    for board in BOARDS {
        let answer = on_board(board, "load", &name, &Blob::new(&blob), &[]);
        let (words, rest) = answer.as_chunks();
        let bytes: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
        println!("{board}: {bytes:?} bytes to load, start and step");
        assert!(bytes.len() == 3 && rest.is_empty(), "{board}");
        for (bytes, most) in bytes.into_iter().zip(most(board)) {
            assert!((64..=most).contains(&bytes), "{board}: {bytes} bytes of {most}");
        }
    }
}
