//! The most stack that a function can take, from the code of a linked firmware: the frames of all that
//! it calls, along the deepest path.
//!
//! What the compiler says of frames (`-Z emit-stack-sizes`) is taken where it does; the frames of
//! assembly and of precompiled libraries are read off their instructions: every push, and every
//! subtraction from the stack pointer, counts.

use std::collections::HashMap;

use anyhow::{Result, bail};
use object::{Architecture, Object, ObjectSection, SectionKind};

use super::elf::{Elf, Symbol, even, symbols};

/// The deepest path of calls from a function.
#[derive(Clone, Debug)]
pub struct Depth {
    /// Bytes of stack.
    pub bytes: u64,
    /// The functions on the way and their frames, the first first.
    pub path: Vec<(String, u64)>,
    /// Functions within reach whose frames the compiler told.
    pub told: usize,
    /// Functions within reach whose frames were read off their code.
    pub read: usize,
}

/// The most stack that `function` takes, in a firmware linked with `--emit-relocs`.
///
/// # Errors
/// If the file has no such function, or one within its reach calls itself through others.
pub fn stack_of(elf: &[u8], function: &str) -> Result<Depth> {
    let (elf, frames) = (Elf::parse(elf)?, frames(&object::File::parse(elf)?)?);
    let Some(start) = elf.symbols.iter().position(|symbol| symbol.name == function) else {
        bail!("the firmware has no function `{function}`");
    };
    let mut walk = Walk { elf: &elf, frames: &frames, deepest: HashMap::new() };
    walk.visit(start, &mut Vec::new())?;
    let mut path = Vec::new();
    let mut next = Some(start);
    while let Some(at) = next {
        path.push((elf.symbols[at].name.clone(), walk.frame(at).bytes()));
        next = walk.deepest[&at].1;
    }
    let told = walk.deepest.keys().filter(|at| matches!(walk.frame(**at), Frame::Told(_))).count();
    let (bytes, read) = (walk.deepest[&start].0, walk.deepest.len() - told);
    Ok(Depth { bytes, path, told, read })
}

#[derive(Clone, Copy)]
enum Frame {
    /// By the compiler.
    Told(u64),
    /// Off the code.
    Read(u64),
}

impl Frame {
    fn bytes(self) -> u64 {
        let (Self::Told(bytes) | Self::Read(bytes)) = self;
        bytes
    }
}

/// Frames by section and address.
type Frames = HashMap<u64, Frame>;

struct Walk<'e> {
    elf: &'e Elf,
    frames: &'e Frames,
    /// Of the functions visited: bytes from there on, and the next on the deepest path.
    deepest: HashMap<usize, (u64, Option<usize>)>,
}

impl Walk<'_> {
    fn frame(&self, at: usize) -> Frame {
        self.frames.get(&self.elf.symbols[at].start).copied().unwrap_or(Frame::Read(0))
    }

    fn visit(&mut self, at: usize, above: &mut Vec<usize>) -> Result<u64> {
        if let Some((bytes, _)) = self.deepest.get(&at) {
            return Ok(*bytes);
        }
        if above.contains(&at) {
            let names: Vec<_> = above.iter().map(|at| &*self.elf.symbols[*at].name).collect();
            bail!("the stack has no bound: {} calls itself", names.join(" > "));
        }
        above.push(at);
        let (mut most, mut next) = (0, None);
        for &to in self.elf.references.get(&at).into_iter().flatten() {
            // A branch within a function refers to the function itself. What is no code has no frame.
            if to == at || !self.frames.contains_key(&self.elf.symbols[to].start) {
                continue;
            }
            let bytes = self.visit(to, above)?;
            if bytes > most || next.is_none() {
                (most, next) = (bytes, Some(to));
            }
        }
        above.pop();
        if self.elf.symbols[at].name.starts_with("gatelet_affine") {
            most = most.max(self.products());
        }
        let bytes = most + self.frame(at).bytes();
        self.deepest.insert(at, (bytes, next));
        Ok(bytes)
    }
}

impl Walk<'_> {
    /// What the products in assembly take together: `affine` jumps to them through registers.
    fn products(&self) -> u64 {
        let is_product = |name: &str| {
            let parts = ["_x_", "_h_", "_none_", "_int8_", "_int16_", "_int4_"];
            name.starts_with("gatelet_") && parts.iter().any(|part| name.contains(part))
        };
        let symbols = self.elf.symbols.iter().enumerate();
        let products = symbols.filter(|(_, symbol)| is_product(&symbol.name));
        products.map(|(at, _)| self.frame(at).bytes()).sum()
    }
}

