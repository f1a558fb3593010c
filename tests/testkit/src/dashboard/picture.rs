//! The dashboard as an SVG: each panel where its JSON places it, with the data that its own expressions gave.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use chrono::{DateTime, Utc};

use super::Panel;
use super::plot::{Frame, Plot, times, told};
use super::prometheus::{Line, Scrapes};

const COLUMN: f64 = 62.0;
const ROW: f64 = 27.0;
const HEAD: f64 = 44.0;
const GAP: f64 = 6.0;

/// Lines of a legend or rows of a table that are shown; the rest is counted.
const LEGENDS: usize = 6;

/// Bars of a timeline that are shown.
const BARS: usize = 12;

/// Grafana's own order of colours.
const PALETTE: [&str; 10] =
    ["#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#ffcb7d", "#96d98d", "#ca95e5"];

/// Draws the panels with their answers.
pub fn draw(title: &str, panels: &[Panel], answers: &[Vec<Vec<Line>>], scrapes: &Scrapes) -> String {
    let seconds = |at: DateTime<Utc>| (at - DateTime::UNIX_EPOCH).as_seconds_f64();
    let span = scrapes.span().map_or((0.0, 1.0), |(from, to)| (seconds(from), seconds(to)));
    let rows = panels.iter().map(|panel| panel.place.y + panel.place.h).max().unwrap_or_default();
    let (width, height) = (24.0 * COLUMN + GAP, f64::from(rows) * ROW + HEAD + GAP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"Inter, Helvetica, \
         Arial, sans-serif\" font-size=\"11\" role=\"img\" aria-label=\"{0}\">\n<rect width=\"100%\" height=\"100%\" \
         fill=\"#111217\"/>\n<text x=\"{1}\" y=\"28\" font-size=\"17\" fill=\"#ccccdc\">{0}</text>\n",
        escaped(title),
        GAP * 2.0
    );
    for (number, (panel, answers)) in panels.iter().zip(answers).enumerate() {
        let place = panel.place;
        let frame = Frame {
            x: GAP + f64::from(place.x) * COLUMN,
            y: HEAD + f64::from(place.y) * ROW,
            w: f64::from(place.w) * COLUMN - GAP,
            h: f64::from(place.h) * ROW - GAP,
        };
        if panel.kind == "row" {
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\" font-size=\"14\" fill=\"#ccccdc\">⌄ {}</text>",
                frame.x + 4.0,
                frame.y + 16.0,
                escaped(&panel.title)
            );
            continue;
        }
        let _ = write!(
            svg,
            "<clipPath id=\"p{number}\"><rect x=\"{0}\" y=\"{1}\" width=\"{2}\" height=\"{3}\"/></clipPath>\
             <g clip-path=\"url(#p{number})\"><rect x=\"{0}\" y=\"{1}\" width=\"{2}\" height=\"{3}\" rx=\"3\" \
             fill=\"#181b1f\" stroke=\"#2c3235\"/><text x=\"{4}\" y=\"{5}\" font-weight=\"600\" \
             fill=\"#ccccdc\" font-size=\"12\">{6}</text>",
            frame.x,
            frame.y,
            frame.w,
            frame.h,
            frame.x + 10.0,
            frame.y + 19.0,
            escaped(&panel.title)
        );
        let inner = Frame { x: frame.x + 10.0, y: frame.y + 30.0, w: frame.w - 20.0, h: frame.h - 38.0 };
        inside(panel, answers, span, inner, &mut svg);
        svg.push_str("</g>\n");
    }
    svg + "</svg>\n"
}

fn inside(panel: &Panel, answers: &[Vec<Line>], span: (f64, f64), frame: Frame, svg: &mut String) {
    let lines: Vec<_> = panel
        .targets
        .iter()
        .zip(answers)
        .flat_map(|((_, legend), lines)| lines.iter().map(move |line| (named(legend, line), line)))
        .collect();
    match panel.kind.as_str() {
        "stat" => stats(panel, &lines, frame, svg),
        "table" => table(panel, answers, frame, svg),
        "state-timeline" => bars(panel, &lines, span, frame, svg),
        _ => graph(panel, lines, span, frame, svg),
    }
}

