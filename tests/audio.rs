//! The front-end against float64, in any chunks, and on sound as bad as it gets.

mod common;

use std::f64::consts::PI;

use common::Random;
use gatelet::audio::{self, Frontend};
use gatelet_cli::audio::{Recordings, Settings, frames};
use rustfft::FftPlanner;
use rustfft::num_complex::Complex;

/// Decibels of one unit of log2 of power.
const DB: f64 = 3.010_299_956_639_812;

/// `log2((power + floor) / floor)` of every frame, from the formulas, in float64.
fn reference(settings: &Settings, pcm: &[i16]) -> Vec<f64> {
    let (window, fft) = (usize::from(settings.window), settings.fft());
    let hann = |n: usize| 0.5 - 0.5 * (2.0 * PI * n as f64 / window as f64).cos();
    let edges = settings.edges();
    let transform = FftPlanner::new().plan_fft_forward(fft);
    let mut features = Vec::new();
    for frame in pcm.windows(window).step_by(settings.hop.into()) {
        let mut spectrum = vec![Complex::default(); fft];
        for n in 0..window {
            let before = f64::from(frame[n.saturating_sub(1)]);
            let x = f64::from(frame[n]) - settings.pre_emphasis * before;
            spectrum[n].re = hann(n) * x / 32768.0;
        }
        transform.process(&mut spectrum);
        let levels: Vec<f64> = edges
            .windows(3)
            .map(|e| {
                let weight = |bin: usize| {
                    let hz = bin as f64 * f64::from(settings.rate) / fft as f64;
                    ((hz - e[0]) / (e[1] - e[0])).min((e[2] - hz) / (e[2] - e[1])).max(0.0)
                };
                let power: f64 = (0..fft / 2).map(|k| weight(k) * spectrum[k].norm_sqr()).sum();
                ((power + settings.floor) / settings.floor).log2()
            })
            .collect();
        let bands = f64::from(settings.bands);
        features.extend(levels.iter().take(if settings.coefficients == 0 {
            levels.len()
        } else {
            0
        }));
        features.extend((0..settings.coefficients).map(|k| {
            let norm = (if k == 0 { 1.0 } else { 2.0 } / bands).sqrt();
            let cosine = |band: usize| (PI * f64::from(k) * (band as f64 + 0.5) / bands).cos();
            norm * levels.iter().enumerate().map(|(band, v)| v * cosine(band)).sum::<f64>()
        }));
    }
    features
}

/// The integers of the front-end, in log2 of power.
fn heard(settings: &Settings, pcm: &[i16]) -> Vec<f64> {
    let section = settings.section().unwrap();
    let front_end = audio::Settings::from_bytes(&section).unwrap();
    let step = f64::from(front_end.step());
    frames(front_end, pcm).into_iter().map(|v| f64::from(v) * step).collect()
}

/// Three vowels' worth of harmonics that glide, over noise: `seconds` of it at `rate`.
fn voice(rate: u16, seconds: usize) -> Vec<i16> {
    let mut random = Random(5);
    let mut phase = 0.0;
    (0..usize::from(rate) * seconds)
        .map(|n| {
            let t = n as f64 / f64::from(rate);
            phase += 2.0 * PI * (120.0 + 40.0 * (2.0 * PI * t).sin()) / f64::from(rate);
            let harmonics: f64 = (1..20).map(|k| (f64::from(k) * phase).sin() / f64::from(k)).sum();
            let swell = (0.5 - 0.5 * (2.0 * PI * 3.0 * t).cos()).powi(3);
            (6000.0 * swell * harmonics + random.real(20.0)).round() as i16
        })
        .collect()
}

/// Mean and largest difference from float64 in dB, where the power is above the floor.
fn difference(settings: &Settings, pcm: &[i16]) -> (f64, f64) {
    let (heard, expected) = (heard(settings, pcm), reference(settings, pcm));
    assert_eq!(heard.len(), expected.len());
    let above = |expected: f64| settings.coefficients > 0 || expected > 1.0;
    let errors: Vec<f64> = heard
        .iter()
        .zip(&expected)
        .filter(|(_, expected)| above(**expected))
        .map(|(heard, expected)| DB * (heard - expected).abs())
        .collect();
    assert!(errors.len() > 100, "{} values above the floor", errors.len());
    (errors.iter().sum::<f64>() / errors.len() as f64, errors.iter().fold(0.0, |a, e| e.max(a)))
}

