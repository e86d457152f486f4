//! The portable kernels, which define every answer, against their definition in plain 64-bit
//! arithmetic, with weights packed as `src/blob/FORMAT.md` says.

use gatelet::activation::{sigmoid, tanh, tanh_cell};
use gatelet::fixed::CELL_MAX;
use gatelet::kernels::{Row, Tiles, portable};

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// From `least` to `most`, the ends as often as all that lies between them.
    fn between(&mut self, least: i64, most: i64) -> i64 {
        match self.next() >> 62 {
            0 => least,
            1 => most,
            _ => least + (self.next() >> 16) as i64 % (most - least + 1),
        }
    }
}

const ALL: [Tiles; 6] = [
    Tiles::Int8Plain,
    Tiles::Int8Dsp,
    Tiles::Int8Columns,
    Tiles::Int8Helium,
    Tiles::Int16,
    Tiles::Int4,
];

/// Four rows of weights with what each group of 32 columns counts: 1 but for 4-bit weights.
struct Matrix {
    rows: [Vec<i64>; 4],
    groups: Vec<[i64; 4]>,
}

impl Matrix {
    fn new(tiles: Tiles, columns: usize, random: &mut Random) -> Self {
        let (least, most) = match tiles {
            Tiles::Int16 => (-32768, 32767),
            Tiles::Int4 => (-8, 7),
            // The even row borrows from the odd one.
            Tiles::Int8Dsp => (-127, 127),
            _ => (-128, 127),
        };
        let rows = [(); 4].map(|()| (0..columns).map(|_| random.between(least, most)).collect());
        let mut scale = || if tiles == Tiles::Int4 { random.between(0, 255) } else { 1 };
        let groups = (0..columns.div_ceil(32)).map(|_| [(); 4].map(|()| scale())).collect();
        Self { rows, groups }
    }

    /// `Σ_c w[r][c]·v[c]`
    fn times(&self, v: &[i16]) -> [i64; 4] {
        std::array::from_fn(|r| {
            let products = self.rows[r].iter().zip(v).enumerate();
            products.map(|(c, (w, v))| self.groups[c / 32][r] * w * i64::from(*v)).sum()
        })
    }

    fn columns(&self) -> usize {
        self.rows[0].len()
    }

    /// As the table in the specification says.
    fn packed(&self, tiles: Tiles) -> Vec<u8> {
        let (mut bytes, rows) = (Vec::new(), &self.rows);
        let mut column = 0;
        while column < self.columns() {
            let wide = matches!(tiles, Tiles::Int8Helium | Tiles::Int4);
            let width = if wide { 8.min(self.columns() - column) } else { 4 };
            let at = column..column + width;
            if tiles == Tiles::Int4 && column % 32 == 0 {
                bytes.extend(self.groups[column / 32].map(|scale| scale as u8));
            }
            match tiles {
                Tiles::Int8Plain | Tiles::Int8Helium => {
                    for row in rows {
                        bytes.extend(row[at.clone()].iter().map(|w| *w as u8));
                    }
                }
                Tiles::Int8Dsp => {
                    for pair in [0, 2] {
                        for c in at.clone() {
                            let both = rows[pair][c] + 256 * rows[pair + 1][c];
                            bytes.extend((both as i16).to_le_bytes());
                        }
                    }
                }
                Tiles::Int8Columns => {
                    for c in at {
                        let added = [128, 128, 128, 0];
                        bytes.extend((0..4).map(|r| (rows[r][c] + added[r]) as u8));
                    }
                }
                Tiles::Int16 => {
                    for row in rows {
                        bytes
                            .extend(row[at.clone()].iter().flat_map(|w| (*w as i16).to_le_bytes()));
                    }
                }
                Tiles::Int4 => {
                    for row in rows {
                        let mut word = 0u32;
                        for k in 0..width / 2 {
                            let [even, odd] = [2 * k, 2 * k + 1].map(|c| row[column + c] + 8);
                            word |= (even as u32) << (4 * k);
                            word |= (odd as u32) << (4 * (k + width / 2));
                        }
                        bytes.extend(&word.to_le_bytes()[..width / 2]);
                    }
                }
            }
            column += width;
        }
        bytes
    }
}

