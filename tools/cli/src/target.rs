//! The cores that a blob can be laid out for.

use gatelet::Packing;

/// Names of the targets: the boards, and the host.
pub const TARGETS: [&str; 8] = [
    "cortex-m0",
    "cortex-m3",
    "cortex-m4",
    "cortex-m7",
    "cortex-m33",
    "cortex-m55",
    "riscv32",
    "host",
];

/// The packing that a target's kernels are made for.
pub fn packing(target: &str) -> Packing {
    match target {
        "cortex-m0" | "cortex-m3" => Packing::Columns,
        "cortex-m4" | "cortex-m7" | "cortex-m33" => Packing::Dsp,
        "cortex-m55" => Packing::Helium,
        _ => Packing::Plain,
    }
}
