//! Tells motions apart: reads an accelerometer and gyroscope over I²C, a Bosch BMI160, and says on the
//! log and an LED what its wearer does.
//!
//! The model is one of the BasicMotions set: ten times a second the acceleration along three axes
//! without gravity in m/s² and the turning about them in rad/s, an answer after ten seconds.

use core::f32::consts::PI;
use core::fmt::Debug;

use bmi160::interface::{I2cInterface, SlaveAddr};
use bmi160::{
    AccelerometerPowerMode, AccelerometerRange, Bmi160, GyroscopePowerMode, GyroscopeRange,
    Sensor3DDataScaled, SensorSelector,
};
use embedded_hal::delay::DelayNs;
use embedded_hal::digital::OutputPin;
use embedded_hal::i2c::I2c;
use embedded_io::Write;
use gatelet::Stream;
use micromath::vector::{F32x3, Vector};

use crate::light::Light;

/// Readings a second, and for an answer.
pub const RATE: u32 = 10;
const WINDOW: u32 = 10 * RATE;

/// What a BMI160 answers when asked what it is.
const CHIP: u8 = 0xD1;

/// m/s² of the sensor's unit of acceleration, rad/s of its unit of turning.
const G: f32 = 9.80665;
const DEGREE: f32 = PI / 180.0;

/// How much of gravity's estimate stays at each reading: it follows in two seconds.
const GRAVITY_STAYS: f32 = 0.95;

/// Watches a sensor.
#[derive(Debug)]
pub struct Motion<'m, I, P, L> {
    stream: Stream<'m, 'm>,
    sensor: Bmi160<I2cInterface<I>>,
    led: Light<P>,
    log: L,
    /// The motion that lights the LED.
    lit: usize,
    gravity: Gravity,
    /// Readings since the last answer, and the acceleration in m/s² that they add up to.
    readings: u32,
    effort: f32,
}

/// What stopped a [`Motion`]. It may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MotionError<E> {
    /// The model does not take three accelerations and three rates of turning.
    Model,
    /// Another chip answered, and said it was this.
    Chip(u8),
    /// The sensor's bus failed.
    Bus(E),
    /// The log refused a line.
    Log,
    /// The LED's pin failed.
    Led,
}

impl<'m, I: I2c, P: OutputPin, L: Write> Motion<'m, I, P, L> {
    /// Wakes the sensor, whose pin SAO is low. The motion of number `lit` lights the LED.
    ///
    /// # Errors
    /// If the model is none for this sensor, or the sensor does not answer.
    pub fn new(
        stream: Stream<'m, 'm>,
        i2c: I,
        delay: &mut impl DelayNs,
        (led, lit): (Light<P>, usize),
        log: L,
    ) -> Result<Self, MotionError<I::Error>> {
        if stream.model().inputs() != 6 {
            return Err(MotionError::Model);
        }
        let mut sensor = Bmi160::new_with_i2c(i2c, SlaveAddr::default());
        match sensor.chip_id().map_err(bus)? {
            CHIP => {}
            other => return Err(MotionError::Chip(other)),
        }
        // Waking takes up to 4 and 80 ms (data sheet, table 2), and a write in between is lost.
        sensor.set_accel_power_mode(AccelerometerPowerMode::Normal).map_err(bus)?;
        delay.delay_ms(5);
        sensor.set_gyro_power_mode(GyroscopePowerMode::Normal).map_err(bus)?;
        delay.delay_ms(81);
        sensor.set_accel_range(AccelerometerRange::G8).map_err(bus)?;
        sensor.set_gyro_range(GyroscopeRange::Scale2000).map_err(bus)?;
        Ok(Self {
            stream,
            sensor,
            led,
            log,
            lit,
            gravity: Gravity::default(),
            readings: 0,
            effort: 0.0,
        })
    }

