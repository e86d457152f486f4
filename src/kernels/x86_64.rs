//! x86-64 with AVX2, found at run time; without it the portable kernels do.
//!
//! A tile, sign-extended to 16 bits, fills a register: row after row, four columns each. `vpmaddwd`
//! with four activations in every quarter gives two partial sums a row. An activation is fetched
//! once for all blocks of a call. The packings made for other cores differ in how a tile becomes that.

use core::arch::x86_64::*;
use core::slice::{from_mut, from_ref};
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

use bytemuck::must_cast;

use super::{Row, Tiles, portable};
use crate::activation::TANH;
use crate::fixed::{CELL_MAX, GATE_ONE};

/// True if the core has AVX2 and the system saves its registers; asked once.
#[inline(always)]
fn has_avx2() -> bool {
    /// 0 before the question, then 1 for no and 2 for yes.
    static ANSWER: AtomicU8 = AtomicU8::new(0);

    #[cold]
    fn ask() -> u8 {
        const XSAVE: u32 = 1 << 26 | 1 << 27;
        const AVX2: u32 = 1 << 5;
        const YMM: u64 = 0b110;
        // Miri knows no `cpuid`: it has what the program is compiled for.
        let answer = cfg!(target_feature = "avx2")
            || !cfg!(miri)
                && __cpuid(0).eax >= 7
                && __cpuid(1).ecx & XSAVE == XSAVE
                && __cpuid_count(7, 0).ebx & AVX2 != 0
                // SAFETY: the core has the instruction and the system enabled it.
                && unsafe { _xgetbv(0) } & YMM == YMM;
        ANSWER.store(1 + answer as u8, Relaxed);
        1 + answer as u8
    }

    let answer = ANSWER.load(Relaxed);
    (if answer == 0 { ask() } else { answer }) == 2
}

#[inline(always)]
pub(super) fn affine(
    tiles: Tiles,
    rows: &[[Row; 4]],
    weights: &[u8],
    x: &[i16],
    h: &[i16],
    z: &mut [[i32; 4]],
    apart: bool,
) {
    if apart {
        return affine_apart(tiles, rows, weights, x, h, z);
    }
    macro_rules! blocks {
        ($tiles:ident, $n:literal) => {
            if let (Some(rows), Some(z)) = (rows.as_array::<$n>(), z.as_mut_array()) {
                const TILES: u8 = Tiles::$tiles as u8;
                // SAFETY: the core has AVX2.
                return unsafe { affine_avx2::<TILES, $n>(rows, weights, x, h, z) };
            }
        };
        ($tiles:ident) => {{
            blocks!($tiles, 1);
            blocks!($tiles, 2);
            blocks!($tiles, 3);
            blocks!($tiles, 4);
        }};
    }
    if has_avx2() {
        match tiles {
            Tiles::Int8Plain => blocks!(Int8Plain),
            Tiles::Int8Dsp => blocks!(Int8Dsp),
            Tiles::Int8Columns => blocks!(Int8Columns),
            Tiles::Int8Helium => blocks!(Int8Helium),
            Tiles::Int16 => blocks!(Int16),
            Tiles::Int4 => {}
        }
    }
    portable::affine(tiles, rows, weights, x, h, z, false)
}

/// The products of the last block as blocks of their own, which have one vector.
#[inline(never)]
fn affine_apart(
    tiles: Tiles,
    rows: &[[Row; 4]],
    weights: &[u8],
    x: &[i16],
    h: &[i16],
    z: &mut [[i32; 4]],
) {
    let (of_x, of_h) = (tiles.bytes(x.len()), tiles.bytes(h.len()));
    let Some((rows, [rows_x, rows_h])) = rows.split_last_chunk() else { return };
    let Some((z, [z_x, z_h])) = z.split_last_chunk_mut() else { return };
    let Some((weights, last)) = weights.split_at_checked(rows.len() * (of_x + of_h)) else {
        return;
    };
    let (last_x, last_h) = last.split_at(of_x.min(last.len()));
    for (rows, weights, x, h, z) in [
        (rows, weights, x, h, z),
        (from_ref(rows_x), last_x, x, &[], from_mut(z_x)),
        (from_ref(rows_h), last_h, &[], h, from_mut(z_h)),
    ] {
        affine(tiles, rows, weights, x, h, z, false);
    }
}

