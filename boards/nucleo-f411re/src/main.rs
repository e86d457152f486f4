//! Tells motions apart with a BMI160 accelerometer and gyroscope: a line on the log every ten seconds,
//! and the green LED while its wearer walks.
#![no_std]
#![no_main]

use cortex_m::delay::Delay;
use cortex_m::peripheral::Peripherals;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::{entry, exception};
use embassy_stm32::gpio::{Level, Output, Speed};
use embassy_stm32::i2c::{self, I2c};
use embedded_hal::digital::PinState;
use embedded_io::Write;
use gatelet_app::{Light, Motion, RATE};
use gatelet_probe::Log;

gatelet::include_model!(struct Net, env!("GATELET_MODEL"));

/// The core's clock after a reset, in Hz.
const CLOCK: u32 = 16_000_000;

/// Only wakes the main loop.
#[exception]
fn SysTick() {}

#[entry]
fn main() -> ! {
    let mut log = Log::new();
    let board = embassy_stm32::init(Default::default());
    let core = Peripherals::take().expect("taken once");

    // D15 clock, D14 data.
    let i2c = I2c::new_blocking(board.I2C1, board.PB8, board.PB9, i2c::Config::default());
    let Ok(led) = Light::new(Output::new(board.PA5, Level::Low, Speed::Low), PinState::High);
    let mut delay = Delay::new(core.SYST, CLOCK);
    let walking = Net::MODEL.labels().position(|label| label == "Walking").unwrap_or(0);
    let mut net = Net::new();
    let motion = Motion::new(net.stream(), i2c, &mut delay, (led, walking), log);
    let mut motion = motion.unwrap_or_else(|error| panic!("no sensor: {error:?}"));

    let mut timer = delay.free();
    timer.set_clock_source(SystClkSource::Core);
    timer.set_reload(CLOCK / RATE - 1);
    timer.clear_current();
    timer.enable_interrupt();
    timer.enable_counter();
    loop {
        while !timer.has_wrapped() {
            cortex_m::asm::wfi();
        }
        if let Err(error) = motion.tick() {
            let Ok(()) = writeln!(log, "{error:?}") else { continue };
        }
    }
}