    /// Takes a reading: to be called [`RATE`] times a second. Every ten seconds it says what motion it
    /// was and how vigorous, as the mean acceleration, and returns the motion's number.
    ///
    /// # Errors
    /// Those of the bus, the log and the LED. After one of the bus ten seconds start afresh, for the
    /// network must not miss a reading.
    pub fn tick(&mut self) -> Result<Option<usize>, MotionError<I::Error>> {
        let features = match self.read() {
            Ok(features) => features,
            Err(error) => {
                self.restart();
                return Err(error);
            }
        };
        let mut x = [0; 6];
        self.stream.model().quantize(&features, &mut x);
        // It takes six, as `new` made sure.
        self.stream.advance(&x).map_err(|_| MotionError::Model)?;
        let [ax, ay, az, ..] = features;
        self.effort += F32x3 { x: ax, y: ay, z: az }.magnitude();
        self.readings += 1;
        if self.readings < WINDOW {
            return Ok(None);
        }
        let scores = self.stream.output().iter().enumerate();
        let (motion, score) = scores.max_by_key(|(_, score)| **score).unwrap_or((0, &0));
        let percent = (i32::from(*score) * 100) >> 15;
        // Formatting a float would take more flash than the engine.
        let tenths = (self.effort * 10.0) as u32 / WINDOW;
        self.restart();
        let name = self.stream.model().labels().nth(motion).unwrap_or("?");
        writeln!(self.log, "{name} ({percent} %), {}.{} m/s²", tenths / 10, tenths % 10)
            .map_err(|_| MotionError::Log)?;
        self.led.set(motion == self.lit).map_err(|_| MotionError::Led)?;
        Ok(Some(motion))
    }

    /// Acceleration without gravity, and turning.
    fn read(&mut self) -> Result<[f32; 6], MotionError<I::Error>> {
        let axes = |data: Option<Sensor3DDataScaled>| data.map_or([0.0; 3], |d| [d.x, d.y, d.z]);
        let data = self.sensor.data_scaled(SensorSelector::new().accel().gyro()).map_err(bus)?;
        let [ax, ay, az] = self.gravity.take_off(axes(data.accel)).map(|a| a * G);
        let [gx, gy, gz] = axes(data.gyro).map(|g| g * DEGREE);
        Ok([ax, ay, az, gx, gy, gz])
    }

    fn restart(&mut self) {
        self.stream.reset();
        self.readings = 0;
        self.effort = 0.0;
    }
}

/// The driver's other errors come of wrong arguments, which there are none of.
fn bus<E: Debug>(error: bmi160::Error<E>) -> MotionError<E> {
    match error {
        bmi160::Error::Comm(error) => MotionError::Bus(error),
        bmi160::Error::InvalidInputData => MotionError::Model,
    }
}

/// Gravity along the three axes: the acceleration that stays. Unknown before the first reading.
#[derive(Debug, Default)]
struct Gravity(Option<[f32; 3]>);

impl Gravity {
    /// The part of `acceleration` that is motion.
    fn take_off(&mut self, acceleration: [f32; 3]) -> [f32; 3] {
        let gravity = self.0.get_or_insert(acceleration);
        for (gravity, a) in gravity.iter_mut().zip(acceleration) {
            *gravity += (1.0 - GRAVITY_STAYS) * (a - *gravity);
        }
        core::array::from_fn(|axis| acceleration[axis] - gravity[axis])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gravity_is_taken_off_whichever_way_is_up() {
        for up in [[0.0, 0.0, 1.0], [0.6, -0.8, 0.0]] {
            let mut gravity = Gravity::default();
            assert_eq!(gravity.take_off(up), [0.0; 3]);
            // Shaken along x five times a second by 2 g.
            for k in 0..200 {
                let shake = if k % 2 == 0 { 2.0 } else { -2.0 };
                let [x, y, z] = gravity.take_off([up[0] + shake, up[1], up[2]]);
                assert!(
                    (x - shake).abs() < 0.12 && y.abs() < 1e-6 && z.abs() < 1e-6,
                    "{x} {y} {z}"
                );
            }
        }
    }

    #[test]
    fn a_turned_sensor_finds_the_new_down_in_seconds() {
        let mut gravity = Gravity::default();
        gravity.take_off([0.0, 0.0, 1.0]);
        let residue = (0..6 * RATE).map(|_| gravity.take_off([1.0, 0.0, 0.0])[0]).last();
        assert!(residue.unwrap() < 0.05);
    }
}