#[inline(always)]
pub(super) fn lstm(z: &[[[i32; 4]; 4]], c: &mut [[i32; 4]], h: &mut [[i16; 4]]) {
    if has_avx2() {
        // SAFETY: the core has AVX2.
        unsafe { lstm_avx2(z, c, h) }
    } else {
        for ((z, c), h) in z.iter().zip(c).zip(h) {
            portable::lstm(z, c, h);
        }
    }
}

#[inline(always)]
pub(super) fn gru_after(z: &[[i32; 4]; 4], memory: &mut [i32; 4], h: &mut [i16; 4]) {
    if has_avx2() {
        // SAFETY: the core has AVX2.
        *h = unsafe { gru_after_avx2(z, memory) };
    } else {
        portable::gru_after(z, memory, h);
    }
}

#[inline(always)]
pub(super) fn gru_before(z: &[[i32; 4]; 2], memory: &mut [i32; 4], h: &mut [i16; 4]) {
    if has_avx2() {
        // SAFETY: the core has AVX2.
        *h = unsafe { gru_before_avx2(z, memory) };
    } else {
        portable::gru_before(z, memory, h);
    }
}

// `Tiles` as constants of the kernels.
const DSP: u8 = Tiles::Int8Dsp as u8;
const COLUMNS: u8 = Tiles::Int8Columns as u8;
const HELIUM: u8 = Tiles::Int8Helium as u8;
const INT16: u8 = Tiles::Int16 as u8;

#[target_feature(enable = "avx2")]
fn affine_avx2<const TILES: u8, const N: usize>(
    rows: &[[Row; 4]; N],
    weights: &[u8],
    x: &[i16],
    h: &[i16],
    z: &mut [[i32; 4]; N],
) {
    let of_x = x.len() * if TILES == INT16 { 8 } else { 4 };
    let block = weights.len() / N;
    let sums_x = products::<TILES, N>(weights, 0, block, x);
    let sums_h = products::<TILES, N>(weights, of_x, block, h);
    for (b, z) in z.chunks_mut(2).enumerate() {
        let (first, last) = (2 * b, (2 * b + 1).min(N - 1));
        let rows = (&rows[first], &rows[last]);
        let x = join::<TILES>(sums_x[first], sums_x[last]);
        let h = join::<TILES>(sums_h[first], sums_h[last]);
        let both: [[i32; 4]; 2] = must_cast(pre_activations(rows, x, h));
        z.copy_from_slice(&both[..z.len()]);
    }
}

