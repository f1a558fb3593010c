//! Terminals: colours, width, and texts without control characters.

use clap::ValueEnum;
use std::env;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, stdout};
use unicode_width::UnicodeWidthStr as _;

/// When to use colours.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Auto,
    Always,
    Never,
}

/// Meaning of a text, shown by its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// No colour.
    Plain,
    /// Title.
    Bold,
    /// Less important.
    Dim,
    /// Healthy.
    Good,
    /// Needs attention.
    Warn,
    /// Not healthy.
    Bad,
}

/// Style of an output.
#[derive(Clone, Copy, Debug)]
pub(super) struct TerminalStyle {
    colour: bool,
    /// Characters beyond ASCII can be shown.
    pub(super) unicode: bool,
    /// The output is a terminal.
    pub(super) terminal: bool,
}

impl TerminalStyle {
    /// Returns the style of standard output, from the flag and the environment.
    pub(super) fn of_stdout(when: When) -> Self {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let terminal = stdout().is_terminal();
        let colour = match when {
            When::Always => true,
            When::Never => false,
            When::Auto => terminal && set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb"),
        };
        // in the order of setlocale; without a locale, files and pipes are UTF-8
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
        let utf8 = |locale: std::ffi::OsString| {
            let locale = locale.to_string_lossy().to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        };
        Self { colour, unicode: locale.map_or(!terminal, utf8), terminal }
    }

    /// Returns the columns of the terminal, if the output is one.
    pub(super) fn width(self) -> Option<usize> {
        self.size().map(|(columns, _)| columns)
    }

    /// Returns columns and lines of the terminal, if the output is one.
    pub(super) fn size(self) -> Option<(usize, usize)> {
        let size = terminal_size::terminal_size_of(stdout());
        self.terminal.then_some(())?;
        Some(size.map_or((80, 24), |(width, height)| (width.0.into(), height.0.into())))
    }

    /// Returns the text in its colour.
    pub(super) fn tone(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            _ if !self.colour || text.is_empty() => return text.to_owned(),
            Tone::Bold => "1",
            Tone::Dim => "2",
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// A bar of `cells` that shows a share of 0 to 1.
    pub(super) fn bar(self, share: f64, cells: usize) -> String {
        const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
        let steps = if self.unicode { 8 } else { 1 };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let eighths = (share.clamp(0.0, 1.0) * (cells * steps) as f64).round() as usize;
        let (full, part) = (eighths / steps, if self.unicode { PARTS[eighths % steps] } else { "" });
        let rest = cells - full - usize::from(!part.is_empty());
        let (on, off) = if self.unicode { ("█", "░") } else { ("#", ".") };
        format!("{}{part}{}", on.repeat(full), off.repeat(rest))
    }
}

/// Returns the number of columns of a text.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// Returns the text with control characters as escapes. A line break or a tab becomes a space.
pub(super) fn plain(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut plain, c| {
        match c {
            '\n' | '\t' => plain.push(' '),
            // characters for the writing direction can disguise a text
            c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                let _ = write!(plain, "\\u{{{:x}}}", u32::from(c));
            }
            c => plain.push(c),
        }
        plain
    })
}

/// Returns at most `columns` of the text, with `~` if it was longer.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut cut = String::new();
    for c in text.chars() {
        if width(&cut) + width(c.encode_utf8(&mut [0; 4])) + 1 > columns {
            break;
        }
        cut.push(c);
    }
    cut + if columns == 0 { "" } else { "~" }
}

/// Returns lines of at most `columns`, broken at spaces if possible.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(20);
    let mut lines = vec![String::new()];
    for mut word in text.split(' ').map(str::to_owned) {
        while width(&word) > columns {
            let mut head: String = word.chars().take(columns).collect();
            while width(&head) > columns {
                head.pop();
            }
            word.drain(..head.len());
            lines.push(head);
        }
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(&word),
            Some(line) if width(line) + 1 + width(&word) <= columns => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNICODE: TerminalStyle = TerminalStyle { colour: true, unicode: true, terminal: true };
    const ASCII: TerminalStyle = TerminalStyle { colour: false, unicode: false, terminal: false };

    #[test]
    fn a_bar_is_as_long_as_it_should_be_whatever_the_share() {
        for (share, unicode, ascii) in [
            (0.0, "░░░░░", "....."),
            (0.5, "██▌░░", "###.."),
            (0.31, "█▌░░░", "##..."),
            (1.0, "█████", "#####"),
            (7.0, "█████", "#####"),
            (-1.0, "░░░░░", "....."),
        ] {
            assert_eq!((UNICODE.bar(share, 5), ASCII.bar(share, 5)), (unicode.to_owned(), ascii.to_owned()), "{share}");
        }
        for thousandths in 0..=1000 {
            for style in [UNICODE, ASCII] {
                assert_eq!(width(&style.bar(f64::from(thousandths) / 1000.0, 10)), 10);
            }
        }
    }

    #[test]
    fn a_text_contains_no_control_characters() {
        assert_eq!(plain("a\x1b]0;owned\x07b\nc\td\u{202e}e"), "a\\u{1b}]0;owned\\u{7}b c d\\u{202e}e");
        assert_eq!(plain("Größe, 大きさ"), "Größe, 大きさ");
    }

    #[test]
    fn texts_are_cut_and_wrapped_by_columns_not_by_bytes() {
        for (text, columns, expected) in [
            ("lobby", 5, "lobby"),
            ("lobby-camera", 5, "lobb~"),
            ("大きさ", 5, "大き~"),
            ("大きさ", 4, "大~"),
            ("ab", 0, ""),
        ] {
            assert_eq!(cut(text, columns), expected, "{text} in {columns}");
            assert!(width(&cut(text, columns)) <= columns);
        }
        let text = "the provider refuses it: https://management.azure.com/subscriptions/24237b72 is unknown";
        let lines = wrap(text, 24);
        assert!(lines.iter().all(|line| width(line) <= 24), "{lines:?}");
        assert_eq!(lines.concat().replace(' ', ""), text.replace(' ', ""));
        assert_eq!(wrap("", 24), Vec::<String>::new());
    }

    #[test]
    fn colours_are_left_out_where_they_are_not_wanted() {
        assert_eq!(UNICODE.tone(Tone::Bad, "no"), "\x1b[31mno\x1b[0m");
        assert_eq!(ASCII.tone(Tone::Bad, "no"), "no");
        assert_eq!(UNICODE.tone(Tone::Plain, "so"), "so");
    }
}
