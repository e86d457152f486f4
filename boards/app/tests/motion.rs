//! A sensor that is a list of bus transactions: motion in, lines and light out.

mod common;

use std::collections::BTreeMap;

use embedded_hal::digital::PinState;
use embedded_hal::i2c::ErrorKind;
use embedded_hal_mock::eh1::MockError;
use embedded_hal_mock::eh1::delay::NoopDelay;
use embedded_hal_mock::eh1::digital::{Mock as Pin, State, Transaction as PinTransaction};
use embedded_hal_mock::eh1::i2c::{Mock as I2c, Transaction};
use gatelet::{Model, Stream};
use gatelet_app::{Light, Motion, MotionError};
use gatelet_cli::host::Blob;

const ADDRESS: u8 = 0x68;
/// A quarter turn a second about z, in rad/s.
const QUARTER: f64 = std::f64::consts::FRAC_PI_2;

/// Adds up the turning about z: more than 0.9 of ten seconds of quarter turns is a spin.
fn blob() -> Blob {
    let graph = common::detector(&[0.0, 0.0, 0.0, 0.0, 0.0, 1.0], 1.0, 0.9 * 100.0 * QUARTER);
    let calibration = [0.0, 0.0, 0.0, 0.0, 0.0, QUARTER as f32].repeat(100);
    common::blob(&graph, calibration, ["still", "spin"], None, BTreeMap::new())
}

/// What waking the sensor says on the bus.
fn waking() -> Vec<Transaction> {
    vec![
        Transaction::write_read(ADDRESS, vec![0x00], vec![0xD1]),
        Transaction::write(ADDRESS, vec![0x7E, 0x11]), // accelerometer on
        Transaction::write(ADDRESS, vec![0x7E, 0x15]), // gyroscope on
        Transaction::write(ADDRESS, vec![0x41, 0x08]), // 8 g
        Transaction::write(ADDRESS, vec![0x43, 0x00]), // 2000 °/s
    ]
}

/// A reading: turning at `degrees` a second about z, upright.
fn reading(degrees: f64) -> Transaction {
    let mut bytes = vec![0; 12];
    bytes[4..6].copy_from_slice(&((degrees * 16.4) as i16).to_le_bytes());
    bytes[10..12].copy_from_slice(&4096i16.to_le_bytes());
    Transaction::write_read(ADDRESS, vec![0x0C], bytes)
}

fn pin(states: &[State]) -> Pin {
    Pin::new(&states.iter().map(|state| PinTransaction::set(*state)).collect::<Vec<_>>())
}

type Result<T> = core::result::Result<T, MotionError<ErrorKind>>;

/// Ticks `ticks` times; what each said, and the log.
fn run(
    model: Model<'_>,
    transactions: &[Transaction],
    mut led: Pin,
    ticks: usize,
) -> (Result<Vec<Result<Option<usize>>>>, String) {
    let mut memory = vec![0; model.memory_words()];
    let stream = Stream::new(model, &mut memory).unwrap();
    let mut bus = I2c::new(transactions);
    let mut log = Vec::new();
    let light = Light::new(led.clone(), PinState::Low).unwrap();
    let motion = Motion::new(stream, bus.clone(), &mut NoopDelay::new(), (light, 1), &mut log);
    let said = motion.map(|mut motion| (0..ticks).map(|_| motion.tick()).collect());
    bus.done();
    led.done();
    (said, String::from_utf8(log).unwrap())
}

#[test]
fn every_ten_seconds_there_is_an_answer() {
    let blob = blob();
    let mut bus = waking();
    bus.extend(vec![reading(90.0); 100]);
    bus.extend(vec![reading(75.0); 100]);
    // The LED is lit by the low level.
    let led = pin(&[State::High, State::Low, State::High]);
    let (said, log) = run(blob.model().unwrap(), &bus, led, 200);
    let answers: Vec<_> = said.unwrap().into_iter().map(|said| said.unwrap()).collect();
    assert_eq!((answers[99], answers[199]), (Some(1), Some(0)));
    assert_eq!(answers.iter().flatten().count(), 2);
    let names: Vec<_> = log.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["spin", "still"]);
}

