//! The screen as an SVG, as a terminal would show it.

use std::fmt::Write as _;

/// A line of the screen.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// True for the title of a step.
    pub(crate) strong: bool,
}

const GLYPH: f64 = 7.23; // advance of a monospaced font at 12 px
const LEADING: f64 = 17.0;
const MARGIN: f64 = 16.0;

/// Draws the steps whose titles begin with one of these, in the order in which they were told.
pub(crate) fn draw(lines: &[Line], steps: &[&str]) -> String {
    let mut shown: Vec<&Line> = Vec::new();
    let mut of_a_step = false;
    for line in lines {
        if line.strong {
            let title = line.text.trim_start().trim_start_matches(|c: char| c.is_ascii_digit() || ". ".contains(c));
            of_a_step = steps.iter().any(|step| title.starts_with(step));
        }
        if of_a_step {
            shown.extend((line.strong && !shown.is_empty()).then_some(&GAP));
            shown.push(line);
        }
    }
    let columns = shown.iter().map(|line| line.text.trim().chars().count()).max().unwrap_or_default();
    #[allow(clippy::cast_precision_loss)] // a few hundred
    let (width, height) = (columns as f64 * GLYPH + 3.0 * MARGIN, shown.len() as f64 * LEADING + 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"ui-monospace, \
         SFMono-Regular, Menlo, Consolas, monospace\" font-size=\"12\" role=\"img\" aria-label=\"Output of make \
         demo\">\n<rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"#111217\"/>\n"
    );
    let mut y = MARGIN;
    for line in shown {
        y += LEADING;
        let text = line.text.trim();
        let (weight, colour) = match (line.strong, text.starts_with("$ ")) {
            (true, _) => ("bold", "#f2cc0c"),
            (false, true) => ("normal", "#73bf69"),
            (false, false) => ("normal", "#ccccdc"),
        };
        let _ = writeln!(
            svg,
            "<text x=\"{MARGIN}\" y=\"{:.0}\" fill=\"{colour}\" font-weight=\"{weight}\" xml:space=\"preserve\">{}</text>",
            y - 4.0,
            escaped(text)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

static GAP: Line = Line { text: String::new(), strong: false };

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_steps_are_drawn_and_escaped() {
        let line = |text: &str, strong| Line { text: text.to_owned(), strong };
        let lines = [
            line("title", true),
            line("\n1. A control plane", true),
            line("   not this", false),
            line("\n2. The table", true),
            line("   $ kubectl get vat", false),
            line("   a < b & c", false),
            line("\n3. The end", true),
            line("   nor this", false),
        ];
        let svg = draw(&lines, &["The table"]);
        assert!(svg.contains("2. The table</text>") && svg.contains("a &lt; b &amp; c</text>"), "{svg}");
        assert!(!svg.contains("not this") && !svg.contains("nor this") && !svg.contains("The end"), "{svg}");
        assert_eq!(svg.matches("<text ").count(), 3, "{svg}");
    }
}
