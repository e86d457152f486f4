//! What a linked firmware tells: the engine's share of it, and whether the engine can panic.

use std::collections::{HashMap, VecDeque};

use anyhow::{Context, Result, ensure};
use object::{
    Object, ObjectSection, ObjectSymbol, RelocationKind, RelocationTarget, SectionFlags,
    SectionKind, SymbolKind, elf,
};

/// A firmware's symbols and which of them refer to which.
pub(super) struct Elf {
    /// By section and address.
    pub(super) symbols: Vec<Symbol>,
    /// Code by index in `symbols`: what it calls, jumps to or takes the address of.
    pub(super) references: HashMap<usize, Vec<usize>>,
    /// Bytes of all that is in flash, the blob included.
    pub(super) flash: u64,
    /// Bytes of all static variables.
    pub(super) statics: u64,
}

pub(super) struct Symbol {
    pub(super) section: usize,
    pub(super) start: u64,
    pub(super) size: u64,
    pub(super) kind: SymbolKind,
    /// Demangled, without the hash.
    pub(super) name: String,
}

impl Elf {
    /// Reads a firmware, linked with `--emit-relocs`.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let file = object::File::parse(bytes).context("the firmware is not an ELF file")?;
        let symbols = symbols(&file);
        let at = |section, address| {
            let behind = symbols.partition_point(|s| (s.section, s.start) <= (section, address));
            let (before, _) = symbols.split_at(behind);
            before.iter().rposition(|s| s.section == section && address < s.start + s.size)
        };
        let mut references: HashMap<usize, Vec<usize>> = HashMap::new();
        for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
            for (address, relocation) in section.relocations() {
                let RelocationTarget::Symbol(target) = relocation.target() else { continue };
                let Ok(target) = file.symbol_by_index(target) else { continue };
                let Some(target_section) = target.section_index() else { continue };
                // An addend that is not in the record is in the code: 0 in calls, and in an address
                // that the code holds it is there already, the linker having added it up.
                let held = || section.data_range(address, 4).ok()??.first_chunk::<4>().copied();
                let target = match (relocation.kind(), held()) {
                    (RelocationKind::Absolute, Some(held)) if relocation.has_implicit_addend() => {
                        u32::from_le_bytes(held).into()
                    }
                    _ => target.address().wrapping_add_signed(relocation.addend()),
                };
                let from = at(section.index().0, address);
                if let (Some(from), Some(to)) = (from, at(target_section.0, even(target))) {
                    references.entry(from).or_default().push(to);
                }
            }
        }
        let (mut flash, mut statics) = (0, 0);
        for section in file.sections() {
            let SectionFlags::Elf { sh_flags, .. } = section.flags() else { continue };
            let loaded = sh_flags.contains(elf::SHF_ALLOC);
            let writable = sh_flags.contains(elf::SHF_WRITE);
            // What variables start as is in flash too.
            if loaded && section.kind() != SectionKind::UninitializedData {
                flash += section.size();
            }
            // RISC-V's linker script gives all RAM that is left to a section `.stack`.
            if loaded && writable && section.name() != Ok(".stack") {
                statics += section.size();
            }
        }
        Ok(Self { symbols, references, flash, statics })
    }

    /// Bytes of the engine in `.text` and `.rodata`: its functions, tables and assembly kernels and
    /// the methods of the model's type, but not the blob.
    pub(super) fn engine_bytes(&self) -> u64 {
        let engine = self.symbols.iter().filter(|symbol| is_engine(&symbol.name, symbol.kind));
        engine.map(|symbol| symbol.size).sum()
    }

    /// How the engine can come to panic, if it can: names of functions, each calling the next.
    ///
    /// # Errors
    /// If not even the panics of the boards' own code are found.
    pub(super) fn panic_path(&self) -> Result<Option<Vec<String>>> {
        let planted = self.path(|symbol| {
            ["gatelet_qemu::run", "gatelet_qemu::hear"].contains(&symbol.name.as_str())
        });
        ensure!(planted.is_some(), "the firmware does not tell its calls: link with --emit-relocs");
        Ok(self.path(|symbol| is_engine(&symbol.name, symbol.kind)))
    }

    /// A shortest path from code that is `start` to the panic handler.
    fn path(&self, start: impl Fn(&Symbol) -> bool) -> Option<Vec<String>> {
        let code = |&index: &usize| self.symbols[index].kind == SymbolKind::Text;
        let mut queue: VecDeque<usize> =
            (0..self.symbols.len()).filter(code).filter(|&i| start(&self.symbols[i])).collect();
        let mut callers: HashMap<usize, Option<usize>> =
            queue.iter().map(|&index| (index, None)).collect();
        while let Some(from) = queue.pop_front() {
            if self.symbols[from].name.ends_with("rust_begin_unwind") {
                let path = std::iter::successors(Some(from), |index| callers[index]);
                let mut path: Vec<_> = path.map(|i| self.symbols[i].name.clone()).collect();
                path.reverse();
                return Some(path);
            }
            for &to in self.references.get(&from).into_iter().flatten().filter(|to| code(to)) {
                callers.entry(to).or_insert_with(|| {
                    queue.push_back(to);
                    Some(from)
                });
            }
        }
        None
    }
}

/// Named functions and objects, by section and address.
pub(super) fn symbols(file: &object::File<'_>) -> Vec<Symbol> {
    let symbol = |symbol: object::Symbol<'_, '_>| {
        let name = symbol.name().ok()?;
        // The compiler's jump tables are named after their function.
        let name = name.strip_prefix(".Lswitch.table.").unwrap_or(name);
        Some(Symbol {
            section: symbol.section_index()?.0,
            start: even(symbol.address()),
            size: symbol.size(),
            kind: symbol.kind(),
            name: format!("{:#}", rustc_demangle::demangle(name)),
        })
    };
    // Assembly's functions may have no type, but they are global; local labels are neither.
    let named = |symbol: &object::Symbol<'_, '_>| {
        symbol.is_definition()
            && (symbol.is_global() || matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Data))
    };
    let mut symbols: Vec<_> = file.symbols().filter(named).filter_map(symbol).collect();
    symbols.sort_by_key(|symbol| (symbol.section, symbol.start));
    // What assembly left without a size ends where the next symbol starts.
    for index in 0..symbols.len() {
        let Symbol { section, start, .. } = symbols[index];
        let next =
            symbols[index..].iter().find(|next| (next.section, next.start) > (section, start));
        if symbols[index].size == 0
            && let Some(next) = next.filter(|next| next.section == section)
        {
            symbols[index].size = next.start - start;
        }
    }
    symbols
}

/// The address without bit 0, which says of a function that it is Thumb code.
pub(super) fn even(address: u64) -> u64 {
    address & !1
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
