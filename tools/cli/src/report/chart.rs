//! Charts as inline SVG. Colours are CSS variables and classes of the page, so that they follow its
//! light and dark form.

use std::fmt::Write as _;

use super::{Histogram, Part};
use crate::terminal::thousands;

/// Colours of series and parts, by turns; the page defines `--c0` to `--c7`.
const COLORS: usize = 8;

/// Text that may hold anything, as HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The colour of series `index`.
pub(super) fn color(index: usize) -> String {
    format!("var(--c{})", index % COLORS)
}

/// A legend of series.
pub(super) fn legend(names: &[String]) -> String {
    let mut html = String::from("<p class=\"legend\">");
    for (index, name) in names.iter().enumerate() {
        let _ = write!(
            html,
            "<span><i style=\"background:{}\"></i>{}</span>",
            color(index),
            escape(name)
        );
    }
    html + "</p>"
}

/// One line of points a step each; a gap where there is none.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) values: Vec<Option<f64>>,
}

/// Lines over a common axis of steps from 1.
pub(super) fn lines(series: &[Line], x_label: &str, y_label: &str) -> String {
    const W: f64 = 1040.0;
    const H: f64 = 300.0;
    const LEFT: f64 = 52.0;
    const BOTTOM: f64 = 38.0;
    const TOP: f64 = 10.0;
    let values = || series.iter().flat_map(|line| line.values.iter().flatten());
    let low = values().fold(f64::MAX, |a, v| a.min(*v));
    let high = values().fold(f64::MIN, |a, v| a.max(*v));
    if low > high {
        return String::new();
    }
    let ticks = ticks(low, high);
    let (low, high) = (ticks[0], ticks[ticks.len() - 1]);
    let count = series.iter().map(|line| line.values.len()).max().unwrap_or(1);
    let x = |step: usize| LEFT + (W - LEFT - 12.0) * step as f64 / (count.max(2) - 1) as f64;
    let y = |v: f64| TOP + (H - BOTTOM - TOP) * (high - v) / (high - low);
    let mut svg = format!(
        "<div class=\"scroll wide\"><svg viewBox=\"0 0 {W} {H}\" role=\"img\"><g class=\"axis\">"
    );
    for tick in &ticks {
        let at = y(*tick);
        let _ = write!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            W - 12.0,
            LEFT - 8.0,
            at + 4.0,
            number(*tick)
        );
    }
    let mut marks: Vec<usize> = (0..5).map(|k| k * (count - 1) / 4).collect();
    marks.dedup();
    for step in marks {
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            x(step),
            H - BOTTOM + 16.0,
            step + 1
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\
         <text transform=\"translate(12 {}) rotate(-90)\" text-anchor=\"middle\">{}</text></g>",
        (LEFT + W) / 2.0,
        H - 4.0,
        escape(x_label),
        (H - BOTTOM) / 2.0,
        escape(y_label)
    );
    for (index, line) in series.iter().enumerate() {
        let mut path = String::new();
        let mut pen_is_down = false;
        for (step, value) in line.values.iter().enumerate() {
            if let Some(value) = value {
                let command = if pen_is_down { 'L' } else { 'M' };
                let _ = write!(path, "{command}{:.1} {:.1}", x(step), y(*value));
            }
            pen_is_down = value.is_some();
        }
        let alone = line.values.iter().flatten().count() == 1;
        if let (true, Some(step)) = (alone, line.values.iter().position(Option::is_some)) {
            let value = line.values[step].unwrap_or_default();
            let _ = write!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"{}\"/>",
                x(step),
                y(value),
                color(index)
            );
        } else {
            let _ = write!(svg, "<path class=\"line\" d=\"{path}\" stroke=\"{}\"/>", color(index));
        }
    }
    let names: Vec<String> = series.iter().map(|line| line.name.clone()).collect();
    svg + "</svg></div>" + &if names.len() > 1 { legend(&names) } else { String::new() }
}

/// Bars of a histogram, in the colour of series `index`.
pub(super) fn histogram(histogram: &Histogram, index: usize) -> String {
    const W: f64 = 300.0;
    const H: f64 = 110.0;
    const BASE: f64 = 88.0;
    let most = histogram.counts.iter().copied().max().unwrap_or(0).max(1) as f64;
    let width = W / histogram.counts.len() as f64;
    let total: u64 = histogram.counts.iter().sum();
    let mut svg = format!("<svg viewBox=\"0 0 {W} {H}\" role=\"img\">");
    for (bar, count) in histogram.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        // The square root keeps the tails in sight.
        let height = (BASE - 4.0) * (*count as f64 / most).sqrt();
        let middle = histogram.low
            + (histogram.high - histogram.low) * (bar as f64 + 0.5) / histogram.counts.len() as f64;
        let _ = write!(
            svg,
            "<rect x=\"{:.2}\" y=\"{:.2}\" width=\"{:.2}\" height=\"{height:.2}\" fill=\"{}\">\
             <title>about {}: {:.2} %</title></rect>",
            bar as f64 * width + 0.5,
            BASE - height,
            width - 1.0,
            color(index),
            number(middle),
            100.0 * *count as f64 / total.max(1) as f64
        );
    }
    let _ = write!(
        svg,
        "<g class=\"axis\"><line x1=\"0\" x2=\"{W}\" y1=\"{BASE}\" y2=\"{BASE}\"/>\
         <text x=\"0\" y=\"{y}\">{}</text><text x=\"{}\" y=\"{y}\" text-anchor=\"middle\">0</text>\
         <text x=\"{W}\" y=\"{y}\" text-anchor=\"end\">{}</text></g></svg>",
        number(histogram.low),
        W / 2.0,
        number(histogram.high),
        y = H - 6.0
    );
    svg
}

