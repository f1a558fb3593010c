//! What is in a panel that shows time: axes, lines, stacked areas and bars.

use std::fmt::Write as _;

use super::prometheus::Line;

/// A box of the picture, in its units.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) w: f64,
    pub(super) h: f64,
}

/// What is drawn over time, and how.
pub(super) struct Plot<'a> {
    pub(super) frame: Frame,
    /// Unix seconds.
    pub(super) span: (f64, f64),
    pub(super) unit: &'a str,
    pub(super) stacked: bool,
    pub(super) filled: bool,
    /// Name, colour, samples.
    pub(super) lines: Vec<(String, String, &'a Line)>,
}

/// Room for the axis' figures and for the times below.
const LEFT: f64 = 52.0;
const BELOW: f64 = 18.0;

/// Where two samples are further apart than this part of the whole time, the line has a gap.
const GAP: f64 = 0.03;

impl Plot<'_> {
    fn x(&self, at: f64) -> f64 {
        let Frame { x, w, .. } = self.frame;
        x + LEFT + (at - self.span.0) / (self.span.1 - self.span.0).max(1.0) * (w - LEFT)
    }

    fn most_and_least(&self) -> (f64, f64) {
        let values = self.lines.iter().flat_map(|(_, _, line)| line.samples.iter().map(|(_, value)| *value));
        let (least, most) = values.fold((0.0_f64, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
        let most = if self.stacked { self.sums().into_iter().fold(0.0, f64::max) } else { most };
        (least, if most <= least { least + 1.0 } else { most })
    }

    /// The sum of all lines at each moment of the first.
    fn sums(&self) -> Vec<f64> {
        self.moments().iter().map(|at| self.lines.iter().map(|(_, _, line)| value_at(line, *at)).sum()).collect()
    }

    fn moments(&self) -> Vec<f64> {
        let mut all: Vec<_> =
            self.lines.iter().flat_map(|(_, _, line)| line.samples.iter().map(|(at, _)| *at)).collect();
        all.sort_by(f64::total_cmp);
        all.dedup();
        all
    }

    /// Draws it.
    pub(super) fn draw(&self, svg: &mut String) {
        let Frame { x, y, w, h } = self.frame;
        let (least, most) = self.most_and_least();
        let tick = tick(most - least);
        let (bottom, top) = ((least / tick).floor() * tick, (most / tick).ceil() * tick);
        let scale = |value: f64| y + h - BELOW - (value - bottom) / (top - bottom) * (h - BELOW - 4.0);
        let mut value = bottom;
        while value <= top + tick / 2.0 {
            // a String takes whatever is written to it
            let at = scale(value);
            let _ = write!(
                svg,
                "<path d=\"M{:.1},{at:.1}H{:.1}\" stroke=\"#2c3235\"/><text x=\"{:.1}\" y=\"{:.1}\" \
                 text-anchor=\"end\" fill=\"#8e8e8e\" font-size=\"10\">{}</text>",
                x + LEFT,
                x + w,
                x + LEFT - 5.0,
                at + 3.5,
                told(value, self.unit)
            );
            value += tick;
        }
        times(self.span, |at| self.x(at), y + h - 3.0, svg);
        if self.stacked { self.areas(scale, svg) } else { self.curves(bottom, scale, svg) }
    }

    fn curves(&self, bottom: f64, scale: impl Fn(f64) -> f64, svg: &mut String) {
        for (_, colour, line) in &self.lines {
            let mut path = String::new();
            let mut last: Option<f64> = None;
            for (number, (at, value)) in line.samples.iter().enumerate() {
                let same =
                    |other: Option<&(f64, f64)>| other.is_some_and(|(_, other)| other.to_bits() == value.to_bits());
                // within a level stretch a point says nothing
                let level = number > 0 && same(line.samples.get(number - 1)) && same(line.samples.get(number + 1));
                let gap = last.is_none_or(|last| (at - last) > (self.span.1 - self.span.0) * GAP);
                if gap || !level {
                    let _ = write!(path, "{}{:.1},{:.1}", if gap { 'M' } else { 'L' }, self.x(*at), scale(*value));
                }
                last = Some(*at);
            }
            let _ = write!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.3\"/>");
            if let (true, Some((first, _)), Some(last)) = (self.filled, line.samples.first(), last) {
                let floor = scale(bottom.max(0.0));
                let _ = write!(
                    svg,
                    "<path d=\"M{:.1},{floor:.1}L{}L{:.1},{floor:.1}Z\" fill=\"{colour}\" fill-opacity=\"0.1\"/>",
                    self.x(*first),
                    path.replace('M', "L").trim_start_matches('L'),
                    self.x(last)
                );
            }
        }
    }

    /// Each line on top of those before it.
    fn areas(&self, scale: impl Fn(f64) -> f64, svg: &mut String) {
        let moments = self.moments();
        let mut floor = vec![0.0; moments.len()];
        for (_, colour, line) in &self.lines {
            let mut path = String::from("M");
            let ceiling: Vec<f64> = moments.iter().zip(&floor).map(|(at, floor)| floor + value_at(line, *at)).collect();
            for (at, value) in moments.iter().zip(&ceiling) {
                let _ = write!(path, "{:.1},{:.1} ", self.x(*at), scale(*value));
            }
            for (at, value) in moments.iter().zip(&floor).rev() {
                let _ = write!(path, "{:.1},{:.1} ", self.x(*at), scale(*value));
            }
            let _ = write!(svg, "<path d=\"{path}Z\" fill=\"{colour}\" fill-opacity=\"0.6\" stroke=\"none\"/>");
            floor = ceiling;
        }
    }
}

