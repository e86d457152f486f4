//! From logits to a token: the largest, or one drawn at random, in integers.

use crate::activation::exp_negative;

/// The token with the largest output; the first of equals.
pub fn largest(outputs: &[i16]) -> i16 {
    let mut best = (0, i16::MIN);
    for (token, output) in (0..).zip(outputs) {
        if *output > best.1 {
            best = (token, *output);
        }
    }
    best.0
}

/// Draws tokens with probability `e^(logit / temperature)`, up to a factor: the same tokens from the
/// same seed on every board.
///
/// ```
/// let mut sampler = gatelet::decode::Sampler::new(0.001, 0.8, 1);
/// let tokens: [i16; 4] = core::array::from_fn(|_| sampler.pick(&[1000, -2000, 1500, 800]));
/// let mut again = gatelet::decode::Sampler::new(0.001, 0.8, 1);
/// assert_eq!(tokens, core::array::from_fn(|_| again.pick(&[1000, -2000, 1500, 800])));
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Sampler {
    /// Of the random numbers: PCG-XSH-RR 64/32 (O'Neill 2014).
    state: u64,
    /// What one unit of the logits is of the temperature, with 24 fractional bits.
    steepness: u32,
}

impl Sampler {
    const MULTIPLIER: u64 = 6_364_136_223_846_793_005;
    const INCREMENT: u64 = 1_442_695_040_888_963_407;

    /// For logits whose unit is worth `output_scale`
    /// ([`Model::output_scale`](crate::Model::output_scale)). The temperature is 1 for the model's
    /// own probabilities, less for likelier tokens; at 0 the largest logit is picked, by chance
    /// among equals.
    pub fn new(output_scale: f32, temperature: f32, seed: u64) -> Self {
        // Float, but the same bits everywhere; `as` saturates, so a temperature of 0 will do.
        let steepness = (output_scale / temperature.max(0.0) * (1 << 24) as f32) as u32;
        let state = Self::INCREMENT.wrapping_add(seed);
        let mut sampler = Self { state, steepness };
        sampler.random();
        sampler
    }

    /// Draws a token; 0 if there is no logit.
    pub fn pick(&mut self, logits: &[i16]) -> i16 {
        let largest = logits.iter().fold(i16::MIN, |a, b| a.max(*b));
        let weight = |logit: &i16| {
            let below = largest.abs_diff(*logit);
            let exponent = (u64::from(below) * u64::from(self.steepness)) >> 8;
            // From 16 on the weight is 0 anyway.
            exp_negative(exponent.min(1 << 20) as u32)
        };
        // At most 2^15 weights of 2^15.
        let total = logits.iter().fold(0u32, |sum, logit| sum.wrapping_add(weight(logit)));
        let mut left = ((u64::from(Self::output(self.state)) * u64::from(total)) >> 32) as u32;
        let mut picked = 0;
        for (token, logit) in (0..).zip(logits) {
            let weight = weight(logit);
            if left < weight {
                picked = token;
                break;
            }
            left -= weight;
        }
        self.random();
        picked
    }

    fn random(&mut self) {
        self.state = self.state.wrapping_mul(Self::MULTIPLIER).wrapping_add(Self::INCREMENT);
    }

    fn output(state: u64) -> u32 {
        let folded = (((state >> 18) ^ state) >> 27) as u32;
        folded.rotate_right((state >> 59) as u32)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn the_generator_is_pcg32() {
        // pcg32_srandom(42, 54) of the reference implementation has another increment; this is the
        // published default stream, computed from its definition in 128-bit integers.
        let mut state = 42u128 + u128::from(Sampler::INCREMENT);
        let mut sampler = Sampler::new(1.0, 1.0, 42);
        for _ in 0..100 {
            let modulus = 1u128 << 64;
            state = (state * u128::from(Sampler::MULTIPLIER) + u128::from(Sampler::INCREMENT))
                % modulus;
            let folded = (((state >> 18) ^ state) >> 27) as u32;
            assert_eq!(Sampler::output(sampler.state), folded.rotate_right((state >> 59) as u32));
            sampler.random();
        }
    }

    #[test]
    fn tokens_come_as_often_as_their_probability_says() {
        const DRAWS: u32 = 200_000;
        let logits = [0i16, -700, 1000, -3000, 400, -32767];
        for temperature in [0.5f32, 1.0, 2.0] {
            let mut sampler = Sampler::new(0.001, temperature, 7);
            let mut counts = [0u32; 6];
            for _ in 0..DRAWS {
                counts[sampler.pick(&logits) as usize] += 1;
            }
            let exps = logits.map(|z| libm::exp(f64::from(z) * 0.001 / f64::from(temperature)));
            let sum: f64 = exps.iter().sum();
            for (count, e) in counts.iter().zip(exps) {
                let (p, found) = (e / sum, f64::from(*count) / f64::from(DRAWS));
                // Four standard deviations.
                let bound = 4.0 * libm::sqrt(p * (1.0 - p) / f64::from(DRAWS)) + 2e-5;
                assert!((found - p).abs() <= bound, "{temperature}: {found} for {p}");
            }
        }
    }

    #[test]
    fn extremes_are_taken() {
        for temperature in [0.0, -1.0, f32::NAN, f32::MIN_POSITIVE, f32::MAX, f32::INFINITY] {
            let mut sampler = Sampler::new(1.0, temperature, u64::MAX);
            for logits in [&[][..], &[i16::MIN], &[i16::MAX, i16::MIN], &[5; 300]] {
                let token = sampler.pick(logits);
                assert!(token == 0 || usize::from(token as u16) < logits.len());
            }
        }
        let mut coldest = Sampler::new(0.001, 0.0, 3);
        assert!((0..100).all(|_| coldest.pick(&[1, 2, 7, 6]) == 2));
        assert_eq!((largest(&[1, 7, 7, 6]), largest(&[]), largest(&[i16::MIN])), (1, 0, 0));
    }
}