#[test]
fn features_are_those_of_float64_to_a_hundredth_of_a_decibel() {
    let default = Settings::default();
    let fine = Settings { window: 200, hop: 80, bands: 20, ..default.clone() };
    let wide = Settings { rate: 16000, window: 400, hop: 160, bands: 40, ..default.clone() };
    let long = Settings { rate: 16000, window: 1024, hop: 512, bands: 64, ..default.clone() };
    let short = Settings { window: 32, hop: 32, bands: 6, ..default.clone() };
    let emphasized = Settings { pre_emphasis: 0.97, floor: 1e-4, ..fine.clone() };
    for settings in [default, fine, wide, long, short, emphasized] {
        let (mean, most) = difference(&settings, &voice(settings.rate, 2));
        println!("{settings:?}: {mean:.4} dB, at most {most:.3} dB");
        assert!(mean < 0.01 && most < 0.5, "{settings:?}: {mean} dB, at most {most} dB");
    }
    let cepstral = Settings { coefficients: 13, ..Settings::default() };
    let (mean, most) = difference(&cepstral, &voice(8000, 2));
    assert!(mean < 0.02 && most < 0.5, "cepstral: {mean} dB, at most {most} dB");
}

#[test]
fn real_speech_is_heard_as_float64_hears_it() {
    let Some(path) = gatelet_fsdd::recordings() else {
        println!("not run: ../shared/data/fsdd is absent");
        assert!(std::env::var_os("CI").is_none(), "CI has the recordings and must test them");
        return;
    };
    let recordings = Recordings::read(&path, 8000).unwrap();
    let settings = Settings::default();
    for pcm in recordings.pcm.iter().step_by(250) {
        let (mean, most) = difference(&settings, pcm);
        assert!(mean < 0.01 && most < 0.2, "{mean} dB, at most {most} dB");
    }
}

#[test]
fn chunks_of_any_length_give_the_same_bits() {
    let settings = Settings { pre_emphasis: 0.9, adaptation: 5, ..Settings::default() };
    let section = settings.section().unwrap();
    let front_end = audio::Settings::from_bytes(&section).unwrap();
    let pcm = voice(8000, 1);
    let whole = frames(front_end, &pcm);
    assert_eq!(whole.len() / front_end.features(), (8000 - 256) / 160 + 1);
    let mut random = Random(7);
    for longest in [1, 2, 3, 159, 160, 161, 256, 1000, 8000] {
        let mut memory = vec![u32::MAX; front_end.words()];
        let mut frontend = Frontend::new(front_end, &mut memory).unwrap();
        let (mut rest, mut features) = (&pcm[..], Vec::new());
        while !rest.is_empty() {
            let length = 1 + random.next() as usize % longest;
            let mut chunk = rest.split_off(..length.min(rest.len())).unwrap();
            while let Some(frame) = frontend.next_frame(&mut chunk) {
                features.extend_from_slice(frame);
            }
            assert!(chunk.is_empty());
        }
        assert_eq!(features, whole, "chunks of up to {longest}");
        frontend.reset();
        let mut chunk = &pcm[..256];
        assert_eq!(frontend.next_frame(&mut chunk).unwrap(), &whole[..24], "after a reset");
    }
}

#[test]
fn memory_that_is_too_small_is_refused() {
    let section = Settings::default().section().unwrap();
    let front_end = audio::Settings::from_bytes(&section).unwrap();
    let mut memory = vec![0; front_end.words() - 1];
    let error = Frontend::new(front_end, &mut memory).unwrap_err();
    let (needed, given) = (front_end.words(), front_end.words() - 1);
    assert_eq!(error, gatelet::Error::Memory { needed, given });
}

