//! A picture of what was heard: features, probabilities and events over time, as SVG.

use std::fmt::Write as _;

use gatelet::Model;

use super::listen::Recording;

const WIDTH: f64 = 1200.0;
const LEFT: f64 = 60.0;
const SOUND: (f64, f64) = (30.0, 220.0);
const ANSWERS: (f64, f64) = (250.0, 400.0);
/// Shades of the spectrogram, from silence on.
const SHADES: usize = 16;
const COLORS: [&str; 10] = [
    "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f",
    "#bcbd22", "#17becf",
];

/// Draws a recording: the spectrogram, the probability of every keyword, and the events. A recording
/// without a frame is an empty picture.
pub fn plot(model: &Model<'_>, recording: &Recording) -> String {
    let (hop, rate) = model.audio().map_or((1.0, 1.0), |s| (s.hop() as f64, f64::from(s.rate())));
    let frames = recording.frames.max(1);
    let column = (WIDTH - LEFT - 10.0) / frames as f64;
    let x = |frame: f64| LEFT + column * frame;
    let frame_at = |seconds: f64| seconds * rate / hop;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} 440\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"440\" fill=\"white\"/>\n"
    );
    spectrogram(&mut svg, model.inputs(), recording, column);
    probabilities(&mut svg, model, recording, &x);

    let seconds = frames as f64 * hop / rate;
    // At most 20 marks, at a round distance.
    let distances = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 3600.0];
    let distance = distances.into_iter().find(|d| seconds / d <= 20.0).unwrap_or(seconds);
    let mut mark = 0.0;
    while mark <= seconds {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"418\" text-anchor=\"middle\">{}</text>",
            x(frame_at(mark)),
            (mark * 10.0).round() / 10.0
        );
        mark += distance;
    }
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"435\" text-anchor=\"middle\">seconds</text>\n\
         <text x=\"50\" y=\"{}\" text-anchor=\"end\">features</text>\n\
         <text x=\"50\" y=\"{}\" text-anchor=\"end\">1</text>\n\
         <text x=\"50\" y=\"{}\" text-anchor=\"end\">0</text>",
        WIDTH / 2.0,
        (SOUND.0 + SOUND.1) / 2.0,
        ANSWERS.0 + 4.0,
        ANSWERS.1 + 4.0
    );
    for event in &recording.events {
        let at = x(frame_at(event.seconds));
        let color = COLORS[event.output % COLORS.len()];
        let _ = writeln!(
            svg,
            "<path d=\"M{at:.1} {} V{}\" stroke=\"{color}\" stroke-dasharray=\"3\"/>\
             <text x=\"{at:.1}\" y=\"20\" text-anchor=\"middle\" fill=\"{color}\">{}</text>",
            SOUND.0,
            ANSWERS.1,
            escape(&event.label)
        );
    }
    svg + "</svg>\n"
}

/// A path for each shade, of the stretches that have it.
fn spectrogram(svg: &mut String, width: usize, recording: &Recording, column: f64) {
    let features = &recording.features;
    let (low, high) = features.iter().fold((0, 1), |(a, b), v| (a.min(*v), b.max(*v)));
    let shade = |frame: usize, band: usize| {
        let level = i32::from(features[frame * width + band]) - i32::from(low);
        level as usize * (SHADES - 1) / (i32::from(high) - i32::from(low)) as usize
    };
    let mut paths = vec![String::new(); SHADES];
    let row = (SOUND.1 - SOUND.0) / width as f64;
    for band in 0..width {
        let (mut frame, top) = (0, SOUND.1 - row * (band + 1) as f64);
        while frame < recording.frames {
            let (start, level) = (frame, shade(frame, band));
            while frame < recording.frames && shade(frame, band) == level {
                frame += 1;
            }
            let (left, length) = (LEFT + column * start as f64, column * (frame - start) as f64);
            let _ = write!(paths[level], "M{left:.1} {top:.1}h{length:.1}v{row:.1}h-{length:.1}z");
        }
    }
    for (level, path) in paths.iter().enumerate().filter(|(_, path)| !path.is_empty()) {
        // From nearly white to dark blue.
        let share = level as f64 / (SHADES - 1) as f64;
        let mix = |from: f64, to: f64| (from + (to - from) * share) as u8;
        let (r, g, b) = (mix(245.0, 10.0), mix(247.0, 25.0), mix(250.0, 80.0));
        let _ = writeln!(svg, "<path fill=\"#{r:02x}{g:02x}{b:02x}\" d=\"{path}\"/>");
    }
}

/// A line for every keyword that was ever likely.
fn probabilities(
    svg: &mut String,
    model: &Model<'_>,
    recording: &Recording,
    x: &impl Fn(f64) -> f64,
) {
    let y = |value: i16| {
        let share = f64::from(value) * f64::from(model.output_scale());
        ANSWERS.1 - (ANSWERS.1 - ANSWERS.0) * share.clamp(0.0, 1.0)
    };
    let _ = writeln!(
        svg,
        "<path d=\"M{LEFT} {} V{} H{}\" fill=\"none\" stroke=\"#888\"/>",
        ANSWERS.0,
        ANSWERS.1,
        WIDTH - 10.0
    );
    let rows = || recording.outputs.chunks_exact(model.outputs());
    for output in 0..model.outputs() {
        let is_keyword = model.trigger().is_some_and(|t| t.threshold(output).is_some());
        let peak = rows().map(|row| row[output]).max().unwrap_or(0);
        if !is_keyword || f64::from(peak) * f64::from(model.output_scale()) < 0.05 {
            continue;
        }
        let mut path = String::new();
        for (frame, row) in rows().enumerate() {
            let command = if frame == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.1} {:.1}", x(frame as f64 + 1.0), y(row[output]));
        }
        let color = COLORS[output % COLORS.len()];
        let _ = writeln!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"{color}\"/>");
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