/// Sums of the rows of `N` blocks, in parts that [`join`] adds up. The tiles of the first block start at `at`, those of the others `block` bytes further each.
#[target_feature(enable = "avx2")]
fn products<const TILES: u8, const N: usize>(
    weights: &[u8],
    at: usize,
    block: usize,
    v: &[i16],
) -> [[__m256i; 2]; N] {
    let mut sums = [[_mm256_setzero_si256(); 2]; N];
    let tile_bytes = if TILES == INT16 { 32 } else { 16 };
    if weights.len() < at + (N - 1) * block + v.len() / 4 * tile_bytes {
        return sums;
    }
    let tile = |b: usize, offset: usize| weights.as_ptr().wrapping_add(at + b * block + offset);
    let (wide, last) = v.as_chunks::<8>();

    if TILES == DSP {
        // Two tiles at a time; half of the registers idle for an odd last one.
        for (t, v) in wide.iter().enumerate() {
            let v = _mm256_permute4x64_epi64(_mm256_castsi128_si256(must_cast(*v)), 0b01_01_00_00);
            for (b, sums) in sums.iter_mut().enumerate() {
                // SAFETY: the length of the weights, checked above, covers all of `v`.
                let pairs = unsafe { _mm256_loadu_si256(tile(b, 32 * t).cast()) };
                add_pairs(sums, pairs, v);
            }
        }
        if let Some(v) = last.as_array::<4>() {
            let v = _mm256_zextsi128_si256(_mm_set1_epi64x(must_cast(*v)));
            for (b, sums) in sums.iter_mut().enumerate() {
                // SAFETY: as above.
                let pairs = unsafe { _mm_loadu_si128(tile(b, 32 * wide.len()).cast()) };
                add_pairs(sums, _mm256_zextsi128_si256(pairs), v);
            }
        }
        return sums;
    }

    let (mut v, mut first) = (v, 0);
    if TILES == HELIUM {
        for (t, v) in wide.iter().enumerate() {
            let v = _mm256_broadcastsi128_si256(must_cast(*v));
            for (b, [upper, lower]) in sums.iter_mut().enumerate() {
                // SAFETY: as above.
                let rows = unsafe { _mm_loadu_si128(tile(b, 32 * t).cast()) };
                *upper = add_products(*upper, _mm256_cvtepi8_epi16(rows), v);
                // SAFETY: as above.
                let rows = unsafe { _mm_loadu_si128(tile(b, 32 * t + 16).cast()) };
                *lower = add_products(*lower, _mm256_cvtepi8_epi16(rows), v);
            }
        }
        for sums in &mut sums {
            let rows = _mm256_hadd_epi32(sums[0], sums[1]);
            sums[0] = _mm256_permute4x64_epi64(rows, 0b11_01_10_00);
        }
        (v, first) = (last, 32 * wide.len());
    }
    for (t, v) in v.as_chunks::<4>().0.iter().enumerate() {
        let v = _mm256_set1_epi64x(must_cast(*v));
        for (b, [sums, _]) in sums.iter_mut().enumerate() {
            let tile = tile(b, first + tile_bytes * t);
            let rows = if TILES == INT16 {
                // SAFETY: as above.
                unsafe { _mm256_loadu_si256(tile.cast()) }
            } else {
                // SAFETY: as above.
                let bytes = unsafe { _mm_loadu_si128(tile.cast()) };
                _mm256_cvtepi8_epi16(if TILES == COLUMNS { transposed(bytes) } else { bytes })
            };
            *sums = add_products(*sums, rows, v);
        }
    }
    sums
}

/// The sums of two blocks: rows 0 and 1 of the first, of the last, then rows 2 and 3 likewise.
#[target_feature(enable = "avx2")]
fn join<const TILES: u8>(first: [__m256i; 2], last: [__m256i; 2]) -> __m256i {
    if TILES == DSP {
        // Rows 0, 2, 1, 3 of every other tile.
        let (first, last) =
            (_mm256_hadd_epi32(first[0], first[1]), _mm256_hadd_epi32(last[0], last[1]));
        let rows = _mm256_add_epi32(
            _mm256_permute2x128_si256(first, last, 0x20),
            _mm256_permute2x128_si256(first, last, 0x31),
        );
        let rows = _mm256_permutevar8x32_epi32(rows, _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7));
        // Even rows still hold 256 times the odd one beside them.
        let odd = _mm256_srli_epi64(rows, 32);
        _mm256_sub_epi32(rows, _mm256_slli_epi32(odd, 8))
    } else {
        // Every row's even columns and its odd ones.
        _mm256_hadd_epi32(first[0], last[0])
    }
}

#[target_feature(enable = "avx2")]
fn add_products(sums: __m256i, rows: __m256i, v: __m256i) -> __m256i {
    _mm256_add_epi32(sums, _mm256_madd_epi16(rows, v))
}

/// Pairs are even row + 256 × odd row: their products, and those of the odd row, the quotient by 256
/// rounded.
#[target_feature(enable = "avx2")]
fn add_pairs([both, odd]: &mut [__m256i; 2], pairs: __m256i, v: __m256i) {
    *both = add_products(*both, pairs, v);
    *odd = add_products(*odd, _mm256_mulhrs_epi16(pairs, _mm256_set1_epi16(1 << 7)), v);
}

