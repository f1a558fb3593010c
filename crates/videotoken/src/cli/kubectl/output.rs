//! Formats for scripts, and writing to stdout.

use super::fault::Fault;
use serde::Serialize;
use std::io::Write as _;
use videotoken_runtime::yaml;

/// A format for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Script {
    Json,
    Yaml,
}

impl Script {
    /// One whole document.
    pub(super) fn document(self, value: &impl Serialize) -> Result<String, Fault> {
        let text = match self {
            Self::Json => {
                serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(|error| error.to_string())
            }
            Self::Yaml => yaml::to_string(value).map_err(|error| error.to_string()),
        };
        text.map_err(Fault::unwell)
    }

    /// One of a stream: a line of JSON, or a YAML document after `---`.
    pub(super) fn next(self, value: &impl Serialize) -> Result<String, Fault> {
        match self {
            Self::Json => {
                serde_json::to_string(value).map(|text| text + "\n").map_err(|error| Fault::unwell(error.to_string()))
            }
            Self::Yaml => self.document(value).map(|text| format!("---\n{text}")),
        }
    }
}

/// To stdout, whole and at once.
pub(super) fn show(text: &str) -> Result<(), Fault> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// A line to stderr, for a person who waits. Nobody is left to be told if it fails.
pub(super) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", super::paint::plain(text));
}
