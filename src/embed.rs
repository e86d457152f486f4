//! `include_model!`

/// Embeds a `.gate` file and defines a type that runs it, with every size a constant.
///
/// ```
/// use std::sync::Mutex;
///
/// gatelet::include_model!(
///     struct Digits,
///     concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/blobs/digits_lstm_int8_dsp.gate")
/// );
///
/// static NET: Mutex<Digits> = Mutex::new(Digits::new());
///
/// let mut net = NET.lock().unwrap();
/// let y: &[i16; Digits::OUTPUTS] = net.step(&[0; Digits::INPUTS]);
/// ```
///
/// The path is relative to the file that calls the macro, as in `include_bytes!`. A blob that the
/// engine refuses fails the build with the reason:
///
/// ```compile_fail
/// gatelet::include_model!(struct Broken, concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
/// ```
#[macro_export]
macro_rules! include_model {
    ($(#[$meta:meta])* $visibility:vis struct $name:ident, $path:expr) => {
        $(#[$meta])*
        #[derive(Clone, Debug)]
        $visibility struct $name {
            memory: [u32; $name::MEMORY_WORDS],
        }

        #[allow(dead_code)]
        impl $name {
            /// The blob, in flash.
            pub const BLOB: &'static [u8] = &Self::ALIGNED.0;
            const ALIGNED: &'static $crate::blob::Aligned<[u8; include_bytes!($path).len()]> = {
                static ALIGNED: $crate::blob::Aligned<[u8; include_bytes!($path).len()]> =
                    $crate::blob::Aligned(*include_bytes!($path));
                &ALIGNED
            };
            /// The model, validated at compile time.
            #[allow(long_running_const_eval)]
            pub const MODEL: $crate::Model<'static> =
                match $crate::Model::from_aligned(Self::ALIGNED) {
                    Ok(model) => model,
                    Err(error) => panic!("{}", error.reason()),
                };
            /// Features a step.
            pub const INPUTS: usize = Self::MODEL.inputs();
            /// Elements of the output.
            pub const OUTPUTS: usize = Self::MODEL.outputs();
            /// Most steps of a sequence where a layer runs backwards, see
            /// [`Model::steps`]($crate::Model::steps); else 0.
            pub const STEPS: usize = Self::MODEL.steps();
            /// Words of RAM.
            pub const MEMORY_WORDS: usize = Self::MODEL.memory_words();

            /// A zero state.
            pub const fn new() -> Self {
                Self { memory: [0; Self::MEMORY_WORDS] }
            }

            /// One step: takes a step's features, returns the output.
            pub fn step(&mut self, x: &[i16; Self::INPUTS]) -> &[i16; Self::OUTPUTS] {
                self.advance(x);
                self.output()
            }

            /// One step of the recurrent layers alone. Where a layer runs backwards, the step is
            /// kept for [`output`](Self::output); of more than [`STEPS`](Self::STEPS), the oldest
            /// is dropped, so the network always sees the latest. A
            /// [`stream`](Self::stream) refuses the step instead.
            pub fn advance(&mut self, x: &[i16; Self::INPUTS]) {
                Self::MODEL.advance(&mut self.memory, x);
            }

            /// One step of the encoder of an encoder-decoder; what [`step`](Self::step) advances is
            /// the decoder.
            pub fn encode(&mut self, x: &[i16; Self::INPUTS]) {
                Self::MODEL.encode(&mut self.memory, x);
            }

            /// Starts the decoder from the states in which the encoder is.
            pub fn hand_over(&mut self) {
                Self::MODEL.hand_over(&mut self.memory);
            }

            /// The output at the current state.
            pub fn output(&mut self) -> &[i16; Self::OUTPUTS] {
                // Always as long as the model says: the fallback is never reached.
                Self::MODEL.output(&mut self.memory).first_chunk().unwrap_or(&[0; Self::OUTPUTS])
            }

            /// The outputs of all steps kept, `[steps][OUTPUTS]`, where a layer runs backwards and
            /// there is an answer to each; else the [`output`](Self::output).
            pub fn outputs(&mut self) -> &[i16] {
                Self::MODEL.outputs_of(&mut self.memory)
            }

            /// Turns measurements into the input of a step.
            pub fn quantize(features: &[f32; Self::INPUTS]) -> [i16; Self::INPUTS] {
                let mut x = [0; Self::INPUTS];
                Self::MODEL.quantize(features, &mut x);
                x
            }

            /// Turns the output of a step into what it means, in the units of training.
            pub fn dequantize(output: &[i16; Self::OUTPUTS]) -> [f32; Self::OUTPUTS] {
                let mut values = [0.0; Self::OUTPUTS];
                Self::MODEL.dequantize(output, &mut values);
                values
            }

            /// Back to the zero state.
            pub fn reset(&mut self) {
                *self = Self::new();
            }

            /// What the network remembers; [`restore`](Self::restore) puts it back.
            pub fn state(&self) -> &[u32] {
                Self::MODEL.state_of(&self.memory)
            }

            /// Puts a saved state back.
            ///
            /// # Errors
            /// If `state` is not as long as [`state`](Self::state).
            pub fn restore(&mut self, state: &[u32]) -> Result<(), $crate::Error> {
                Self::MODEL.restore(&mut self.memory, state)
            }

            /// A [`Stream`]($crate::Stream) over this network's own memory: everything that can
            /// be done with a model loaded at run time.
            pub fn stream(&mut self) -> $crate::Stream<'static, '_> {
                Self::MODEL.resume(&mut self.memory)
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }
    };
}