fn graph(panel: &Panel, lines: Vec<(String, &Line)>, span: (f64, f64), frame: Frame, svg: &mut String) {
    let custom = &panel.json["fieldConfig"]["defaults"]["custom"];
    let mut coloured = Vec::new();
    for (number, (name, line)) in lines.into_iter().enumerate() {
        let colour = fixed(panel, &name).unwrap_or(PALETTE[number % PALETTE.len()]).to_owned();
        coloured.push((name, colour, line));
    }
    // the largest first, as far as the legend reaches
    coloured.sort_by(|(_, _, a), (_, _, b)| sum(b).total_cmp(&sum(a)));
    let names: Vec<_> = coloured.iter().map(|(name, colour, _)| (name.clone(), colour.clone())).collect();
    let used = legend(&names, frame, svg);
    let plot = Plot {
        frame: Frame { h: frame.h - used, ..frame },
        span,
        unit: unit(panel),
        stacked: custom["stacking"]["mode"] == "normal",
        filled: custom["fillOpacity"].as_u64().unwrap_or_default() > 0,
        lines: coloured,
    };
    plot.draw(svg);
}

fn sum(line: &Line) -> f64 {
    line.samples.iter().map(|(_, value)| value).sum()
}

/// Names with their colours at the foot of the frame; returns how high they are.
fn legend(names: &[(String, String)], frame: Frame, svg: &mut String) -> f64 {
    const LINE: f64 = 15.0;
    let mut places = Vec::new();
    let (mut x, mut line) = (0.0, 0);
    for (name, colour) in names.iter().take(LEGENDS) {
        let width = width(name) + 26.0;
        if x > 0.0 && x + width > frame.w {
            (x, line) = (0.0, line + 1);
        }
        places.push((x, line, name.as_str(), colour.as_str()));
        x += width;
    }
    let more = names.len().saturating_sub(LEGENDS);
    let more = if more > 0 { format!("and {more} more") } else { String::new() };
    places.extend((!more.is_empty()).then_some((x, line, more.as_str(), "none")));
    let height = f64::from(line + 1) * LINE;
    for (x, line, name, colour) in places {
        let (x, y) = (frame.x + x, frame.y + frame.h - height + f64::from(line) * LINE + 12.0);
        let _ = write!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"12\" height=\"4\" rx=\"2\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{y:.1}\" fill=\"#9fa0a8\">{}</text>",
            y - 6.0,
            x + 16.0,
            escaped(name)
        );
    }
    height
}

/// About how wide a text is.
fn width(text: &str) -> f64 {
    f64::from(u32::try_from(text.chars().count()).unwrap_or_default()) * 6.0
}

fn stats(panel: &Panel, lines: &[(String, &Line)], frame: Frame, svg: &mut String) {
    let order = ["ready", "pending", "failing", "stalled", "expired"];
    let mut lines: Vec<_> = lines.iter().collect();
    lines.sort_by_key(|(name, _)| order.iter().position(|known| known == name));
    let count = f64::from(u32::try_from(lines.len().max(1)).unwrap_or(1));
    for (number, (name, line)) in (0_u32..).zip(lines) {
        let Some((_, value)) = line.samples.last() else { continue };
        let colour = fixed(panel, name).unwrap_or_else(|| by_threshold(panel, *value));
        let x = frame.x + frame.w / count * (f64::from(number) + 0.5);
        let _ = write!(
            svg,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"34\" font-weight=\"500\" \
             fill=\"{colour}\">{}</text><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#9fa0a8\" \
             font-size=\"13\">{}</text>",
            frame.y + frame.h / 2.0 + 14.0,
            told(*value, unit(panel)),
            frame.y + frame.h - 6.0,
            escaped(name)
        );
    }
}

