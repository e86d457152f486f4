//! `include_model!`: sizes are constants, and the answers are those of the same blob loaded at run
//! time.

use gatelet::{Model, Stream};

gatelet::include_model!(struct Digits, "data/blobs/digits_lstm_int8_dsp.gate");
gatelet::include_model!(
    /// A model may be documented and public.
    pub struct Vowels,
    "data/blobs/vowels_gru_int8_plain.gate"
);

gatelet::include_model!(struct Household, "data/blobs/household_lstm_int8_dsp.gate");

/// Usable in a static: `new` is a constant function.
static mut _NET: Digits = Digits::new();

#[test]
fn sizes_are_constants() {
    const { assert!(Digits::INPUTS == 20 && Digits::OUTPUTS == 10) };
    const { assert!(Vowels::INPUTS == 12 && Vowels::OUTPUTS == 9) };
    // Cell, hidden state and new hidden state; input; output and logits (DESIGN: 18 H + 2 I).
    assert_eq!(4 * Digits::MEMORY_WORDS, 8 * 64 + 2 * 20 + 2 * 12);
    assert_eq!(Digits::MODEL.labels().nth(7), Some("seven"));
}

#[test]
fn embedded_and_loaded_models_agree() {
    let mut net = Digits::new();
    let model = Model::from_bytes(Digits::BLOB).unwrap();
    let mut memory = vec![0; model.memory_words()];
    let mut stream = Stream::new(model, &mut memory).unwrap();
    for step in 0..50 {
        let features: [f32; Digits::INPUTS] =
            std::array::from_fn(|k| ((step * 7 + k * 3) % 23) as f32 - 11.0);
        let x = Digits::quantize(&features);
        assert_eq!(net.step(&x)[..], *stream.step(&x).unwrap());
        assert_eq!(net.state(), stream.state());
    }
    net.reset();
    assert!(net.state().iter().all(|word| *word == 0));
}

#[test]
fn an_embedded_state_can_be_put_back() {
    let mut net = Vowels::new();
    let x = [1000; Vowels::INPUTS];
    net.step(&x);
    let saved = net.state().to_vec();
    let expected = *net.step(&x);
    net.reset();
    net.restore(&saved).unwrap();
    assert_eq!(*net.step(&x), expected);
    assert!(net.restore(&saved[1..]).is_err());
}

/// Power in kW and voltage in V, each with a mean and a step of its own.
#[test]
fn outputs_come_back_in_their_own_units() {
    let model = Household::MODEL;
    let scaling: Vec<(f32, f32)> = (0..2).map(|k| model.output_scaling(k).unwrap()).collect();
    assert!((scaling[0].0 - 1.09).abs() < 0.01 && (scaling[1].0 - 240.8).abs() < 0.1);
    assert_eq!(model.output_scaling(2), None);
    let means = scaling.iter().map(|(mean, _)| *mean);
    assert!(means.eq(Household::dequantize(&[0, 0])));
    let [kilowatts, volts] = Household::dequantize(&[1000, -1000]);
    assert_eq!(kilowatts, scaling[0].0 + 1000.0 * scaling[0].1);
    assert_eq!(volts, scaling[1].0 - 1000.0 * scaling[1].1);
    // Without a scaling, the scale of the last layer: a softmax.
    assert_eq!(Digits::dequantize(&[16384; 10]), [0.5; 10]);
    assert_eq!(Digits::MODEL.output_scaling(10), None);
}
