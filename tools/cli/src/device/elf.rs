//! The engine's share of a firmware.

use anyhow::{Context, Result};
use object::{Object, ObjectSymbol, Symbol, SymbolKind};

/// Bytes of the engine in `.text` and `.rodata`, read off the symbols: its functions, tables and
/// assembly kernels and the methods of the model's type, but not the blob.
pub(super) fn engine_bytes(elf: &[u8]) -> Result<u64> {
    let elf = object::File::parse(elf).context("the firmware is not an ELF file")?;
    let mut symbols: Vec<_> = elf
        .symbols()
        .filter(|symbol| symbol.is_definition() && symbol.section_index().is_some())
        .collect();
    symbols.sort_by_key(|symbol| (symbol.section_index().map(|section| section.0), start(symbol)));
    let sizes = symbols.iter().enumerate().filter_map(|(index, symbol)| {
        let name = symbol.name().ok()?;
        // The compiler's jump tables are named after their function.
        let name = name.strip_prefix(".Lswitch.table.").unwrap_or(name);
        let name = format!("{:#}", rustc_demangle::demangle(name));
        if !is_engine(&name, symbol.kind()) {
            return None;
        }
        // What assembly left without a size ends where the next symbol starts.
        let next = symbols[index..].iter().find(|next| start(next) > start(symbol));
        let gap = next.filter(|next| next.section_index() == symbol.section_index());
        Some(match (symbol.size(), gap) {
            (0, Some(next)) => start(next) - start(symbol),
            (size, _) => size,
        })
    });
    Ok(sizes.sum())
}

/// Where a symbol starts: bit 0 of a function's address says that it is Thumb code.
fn start(symbol: &Symbol<'_, '_>) -> u64 {
    symbol.address() & !1
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
