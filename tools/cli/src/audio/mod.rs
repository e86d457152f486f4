//! Sound on the host: settings of the front-end, recordings, and the features that the chip's own
//! code makes of them.

mod features;
mod listen;
mod plot;
mod settings;
mod trigger;
mod wav;

pub use features::{Recordings, features, frames};
pub use listen::{Event, Recording, listen};
pub use plot::plot;
pub use settings::Settings;
pub use trigger::Trigger;
pub use wav::{read_wav, wav_chunks, wav_files};
