//! `status`: lists tokens, the most urgent first.
//!
//! | File | Content |
//! |---|---|
//! | `view` | the table |
//! | `watch` | `--watch` |

mod view;
mod watch;

use super::error::CliError;
use super::output::{Script, print_stderr, show};
use super::session::{Session, object_name};
use super::terminal::TerminalStyle;
use clap::{Args, ValueEnum};
use serde::Serialize;
use videotoken_core::summary::{TokenSummary, TokenSummaryAt};
use videotoken_providers::clock::{self, Timestamp};
use view::View;

/// VideoAccessTokens to show.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// Names of VideoAccessTokens; default: all
    #[arg(value_name = "NAME", value_parser = object_name)]
    names: Vec<String>,

    /// Continue and show changes: on a terminal as a table that is updated, else as one line for each change
    #[arg(short, long)]
    watch: bool,

    /// Show the VideoAccessTokens with these labels, as -l of kubectl
    #[arg(short = 'l', long, value_name = "SELECTOR", conflicts_with = "names")]
    selector: Option<String>,

    /// Output format; wide: all columns in full width; json and yaml: for scripts, with --watch one document for each change
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Output format.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Table,
    Wide,
    Json,
    Yaml,
}

impl Format {
    fn script(self) -> Option<Script> {
        match self {
            Self::Table | Self::Wide => None,
            Self::Json => Some(Script::Json),
            Self::Yaml => Some(Script::Yaml),
        }
    }
}

/// Document of `-o json` and `-o yaml`.
#[derive(Serialize)]
struct Document<'a> {
    items: Vec<TokenSummaryAt<'a>>,
}

/// Runs the command.
pub(super) async fn run(session: &Session, options: &Options, style: &TerminalStyle) -> Result<(), CliError> {
    if !options.names.is_empty() {
        session.one_namespace()?;
    }
    let view = View::new(session.namespace.is_none(), options.output == Format::Wide, *style);
    if options.watch {
        return watch::run(session, options, view).await;
    }
    let mut rows = read(session, options).await?;
    let now = clock::now().wall;
    session.add_account_waits(&mut rows, now).await;
    sort(&mut rows, now);
    if let Some(script) = options.output.script() {
        let items = rows.iter().map(|row| row.at(now)).collect();
        return show(&script.document(&Document { items })?);
    }
    if rows.is_empty() {
        print_stderr(&format!("No VideoAccessTokens {}.", session.namespace_phrase()));
        return Ok(());
    }
    let mut lines = view.lines(&rows, now);
    if style.terminal && options.names.is_empty() {
        lines.push(view.summary(&rows, now));
    }
    show(&(lines.join("\n") + "\n"))
}

async fn read(session: &Session, options: &Options) -> Result<Vec<TokenSummary>, CliError> {
    let mut rows = Vec::new();
    for name in &options.names {
        rows.push(session.token(name).await?.row);
    }
    if options.names.is_empty() {
        session.each_token(options.selector.as_deref(), |token| rows.push(token.row)).await?;
    }
    Ok(rows)
}

fn sort(rows: &mut [TokenSummary], now: Timestamp) {
    rows.sort_by(|a, b| a.by_urgency(b, now));
}
