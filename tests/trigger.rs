//! The keyword trigger against its definition written down plainly, in floats and without a window
//! that slides.

mod common;

use common::Random;
use gatelet::decode::Trigger;
use gatelet::decode::trigger::{Event, Settings};

struct Plain {
    window: usize,
    refractory: usize,
    hysteresis: i32,
    thresholds: Vec<i32>,
}

impl Plain {
    fn section(&self) -> Vec<u8> {
        let mut fields = vec![self.window as u16, self.refractory as u16, self.hysteresis as u16];
        fields.extend(self.thresholds.iter().map(|t| *t as u16));
        fields.into_iter().flat_map(u16::to_le_bytes).collect()
    }

    /// Events of all frames at once: every score is the mean over the latest frames, from scratch.
    fn events(&self, frames: &[Vec<i16>]) -> Vec<Event> {
        let score = |frame: usize, output: usize| -> f64 {
            let first = (frame + 1).saturating_sub(self.window);
            let sum: f64 = frames[first..=frame].iter().map(|f| f64::from(f[output])).sum();
            sum / self.window as f64
        };
        let mut events: Vec<Event> = Vec::new();
        for frame in 0..frames.len() {
            let best = (0..self.thresholds.len())
                .reduce(|a, b| if score(frame, b) > score(frame, a) { b } else { a })
                .unwrap();
            let threshold = self.thresholds[best];
            if threshold == 0 || score(frame, best) < f64::from(threshold) {
                continue;
            }
            if let Some(last) = events.last() {
                let since = last.frame as usize + 1..=frame;
                let fell = since.clone().any(|frame| {
                    score(frame, last.output)
                        < f64::from(self.thresholds[last.output] - self.hysteresis)
                });
                if frame - last.frame as usize <= self.refractory || last.output == best && !fell {
                    continue;
                }
            }
            let score = score(frame, best) as i16;
            events.push(Event { output: best, frame: frame as u32, score });
        }
        events
    }
}

/// Probabilities that wander between outputs, each held for a while.
fn outputs(random: &mut Random, frames: usize, outputs: usize) -> Vec<Vec<i16>> {
    let mut said = 0;
    (0..frames)
        .map(|_| {
            if random.next().is_multiple_of(12) {
                said = random.next() as usize % outputs;
            }
            let mut frame: Vec<i16> = (0..outputs).map(|_| (random.next() % 4000) as i16).collect();
            frame[said] = 12_000 + (random.next() % 20_768) as i16;
            frame
        })
        .collect()
}

#[test]
fn events_are_those_of_the_definition() {
    let mut random = Random(21);
    let mut count = 0;
    for _ in 0..300 {
        let plain = Plain {
            window: 1 + random.next() as usize % 16,
            refractory: random.next() as usize % 30,
            hysteresis: (random.next() % 9000) as i32,
            thresholds: (0..5)
                .map(|k| if k == 4 { 0 } else { 8000 + (random.next() % 14_000) as i32 })
                .collect(),
        };
        let section = plain.section();
        let settings = Settings::from_bytes(&section).unwrap();
        let mut trigger = Trigger::<5, 16>::new(settings).unwrap();
        let frames = outputs(&mut random, 400, 5);
        let mut found: Vec<Event> = frames.iter().filter_map(|f| trigger.push(f)).collect();
        assert_eq!(found, plain.events(&frames));
        count += found.len();
        // After a reset it is as new.
        trigger.reset();
        found = frames.iter().filter_map(|f| trigger.push(f)).collect();
        assert_eq!(found, plain.events(&frames));
    }
    assert!(count > 1000, "{count} events");
}

/// A threshold that a keyword reaches and holds fires once, and again only after it fell.
#[test]
fn a_held_keyword_fires_once() {
    let plain = Plain { window: 2, refractory: 3, hysteresis: 5000, thresholds: vec![20_000, 0] };
    let section = plain.section();
    let mut trigger = Trigger::<2, 4>::new(Settings::from_bytes(&section).unwrap()).unwrap();
    let mut fires = |level: i16, frames: usize| {
        (0..frames).filter(|_| trigger.push(&[level, 1000]).is_some()).count()
    };
    assert_eq!(fires(30_000, 100), 1);
    assert_eq!(fires(16_000, 100), 0, "not low enough to fire again");
    assert_eq!(fires(30_000, 100), 0);
    assert_eq!(fires(10_000, 100), 0);
    assert_eq!(fires(30_000, 100), 1);
}

#[test]
fn what_is_none_of_the_keywords_keeps_quiet() {
    let plain = Plain { window: 1, refractory: 0, hysteresis: 0, thresholds: vec![5000, 0] };
    let section = plain.section();
    let mut trigger = Trigger::<2, 1>::new(Settings::from_bytes(&section).unwrap()).unwrap();
    assert_eq!(trigger.push(&[15_000, 17_000]), None);
    assert_eq!(trigger.push(&[17_000, 15_000]).map(|e| (e.output, e.score)), Some((0, 17_000)));
}

#[test]
fn settings_that_lie_are_refused() {
    let plain = Plain { window: 8, refractory: 3, hysteresis: 5000, thresholds: vec![20_000; 3] };
    let section = plain.section();
    let refused = |at: usize, value: u16| {
        let mut bytes = section.clone();
        bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        Settings::from_bytes(&bytes).is_err()
    };
    assert!(!refused(0, 8));
    assert!(refused(0, 0) && refused(0, 129), "windows");
    assert!(refused(4, 32_769), "hysteresis");
    assert!(refused(6, 32_769), "threshold");
    assert!(Settings::from_bytes(&section[..5]).is_err());
    assert!(Settings::from_bytes(&section[..7]).is_err());
    let settings = Settings::from_bytes(&section).unwrap();
    assert!(Trigger::<2, 8>::new(settings).is_err(), "too few outputs");
    assert!(Trigger::<3, 7>::new(settings).is_err(), "too short a window");
}
