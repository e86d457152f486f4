//! The kernels of the machine that runs the tests give the portable answer, bit for bit: every
//! layout, every shape, values of every kind.

use gatelet::fixed::CELL_MAX;
use gatelet::kernels::{self, Row, Tiles, Vectors, portable};

const TILES: [Tiles; 5] =
    [Tiles::Int8Plain, Tiles::Int8Dsp, Tiles::Int8Helium, Tiles::Int16, Tiles::Int4];

/// Kinds of values: anything, the extremes, the largest sums.
#[derive(Clone, Copy)]
enum Values {
    Any,
    Extremes,
    Largest,
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as u32
    }

    fn pick<T: Copy>(&mut self, values: Values, any: T, extremes: &[T]) -> T {
        match values {
            Values::Any => any,
            Values::Extremes => extremes[self.next() as usize % extremes.len()],
            Values::Largest => extremes[0],
        }
    }
}

/// Aligned as the engine's memory is.
#[repr(align(16))]
struct Aligned<T>(T);

fn affine<const N: usize>(
    tiles: Tiles,
    x_len: usize,
    h_len: usize,
    values: Values,
    r: &mut Random,
) {
    let (mut x, mut h) = (Aligned([0i16; 72]), Aligned([0i16; 72]));
    for v in x.0.iter_mut().chain(&mut h.0) {
        let any = r.next() as i16;
        *v = r.pick(values, any, &[-32768, 32767, -32767, 0]);
    }
    let mut weights = Aligned([0u8; 4 * 2 * 4 * 2 * 72]);
    for w in &mut weights.0 {
        let any = r.next() as u8;
        *w = r.pick(values, any, &[0x80, 0x7f, 0x81, 0]);
    }
    let mut rows = Aligned([[[0; 8]; 4]; N]);
    for row in rows.0.as_flattened_mut() {
        let mut multiplier = || {
            let any = (r.next() & 0x7fff) as i16;
            r.pick(values, any, &[32767, 0, 1, 32766])
        };
        let (m_x, m_h) = (multiplier(), multiplier());
        let bias = (r.next() << 1) as i32;
        *row = record(bias, m_x, m_h);
    }
    let v = Vectors::new(tiles, &x.0[..x_len], &h.0[..h_len]);
    let weights = &weights.0[..N * v.block_bytes()];
    let (mut got, mut expected) = ([[1; 4]; N], [[2; 4]; N]);
    v.affine(&rows.0, weights, &mut got);
    portable::affine(tiles, &rows.0, weights, &x.0[..x_len], &h.0[..h_len], &mut expected);
    assert_eq!(got, expected, "{tiles:?}, {N} blocks, {x_len} + {h_len} columns");
}

fn record(bias: i32, m_x: i16, m_h: i16) -> Row {
    let ([b0, b1, b2, b3], [x0, x1], [h0, h1]) =
        (bias.to_le_bytes(), m_x.to_le_bytes(), m_h.to_le_bytes());
    [b0, b1, b2, b3, x0, x1, h0, h1]
}

#[test]
fn products_are_the_portable_ones() {
    let mut r = Random(1);
    for tiles in TILES {
        for x_len in (0..=72).step_by(4) {
            for h_len in (0..=72).step_by(4) {
                for values in [Values::Any, Values::Extremes, Values::Largest] {
                    affine::<1>(tiles, x_len, h_len, values, &mut r);
                    affine::<2>(tiles, x_len, h_len, values, &mut r);
                    affine::<3>(tiles, x_len, h_len, values, &mut r);
                    affine::<4>(tiles, x_len, h_len, values, &mut r);
                }
            }
        }
    }
}

#[test]
fn cells_are_the_portable_ones() {
    let mut r = Random(2);
    for round in 0..200_000 {
        // From fine to beyond every saturation.
        let values = if round % 8 == 0 { Values::Extremes } else { Values::Any };
        let shift = round / 8 % 20;
        let mut z = || {
            let any = (r.next() << 1) as i32 >> shift;
            r.pick(values, any, &[i32::MIN, i32::MAX, 0, -1, 1 << 20, -(1 << 20)])
        };
        let gates: [[i32; 4]; 4] = core::array::from_fn(|_| core::array::from_fn(|_| z()));
        let mut state = |most: i32| {
            core::array::from_fn(|_| {
                let any = ((r.next() << 1) as i32 >> shift).clamp(-most, most);
                r.pick(values, any, &[-most, most, 0, -1, 1])
            })
        };

        let mut got = state(CELL_MAX);
        let mut expected: [i32; 4] = got;
        assert_eq!(kernels::lstm(&gates, &mut got), portable::lstm(&gates, &mut expected));
        assert_eq!(got, expected);

        let [z, r, n_x, n_h] = gates;
        let mut got = state(1 << 28);
        let mut expected: [i32; 4] = got;
        assert_eq!(
            kernels::gru_after(&[z, r], &n_x, &n_h, &mut got),
            portable::gru_after(&[z, r], &n_x, &n_h, &mut expected)
        );
        assert_eq!(got, expected);
        assert_eq!(
            kernels::gru_before(&z, &n_x, &mut got),
            portable::gru_before(&z, &n_x, &mut expected)
        );
        assert_eq!(got, expected);
    }
}
