//! A picture of the tokens in danger over time, with the faults marked: SVG, written by hand.

use std::fmt::Write as _;

use chrono::{DateTime, TimeDelta, Utc};

use super::chronicle::{Pages, Sample};
use super::report::clock;
use super::schedule::{CLUSTER, HANDS, Kind, NEIGHBOURS, PROVIDERS};

const WIDTH: f64 = 1200.0;
const LEFT: f64 = 50.0;
const RIGHT: f64 = 1180.0;
const TOP: f64 = 60.0;
const BOTTOM: f64 = 360.0;

/// Where the bars of the faults begin, below the plot.
const BARS: f64 = 390.0;
const BAR: f64 = 18.0;

/// Where a moment and a count lie.
struct Scale {
    begun: DateTime<Utc>,
    length: TimeDelta,
    most: f64,
}

impl Scale {
    fn x(&self, at: DateTime<Utc>) -> f64 {
        let part = (at - self.begun).as_seconds_f64() / self.length.as_seconds_f64();
        LEFT + part.clamp(0.0, 1.0) * (RIGHT - LEFT)
    }

    fn y(&self, count: u32) -> f64 {
        BOTTOM - f64::from(count) / self.most * (BOTTOM - TOP)
    }

    /// A closed shape from the axis up to each count.
    fn area(&self, samples: &[Sample], count: impl Fn(&Sample) -> u32) -> String {
        let mut path = format!("M{LEFT:.1},{BOTTOM:.1}");
        let mut last = LEFT;
        for sample in samples {
            last = self.x(sample.at);
            // a String takes whatever is written to it
            let _ = write!(path, " L{last:.1},{:.1}", self.y(count(sample)));
        }
        path + &format!(" L{last:.1},{BOTTOM:.1} Z")
    }
}

/// Draws a run that began at `begun` and was this long.
pub(super) fn draw(pages: &Pages, begun: DateTime<Utc>, length: TimeDelta, title: &str) -> String {
    let most = pages.samples.iter().map(|sample| sample.in_danger).max().unwrap_or_default().max(10);
    let scale = Scale { begun, length: length.max(TimeDelta::seconds(1)), most: f64::from(most) };
    let mut lines = Vec::new();
    let height = faults(pages, begun + length, &scale, &mut lines) + 10.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"24\" font-size=\"16\">{}</text>", escaped(title));
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"44\">tokens with less than a tenth of their life left \
         <tspan fill=\"#d9480f\">■ in danger</tspan> <tspan fill=\"#862e9c\">■ expired</tspan></text>"
    );
    for line in lines {
        let _ = writeln!(svg, "{line}");
    }
    axes(&scale, most, &mut svg);
    for (colour, area) in [
        ("#d9480f", scale.area(&pages.samples, |sample| sample.in_danger)),
        ("#862e9c", scale.area(&pages.samples, |sample| sample.expired)),
    ] {
        let _ = writeln!(svg, "<path d=\"{area}\" fill=\"{colour}\" fill-opacity=\"0.7\"/>");
    }
    svg + "</svg>\n"
}

/// A shade over the plot and a named bar below it for each fault. Returns how far down they reach.
fn faults(pages: &Pages, end: DateTime<Utc>, scale: &Scale, lines: &mut Vec<String>) -> f64 {
    let mut rows: Vec<f64> = Vec::new();
    for fault in &pages.faults {
        let (kind, what) = &fault.what;
        let (from, to) = (scale.x(fault.from), scale.x(fault.to.unwrap_or(end)));
        let width = (to - from).max(2.0);
        // as wide as its name, about
        let reach = from + width.max(f64::from(u32::try_from(what.len()).unwrap_or(0)) * 6.0) + 8.0;
        let row = rows.iter().position(|taken| *taken < from).unwrap_or(rows.len());
        match rows.get_mut(row) {
            Some(taken) => *taken = reach,
            None => rows.push(reach),
        }
        let (y, colour) = (BARS + BAR * f64::from(u32::try_from(row).unwrap_or(0)), colour(*kind));
        // neighbours are there all the time
        let shade = if NEIGHBOURS.concat().contains(kind) { 0.0 } else { 0.12 };
        lines.push(format!(
            "<rect x=\"{from:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{}\" fill=\"{colour}\" \
             fill-opacity=\"{shade}\"/><rect x=\"{from:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"14\" \
             fill=\"{colour}\" fill-opacity=\"0.45\"/><text x=\"{:.1}\" y=\"{}\" font-size=\"10\">{}</text>",
            BOTTOM - TOP,
            from + 2.0,
            y + 11.0,
            escaped(what),
        ));
    }
    BARS + BAR * f64::from(u32::try_from(rows.len()).unwrap_or(0))
}

fn colour(kind: Kind) -> &'static str {
    if CLUSTER.contains(&kind) {
        "#1971c2"
    } else if PROVIDERS.contains(&kind) {
        "#e67700"
    } else if HANDS.contains(&kind) {
        "#2b8a3e"
    } else {
        "#868e96"
    }
}

fn axes(scale: &Scale, most: u32, svg: &mut String) {
    let _ = writeln!(svg, "<path d=\"M{LEFT},{TOP} V{BOTTOM} H{RIGHT}\" fill=\"none\" stroke=\"#495057\"/>");
    for quarter in 0..=4 {
        let count = most * quarter / 4;
        let y = scale.y(count);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT},{y:.1} H{RIGHT}\" stroke=\"#ced4da\"/><text x=\"{}\" y=\"{:.1}\" \
             text-anchor=\"end\">{count}</text>",
            LEFT - 6.0,
            y + 4.0
        );
    }
    for tenth in 0..=10 {
        let after = scale.length * tenth / 10;
        let x = scale.x(scale.begun + after);
        let _ =
            writeln!(svg, "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>", BOTTOM + 16.0, clock(after));
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::chronicle::Stretch;
    use super::super::spans::tests::at;
    use super::*;

    #[test]
    fn the_picture_has_every_fault_and_the_worst_moment_at_the_top() {
        let mut pages = Pages::default();
        for (second, in_danger) in [(0, 0), (50, 40), (100, 0)] {
            pages.samples.push(Sample { at: at(second), in_danger, expired: in_danger / 2 });
        }
        for (kind, name, to) in [(Kind::Stalls, "stalls: a & b", Some(30)), (Kind::LeaderKilled, "leader killed", None)]
        {
            pages.faults.push(Stretch { what: (kind, name.to_owned()), from: at(20), to: to.map(at) });
        }
        let svg = draw(&pages, at(0), TimeDelta::seconds(100), "seed 7");
        assert!(svg.contains("stalls: a &amp; b") && svg.contains(">leader killed<"), "{svg}");
        let middle = f64::midpoint(LEFT, RIGHT);
        assert!(svg.contains(&format!("L{middle:.1},{TOP:.1} ")), "{svg}");
        assert!(svg.ends_with("</svg>\n"));
    }
}