/// A matrix of counts, each row shaded by its own total.
pub(super) fn confusion(
    counts: &[Vec<usize>],
    labels: &[String],
    rows: &str,
    columns: &str,
) -> String {
    let classes = counts.len();
    let longest = labels.iter().map(|l| l.chars().count()).max().unwrap_or(1).min(14);
    let cell = (360.0 / classes as f64).clamp(12.0, 44.0);
    let left = 24.0 + 7.0 * longest as f64;
    let top = if longest > 3 { 24.0 + 5.5 * longest as f64 } else { 36.0 };
    let (w, h) = (left + cell * classes as f64 + 4.0, top + cell * classes as f64 + 4.0);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {w:.0} {h:.0}\" style=\"max-width:{w:.0}px\" role=\"img\"><g class=\"axis\">\
         <text x=\"{:.1}\" y=\"12\" text-anchor=\"middle\">{}</text>\
         <text transform=\"translate(12 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        left + cell * classes as f64 / 2.0,
        escape(columns),
        top + cell * classes as f64 / 2.0,
        escape(rows)
    );
    for (index, label) in labels.iter().enumerate() {
        let at = (index as f64 + 0.5) * cell;
        let short: String = label.chars().take(14).collect();
        let column = if longest > 3 {
            format!("transform=\"translate({:.1} {:.1}) rotate(-45)\"", left + at, top - 6.0)
        } else {
            format!("x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\"", left + at, top - 6.0)
        };
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{short}</text><text {column}>{short}</text>",
            left - 6.0,
            top + at + 4.0,
            short = escape(&short)
        );
    }
    svg += "</g>";
    for (r, row) in counts.iter().enumerate() {
        let total = row.iter().sum::<usize>().max(1) as f64;
        for (c, count) in row.iter().enumerate() {
            let share = *count as f64 / total;
            let (x, y) = (left + c as f64 * cell, top + r as f64 * cell);
            let class = if r == c { "hit" } else { "miss" };
            // Even a single miss should be seen.
            let opacity = if *count == 0 { 0.0 } else { 0.18 + 0.82 * share };
            let _ = write!(
                svg,
                "<rect class=\"cell\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{0:.1}\" height=\"{0:.1}\"/>\
                 <rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{0:.1}\" height=\"{0:.1}\" \
                 fill-opacity=\"{opacity:.2}\"/>",
                cell - 1.5
            );
            if *count > 0 && cell >= 18.0 {
                let _ = write!(
                    svg,
                    "<text class=\"{}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{count}</text>",
                    if share > 0.5 { "count strong" } else { "count" },
                    x + cell / 2.0 - 0.75,
                    y + cell / 2.0 + 4.0
                );
            }
        }
    }
    svg + "</svg>"
}

/// Parts of a whole as one bar, with a table of them.
pub(super) fn parts(parts: &[Part]) -> String {
    let total = parts.iter().map(|part| part.bytes).sum::<usize>().max(1) as f64;
    let mut html = String::from("<div class=\"stack\">");
    for (index, part) in parts.iter().enumerate().filter(|(_, part)| part.bytes > 0) {
        let _ = write!(
            html,
            "<i style=\"flex:{};background:{}\" title=\"{}: {} bytes\"></i>",
            part.bytes,
            color(index),
            escape(&part.name),
            thousands(part.bytes)
        );
    }
    html += "</div><table class=\"numbers\">";
    for (index, part) in parts.iter().enumerate().filter(|(_, part)| part.bytes > 0) {
        let _ = write!(
            html,
            "<tr><td><i class=\"key\" style=\"background:{}\"></i>{}</td><td>{}</td><td>{:.1} %</td></tr>",
            color(index),
            escape(&part.name),
            thousands(part.bytes),
            100.0 * part.bytes as f64 / total
        );
    }
    let _ = write!(
        html,
        "<tr class=\"total\"><td>together</td><td>{}</td><td>bytes</td></tr></table>",
        thousands(total as usize)
    );
    html
}

/// A number with three digits that matter.
pub(super) fn number(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 {
        "0".to_owned()
    } else if !(0.001..1000.0).contains(&magnitude) {
        format!("{value:.1e}")
    } else {
        let digits = (2 - magnitude.log10().floor() as i32).clamp(0, 4) as usize;
        let text = format!("{value:.digits$}");
        if digits > 0 { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    }
}

/// Round numbers from below `low` to above `high`.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let span = if high > low { high - low } else { high.abs().max(1.0) };
    let power = 10f64.powf((span / 4.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|k| k * power).into_iter().find(|s| span / s <= 5.0);
    let step = step.unwrap_or(span);
    let first = (low / step).floor();
    let last = (high / step).ceil().max(first + 1.0);
    (0..=(last - first) as usize).map(|k| (first + k as f64) * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_enclose() {
        assert_eq!(ticks(21.3, 78.0), [20.0, 40.0, 60.0, 80.0]);
        assert_eq!(ticks(5.0, 5.0), [5.0, 6.0]);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(number(0.25), "0.25");
        assert_eq!(number(-80.0), "-80");
        assert_eq!(number(123_456.0), "1.2e5");
    }

    #[test]
    fn markup_in_a_name_stays_text() {
        assert_eq!(escape("<b>\"&"), "&lt;b&gt;&quot;&amp;");
    }
}