/// The last values of each target in its column, by labels.
fn table(panel: &Panel, answers: &[Vec<Line>], frame: Frame, svg: &mut String) {
    let mut rows: Vec<(Vec<String>, Vec<Option<f64>>)> = Vec::new();
    let names = labels(panel, answers);
    let end = answers.iter().flatten().filter_map(|line| line.samples.last()).map(|(at, _)| *at).fold(0.0, f64::max);
    for (column, lines) in answers.iter().enumerate() {
        for line in lines {
            // an instant query tells what is there now
            let Some((_, value)) = line.samples.last().filter(|(at, _)| end - at < 0.1) else { continue };
            let labels: Vec<_> = names.iter().map(|name| line.labels.get(name).cloned().unwrap_or_default()).collect();
            let row = rows.iter().position(|(known, _)| *known == labels).unwrap_or_else(|| {
                rows.push((labels, vec![None; answers.len()]));
                rows.len() - 1
            });
            rows[row].1[column] = Some(*value);
        }
    }
    rows.sort_by(|(_, a), (_, b)| a[0].unwrap_or_default().total_cmp(&b[0].unwrap_or_default()));
    let names = names.into_iter().map(|name| renamed(panel, &name).unwrap_or(name));
    let headings = names.chain((0..answers.len()).map(|n| column(panel, n)));
    let headings: Vec<_> = headings.collect();
    let each = frame.w / f64::from(u32::try_from(headings.len().max(1)).unwrap_or(1));
    let mut cell = |row: u32, number: usize, text: &str, colour: &str| {
        let x = frame.x + each * f64::from(u32::try_from(number).unwrap_or_default());
        let y = frame.y + 10.0 + f64::from(row) * 15.6;
        let _ = write!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{colour}\">{}</text>", escaped(text));
    };
    for (number, heading) in headings.iter().enumerate() {
        cell(0, number, heading, "#6e9fff");
    }
    for (row, (labels, values)) in (1_u32..).zip(&rows) {
        for (number, label) in labels.iter().enumerate() {
            cell(row, number, label, "#ccccdc");
        }
        for (number, value) in values.iter().enumerate() {
            let Some(value) = value else { continue };
            let (text, colour) = match column(panel, number).as_str() {
                "Ready" if *value > 0.0 => ("yes".to_owned(), "#73bf69"),
                "Ready" => ("no".to_owned(), "#f2495c"),
                "Credential ends in" => (told(*value, "s"), "#ff9830"),
                _ if unit(panel) == "s" => (told(*value, "s"), by_threshold(panel, *value)),
                _ => (told(*value, unit(panel)), "#ccccdc"),
            };
            cell(row, labels.len() + number, &text, colour);
        }
    }
}

/// The labels of all series, in the order that the panel's own transformation gives them.
fn labels(panel: &Panel, answers: &[Vec<Line>]) -> Vec<String> {
    let all: BTreeSet<_> = answers.iter().flatten().flat_map(|line| line.labels.keys().cloned()).collect();
    let mut all: Vec<_> = all.into_iter().collect();
    let transformations = panel.json["transformations"].as_array().map(Vec::as_slice).unwrap_or_default();
    let places = transformations.iter().find_map(|one| one["options"]["indexByName"].as_object());
    all.sort_by_key(|name| places.and_then(|places| places.get(name)?.as_u64()));
    all
}

/// What the panel's own transformation calls the column of a target.
fn column(panel: &Panel, number: usize) -> String {
    let letter = ["A", "B", "C"][number.min(2)];
    let named = renamed(panel, &format!("Value #{letter}")).or_else(|| renamed(panel, "Value"));
    named.unwrap_or_else(|| "Value".to_owned())
}

/// What the panel's own transformation calls a field.
fn renamed(panel: &Panel, field: &str) -> Option<String> {
    let transformations = panel.json["transformations"].as_array()?;
    let names = transformations.iter().find_map(|one| one["options"]["renameByName"].as_object())?;
    names.get(field)?.as_str().map(str::to_owned)
}

