//! The tool, interrupted at any moment: where a good file was, a good file is.
#![cfg(unix)]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use gatelet_cli::host::Blob;
use gatelet_cli::npz::Npz;
use tempfile::TempDir;

/// Times that a command is cut short by each signal.
const INTERRUPTIONS: u32 = 30;

fn data(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data");
    folder.join(name).to_str().unwrap().to_owned()
}

fn gatelet(arguments: &[String]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatelet"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn quantize(output: &Path) -> Vec<String> {
    let [model, calibration] = ["import/lstm.keras", "import/lstm.npz"].map(data);
    let output = output.to_str().unwrap();
    ["quantize", &model, "--calib", &calibration, "-o", output].map(str::to_owned).to_vec()
}

fn run(output: &Path) -> Vec<String> {
    let [blob, input] = ["blobs/vowels_lstm_int4.gate", "vowels/test.npz"].map(data);
    let output = output.to_str().unwrap();
    ["run", &blob, "--input", &input, "-o", output].map(str::to_owned).to_vec()
}

/// Runs a command to its end and says how long it took.
fn whole(arguments: &[String]) -> Duration {
    let start = Instant::now();
    assert!(gatelet(arguments).wait().unwrap().success(), "{arguments:?}");
    start.elapsed()
}

/// Interrupts the command that writes `output` all through its life; `is_whole` looks at what is
/// there afterwards.
fn interrupt(output: &Path, arguments: &[String], is_whole: impl Fn(&Path)) {
    let duration = whole(arguments);
    let mut cut_short = 0;
    for signal in ["INT", "KILL"] {
        for k in 0..INTERRUPTIONS {
            let mut child = gatelet(arguments);
            sleep(duration * k / INTERRUPTIONS);
            let kill = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
            assert!(kill.unwrap().success());
            cut_short += u32::from(!child.wait().unwrap().success());
            is_whole(output);
        }
    }
    println!("{}: {cut_short} of {} cut short", arguments[0], 2 * INTERRUPTIONS);
    assert!(cut_short > INTERRUPTIONS / 2, "hardly ever interrupted");
}

#[test]
fn an_interrupted_command_leaves_a_whole_file() {
    let folder = TempDir::new().unwrap();
    let blob = folder.path().join("out.gate");
    interrupt(&blob, &quantize(&blob), |path| {
        Blob::read(path).unwrap_or_else(|error| panic!("{error:#}"));
    });
    let answers = folder.path().join("out.npz");
    interrupt(&answers, &run(&answers), |path| {
        let raw = Npz::open(path).and_then(|mut npz| npz.array("raw"));
        assert!(raw.unwrap_or_else(|error| panic!("{error:#}")).is_some());
    });
}

/// A file system of 64 KiB; taken down at the end.
struct Full {
    folder: TempDir,
}

impl Full {
    /// Needs the right to mount, which root has.
    fn mounted() -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(folder.path())
            .stderr(Stdio::null())
            .status();
        mount.is_ok_and(|status| status.success()).then_some(Self { folder })
    }

    fn names(&self) -> Vec<PathBuf> {
        fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        Command::new("umount").arg(self.folder.path()).status().ok();
    }
}

#[test]
fn a_full_disk_leaves_the_file_that_was_there() {
    let Some(disk) = Full::mounted() else {
        assert!(std::env::var_os("CI").is_none(), "this test mounts a tmpfs: run it as root");
        println!("not run: it mounts a tmpfs, which only root can do");
        return;
    };
    for (name, arguments) in [("out.gate", quantize as fn(&Path) -> Vec<String>), ("out.npz", run)]
    {
        let output = disk.folder.path().join(name);
        let arguments = arguments(&output);
        fs::write(&output, "what was there").unwrap();
        let filler = disk.folder.path().join("filler");
        fs::write(&filler, []).unwrap();
        // Page by page, until no byte more fits.
        let mut bytes = 64 << 10;
        while bytes > 0 && fs::write(&filler, vec![0; bytes]).is_err() {
            bytes -= 4096;
        }
        let mut child = gatelet(&arguments);
        let mut message = String::new();
        child.stderr.take().unwrap().read_to_string(&mut message).unwrap();
        assert!(!child.wait().unwrap().success(), "{name} fits a full disk");
        assert!(message.contains(name) && message.contains("No space left"), "{message}");
        assert_eq!(fs::read_to_string(&output).unwrap(), "what was there");
        assert_eq!(disk.names().len(), 2, "{:?}", disk.names());
        fs::remove_file(&output).unwrap();
        fs::remove_file(&filler).unwrap();
    }
}
