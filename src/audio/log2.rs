//! Logarithm of a power.

use core::f64::consts::LN_2;

const SEGMENTS: usize = 64;

/// `log2(1 + k/64)` with 16 fractional bits; the last entry is a unit short of 1.
///
/// Between entries a chord is at most `h²/8/ln 2 = 4.4e-5` too low: 3 units.
static LOG2: [u16; SEGMENTS + 1] = log2_table();

const fn log2_table() -> [u16; SEGMENTS + 1] {
    let mut table = [u16::MAX; SEGMENTS + 1];
    let mut k = 0;
    while k < SEGMENTS {
        // ln(1 + x) = 2 artanh(x / (2 + x)), a series in at most 1/9.
        let x = k as f64 / SEGMENTS as f64;
        let y = x / (2.0 + x);
        let (mut sum, mut power, mut n) = (0.0, y, 1);
        while n < 40 {
            sum += power / n as f64;
            power *= y * y;
            n += 2;
        }
        table[k] = (65536.0 * 2.0 * sum / LN_2 + 0.5) as u16;
        k += 1;
    }
    table
}

/// `log2(power)` with 16 fractional bits, within 5 units; 0 for 0.
#[inline]
pub(super) fn log2(power: u64) -> i32 {
    let power = power.max(1);
    let zeros = power.leading_zeros();
    let mantissa = ((power << zeros) >> 32) as u32;
    let (index, fraction) = ((mantissa >> 25) as usize % SEGMENTS, mantissa >> 9 & 0xffff);
    let (low, high) = (u32::from(LOG2[index]), u32::from(LOG2[index + 1]));
    let between = low + (((high - low) * fraction) >> 16);
    ((63 - zeros) << 16 | between) as i32
}

#[test]
fn logarithm_is_within_five_units() {
    extern crate std;
    for k in 1..200_000u64 {
        for shift in [0, 17, 40] {
            let power = (k * 7 + k / 3) << shift;
            let exact = libm::log2(power as f64) * 65536.0;
            assert!((f64::from(log2(power)) - exact).abs() <= 5.0, "{power}");
        }
    }
    assert_eq!(log2(0), 0);
    assert_eq!(log2(1 << 40), 40 << 16);
    assert!(log2(u64::MAX) < 64 << 16);
}
