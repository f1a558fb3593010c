//! What the demo says: numbered steps, notes beneath them, and commands with their output.

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::time::Instant;

use crate::picture::Line;

/// Standard output. Bold where it is a terminal.
pub(crate) struct Screen {
    begun: Instant,
    steps: u32,
    bold: bool,
    /// All that was said, for a picture.
    said: Mutex<Vec<Line>>,
}

impl Screen {
    /// Time begins here.
    pub(crate) fn new() -> Self {
        let bold = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { begun: Instant::now(), steps: 0, bold, said: Mutex::default() }
    }

    /// Begins the next numbered step.
    pub(crate) fn step(&mut self, title: &str) {
        self.steps += 1;
        let title = format!("\n{}. {title}", self.steps);
        self.strong(&title);
    }

    /// Text that stands out.
    pub(crate) fn strong(&self, text: &str) {
        self.remember(text, true);
        if self.bold { line(format_args!("\u{1b}[1m{text}\u{1b}[0m")) } else { line(text) }
    }

    /// An empty line.
    pub(crate) fn gap(&self) {
        self.remember("", false);
        line("");
    }

    /// Lines beneath a step.
    pub(crate) fn note(&self, text: impl Display) {
        for text in text.to_string().lines() {
            self.remember(text, false);
            line(format!("   {text}").trim_end());
        }
    }

    /// A command, as one would type it.
    pub(crate) fn command(&self, command: &str) {
        self.note(format_args!("$ {command}"));
    }

    fn remember(&self, text: &str, strong: bool) {
        if let Ok(mut said) = self.said.lock() {
            said.push(Line { text: text.to_owned(), strong });
        }
    }

    /// All that was said.
    pub(crate) fn said(&self) -> Vec<Line> {
        self.said.lock().map(|said| said.clone()).unwrap_or_default()
    }

    /// Seconds since the beginning.
    pub(crate) fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }
}

fn line(text: impl Display) {
    // Whoever closed the pipe does not want to know.
    let _ = writeln!(std::io::stdout(), "{text}");
}