/// Shaken along x by 1 g to and fro, with gravity along z.
#[test]
fn the_mean_acceleration_without_gravity_is_said() {
    let blob = blob();
    let mut bus = waking();
    for k in 0..100 {
        let mut bytes = vec![0; 12];
        bytes[6..8].copy_from_slice(&(if k % 2 == 0 { 4096i16 } else { -4096 }).to_le_bytes());
        bytes[10..12].copy_from_slice(&4096i16.to_le_bytes());
        bus.push(Transaction::write_read(ADDRESS, vec![0x0C], bytes));
    }
    let (said, log) = run(blob.model().unwrap(), &bus, pin(&[State::High, State::High]), 100);
    assert_eq!(said.unwrap()[99], Ok(Some(0)));
    let effort: f64 = log.trim().rsplit(' ').nth(1).unwrap().parse().unwrap();
    // The first reading counts as gravity until the estimate has left it.
    assert!((effort - 9.8).abs() < 1.0, "{log}");
}

#[test]
fn after_a_failed_reading_ten_seconds_start_afresh() {
    let blob = blob();
    let mut bus = waking();
    bus.extend(vec![reading(90.0); 60]);
    bus.push(reading(90.0).with_error(ErrorKind::Bus));
    bus.extend(vec![reading(90.0); 100]);
    let led = pin(&[State::High, State::Low]);
    let (said, log) = run(blob.model().unwrap(), &bus, led, 161);
    let said = said.unwrap();
    assert_eq!(said[60], Err(MotionError::Bus(ErrorKind::Bus)));
    assert!(said[..60].iter().chain(&said[61..160]).all(|said| *said == Ok(None)));
    assert_eq!(said[160], Ok(Some(1)));
    assert_eq!(log.lines().count(), 1);
}

#[test]
fn another_chip_a_dead_bus_and_another_model_are_refused() {
    let blob = blob();
    let dark = || pin(&[State::High]);
    let chip = [Transaction::write_read(ADDRESS, vec![0x00], vec![0x67])];
    let (said, _) = run(blob.model().unwrap(), &chip, dark(), 1);
    assert_eq!(said, Err(MotionError::Chip(0x67)));

    let dead = [chip[0].clone().with_error(ErrorKind::Other)];
    let (said, _) = run(blob.model().unwrap(), &dead, dark(), 1);
    assert_eq!(said, Err(MotionError::Bus(ErrorKind::Other)));

    let graph = common::detector(&[1.0; 5], 1.0, 1.0);
    let five = common::blob(&graph, vec![1.0; 50], ["a", "b"], None, BTreeMap::new());
    let (said, _) = run(five.model().unwrap(), &[], dark(), 1);
    assert_eq!(said, Err(MotionError::Model));
}

#[test]
fn a_broken_led_and_a_full_log_are_told() {
    let blob = blob();
    let model = blob.model().unwrap();
    let mut bus = waking();
    bus.extend(vec![reading(90.0); 100]);
    let broken =
        PinTransaction::set(State::Low).with_error(MockError::Io(std::io::ErrorKind::NotConnected));
    let led = Pin::new(&[PinTransaction::set(State::High), broken]);
    let (said, _) = run(model, &bus, led, 100);
    assert_eq!(said.unwrap()[99], Err(MotionError::Led));

    let mut memory = vec![0; model.memory_words()];
    let stream = Stream::new(model, &mut memory).unwrap();
    let (mut i2c, mut led) = (I2c::new(&bus), pin(&[State::High]));
    let light = Light::new(led.clone(), PinState::Low).unwrap();
    let mut full = [0; 3];
    let motion = Motion::new(stream, i2c.clone(), &mut NoopDelay::new(), (light, 1), &mut full[..]);
    let mut motion = motion.unwrap();
    assert_eq!((0..100).map(|_| motion.tick()).last(), Some(Err(MotionError::Log)));
    i2c.done();
    led.done();
}
