//! The benchmark as a plot: instructions of an LSTM step beside the peers'.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::{Measurement, PEERS, Peer};

const SIZE: (u32, u32) = (960, 460);
const OURS: RGBColor = RGBColor(0x1f, 0x77, 0xb4);
const THEIRS_8: RGBColor = RGBColor(0xb0, 0xb0, 0xb0);
const THEIRS_16: RGBColor = RGBColor(0x80, 0x80, 0x80);

/// An SVG: for every shape that the peers were measured on, three bars.
///
/// # Errors
/// If nothing in `all` can be compared with the peers.
pub fn plot(all: &[Measurement]) -> Result<String> {
    let mut rows: Vec<(&Measurement, &Peer)> =
        all.iter().filter_map(|m| Some((m, m.peer()?))).collect();
    // One board stands for the cores that a peer's figures hold for.
    rows.retain(|(m, peer)| m.board == peer.boards[0]);
    if rows.is_empty() {
        return Err(anyhow!(
            "nothing to plot: the peers were measured with LSTM and int8 on {} shapes and cores",
            PEERS.len()
        ));
    }
    let mut svg = String::new();
    draw(&mut svg, &rows).map_err(|error| anyhow!("cannot draw the plot: {error}"))?;
    Ok(svg)
}

fn draw(
    svg: &mut String,
    rows: &[(&Measurement, &Peer)],
) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let most = rows.iter().map(|(_, peer)| peer.s16).max().unwrap_or(1) as f64;
    let mut chart = ChartBuilder::on(&root)
        .caption("Instructions of one LSTM step, int8 weights", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(48)
        .y_label_area_size(78)
        .build_cartesian_2d(0.0..rows.len() as f64, (5_000.0..most * 1.3).log_scale())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(2 * rows.len() + 1)
        .x_label_formatter(&|x| {
            // Every group has a label in its middle.
            let middle = (x.fract() - 0.5).abs() < 1e-6;
            match rows.get(*x as usize) {
                Some((m, _)) if middle => format!("{} {}x{}", m.board, m.input, m.hidden),
                _ => String::new(),
            }
        })
        .y_desc("instructions (log scale)")
        .y_label_formatter(&|y| format!("{:.0}", y))
        .label_style(("sans-serif", 13))
        .draw()?;
    type Pick = fn(&(&Measurement, &Peer)) -> u32;
    let series: [(&str, RGBColor, Pick); 3] = [
        ("gatelet (16-bit hidden state, 32-bit cell)", OURS, |(m, _)| m.instructions_per_step),
        ("CMSIS-NN s8 (8-bit hidden state)", THEIRS_8, |(_, peer)| peer.s8),
        ("CMSIS-NN s16 (16-bit hidden state)", THEIRS_16, |(_, peer)| peer.s16),
    ];
    for (k, (name, color, pick)) in series.into_iter().enumerate() {
        let left = 0.14 + 0.25 * k as f64;
        chart
            .draw_series(rows.iter().enumerate().map(|(group, row)| {
                let x = group as f64 + left;
                Rectangle::new([(x, 5_000.0), (x + 0.22, f64::from(pick(row)))], color.filled())
            }))?
            .label(name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], color.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 13))
        .draw()?;
    root.present()?;
    Ok(())
}