fn bars(panel: &Panel, lines: &[(String, &Line)], span: (f64, f64), frame: Frame, svg: &mut String) {
    let lines = &lines[..lines.len().min(BARS)];
    let left = lines.iter().map(|(name, _)| width(name)).fold(0.0, f64::max).min(frame.w / 2.0) + 8.0;
    let x = |at: f64| frame.x + left + (at - span.0) / (span.1 - span.0).max(1.0) * (frame.w - left);
    let each = (frame.h - 18.0) / f64::from(u32::try_from(lines.len().max(1)).unwrap_or(1));
    for (number, (name, line)) in (0_u32..).zip(lines) {
        let y = frame.y + each * f64::from(number);
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#9fa0a8\" font-size=\"{:.0}\">{}</text>",
            frame.x + left - 6.0,
            y + each / 2.0 + 3.0,
            (each + 1.0).min(11.0),
            escaped(name)
        );
        for (from, to, value) in stretches(line) {
            let _ = write!(
                svg,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\" fill-opacity=\"0.8\"/>",
                x(from),
                y + each * 0.1,
                (x(to) - x(from)).max(1.0),
                each * 0.8,
                by_threshold(panel, value)
            );
        }
    }
    times(span, x, frame.y + frame.h - 3.0, svg);
}

/// From when to when the line had a value.
fn stretches(line: &Line) -> Vec<(f64, f64, f64)> {
    let step = line.samples.windows(2).map(|two| two[1].0 - two[0].0).fold(f64::INFINITY, f64::min);
    let mut all: Vec<(f64, f64, f64)> = Vec::new();
    for (at, value) in &line.samples {
        match all.last_mut() {
            Some((_, to, last)) if (*last - value).abs() < f64::EPSILON && at - *to < step * 2.5 => *to = at + step,
            Some((_, to, _)) if at - *to < step * 2.5 => {
                *to = *at;
                all.push((*at, at + step, *value));
            }
            _ => all.push((*at, at + if step.is_finite() { step } else { 1.0 }, *value)),
        }
    }
    all
}

fn unit(panel: &Panel) -> &str {
    panel.json["fieldConfig"]["defaults"]["unit"].as_str().unwrap_or("short")
}

/// The colour that the panel fixes for a series of this name.
fn fixed(panel: &Panel, name: &str) -> Option<&'static str> {
    let overrides = panel.json["fieldConfig"]["overrides"].as_array()?;
    let mine = overrides.iter().find(|one| one["matcher"]["options"] == name)?;
    mine["properties"][0]["value"]["fixedColor"].as_str().map(colour)
}

fn by_threshold(panel: &Panel, value: f64) -> &'static str {
    let steps = panel.json["fieldConfig"]["defaults"]["thresholds"]["steps"].as_array();
    let passed = steps.map(Vec::as_slice).unwrap_or_default().iter().rev();
    let mut reached = passed.filter(|step| step["value"].as_f64().is_none_or(|from| value >= from));
    reached.next().and_then(|step| step["color"].as_str()).map_or("#73bf69", colour)
}

fn colour(name: &str) -> &'static str {
    match name {
        "green" => "#73bf69",
        "yellow" => "#fade2a",
        "orange" => "#ff9830",
        "red" => "#f2495c",
        "blue" => "#5794f2",
        "purple" => "#b877d9",
        _ => "#5f6370",
    }
}

/// The legend with the series' labels in it.
fn named(legend: &str, line: &Line) -> String {
    let mut name = legend.to_owned();
    for (label, value) in &line.labels {
        name = name.replace(&format!("{{{{{label}}}}}"), value);
    }
    // a label that the series hasn't got is empty
    while let (Some(from), Some(to)) = (name.find("{{"), name.find("}}")) {
        name.replace_range(from..to + 2, "");
    }
    name
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