#[test]
fn bad_sound_does_no_harm() {
    let settings = Settings::default();
    let silence = heard(&settings, &[0; 2000]);
    assert!(silence.iter().all(|v| *v == 0.0), "silence is 0 in every band");

    // Beside the loudest bands, those 70 dB below them count for little.
    let near = |heard: f64, expected: f64| expected < 5.0 || DB * (heard - expected).abs() < 0.5;
    // The most that 16 bits can bring, in every pattern that sums it up.
    let square = |period: usize| -> Vec<i16> {
        (0..2000)
            .map(|n| if (n / period).is_multiple_of(2) { i16::MAX } else { i16::MIN })
            .collect()
    };
    for pre_emphasis in [0.0, 0.999] {
        let settings = Settings { pre_emphasis, ..settings.clone() };
        for pcm in [1, 2, 3, 8, 40, 4000].map(square) {
            let (heard, expected) = (heard(&settings, &pcm), reference(&settings, &pcm));
            for (heard, expected) in heard.iter().zip(&expected) {
                assert!(near(*heard, *expected), "{heard} for {expected}");
            }
        }
    }

    // An offset changes nothing that a band hears.
    let speech = voice(8000, 1);
    let offset: Vec<i16> = speech.iter().map(|v| (v / 2).saturating_add(8000)).collect();
    let half: Vec<i16> = speech.iter().map(|v| v / 2).collect();
    for (a, b) in heard(&settings, &offset).iter().zip(heard(&settings, &half)) {
        assert!((a - b).abs() * DB < 0.5, "{a} with an offset, {b} without");
    }

    // Clipped speech is still features: louder, never wild.
    let clipped: Vec<i16> = speech.iter().map(|v| v.saturating_mul(20)).collect();
    let (heard, expected) = (heard(&settings, &clipped), reference(&settings, &clipped));
    for (heard, expected) in heard.iter().zip(&expected) {
        assert!(near(*heard, *expected), "{heard} for {expected}");
    }
}

#[test]
fn settings_out_of_range_are_refused_with_a_reason() {
    let default = Settings::default();
    for (settings, reason) in [
        (Settings { window: 255, ..default.clone() }, "window"),
        (Settings { hop: 0, ..default.clone() }, "hop"),
        (Settings { hop: 257, ..default.clone() }, "hop"),
        (Settings { fft: 2048, ..default.clone() }, "FFT"),
        (Settings { fft: 300, ..default.clone() }, "FFT"),
        (Settings { bands: 128, ..default.clone() }, "holds no bin"),
        (Settings { bands: 0, ..default.clone() }, "bands"),
        (Settings { coefficients: 25, ..default.clone() }, "coefficients"),
        (Settings { high: 5000.0, ..default.clone() }, "Hz"),
        (Settings { pre_emphasis: 1.0, ..default.clone() }, "pre-emphasis"),
        (Settings { floor: 0.0, ..default.clone() }, "floor"),
        (Settings { adaptation: 16, ..default.clone() }, "adaptation"),
    ] {
        let error = format!("{:#}", settings.section().unwrap_err());
        assert!(error.contains(reason), "{reason}: {error}");
    }
}

/// Any section is refused or leaves a front-end that hears without a panic.
#[test]
fn hostile_sections_do_no_harm() {
    let section = Settings { coefficients: 5, ..Settings::default() }.section().unwrap();
    for length in 0..section.len() {
        assert!(audio::Settings::from_bytes(&section[..length]).is_err(), "{length} bytes");
    }
    let (mut random, mut heard) = (Random(11), 0);
    let pcm = voice(8000, 1);
    for _ in 0..20_000 {
        let mut bytes = section.clone();
        for _ in 0..1 + random.next() % 3 {
            let at = random.next() as usize % if random.next() % 2 == 0 { 24 } else { bytes.len() };
            bytes[at] = random.next() as u8;
        }
        if let Ok(front_end) = audio::Settings::from_bytes(&bytes) {
            heard += 1;
            let pcm = &pcm[..front_end.window() + front_end.hop()];
            assert_eq!(frames(front_end, pcm).len(), 2 * front_end.features());
        }
    }
    assert!(heard > 1000, "{heard} sections were accepted");
}
