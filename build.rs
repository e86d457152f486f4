//! Chooses the kernels. Stable rustc does not show the DSP or Helium extension as a
//! `target_feature`, so a `cfg` on one would silently never compile; the target and `target-cpu`
//! say what the core has.

use std::env;

const KERNELS: [&str; 6] = ["armv6m", "armv7m", "dsp", "helium", "riscv32", "x86_64"];
const PACKINGS: [&str; 4] = ["plain", "dsp", "helium", "columns"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let names = |names: &[&str]| format!("\"{}\"", names.join("\", \""));
    println!("cargo::rustc-check-cfg=cfg(kernel, values({}))", names(&KERNELS));
    println!("cargo::rustc-check-cfg=cfg(packing, values({}))", names(&PACKINGS));
    println!("cargo::rustc-check-cfg=cfg(portable)");

    let target = env::var("TARGET").unwrap_or_default();
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let cpu = flags
        .split(['\x1f', ' '])
        .find_map(|flag| flag.strip_prefix("-Ctarget-cpu=").or(flag.strip_prefix("target-cpu=")));
    let kernel = select(&target, cpu.unwrap_or_default());
    let feature = |name: &str| env::var_os(format!("CARGO_FEATURE_{name}")).is_some();
    if feature("PACKINGS") || needs_portable(kernel) {
        println!("cargo::rustc-cfg=portable");
    }
    for packing in PACKINGS {
        if feature("PACKINGS") || packing == own_packing(kernel) {
            println!("cargo::rustc-cfg=packing=\"{packing}\"");
        }
    }
    if let Some(kernel) = kernel {
        println!("cargo::rustc-cfg=kernel=\"{kernel}\"");
        // For `.cpu` in assembly: link-time optimization reads that without `target-cpu`.
        println!("cargo::rustc-env=KERNEL_CPU={}", cpu.unwrap_or("cortex-m4"));
    }
}

/// The kernel for a target, if one is faster than portable code.
fn select(target: &str, cpu: &str) -> Option<&'static str> {
    Some(match target.split('-').next().unwrap_or_default() {
        "thumbv6m" | "thumbv8m.base" => "armv6m",
        "thumbv7m" => "armv7m",
        "thumbv7em" => "dsp",
        // In Armv8-M Mainline both extensions are optional: only the core's name tells.
        "thumbv8m.main" if ["cortex-m55", "cortex-m85"].contains(&cpu) => "helium",
        "thumbv8m.main" if ["cortex-m33", "cortex-m35p"].contains(&cpu) => "dsp",
        "thumbv8m.main" => "armv7m",
        "riscv32im" | "riscv32imc" | "riscv32imac" => "riscv32",
        "x86_64" => "x86_64",
        _ => return None,
    })
}

/// The packing that a kernel is made for.
fn own_packing(kernel: Option<&str>) -> &'static str {
    match kernel {
        Some("armv6m" | "armv7m") => "columns",
        Some("dsp") => "dsp",
        Some("helium") => "helium",
        _ => "plain",
    }
}

/// Whether some weights in a kernel's own packing are left to the portable kernel.
fn needs_portable(kernel: Option<&str>) -> bool {
    !matches!(kernel, Some("armv6m" | "armv7m" | "dsp" | "helium"))
}