fn row(bias: i32, [x, h]: [i16; 2]) -> Row {
    let ([b0, b1, b2, b3], [x0, x1], [h0, h1]) =
        (bias.to_le_bytes(), x.to_le_bytes(), h.to_le_bytes());
    [b0, b1, b2, b3, x0, x1, h0, h1]
}

/// At an address that is a multiple of 4.
fn aligned(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks(4).map(|four| u32::from_ne_bytes(four.try_into().unwrap())).collect()
}

/// Pre-activations of three blocks; of four where the last block's products are apart.
fn check(tiles: Tiles, inputs: usize, hidden: usize, apart: bool, random: &mut Random) {
    let most = if tiles == Tiles::Int16 { 300 } else { 32767 };
    let mut vector =
        |n| -> Vec<i16> { (0..n).map(|_| random.between(-most, most) as i16).collect() };
    let (x, h) = (vector(inputs), vector(hidden));
    let matrices = [(); 3].map(|()| [inputs, hidden].map(|n| Matrix::new(tiles, n, random)));
    let weights: Vec<u8> = matrices.iter().flatten().flat_map(|m| m.packed(tiles)).collect();
    assert_eq!(weights.len(), 3 * (tiles.bytes(inputs) + tiles.bytes(hidden)), "{tiles:?}");
    let mut products: Vec<_> =
        matrices.iter().map(|[m_x, m_h]| (m_x.times(&x), m_h.times(&h))).collect();
    if apart {
        let (of_x, of_h) = products.pop().unwrap();
        products.extend([(of_x, [0; 4]), ([0; 4], of_h)]);
    }
    let (mut rows, mut expected) = (Vec::new(), Vec::new());
    for (of_x, of_h) in products {
        let rows_of_block = [(); 4].map(|()| {
            let bias = random.next() as i32 >> 4;
            (bias, [(); 2].map(|()| random.between(0, 32767) as i16))
        });
        rows.push(rows_of_block.map(|(bias, multipliers)| row(bias, multipliers)));
        expected.push(std::array::from_fn(|r| {
            let (bias, [m_x, m_h]) = rows_of_block[r];
            let scaled = |m: i16, sum: i64| (i64::from(m) * sum).div_euclid(1 << 16);
            (i64::from(bias) + scaled(m_x, of_x[r]) + scaled(m_h, of_h[r])) as i32
        }));
    }
    // Records are aligned like words.
    let rows: Vec<[[u32; 2]; 4]> = rows.iter().map(|rows| bytemuck::cast(*rows)).collect();
    let (rows, weights) = (bytemuck::cast_slice(&rows), aligned(&weights));
    let mut z = vec![[0; 4]; expected.len()];
    portable::affine(tiles, rows, bytemuck::cast_slice(&weights), &x, &h, &mut z, apart);
    assert_eq!(z, expected, "{tiles:?}, {inputs} + {hidden} columns, apart: {apart}");
}

#[test]
fn products_are_those_of_the_matrices() {
    let mut random = Random(1);
    for tiles in ALL {
        for inputs in [0, 4, 8, 12, 28, 32, 36, 40, 64, 68, 76] {
            for hidden in [0, 4, 8, 36, 64] {
                check(tiles, inputs, hidden, false, &mut random);
                check(tiles, inputs, hidden, true, &mut random);
            }
        }
    }
}

/// Blocks that the blob does not have give nothing, and take nothing from those before them.
#[test]
fn missing_weights_count_nothing() {
    for tiles in ALL {
        let rows = [[row(5, [1, 1]); 4]; 2];
        let rows: [[[u32; 2]; 4]; 2] = bytemuck::cast(rows);
        let mut z = [[0; 4]; 2];
        portable::affine(tiles, bytemuck::cast_slice(&rows), &[], &[1; 8], &[1; 8], &mut z, false);
        assert_eq!(z, [[5; 4]; 2], "{tiles:?}");
    }
}

