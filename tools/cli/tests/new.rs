//! `gatelet new`: a project for every board, built and run as it stands; what it computes is what the
//! host computes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use gatelet::Stream;
use gatelet_cli::device::{BOARDS, REAL_BOARDS, random};
use gatelet_cli::host::Blob;
use tempfile::TempDir;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data").join(name)
}

fn blob() -> PathBuf {
    data("blobs/digits_lstm_int8_dsp.gate")
}

fn new(folder: &Path, board: &str, model: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatelet"));
    command.arg("new").arg(folder).args(["--board", board, "--model"]).arg(model);
    command.output().unwrap()
}

fn successful(output: Output) -> Vec<u8> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Runs cargo in `project` with nothing of the repository's configuration.
fn cargo(project: &Path, arguments: &[&str], stdin: Stdio) -> Output {
    Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(project)
        // Shared by all, so that what boards have in common is built once.
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("new"))
        .stdin(stdin)
        .output()
        .unwrap()
}

/// What a firmware answers to the project's samples, by the host; `None` stands for a cost.
fn expected(blob: &Blob) -> Vec<Option<u8>> {
    let model = blob.model().unwrap();
    let mut memory = vec![0; model.memory_words()];
    let mut host = Stream::new(model, &mut memory).unwrap();
    let mut answer = Vec::new();
    for sample in random(4, 20 * model.inputs()) {
        host.reset();
        for x in sample.chunks_exact(model.inputs()) {
            answer.extend(host.step(x).unwrap().iter().flat_map(|y| y.to_le_bytes()).map(Some));
            answer.extend(host.state().iter().flat_map(|word| word.to_le_bytes()).map(Some));
            answer.extend([None; 8]);
        }
    }
    answer
}

#[test]
fn a_project_for_every_board_in_qemu_builds_and_says_what_the_host_says() {
    let folder = TempDir::new().unwrap();
    let expected = expected(&Blob::read(&blob()).unwrap());
    for board in BOARDS {
        let project = folder.path().join(board);
        successful(new(&project, board, &blob()));
        let samples = File::open(project.join("samples.bin")).unwrap();
        let answer = successful(cargo(&project, &["run", "--release", "--locked"], samples.into()));
        assert_eq!(answer.len(), expected.len(), "{board}");
        let agree = |(found, expected): (&u8, &Option<u8>)| expected.is_none_or(|e| e == *found);
        assert!(answer.iter().zip(&expected).all(agree), "{board} differs from the host");
    }
}

#[test]
fn a_project_for_every_board_on_a_desk_builds() {
    let folder = TempDir::new().unwrap();
    for board in REAL_BOARDS {
        let (sound, motion) = (data("spot/spot.gate"), data("motions/motions.gate"));
        let (fit, other) = match board {
            "nrf52840-dk" | "pico2" => (sound, motion),
            _ => (motion, sound),
        };
        let project = folder.path().join(board);
        let output = new(&project, board, &other);
        assert!(!output.status.success() && !project.exists(), "{board} took {}", other.display());
        successful(new(&project, board, &fit));
        successful(cargo(&project, &["build", "--release", "--locked"], Stdio::null()));
    }
}

#[test]
fn what_is_there_already_stays_as_it_is() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("mine"), "precious").unwrap();
    let output = new(folder.path(), "cortex-m4", &blob());
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("is there already"), "{message}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(folder.path().join("mine")).unwrap(), "precious");
}

#[test]
fn an_empty_folder_will_do() {
    let folder = TempDir::new().unwrap();
    successful(new(folder.path(), "riscv32", &blob()));
    assert!(folder.path().join("src/main.rs").exists());
}

#[test]
fn a_project_that_cannot_be_made_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let broken = folder.path().join("broken.gate");
    fs::write(&broken, "no blob").unwrap();
    let project = folder.path().join("project");
    assert!(!new(&project, "cortex-m4", &broken).status.success());
    assert!(!new(&folder.path().join("nowhere/project"), "cortex-m4", &blob()).status.success());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something is left");
}
