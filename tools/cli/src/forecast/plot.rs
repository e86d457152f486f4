//! Forecasts as a plot: the end of the series, what was forecast of it, and what comes after it.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::{Channel, Outcome};

const WIDTH: u32 = 960;
const HEIGHT: u32 = 300;
/// Forecasts shown within the series, at most.
const MOST_SHOWN: usize = 8;
const TRUTH: RGBColor = RGBColor(0x30, 0x30, 0x30);
const OURS: RGBColor = RGBColor(0x1f, 0x77, 0xb4);
const NAIVE: RGBColor = RGBColor(0xb8, 0xb8, 0xb8);
const ALARM: RGBColor = RGBColor(0xd6, 0x27, 0x28);

/// An SVG with a chart for every channel.
///
/// # Errors
/// If it cannot be drawn.
pub fn plot(outcome: &Outcome) -> Result<String> {
    let mut svg = String::new();
    draw(&mut svg, outcome).map_err(|error| anyhow!("cannot draw the plot: {error}"))?;
    Ok(svg)
}

fn draw(svg: &mut String, outcome: &Outcome) -> Result<(), Box<dyn std::error::Error>> {
    let count = outcome.channels.len();
    let root = SVGBackend::with_string(svg, (WIDTH, HEIGHT * count as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    for (area, channel) in root.split_evenly((count, 1)).iter().zip(&outcome.channels) {
        let alarms = outcome.alarms.as_deref().unwrap_or_default();
        draw_channel(area, &outcome.series, channel, alarms)?;
    }
    root.present()?;
    Ok(())
}

fn draw_channel(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    series: &str,
    channel: &Channel,
    alarms: &[usize],
) -> Result<(), Box<dyn std::error::Error>> {
    let shown = &channel.shown[channel.shown.len().saturating_sub(MOST_SHOWN)..];
    let (steps, horizon) = (channel.values.len(), channel.forecast.len());
    // Some of what came before, to see how it goes on.
    let first = shown.first().map_or(steps, |s| s.start).saturating_sub(2 * horizon);
    let truth: Vec<(f64, f64)> = (first..steps).map(|t| (t as f64, channel.values[t])).collect();
    let line = |start: usize, values: &[f64]| -> Vec<(f64, f64)> {
        values.iter().enumerate().map(|(k, v)| ((start + k) as f64, *v)).collect()
    };
    let all = truth.iter().map(|(_, v)| v).chain(shown.iter().flat_map(|s| &s.integer));
    let all: Vec<f64> = all.chain(&channel.forecast).copied().filter(|v| v.is_finite()).collect();
    let low = all.iter().copied().fold(f64::MAX, f64::min);
    let high = all.iter().copied().fold(f64::MIN, f64::max);
    let room = 0.05 * (high - low).max(1e-9 * high.abs()).max(f64::MIN_POSITIVE);
    let range = (low - room)..(high + 6.0 * room);

    let mut chart = ChartBuilder::on(area)
        .caption(format!("{}: {}", series, channel.name), ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(28)
        .y_label_area_size(64)
        .build_cartesian_2d(first as f64..(steps + horizon) as f64, range)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(BLACK.mix(0.12))
        .x_label_formatter(&|x| format!("{x:.0}"))
        .label_style(("sans-serif", 12))
        .draw()?;
    for (k, s) in shown.iter().enumerate() {
        let naive = chart.draw_series(LineSeries::new(line(s.start, &s.naive), NAIVE))?;
        if k == 0 {
            naive.label("last season").legend(|at| key(at, NAIVE));
        }
    }
    // A gap where values are missing.
    for (k, known) in truth.split(|(_, v)| v.is_nan()).enumerate() {
        let known = chart.draw_series(LineSeries::new(known.to_vec(), TRUTH))?;
        if k == 0 {
            known.label("measured").legend(|at| key(at, TRUTH));
        }
    }
    for (k, s) in shown.iter().enumerate() {
        let ours = OURS.stroke_width(2);
        let forecast = chart.draw_series(LineSeries::new(line(s.start, &s.integer), ours))?;
        if k == 0 {
            let label = format!("forecast, {horizon} steps at once");
            forecast.label(label).legend(|at| key(at, OURS));
        }
    }
    chart.draw_series(DashedLineSeries::new(
        line(steps, &channel.forecast),
        5,
        3,
        OURS.stroke_width(2),
    ))?;
    let marks = truth.iter().filter(|(t, v)| v.is_finite() && alarms.contains(&(*t as usize)));
    let marks: Vec<_> = marks.map(|at| Circle::new(*at, 4, ALARM.filled())).collect();
    if !marks.is_empty() {
        let legend = |(x, y)| Circle::new((x + 9, y), 4, ALARM.filled());
        chart.draw_series(marks)?.label("alarm").legend(legend);
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.2))
        .label_font(("sans-serif", 12))
        .draw()?;
    Ok(())
}

fn key((x, y): (i32, i32), color: RGBColor) -> PathElement<(i32, i32)> {
    PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2))
}
