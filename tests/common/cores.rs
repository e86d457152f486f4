//! A target and core for each of the engine's kernels.

pub(crate) const CORES: [(&str, &str); 6] = [
    ("thumbv6m-none-eabi", "cortex-m0"),
    ("thumbv7m-none-eabi", "cortex-m3"),
    ("thumbv7em-none-eabihf", "cortex-m4"),
    ("thumbv8m.main-none-eabihf", "cortex-m33"),
    ("thumbv8m.main-none-eabihf", "cortex-m55"),
    ("riscv32imac-unknown-none-elf", "generic-rv32"),
];
