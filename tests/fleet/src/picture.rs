//! A run over time, as SVG: calls and throttled calls a minute, and tokens in danger.

use crate::report::{Report, Sample};
use crate::run::SAMPLE;
use std::fmt::Write;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 60.0;
const PANEL: f64 = 130.0;
const STEP: f64 = 180.0;
/// Samples in a minute.
const MINUTE: usize = 6;

struct Panel {
    title: &'static str,
    colour: &'static str,
    /// A dashed line, with its name.
    limit: Option<(f64, &'static str)>,
    values: Vec<f64>,
}

/// Draws the run.
pub fn draw(report: &Report) -> String {
    let minutes = |of: fn(&Sample) -> u32| -> Vec<f64> {
        report.samples.chunks(MINUTE).map(|minute| f64::from(minute.iter().map(of).sum::<u32>())).collect()
    };
    let peaks = |of: fn(&Sample) -> u32| -> Vec<f64> {
        report.samples.chunks(MINUTE).map(|minute| f64::from(minute.iter().map(of).max().unwrap_or(0))).collect()
    };
    let panels = [
        Panel {
            title: "Issued tokens a minute, all clusters",
            colour: "#1b7f5c",
            limit: Some((120.0, "limit")),
            values: minutes(|sample| sample.calls - sample.throttled),
        },
        Panel {
            title: "Calls answered with 429, a minute",
            colour: "#b4441c",
            limit: None,
            values: minutes(|sample| sample.throttled),
        },
        Panel {
            title: "Tokens in danger: less than half of the margin left",
            colour: "#8a5a00",
            limit: None,
            values: peaks(|sample| sample.in_danger),
        },
        Panel {
            title: "Clusters that report Oversubscribed",
            colour: "#3a5fa8",
            limit: Some((report.clusters.len() as f64, "all")),
            values: peaks(|sample| sample.oversubscribed),
        },
    ];
    let height = 40.0 + STEP * panels.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\" fill=\"#222222\">{}</text>\n",
        report.scenario.name
    );
    for (number, panel) in panels.iter().enumerate() {
        draw_panel(&mut svg, panel, 62.0 + STEP * number as f64);
    }
    let _ = writeln!(svg, "</svg>");
    svg
}

/// Draws a panel whose upper edge is at `top`. The horizontal axis counts hours.
fn draw_panel(svg: &mut String, panel: &Panel, top: f64) {
    let bottom = top + PANEL;
    let right = WIDTH - 20.0;
    let most = panel.values.iter().copied().chain(panel.limit.map(|(limit, _)| limit)).fold(4.0, f64::max);
    let x = |index: f64| LEFT + (right - LEFT) * index / (panel.values.len().max(2) - 1) as f64;
    let y = |value: f64| bottom - PANEL * value / most;
    let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"{:.0}\" fill=\"#222222\">{}</text>", top - 8.0, panel.title);
    for value in [0.0, most] {
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {0:.1}H{right}\" stroke=\"#dddddd\"/><text x=\"{1}\" y=\"{2:.1}\" text-anchor=\"end\" fill=\"#555555\">{value:.0}</text>",
            y(value),
            LEFT - 6.0,
            y(value) + 4.0
        );
    }
    if let Some((limit, name)) = panel.limit {
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {0:.1}H{right}\" stroke=\"#555555\" stroke-dasharray=\"4 4\"/><text x=\"{right}\" y=\"{1:.1}\" text-anchor=\"end\" fill=\"#555555\">{name}</text>",
            y(limit),
            y(limit) - 4.0
        );
    }
    let samples_in_an_hour = 3600 / (SAMPLE.as_secs() as usize * MINUTE);
    for hour in 0..=panel.values.len() / samples_in_an_hour {
        let at = x((hour * samples_in_an_hour) as f64).min(right);
        let _ = writeln!(
            svg,
            "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555555\">{hour} h</text>",
            bottom + 16.0
        );
    }
    let mut line = String::new();
    for (index, value) in panel.values.iter().enumerate() {
        let _ = write!(line, "{}{:.1} {:.1}", if index == 0 { "M" } else { "L" }, x(index as f64), y(*value));
    }
    let _ = writeln!(svg, "<path d=\"{line}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\"/>", panel.colour);
}
