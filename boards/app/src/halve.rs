//! Sound at half the rate, for microphones that are faster than the model.

/// A half-band filter: 8 of its 15 taps on either side of the middle, which is 1/2; every other one is
/// zero. A Hamming window over the sinc, with 15 fractional bits, scaled to pass an offset unchanged:
/// within 0.1 dB up to 5/32 of the faster rate, at -40 dB and less from 11/32 of it.
const TAPS: [i32; 4] = [10082, -2494, 761, -157];
const LENGTH: usize = 15;

/// Takes samples, and gives half as many.
#[derive(Clone, Debug, Default)]
pub struct Halver {
    /// The latest samples, oldest first.
    latest: [i16; LENGTH],
    /// True if the next sample gives one.
    due: bool,
}

impl Halver {
    /// Takes a sample; gives one for every second.
    pub fn push(&mut self, sample: i16) -> Option<i16> {
        self.latest.copy_within(1.., 0);
        self.latest[LENGTH - 1] = sample;
        self.due = !self.due;
        if self.due {
            return None;
        }
        let middle = LENGTH / 2;
        let mut sum = i32::from(self.latest[middle]) << 14;
        for (k, tap) in TAPS.into_iter().enumerate() {
            let (before, after) = (middle - 1 - 2 * k, middle + 1 + 2 * k);
            sum += tap * (i32::from(self.latest[before]) + i32::from(self.latest[after]));
        }
        let sample = (sum + (1 << 14)) >> 15;
        Some(sample.clamp(i16::MIN.into(), i16::MAX.into()) as i16)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use core::f64::consts::TAU;

    use super::*;

    /// Loudness, as a factor, of a tone of `cycles` a sample after halving.
    fn gain(cycles: f64) -> f64 {
        let tone = |n: i32| (16000.0 * libm::sin(TAU * cycles * f64::from(n))) as i16;
        let mut halver = Halver::default();
        let halved: Vec<_> = (0..4000).filter_map(|n| halver.push(tone(n))).collect();
        assert_eq!(halved.len(), 2000);
        let power: f64 = halved[20..].iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
        libm::sqrt(2.0 * power / 1980.0) / 16000.0
    }

    #[test]
    fn low_tones_pass_and_high_ones_do_not() {
        for cycles in [0.013, 0.07, 0.1512] {
            assert!((gain(cycles) - 1.0).abs() < 0.012, "{cycles}: {}", gain(cycles));
        }
        for cycles in [0.346, 0.4, 0.47] {
            assert!(gain(cycles) < 0.01, "{cycles}: {}", gain(cycles));
        }
    }

    #[test]
    fn the_loudest_sounds_do_not_wrap() {
        for level in [i16::MIN, i16::MAX] {
            let mut halver = Halver::default();
            let halved: Vec<_> = (0..100).filter_map(|_| halver.push(level)).collect();
            assert_eq!(halved.last(), Some(&level));
            assert!(halved.iter().all(|x| x.signum() != -level.signum() || x.abs() < 2000));
        }
    }
}