/// A tile of [`Tiles::Int8Columns`] as one of [`Tiles::Int8Plain`].
#[target_feature(enable = "avx2")]
fn transposed(tile: __m128i) -> __m128i {
    let rows = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    let biased = must_cast([0x8080_8080u32, 0x8080_8080, 0x8080_8080, 0]);
    _mm_xor_si128(_mm_shuffle_epi8(tile, rows), biased)
}

/// `bias + scale(x, m_x) + scale(h, m_h)` of two blocks, whose sums are interleaved as `vphaddd` does.
#[target_feature(enable = "avx2")]
fn pre_activations(rows: (&[Row; 4], &[Row; 4]), x: __m256i, h: __m256i) -> __m256i {
    let (first, last): (__m256, __m256) = (must_cast(*rows.0), must_cast(*rows.1));
    let bias = _mm256_castps_si256(_mm256_shuffle_ps(first, last, 0x88));
    // `m_h` in the upper half of a word, `m_x` in the lower.
    let m = _mm256_castps_si256(_mm256_shuffle_ps(first, last, 0xdd));
    let lower = _mm256_set1_epi32(0xffff);
    let x = scale(x, _mm256_slli_epi32(m, 16), _mm256_and_si256(m, lower));
    let h = scale(h, _mm256_andnot_si256(lower, m), _mm256_srli_epi32(m, 16));
    let z = _mm256_add_epi32(bias, _mm256_add_epi32(x, h));
    _mm256_permute4x64_epi64(z, 0b11_01_10_00)
}

/// [`fixed::scale`](crate::fixed::scale) by a multiplier given twice: in the upper half of a word,
/// and in the lower.
#[target_feature(enable = "avx2")]
fn scale(sum: __m256i, upper: __m256i, lower: __m256i) -> __m256i {
    _mm256_add_epi32(_mm256_madd_epi16(sum, upper), _mm256_mulhi_epu16(sum, lower))
}

/// The table of the activation module at `x`, with `FRACTION` more fractional bits than Q0.15.
#[target_feature(enable = "avx2")]
fn interpolate<const FRACTION: i32>(x: __m256i) -> __m256i {
    let index = _mm256_max_epi32(_mm256_srai_epi32(x, FRACTION), _mm256_set1_epi32(-512));
    let index = _mm256_min_epi32(index, _mm256_set1_epi32(511));
    // A pointer to the table, not to the one entry.
    let middle = TANH.as_ptr().wrapping_add(512).cast();
    // SAFETY: from the middle of 1025 entries, at most 512 back and 511 ahead; two entries are read.
    let entries = unsafe { _mm256_i32gather_epi32::<2>(middle, index) };
    // The entries' weights: the fraction above, and below what it lacks to one.
    let fraction = _mm256_and_si256(x, _mm256_set1_epi32((1 << FRACTION) - 1));
    let weights = _mm256_sub_epi32(_mm256_slli_epi32(fraction, 16), fraction);
    _mm256_madd_epi16(entries, _mm256_add_epi32(weights, _mm256_set1_epi32(1 << FRACTION)))
}

/// [`activation::tanh`](crate::activation::tanh) of a value whose table index starts at `FRACTION`.
#[target_feature(enable = "avx2")]
fn tanh<const FRACTION: i32>(x: __m256i) -> __m256i {
    round_shift::<FRACTION>(interpolate::<FRACTION>(x))
}

/// [`activation::sigmoid`](crate::activation::sigmoid)
#[target_feature(enable = "avx2")]
fn sigmoid(x: __m256i) -> __m256i {
    let t = interpolate::<11>(x);
    let stretched = _mm256_add_epi32(t, _mm256_srai_epi32(t, 15));
    _mm256_add_epi32(round_shift::<11>(stretched), _mm256_set1_epi32(GATE_ONE / 2))
}

/// [`fixed::round_shift`](crate::fixed::round_shift)
#[target_feature(enable = "avx2")]
fn round_shift<const BITS: i32>(v: __m256i) -> __m256i {
    _mm256_srai_epi32(_mm256_add_epi32(v, _mm256_set1_epi32(1 << (BITS - 1))), BITS)
}

