//! Hears keywords with an I2S microphone: a line on the log, and the LED.
//!
//! A state machine of the PIO clocks the microphone, and DMA fills two buffers in turn. An executor at
//! interrupt priority empties them into a queue, whatever the main loop is doing, and the main loop
//! listens.
#![no_std]
#![no_main]

use core::mem;

use cortex_m_rt::entry;
use embassy_executor::InterruptExecutor;
use embassy_rp::gpio::{Level, Output};
use embassy_rp::interrupt::{InterruptExt, Priority};
use embassy_rp::peripherals::{DMA_CH0, PIO0};
use embassy_rp::pio::program::pio_asm;
use embassy_rp::pio::{self, Direction, FifoJoin, Pio, ShiftConfig, ShiftDirection, StateMachine};
use embassy_rp::pio_programs::clock_divider::calculate_pio_clock_divider;
use embassy_rp::{bind_interrupts, dma, interrupt};
use embedded_hal::digital::PinState;
use embedded_io::Write;
use gatelet::audio::Listener;
use gatelet_app::{Light, Recorder, Sound, Spotter};
use gatelet_probe::Log;
use static_cell::{ConstStaticCell, StaticCell};

gatelet::include_model!(struct Net, env!("GATELET_MODEL"));

/// Frames of the trigger's window.
const WINDOW: usize = gatelet_app::window(&Net::MODEL);
type Ear = Spotter<'static, Output<'static>, Log, { Net::OUTPUTS }, WINDOW>;

/// Samples a second: the microphone follows the clock it is given.
const RATE: u32 = match Net::MODEL.audio() {
    Some(settings) => settings.rate(),
    None => panic!("this board needs a model that hears"),
};

/// Bits of a sample, left and right, and the state machine's instructions for a bit.
const FRAME: u32 = 2 * 32;
const INSTRUCTIONS: u32 = 2;

/// A quarter of a second of sound: more than the longest step.
static SOUND: ConstStaticCell<Sound<4096>> = ConstStaticCell::new(Sound::new());
static MEMORY: ConstStaticCell<[u32; Listener::<{ Net::OUTPUTS }, WINDOW>::words(&Net::MODEL)]> =
    ConstStaticCell::new([0; _]);
static EAR: StaticCell<Ear> = StaticCell::new();
static SAMPLING: InterruptExecutor = InterruptExecutor::new();

bind_interrupts!(struct Irqs {
    PIO0_IRQ_0 => pio::InterruptHandler<PIO0>;
    DMA_IRQ_0 => dma::InterruptHandler<DMA_CH0>;
});

#[interrupt]
unsafe fn SWI_IRQ_0() {
    // SAFETY: called from the interrupt that the executor was started on.
    unsafe { SAMPLING.on_interrupt() }
}

/// The receiving queue of the state machine holds four samples, so that the next transfer may start
/// that late.
#[embassy_executor::task]
async fn sample(
    mut microphone: StateMachine<'static, PIO0, 0>,
    mut dma: dma::Channel<'static>,
    mut recorder: Recorder<'static>,
) {
    let mut buffers = [[0u32; 256]; 2];
    let [mut filled, mut filling] = buffers.each_mut();
    microphone.set_enable(true);
    loop {
        let transfer = microphone.rx().dma_pull(&mut dma, filling, false);
        let frames = filled.as_chunks().0.iter();
        recorder.record(frames.map(|[left, _right]| (*left >> 16) as i16));
        transfer.await;
        mem::swap(&mut filled, &mut filling);
    }
}

#[entry]
fn main() -> ! {
    let mut log = Log::new();
    let board = embassy_rp::init(Default::default());

    // GP19 data, GP20 bit clock, GP21 word select: low for the left channel, and a bit ahead of it.
    let Pio { mut common, mut sm0, .. } = Pio::new(board.PIO0, Irqs);
    let program = pio_asm!(
        ".side_set 2",
        "    set x, 30          side 0b01",
        "left:",
        "    in pins, 1         side 0b00",
        "    jmp x--, left      side 0b01",
        "    in pins, 1         side 0b10",
        "    set x, 30          side 0b11",
        "right:",
        "    in pins, 1         side 0b10",
        "    jmp x--, right     side 0b11",
        "    in pins, 1         side 0b00",
    );
    let data = common.make_pio_pin(board.PIN_19);
    let bit_clock = common.make_pio_pin(board.PIN_20);
    let word_select = common.make_pio_pin(board.PIN_21);
    let mut config = pio::Config::default();
    config.use_program(&common.load_program(&program.program), &[&bit_clock, &word_select]);
    config.set_in_pins(&[&data]);
    config.clock_divider = calculate_pio_clock_divider(RATE * FRAME * INSTRUCTIONS);
    config.shift_in =
        ShiftConfig { auto_fill: true, threshold: 32, direction: ShiftDirection::Left };
    config.fifo_join = FifoJoin::RxOnly;
    sm0.set_config(&config);
    sm0.set_pin_dirs(Direction::In, &[&data]);
    sm0.set_pin_dirs(Direction::Out, &[&bit_clock, &word_select]);

    let dma = dma::Channel::new(board.DMA_CH0, Irqs);
    let (recorder, mut sound) = SOUND.take().split(cortex_m::asm::wfe);
    interrupt::SWI_IRQ_0.set_priority(Priority::P2);
    let spawner = SAMPLING.start(interrupt::SWI_IRQ_0);
    spawner.spawn(sample(sm0, dma, recorder).expect("spawned once"));

    let led = Output::new(board.PIN_25, Level::Low);
    let Ok(led) = Light::new(led, PinState::High);
    let ear = Spotter::new(Net::MODEL, MEMORY.take(), led, log).expect("checked at compile time");
    let ear = EAR.init(ear);
    loop {
        if let Err(error) = ear.listen(&mut sound) {
            let Ok(()) = writeln!(log, "{error:?}") else { continue };
        }
    }
}
