//! Tells motions apart with a BMI160 accelerometer and gyroscope: a line on the log every ten seconds,
//! and the LED while its wearer walks.
#![no_std]
#![no_main]

use embedded_hal::digital::PinState;
use embedded_io::Write;
use esp_hal::delay::Delay;
use esp_hal::gpio::{Level, Output, OutputConfig};
use esp_hal::i2c::master::{Config, I2c};
use esp_hal::main;
use esp_hal::time::{Duration, Instant};
use gatelet_app::{Light, Motion, RATE};
use gatelet_probe::Log;

gatelet::include_model!(struct Net, env!("GATELET_MODEL"));
esp_bootloader_esp_idf::esp_app_desc!();

const PERIOD: Duration = Duration::from_millis(1000 / RATE as u64);

#[main]
fn main() -> ! {
    let mut log = Log::new();
    let board = esp_hal::init(Default::default());

    let i2c = I2c::new(board.I2C0, Config::default()).expect("the default is possible");
    let i2c = i2c.with_sda(board.GPIO10).with_scl(board.GPIO8);
    let led = Output::new(board.GPIO7, Level::Low, OutputConfig::default());
    let Ok(led) = Light::new(led, PinState::High);
    let walking = Net::MODEL.labels().position(|label| label == "Walking").unwrap_or(0);
    let mut net = Net::new();
    let motion = Motion::new(net.stream(), i2c, &mut Delay::new(), (led, walking), log);
    let mut motion = motion.unwrap_or_else(|error| panic!("no sensor: {error:?}"));

    let mut due = Instant::now();
    loop {
        due += PERIOD;
        while Instant::now() < due {}
        if let Err(error) = motion.tick() {
            let Ok(()) = writeln!(log, "{error:?}") else { continue };
        }
    }
}