/// [`fixed::gated`](crate::fixed::gated)
#[target_feature(enable = "avx2")]
fn gated(v: __m256i, gate: __m256i) -> __m256i {
    let high = _mm256_mullo_epi32(_mm256_srai_epi32(v, 16), gate);
    let low = _mm256_mullo_epi32(_mm256_and_si256(v, _mm256_set1_epi32(0xffff)), gate);
    let low = _mm256_srli_epi32(_mm256_add_epi32(low, _mm256_set1_epi32(0x8000)), 16);
    _mm256_add_epi32(high, low)
}

#[target_feature(enable = "avx2")]
fn clamp(v: __m256i, most: i32) -> __m256i {
    let v = _mm256_min_epi32(v, _mm256_set1_epi32(most));
    _mm256_max_epi32(v, _mm256_set1_epi32(-most))
}

/// Two groups of four lanes.
#[target_feature(enable = "avx2")]
fn pair(first: [i32; 4], last: [i32; 4]) -> __m256i {
    _mm256_set_m128i(must_cast(last), must_cast(first))
}

/// The low halves of both groups' lanes.
#[target_feature(enable = "avx2")]
fn narrow(v: __m256i) -> [[i16; 4]; 2] {
    let [first, _, last, _]: [[i16; 4]; 4] = must_cast(_mm256_packs_epi32(v, v));
    [first, last]
}

/// Two groups at a time; an odd last one keeps itself company.
#[target_feature(enable = "avx2")]
fn lstm_avx2(z: &[[[i32; 4]; 4]], c: &mut [[i32; 4]], h: &mut [[i16; 4]]) {
    for ((z, c), h) in z.chunks(2).zip(c.chunks_mut(2)).zip(h.chunks_mut(2)) {
        let ([first, ..], [.., last], [c0, ..], [.., c1]) = (z, z, &*c, &*c) else { return };
        let gate = |k: usize| pair(first[k], last[k]);
        let (i, f) = (sigmoid(gate(0)), sigmoid(gate(1)));
        let (g, o) = (tanh::<10>(gate(2)), sigmoid(gate(3)));
        let new = round_shift::<11>(_mm256_mullo_epi32(i, g));
        let new = clamp(_mm256_add_epi32(gated(pair(*c0, *c1), f), new), CELL_MAX);
        let output = round_shift::<16>(_mm256_mullo_epi32(o, tanh::<14>(new)));
        let new: [[i32; 4]; 2] = must_cast(new);
        c.iter_mut().zip(new).for_each(|(c, new)| *c = new);
        h.iter_mut().zip(narrow(output)).for_each(|(h, output)| *h = output);
    }
}

#[target_feature(enable = "avx2")]
fn gru_after_avx2([z, r, n_x, n_h]: &[[i32; 4]; 4], memory: &mut [i32; 4]) -> [i16; 4] {
    // The first group is what counts from here on.
    let (z, r) = (sigmoid(pair(*z, *z)), sigmoid(pair(*r, *r)));
    let n = _mm256_add_epi32(pair(*n_x, *n_x), gated(pair(*n_h, *n_h), r));
    blend(z, n, memory)
}

#[target_feature(enable = "avx2")]
fn gru_before_avx2([z, n]: &[[i32; 4]; 2], memory: &mut [i32; 4]) -> [i16; 4] {
    blend(sigmoid(pair(*z, *z)), pair(*n, *n), memory)
}

/// `z·h + (1 − z)·tanh(n)` of one group.
#[target_feature(enable = "avx2")]
fn blend(z: __m256i, n: __m256i, memory: &mut [i32; 4]) -> [i16; 4] {
    let shut = _mm256_sub_epi32(_mm256_set1_epi32(GATE_ONE), z);
    let new = round_shift::<3>(_mm256_mullo_epi32(shut, tanh::<10>(n)));
    let new = _mm256_add_epi32(gated(pair(*memory, *memory), z), new);
    [*memory, _] = must_cast(new);
    narrow(clamp(round_shift::<13>(new), 32767))[0]
}
