//! Hears keywords with a PDM microphone: a line on the log, and LED1.
//!
//! The microphone's peripheral fills two buffers in turn by DMA. An executor at interrupt priority
//! empties them into a queue, whatever the main loop is doing, and the main loop listens.
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use embassy_executor::InterruptExecutor;
use embassy_nrf::config::HfclkSource;
use embassy_nrf::gpio::{Level, Output, OutputDrive};
use embassy_nrf::interrupt::{InterruptExt, Priority};
use embassy_nrf::pdm::{self, Frequency, Pdm, Ratio, SamplerState};
use embassy_nrf::{bind_interrupts, interrupt, peripherals};
use embedded_hal::digital::PinState;
use embedded_io::Write;
use gatelet::audio::Listener;
use gatelet_app::{Halver, Light, Recorder, Sound, Spotter};
use gatelet_probe::Log;
use static_cell::{ConstStaticCell, StaticCell};

gatelet::include_model!(struct Net, env!("GATELET_MODEL"));

/// Frames of the trigger's window.
const WINDOW: usize = gatelet_app::window(&Net::MODEL);
type Ear = Spotter<'static, Output<'static>, Log, { Net::OUTPUTS }, WINDOW>;

/// The microphone gives 16,000 samples a second; a model of 8,000 hears them halved.
const RATE: u32 = 16_000;
const HALVED: bool = match Net::MODEL.audio() {
    Some(settings) if settings.rate() == RATE => false,
    Some(settings) if settings.rate() == RATE / 2 => true,
    _ => panic!("this board hears 8,000 or 16,000 samples a second"),
};

/// A quarter of a second of sound: more than the longest step.
static SOUND: ConstStaticCell<Sound<4096>> = ConstStaticCell::new(Sound::new());
static MEMORY: ConstStaticCell<[u32; Listener::<{ Net::OUTPUTS }, WINDOW>::words(&Net::MODEL)]> =
    ConstStaticCell::new([0; _]);
static EAR: StaticCell<Ear> = StaticCell::new();
static SAMPLING: InterruptExecutor = InterruptExecutor::new();

bind_interrupts!(struct Irqs {
    PDM => pdm::InterruptHandler<peripherals::PDM>;
});

#[interrupt]
unsafe fn EGU1_SWI1() {
    // SAFETY: called from the interrupt that the executor was started on.
    unsafe { SAMPLING.on_interrupt() }
}

#[embassy_executor::task]
async fn sample(mut microphone: Pdm<'static>, mut recorder: Recorder<'static>) {
    let mut halver = Halver::default();
    let mut buffers = [[0; 256]; 2];
    let sampling = microphone.run_task_sampler(&mut buffers, |samples| {
        if HALVED {
            recorder.record(samples.iter().filter_map(|sample| halver.push(*sample)));
        } else {
            recorder.record(samples.iter().copied());
        }
        SamplerState::Sampled
    });
    sampling.await.expect("the microphone is idle");
}

#[entry]
fn main() -> ! {
    let mut log = Log::new();
    let mut config = embassy_nrf::config::Config::default();
    config.hfclk_source = HfclkSource::ExternalXtal;
    let board = embassy_nrf::init(config);

    // 1.28 MHz / 80.
    let config =
        pdm::Config { frequency: Frequency::_1280k, ratio: Ratio::Ratio80, ..Default::default() };
    let microphone = Pdm::new(board.PDM, Irqs, board.P1_01, board.P1_02, config);
    let (recorder, mut sound) = SOUND.take().split(cortex_m::asm::wfe);
    interrupt::EGU1_SWI1.set_priority(Priority::P6);
    let spawner = SAMPLING.start(interrupt::EGU1_SWI1);
    spawner.spawn(sample(microphone, recorder).expect("spawned once"));

    // The LED lies between the supply and its pin.
    let led = Output::new(board.P0_13, Level::High, OutputDrive::Standard);
    let Ok(led) = Light::new(led, PinState::Low);
    let ear = Spotter::new(Net::MODEL, MEMORY.take(), led, log).expect("checked at compile time");
    let ear = EAR.init(ear);
    loop {
        if let Err(error) = ear.listen(&mut sound) {
            let Ok(()) = writeln!(log, "{error:?}") else { continue };
        }
    }
}
