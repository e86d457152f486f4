//! The spectrum of real samples, in integers.
//!
//! `N` real samples are `N/2` complex numbers: a complex transform of half the length, decimated in
//! time (Cooley and Tukey 1965), and one pass that takes the spectra of even and odd samples apart.
//! Every stage halves its result, so nothing overflows, and the result is `X[k] / N`. Samples come
//! with 14 fractional bits more than the PCM has, so halving drops what the PCM never had: no block
//! exponent is needed. Twiddle factors have 15 fractional bits; those that are 1 or −i are exact.

use core::f64::consts::PI;

/// Real samples of the longest transform.
pub(super) const LONGEST: usize = 1024;

const QUARTER: usize = LONGEST / 4;

/// `sin(2πk / LONGEST)` with 15 fractional bits, a quarter of the circle.
static SINE: [i16; QUARTER + 1] = sine_table();

const fn sine_table() -> [i16; QUARTER + 1] {
    let mut table = [0; QUARTER + 1];
    let mut k = 0;
    while k <= QUARTER {
        let x = 2.0 * PI * k as f64 / LONGEST as f64;
        // Taylor's series; below π/2 its twelfth term is under 1e-17.
        let (mut sum, mut term, mut n) = (x, x, 1);
        while n < 12 {
            term *= -x * x / ((2 * n) * (2 * n + 1)) as f64;
            sum += term;
            n += 1;
        }
        let value = (32768.0 * sum + 0.5) as i32;
        table[k] = if value > 32767 { 32767 } else { value as i16 };
        k += 1;
    }
    table
}

/// `floor(a · w / 2^16)`: half of the product with a factor of 15 fractional bits.
#[inline(always)]
fn half_product(a: i32, w: i16) -> i32 {
    if cfg!(kernel = "armv6m") {
        // No long multiplication there.
        let low = (a & 0xffff).wrapping_mul(w.into()) >> 16;
        (a >> 16).wrapping_mul(w.into()).wrapping_add(low)
    } else {
        ((i64::from(a) * i64::from(w)) >> 16) as i32
    }
}

/// A complex number: real part, imaginary part.
pub(super) type Complex = [i32; 2];

/// Where the `n`-th of `length` (a power of two) numbers goes before [`transform`].
#[inline(always)]
pub(super) fn place(n: usize, length: usize) -> usize {
    (n as u32).reverse_bits().unbounded_shr(32 - length.trailing_zeros()) as usize
}

/// `z` holds `N/2` pairs of samples, each at its [`place`], of magnitude 2^30 at most; afterwards
/// `X[k] / N` at `k`. `X[0]` and `X[N/2]` are left out: no band has them.
pub(super) fn transform(z: &mut [Complex]) {
    first_two_stages(z);
    let mut half = 4;
    while half < z.len() {
        stage(z, half);
        half *= 2;
    }
    take_apart(z);
}

/// Transforms of four, which take no multiplication.
fn first_two_stages(z: &mut [Complex]) {
    for [a, b, c, d] in z.as_chunks_mut().0 {
        let quarters = [*a, *b, *c, *d].map(|z| z.map(|part| part >> 2));
        let [[ar, ai], [br, bi], [cr, ci], [dr, di]] = quarters;
        let ([er, ei], [fr, fi]) = ([ar + br, ai + bi], [ar - br, ai - bi]);
        let ([gr, gi], [hr, hi]) = ([cr + dr, ci + di], [cr - dr, ci - di]);
        *a = [er + gr, ei + gi];
        *b = [fr + hi, fi - hr];
        *c = [er - gr, ei - gi];
        *d = [fr - hi, fi + hr];
    }
}

/// Joins transforms of `half` into those of twice that.
fn stage(z: &mut [Complex], half: usize) {
    let quarter = half / 2;
    let stride = LONGEST / (2 * half).max(1);
    for block in z.chunks_exact_mut((2 * half).max(1)) {
        let Some((even, odd)) = block.split_at_mut_checked(half) else { return };
        let Some((even, even_far)) = even.split_at_mut_checked(quarter) else { return };
        let Some((odd, odd_far)) = odd.split_at_mut_checked(quarter) else { return };
        let pairs = even.iter_mut().zip(odd).zip(even_far.iter_mut().zip(odd_far));
        let mut angle = 0;
        for ((a, b), (c, d)) in pairs {
            // A quarter of the circle on, the factor is −i times this one: for free.
            let (t, [ur, ui]) = if angle == 0 {
                (b.map(|part| part >> 1), d.map(|part| part >> 1))
            } else {
                (turned(*b, angle), turned(*d, angle))
            };
            butterfly(a, b, t);
            butterfly(c, d, [ui, -ur]);
            angle += stride;
        }
    }
}

/// `z · e^(−2πi·angle/LONGEST) / 2`
#[inline(always)]
fn turned([re, im]: Complex, angle: usize) -> Complex {
    let (cos, sin) = direction(angle);
    [half_product(re, cos) + half_product(im, sin), half_product(im, cos) - half_product(re, sin)]
}

/// Cosine and sine of an angle in the first quarter.
#[inline(always)]
fn direction(angle: usize) -> (i16, i16) {
    let angle = angle.min(QUARTER);
    (SINE[QUARTER - angle], SINE[angle])
}

/// Halves of `a + b` and `a − b`, where `t` is half of `b` turned.
#[inline(always)]
fn butterfly(a: &mut Complex, b: &mut Complex, [tr, ti]: Complex) {
    let [ar, ai] = a.map(|part| part >> 1);
    *a = [ar + tr, ai + ti];
    *b = [ar - tr, ai - ti];
}

/// From the transform of `even + i·odd` samples to that of all: `X[k] = E[k] + W^k O[k]`, halved.
fn take_apart(z: &mut [Complex]) {
    let stride = LONGEST / (2 * z.len()).max(1);
    let middle = z.len() / 2;
    let Some((low, high)) = z.split_at_mut_checked(middle) else { return };
    let mut angle = stride;
    // The middle meets itself: its conjugate has the same power.
    if let Some(z) = high.first_mut() {
        *z = z.map(|part| part >> 1);
    }
    for (a, b) in low.iter_mut().skip(1).zip(high.iter_mut().rev()) {
        let ([ar, ai], [br, bi]) = (a.map(|part| part >> 1), b.map(|part| part >> 1));
        let [er, ei] = [(ar + br) >> 1, (ai - bi) >> 1];
        let [tr, ti] = turned([ai + bi, br - ar], angle);
        *a = [er + tr, ei + ti];
        *b = [er - tr, ti - ei];
        angle += stride;
    }
}
