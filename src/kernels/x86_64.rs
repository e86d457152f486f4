//! x86-64 with AVX2, found at run time; without it the portable kernels do.
//!
//! A tile, sign-extended to 16 bits, fills a register: row after row, four columns each. `vpmaddwd`
//! with four activations in every quarter gives two partial sums a row. An activation is fetched
//! once for all blocks of a call.

use core::arch::x86_64::*;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

use bytemuck::must_cast;

use super::{Row, Tiles, portable};
use crate::activation::TANH;
use crate::fixed::CELL_MAX;

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
        // Miri knows no `cpuid`.
        let answer = !cfg!(miri)
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
pub(super) fn affine<const N: usize>(
    tiles: Tiles,
    rows: &[[Row; 4]; N],
    weights: &[u8],
    x: &[i16],
    h: &[i16],
    z: &mut [[i32; 4]; N],
) {
    if tiles == Tiles::Int8Plain && has_avx2() {
        // SAFETY: the core has AVX2.
        unsafe { affine_avx2(rows, weights, x, h, z) }
    } else {
        portable::affine(tiles, rows, weights, x, h, z)
    }
}

#[inline(always)]
pub(super) fn lstm(z: &[[i32; 4]; 4], c: &mut [i32; 4]) -> [i16; 4] {
    if has_avx2() {
        // SAFETY: the core has AVX2.
        unsafe { lstm_avx2(z, c) }
    } else {
        portable::lstm(z, c)
    }
}

type Tile = [u8; 16];

#[target_feature(enable = "avx2")]
fn affine_avx2<const N: usize>(
    rows: &[[Row; 4]; N],
    weights: &[u8],
    x: &[i16],
    h: &[i16],
    z: &mut [[i32; 4]; N],
) {
    let (tiles, x, h) = (weights.as_chunks().0, x.as_chunks().0, h.as_chunks().0);
    let block = x.len() + h.len();
    let sums_x = products::<N>(tiles, block, x);
    let sums_h = products::<N>(tiles.get(x.len()..).unwrap_or(&[]), block, h);
    for (b, z) in z.chunks_mut(2).enumerate() {
        let (first, last) = (2 * b, (2 * b + 1).min(N - 1));
        let rows = [&rows[first], &rows[last]];
        let x = _mm256_hadd_epi32(sums_x[first], sums_x[last]);
        let h = _mm256_hadd_epi32(sums_h[first], sums_h[last]);
        let both: [[i32; 4]; 2] = must_cast(pre_activations(rows, x, h));
        z.copy_from_slice(&both[..z.len()]);
    }
}

/// Two partial sums of four rows for each of `N` blocks, whose first tiles are `block` tiles apart.
#[target_feature(enable = "avx2")]
fn products<const N: usize>(tiles: &[Tile], block: usize, v: &[[i16; 4]]) -> [__m256i; N] {
    let mut sums = [_mm256_setzero_si256(); N];
    if tiles.len() >= (N - 1) * block + v.len() {
        for (t, v) in v.iter().enumerate() {
            let v = _mm256_set1_epi64x(must_cast(*v));
            for (b, sum) in sums.iter_mut().enumerate() {
                // SAFETY: less than the length checked above, as `t` is less than that of `v`.
                let tile = unsafe { tiles.get_unchecked(b * block + t) };
                let products = _mm256_madd_epi16(_mm256_cvtepi8_epi16(must_cast(*tile)), v);
                *sum = _mm256_add_epi32(*sum, products);
            }
        }
    }
    sums
}