/// The line's value at a moment; 0 where it has none.
fn value_at(line: &Line, moment: f64) -> f64 {
    let found = line.samples.binary_search_by(|(at, _)| at.total_cmp(&moment));
    found.map_or(0.0, |index| line.samples[index].1)
}

/// Four times below the axis.
pub(super) fn times(span: (f64, f64), x: impl Fn(f64) -> f64, y: f64, svg: &mut String) {
    for quarter in [0.0, 0.25, 0.5, 0.75] {
        let after = (span.1 - span.0) * quarter;
        let at = x(span.0 + after);
        let anchor = if quarter == 0.0 { "start" } else { "middle" };
        let _ = write!(
            svg,
            "<text x=\"{at:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#8e8e8e\" font-size=\"10\">{}</text>",
            clock(after)
        );
    }
}

fn clock(seconds: f64) -> String {
    format!("{:02.0}:{:02.0}", (seconds / 60.0).floor(), (seconds % 60.0).floor())
}

/// From one line of the axis to the next, so that there are three to six.
fn tick(range: f64) -> f64 {
    let rough = range / 4.0;
    let power = 10_f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    steps.into_iter().map(|step| step * power).find(|step| *step >= rough).unwrap_or(rough)
}

/// A value in its unit, as Grafana tells it.
pub(super) fn told(value: f64, unit: &str) -> String {
    let round = |value: f64| {
        let digits = if value.abs() >= 100.0 || value.fract().abs() < 1e-9 {
            0
        } else if value.abs() >= 1.0 {
            1
        } else {
            2
        };
        format!("{value:.digits$}")
    };
    match unit {
        "s" => {
            let size = value.abs();
            let steps = [(86_400.0 * 2.0, 86_400.0, "d"), (7200.0, 3600.0, "h"), (120.0, 60.0, "min"), (1.0, 1.0, "s")];
            match steps.into_iter().find(|(from, ..)| size >= *from) {
                Some((_, by, name)) => format!("{} {name}", round(value / by)),
                None if size == 0.0 => "0 s".to_owned(),
                None => format!("{:.0} ms", value * 1000.0),
            }
        }
        "percentunit" => format!("{} %", round(value * 100.0)),
        "reqps" => format!("{}/s", round(value)),
        _ => round(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_in_the_unit_that_fits() {
        for (value, unit, expected) in [
            (0.0, "s", "0 s"),
            (0.25, "s", "250 ms"),
            (-3.0, "s", "-3 s"),
            (150.0, "s", "2.5 min"),
            (864_000.0, "s", "10 d"),
            (0.5, "percentunit", "50 %"),
            (1234.5, "short", "1234"),
            (2.0, "reqps", "2/s"),
        ] {
            assert_eq!(told(value, unit), expected);
        }
    }

    #[test]
    fn an_axis_has_a_handful_of_round_figures() {
        for (range, expected) in [(1.0, 0.5), (10.0, 5.0), (7.9, 2.0), (120.0, 50.0)] {
            assert!((tick(range) - expected).abs() < 1e-9, "{range}: {}", tick(range));
        }
    }
}
