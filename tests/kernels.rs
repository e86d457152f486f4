//! The kernels of every core give the portable answer, bit for bit: this machine's, and each
//! board's in QEMU.

use std::path::Path;
use std::process::Command;

#[test]
fn on_this_machine() {
    gatelet_app::compare_kernels();
}

#[test]
fn on_the_boards() {
    for board in
        ["cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55", "riscv32"]
    {
        let status = Command::new(env!("CARGO"))
            .args(["run", "--quiet", "--release", "--locked", "--example", "kernels"])
            .args(["--target-dir", "target"])
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("boards").join(board))
            .env_remove("RUSTFLAGS")
            .status();
        assert!(status.expect("cargo runs").success(), "the kernels of {board} differ");
    }
}