fn frames(file: &object::File<'_>) -> Result<Frames> {
    let mut frames = Frames::new();
    let read = match file.architecture() {
        Architecture::Arm => thumb,
        Architecture::Riscv32 => riscv,
        other => bail!("code for {other:?} cannot be read"),
    };
    for Symbol { section, start, size, .. } in symbols(file) {
        let section = file.section_by_index(object::SectionIndex(section))?;
        if section.kind() != SectionKind::Text {
            continue;
        }
        let code = section.data_range(start, size)?.unwrap_or_default();
        let (halves, _) = code.as_chunks();
        let halves: Vec<u16> = halves.iter().map(|half| u16::from_le_bytes(*half)).collect();
        frames.insert(start, Frame::Read(read(&halves)));
    }
    for section in file.sections().filter(|section| section.name() == Ok(".stack_sizes")) {
        let mut rest = section.data()?;
        while let Some((address, behind)) = rest.split_first_chunk() {
            let (mut size, mut shift, mut used) = (0, 0, 0);
            // LEB128.
            for byte in behind {
                size |= u64::from(byte & 0x7f) << shift;
                (shift, used) = (shift + 7, used + 1);
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let start = even(u32::from_le_bytes(*address).into());
            frames.insert(start, Frame::Told(size));
            rest = &behind[used..];
        }
    }
    Ok(frames)
}

/// Bytes that all instructions of a function in Thumb code take from the stack together.
fn thumb(code: &[u16]) -> u64 {
    let (mut bytes, mut rest) = (0, code);
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        bytes += match first {
            // push {…}, with the link register in bit 8.
            0xb400..=0xb5ff => 4 * u64::from((first & 0x1ff).count_ones()),
            // sub sp, #…
            0xb080..=0xb0ff => 4 * u64::from(first & 0x7f),
            0xe800.. => {
                let Some((&second, behind)) = behind.split_first() else { break };
                rest = behind;
                thumb_wide(first, second)
            }
            _ => 0,
        };
    }
    bytes
}

fn thumb_wide(first: u16, second: u16) -> u64 {
    let (low, middle) = (u32::from(second & 0xff), u32::from(second >> 12 & 7));
    match (first, second) {
        // push.w {…}
        (0xe92d, list) => 4 * u64::from(list.count_ones()),
        // str.w …, [sp, #-4]!
        (0xf84d, second) if second & 0xfff == 0xd04 => 4,
        // vpush {…}
        (0xed2d | 0xed6d, second) if second & 0x0e00 == 0x0a00 => 4 * u64::from(low),
        // subw sp, sp, #…
        (0xf2ad | 0xf6ad, second) if second & 0x8f00 == 0x0d00 => {
            u64::from(u32::from(first >> 10 & 1) << 11 | middle << 8 | low)
        }
        // sub.w sp, sp, #…: eight bits, rotated.
        (0xf1ad | 0xf5ad, second) if second & 0x8f00 == 0x0d00 => {
            let rotation = u32::from(first >> 10 & 1) << 4 | middle << 1 | low >> 7;
            match rotation {
                0..8 => u64::from(low),
                _ => u64::from((low | 0x80).rotate_right(rotation)),
            }
        }
        _ => 0,
    }
}

/// As [`thumb`], of RISC-V code.
fn riscv(code: &[u16]) -> u64 {
    let (mut bytes, mut rest) = (0, code);
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        let added = if first & 3 == 3 {
            let Some((&second, behind)) = behind.split_first() else { break };
            rest = behind;
            // addi sp, sp, …
            let is_addi = first == 0x0113 && second & 0xf == 1;
            if is_addi { i64::from(second as i16 >> 4) } else { 0 }
        } else {
            let bit = |from: u16, to: u32| i64::from(first >> from & 1) << to;
            match first & 0xef83 {
                // c.addi sp, …
                0x0101 => bit(2, 0) + bit(3, 1) + bit(4, 2) + bit(5, 3) + bit(6, 4) - bit(12, 5),
                // c.addi16sp …
                0x6101 => bit(6, 4) + bit(2, 5) + bit(5, 6) + bit(3, 7) + bit(4, 8) - bit(12, 9),
                _ => 0,
            }
        };
        bytes += (-added).max(0) as u64;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Encodings from Arm's and RISC-V's manuals, as LLVM assembles them.
    #[test]
    fn frames_are_read_off_code() {
        for (code, expected) in [
            (&[0xb570][..], 16),             // push {r4, r5, r6, lr}
            (&[0xb084], 16),                 // sub sp, #16
            (&[0xe92d, 0x4ff0], 36),         // push.w {r4-r11, lr}
            (&[0xf84d, 0xbd04], 4),          // str r11, [sp, #-4]!
            (&[0xed2d, 0x8b10], 64),         // vpush {d8-d15}
            (&[0xf2ad, 0x4d0c], 1036),       // subw sp, sp, #1036
            (&[0xf5ad, 0x7d00], 512),        // sub.w sp, sp, #512
            (&[0xf1ad, 0x0d08], 8),          // sub.w sp, sp, #8
            (&[0xf000, 0xb570, 0x4770], 0),  // a long instruction is no push
            (&[0xb580, 0xb082, 0xb002], 16), // push {r7, lr}; sub sp, #8; add sp, #8
        ] {
            assert_eq!(thumb(code), expected, "{code:x?}");
        }
        for (code, expected) in [
            (&[0x1141][..], 16),       // addi sp, sp, -16
            (&[0x7139], 64),           // addi sp, sp, -64
            (&[0x7179], 48),           // addi sp, sp, -48
            (&[0x0113, 0x8101], 2032), // addi sp, sp, -2032
            (&[0x0141], 0),            // addi sp, sp, 16
            (&[0x6121], 0),            // addi sp, sp, 64
        ] {
            assert_eq!(riscv(code), expected, "{code:x?}");
        }
    }
}
