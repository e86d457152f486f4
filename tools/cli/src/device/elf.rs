//! The engine's share of a firmware.

use anyhow::{Context, Result};
use object::{Object, ObjectSymbol, SymbolKind};

/// Bytes of the engine in `.text` and `.rodata`, read off the symbols: its functions, tables and
/// assembly kernels and the methods of the model's type, but not the blob.
pub(super) fn engine_bytes(elf: &[u8]) -> Result<u64> {
    let elf = object::File::parse(elf).context("the firmware is not an ELF file")?;
    let symbols = elf.symbols().filter(|symbol| {
        let Ok(name) = symbol.name() else { return false };
        // The compiler's jump tables are named after their function.
        let name = name.strip_prefix(".Lswitch.table.").unwrap_or(name);
        is_engine(&format!("{:#}", rustc_demangle::demangle(name)), symbol.kind())
    });
    Ok(symbols.map(|symbol| symbol.size()).sum())
}

fn is_engine(name: &str, kind: SymbolKind) -> bool {
    let is_kernel = name.starts_with("gatelet_") && !name.contains("::");
    let is_method = kind == SymbolKind::Text && name.contains("::Net");
    is_kernel || is_method || name.contains("gatelet::")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_is_told_from_the_rest() {
        use SymbolKind::{Data, Text};
        for (name, kind, expected) in [
            ("gatelet::model::Model::walk", Text, true),
            ("<gatelet::model::Stream as core::fmt::Debug>::fmt", Text, true),
            ("gatelet::activation::TANH", Data, true),
            ("gatelet_dsp_lstm", Text, true),
            ("<gatelet_cortex_m4::Net as gatelet_app::serve::Network<_>>::step", Text, true),
            ("gatelet_cortex_m4::Net::ALIGNED::ALIGNED", Data, false),
            ("gatelet_app::serve::serve", Text, false),
            ("gatelet_qemu::measure::observe", Text, false),
            ("core::fmt::write", Text, false),
        ] {
            assert_eq!(is_engine(name, kind), expected, "{name}");
        }
    }
}
