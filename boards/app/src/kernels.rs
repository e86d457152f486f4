//! The kernels that the engine selected for this core against the portable ones, bit for bit.

use gatelet::fixed::CELL_MAX;
use gatelet::kernels::{Blocks, Row, Tiles, Vectors, gru_after, gru_before, lstm, portable, tanh};

/// Compares all kernels on everything that changes their course: every remainder of columns, every
/// number of blocks, numbers from everywhere and the largest of either sign.
///
/// # Panics
/// On the first difference.
pub fn compare_kernels() {
    let mut data = Data::new();
    for tiles in [
        Tiles::Int8Plain,
        Tiles::Int8Dsp,
        Tiles::Int8Columns,
        Tiles::Int8Helium,
        Tiles::Int16,
        Tiles::Int4,
    ] {
        for x in (0..=72).step_by(4) {
            for h in (0..=72).step_by(4) {
                data.fill();
                data.compare_blocks::<1>(tiles, x, h);
                data.compare_blocks::<2>(tiles, x, h);
                data.compare_blocks::<3>(tiles, x, h);
                data.compare_blocks::<4>(tiles, x, h);
            }
        }
        for (x, h) in [(WIDEST, 0), (0, WIDEST), (508, 4), (4, 508), (512, 4), (4, 512)] {
            data.fill();
            data.compare_blocks::<1>(tiles, x, h);
        }
    }
    for _ in 0..20_000 {
        data.compare_cells();
    }
}

const WIDEST: usize = 576;

/// Blobs and memory are aligned at least so.
#[repr(align(16))]
struct Data {
    weights: [u8; 4 * 8 * (72 + 72)],
    x: [i16; WIDEST],
    h: [i16; WIDEST],
    rows: [[Row; 4]; 4],
    random: u32,
}

/// Aligned as the engine's outputs are.
#[repr(align(4))]
struct Words<T>(T);

impl Data {
    fn new() -> Self {
        Self {
            weights: [0; _],
            x: [0; _],
            h: [0; _],
            rows: [[[0; 8]; 4]; 4],
            random: 2_463_534_242,
        }
    }

    /// Marsaglia's xorshift.
    fn next(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random
    }

    /// Uniform in half of the cases, else only the numbers of `corners`.
    fn pick<const N: usize>(&mut self, uniform: bool, corners: [i32; N]) -> i32 {
        let number = self.next();
        if uniform { number as i32 } else { corners[number as usize % N] }
    }

    fn fill(&mut self) {
        let kind = self.next() >> 28;
        for k in 0..self.weights.len() {
            self.weights[k] = self.pick(kind & 1 == 0, [-128, 127, -127, 0]) as u8;
        }
        for k in 0..WIDEST {
            self.x[k] = self.pick(kind & 2 == 0, [-32767, 32767]) as i16;
            self.h[k] = self.pick(kind & 4 == 0, [-32767, 32767, 0, i16::MIN.into()]) as i16;
        }
        for block in 0..4 {
            for row in 0..4 {
                let bias = self.next().to_le_bytes();
                let multipliers = [0; 2]
                    .map(|_| self.pick(kind & 8 == 0, [0, 1, 32766, 32767]) as i16 & i16::MAX);
                let [[x0, x1], [h0, h1]] = multipliers.map(i16::to_le_bytes);
                let [b0, b1, b2, b3] = bias;
                self.rows[block][row] = [b0, b1, b2, b3, x0, x1, h0, h1];
            }
        }
    }

    fn compare_blocks<const N: usize>(&self, tiles: Tiles, x: usize, h: usize) {
        let rows = self.rows.first_chunk::<N>().expect("four blocks");
        let (x, h) = (&self.x[..x], &self.h[..h]);
        let vectors = Vectors::new(tiles, x, h);
        for apart in [false, true] {
            if apart && N < 3 {
                continue;
            }
            let weights = &self.weights[..(N - apart as usize) * vectors.block_bytes()];
            let (mut z, mut expected) = ([[0; 4]; N], [[0; 4]; N]);
            let mut blocks = Blocks::new(rows, weights);
            if apart {
                blocks.next_apart(&vectors, &mut z);
            } else {
                blocks.next(&vectors, &mut z);
            }
            portable::affine(tiles, rows, weights, x, h, &mut expected, apart);
            let (x, h) = (x.len(), h.len());
            assert_eq!(z, expected, "{N} blocks of {tiles:?}, {x} + {h} columns, apart: {apart}");
        }
    }

    fn compare_cells(&mut self) {
        const CORNERS: [i32; 10] = [
            i32::MIN,
            i32::MIN + 1,
            i32::MAX,
            0,
            1 << 20,
            (1 << 20) - 1,
            -(1 << 20) - 1,
            (1 << 19) - 1,
            -(1 << 19),
            -(1 << 19) - 1,
        ];
        let kind = self.next() >> 8;
        let shift = (kind >> 8) % 20;
        let z = [[0; 4]; 4]
            .map(|gate| gate.map(|_| self.pick(!kind.is_multiple_of(4), CORNERS) >> shift));
        let memory = [0; 4].map(|_| {
            let corners = [CELL_MAX, -CELL_MAX, CELL_MAX - 1, 0];
            (self.pick(kind & 16 == 0, corners) >> ((kind >> 5) % 8)).clamp(-CELL_MAX, CELL_MAX)
        });

        let groups = [z, [z[1], z[2], z[3], z[0]], [z[2], z[3], z[0], z[1]]];
        let memories = [memory, memory.map(|c| -c), memory];
        let (mut c, mut h) = (memories, Words([[0; 4]; 3]));
        let (mut expected_c, mut expected_h) = (c, h.0);
        lstm(&groups, &mut c, &mut h.0);
        for k in 0..3 {
            portable::lstm(&groups[k], &mut expected_c[k], &mut expected_h[k]);
        }
        assert_eq!((c, h.0), (expected_c, expected_h), "lstm of {groups:?}, {memories:?}");

        let (mut y, mut expected_y) = (Words([[0; 4]; 4]), [[0; 4]; 4]);
        let blocks = 1 + (kind >> 16) as usize % 4;
        tanh(&z[..blocks], &mut y.0[..blocks]);
        portable::tanh(&z[..blocks], &mut expected_y[..blocks]);
        assert_eq!(y.0, expected_y, "tanh of {z:?}");

        type Memory = [i32; 4];
        let same = |name: &str,
                    selected: &dyn Fn(&mut Memory, &mut [i16; 4]),
                    portable: &dyn Fn(&mut Memory, &mut [i16; 4])| {
            let (mut m, mut h) = (memory, Words([0; 4]));
            let (mut expected_m, mut expected_h) = (m, h.0);
            selected(&mut m, &mut h.0);
            portable(&mut expected_m, &mut expected_h);
            assert_eq!((m, h.0), (expected_m, expected_h), "{name} of {z:?}, {memory:?}");
        };
        same("gru_after", &|m, h| gru_after(&z, m, h), &|m, h| portable::gru_after(&z, m, h));
        let z = [z[0], z[1]];
        same("gru_before", &|m, h| gru_before(&z, m, h), &|m, h| portable::gru_before(&z, m, h));
    }
}
