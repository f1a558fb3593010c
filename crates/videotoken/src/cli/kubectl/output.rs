//! Output formats for scripts, and standard output.

use super::error::CliError;
use serde::Serialize;
use std::io::Write as _;
use videotoken_runtime::yaml;

/// Output format for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Script {
    Json,
    Yaml,
}

impl Script {
    /// Returns one document.
    pub(super) fn document(self, value: &impl Serialize) -> Result<String, CliError> {
        let text = match self {
            Self::Json => {
                serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(|error| error.to_string())
            }
            Self::Yaml => yaml::to_string(value).map_err(|error| error.to_string()),
        };
        text.map_err(CliError::not_healthy)
    }

    /// Returns one document of a stream: a line of JSON, or a YAML document after `---`.
    pub(super) fn next(self, value: &impl Serialize) -> Result<String, CliError> {
        match self {
            Self::Json => serde_json::to_string(value)
                .map(|text| text + "\n")
                .map_err(|error| CliError::not_healthy(error.to_string())),
            Self::Yaml => self.document(value).map(|text| format!("---\n{text}")),
        }
    }
}

/// Writes a text to standard output at once.
pub(super) fn show(text: &str) -> Result<(), CliError> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Prints a line to standard error, without control characters. Failures are ignored.
pub(super) fn print_stderr(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", super::terminal::plain(text));
}