/// `floor(value / 2^bits + 1/2)`
fn rounded(value: i64, bits: u32) -> i64 {
    (value + (1 << (bits - 1))).div_euclid(1 << bits)
}

/// Pre-activations where the activations move, and beyond.
fn pre_activation(random: &mut Random) -> i32 {
    let wide = random.next() as i32;
    wide >> (random.next() % 16)
}

const CASES: usize = 5000;

#[test]
fn an_lstm_is_its_equations() {
    let mut random = Random(2);
    for _ in 0..CASES {
        let z = [[(); 4]; 4].map(|gate| gate.map(|()| pre_activation(&mut random)));
        let most = i64::from(CELL_MAX);
        let c = [(); 4].map(|()| random.between(-most, most) as i32 >> (random.next() % 30));
        let (mut new_c, mut h) = (c, [0; 4]);
        portable::lstm(&z, &mut new_c, &mut h);
        for unit in 0..4 {
            let [i, f, g, o] = z.map(|gate| gate[unit]);
            let gate = |z| i64::from(sigmoid(z));
            let kept = rounded(i64::from(c[unit]) * gate(f), 16);
            // 16 + 15 fractional bits to 20.
            let added = rounded(gate(i) * i64::from(tanh(g)), 11);
            let expected = (kept + added).clamp(-most, most);
            assert_eq!(i64::from(new_c[unit]), expected, "{z:?} {c:?}");
            let expected = rounded(gate(o) * i64::from(tanh_cell(new_c[unit])), 16);
            assert_eq!(i64::from(h[unit]), expected, "{z:?} {c:?}");
        }
    }
}

/// A GRU from `z` and the candidate's pre-activation.
fn check_gru(z: i32, n: i32, memory: i32, (new, h): (i32, i16)) {
    let (z, n) = (i64::from(sigmoid(z)), i64::from(tanh(n)));
    // 16 + 15 fractional bits to 28.
    let expected = rounded(i64::from(memory) * z, 16) + rounded((65536 - z) * n, 3);
    assert_eq!(i64::from(new), expected, "{z} {n} {memory}");
    let expected = rounded(expected, 13).clamp(-32767, 32767);
    assert_eq!(i64::from(h), expected, "{z} {n} {memory}");
}

#[test]
fn a_gru_is_its_equations() {
    let mut random = Random(3);
    for _ in 0..CASES {
        let z = [[(); 4]; 4].map(|gate| gate.map(|()| pre_activation(&mut random)));
        // Products that cannot overflow.
        let [z_gate, r, n_x, n_h] = z;
        let (n_x, n_h) = (n_x.map(|n| n >> 2), n_h.map(|n| n >> 2));
        let one = 1 << 28;
        let memory = [(); 4].map(|()| random.between(-one, one) as i32);
        let (mut after, mut h) = (memory, [0; 4]);
        portable::gru_after(&[z_gate, r, n_x, n_h], &mut after, &mut h);
        for unit in 0..4 {
            let reset = rounded(i64::from(n_h[unit]) * i64::from(sigmoid(r[unit])), 16);
            let n = n_x[unit] + reset as i32;
            check_gru(z_gate[unit], n, memory[unit], (after[unit], h[unit]));
        }
        let (mut before, mut h) = (memory, [0; 4]);
        portable::gru_before(&[z_gate, n_x], &mut before, &mut h);
        for unit in 0..4 {
            check_gru(z_gate[unit], n_x[unit], memory[unit], (before[unit], h[unit]));
        }
    }
}

#[test]
fn tanh_of_blocks_is_tanh_of_each() {
    let mut random = Random(4);
    let z = [[(); 4]; 5].map(|block| block.map(|()| pre_activation(&mut random)));
    let mut y = [[0; 4]; 5];
    portable::tanh(&z, &mut y);
    for (y, z) in y.iter().flatten().zip(z.iter().flatten()) {
        assert_eq!(i32::from(*y), tanh(*z));
        let exact = 32768.0 * (f64::from(*z) / 65536.0).tanh();
        assert!((f64::from(*y) - exact).abs() <= 2.0, "{y} for {exact}");
    }
}