/// `bias + scale(x, m_x) + scale(h, m_h)` of two blocks, whose sums are interleaved as `vphaddd` does.
#[target_feature(enable = "avx2")]
fn pre_activations(rows: [&[Row; 4]; 2], x: __m256i, h: __m256i) -> __m256i {
    let [first, last] = rows.map(|rows| must_cast::<[Row; 4], __m256>(*rows));
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

/// A squashing function of the activation module, lane by lane.
#[derive(Clone, Copy)]
struct Squash {
    /// Fractional bits of the argument below the table's index.
    fraction: i32,
    /// All ones where the result is stretched by `1 + 2^-15`.
    stretch: i32,
    /// What is added before the fraction is dropped.
    offset: i32,
}

const SIGMOID: Squash = Squash { fraction: 11, stretch: -1, offset: (1 << 10) + (1 << 26) };
const TANH_Z: Squash = Squash { fraction: 10, stretch: 0, offset: 1 << 9 };
const TANH_CELL: Squash = Squash { fraction: 14, stretch: 0, offset: 1 << 13 };

/// `low` of the first four lanes, `high` of the last four.
#[target_feature(enable = "avx2")]
fn squash(x: __m256i, low: Squash, high: Squash) -> __m256i {
    let lanes =
        |f: fn(Squash) -> i32| _mm256_set_m128i(_mm_set1_epi32(f(high)), _mm_set1_epi32(f(low)));
    let fraction = lanes(|s| s.fraction);
    let index = _mm256_srav_epi32(x, fraction);
    let index = _mm256_max_epi32(index, _mm256_set1_epi32(-512));
    let index = _mm256_min_epi32(index, _mm256_set1_epi32(511));
    // SAFETY: from the middle of 1025 entries, at most 512 back and 511 ahead; two entries are read.
    let entries = unsafe { _mm256_i32gather_epi32::<2>((&raw const TANH[512]).cast(), index) };
    let part = _mm256_and_si256(x, lanes(|s| (1 << s.fraction) - 1));
    // The entries' weights: the fraction above, what it lacks to one below.
    let weights = _mm256_sub_epi32(_mm256_slli_epi32(part, 16), part);
    let weights = _mm256_add_epi32(weights, lanes(|s| 1 << s.fraction));
    let t = _mm256_madd_epi16(entries, weights);
    let stretch = _mm256_and_si256(_mm256_srai_epi32(t, 15), lanes(|s| s.stretch));
    let t = _mm256_add_epi32(_mm256_add_epi32(t, stretch), lanes(|s| s.offset));
    _mm256_srav_epi32(t, fraction)
}

#[target_feature(enable = "avx2")]
fn pair(low: [i32; 4], high: [i32; 4]) -> __m256i {
    _mm256_set_m128i(must_cast(high), must_cast(low))
}

#[target_feature(enable = "avx2")]
fn halves(v: __m256i) -> [__m128i; 2] {
    [_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1)]
}

/// [`fixed::round_shift`](crate::fixed::round_shift)
#[target_feature(enable = "avx2")]
fn round_shift<const BITS: i32>(v: __m128i) -> __m128i {
    _mm_srai_epi32::<BITS>(_mm_add_epi32(v, _mm_set1_epi32(1 << (BITS - 1))))
}

/// [`fixed::gated`](crate::fixed::gated)
#[target_feature(enable = "avx2")]
fn gated(v: __m128i, gate: __m128i) -> __m128i {
    let high = _mm_mullo_epi32(_mm_srai_epi32(v, 16), gate);
    let low = _mm_mullo_epi32(_mm_and_si128(v, _mm_set1_epi32(0xffff)), gate);
    _mm_add_epi32(high, _mm_srli_epi32(_mm_add_epi32(low, _mm_set1_epi32(0x8000)), 16))
}

#[target_feature(enable = "avx2")]
fn lstm_avx2([i, f, g, o]: &[[i32; 4]; 4], c: &mut [i32; 4]) -> [i16; 4] {
    let [i, f] = halves(squash(pair(*i, *f), SIGMOID, SIGMOID));
    let [g, o] = halves(squash(pair(*g, *o), TANH_Z, SIGMOID));
    let new = _mm_add_epi32(gated(must_cast(*c), f), round_shift::<11>(_mm_mullo_epi32(i, g)));
    let new = _mm_min_epi32(new, _mm_set1_epi32(CELL_MAX));
    let new = _mm_max_epi32(new, _mm_set1_epi32(-CELL_MAX));
    *c = must_cast(new);
    let [t, _] = halves(squash(_mm256_castsi128_si256(new), TANH_CELL, TANH_CELL));
    let h = round_shift::<16>(_mm_mullo_epi32(o, t));
    let [h, _]: [[i16; 4]; 2] = must_cast(_mm_packs_epi32(h, h));
    h
}

#[inline(always)]
pub(super) fn gru_after(
    zr: &[[i32; 4]; 2],
    n_x: &[i32; 4],
    n_h: &[i32; 4],
    memory: &mut [i32; 4],
) -> [i16; 4] {
    portable::gru_after(zr, n_x, n_h, memory)
}

#[inline(always)]
pub(super) fn gru_before(z: &[i32; 4], n: &[i32; 4], memory: &mut [i32; 4]) -> [i16; 4] {
    portable::gru_before(z, n, memory)
}
