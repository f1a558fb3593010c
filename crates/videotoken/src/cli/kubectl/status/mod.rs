//! `status`: tokens at a glance, the most urgent first.
//!
//! | File | What lives there |
//! |---|---|
//! | `view` | from rows to a table |
//! | `live` | `--watch`: the table as it changes |

mod live;
mod view;

use super::fault::Fault;
use super::output::{Script, note, show};
use super::paint::Paint;
use super::session::{Session, object_name};
use clap::{Args, ValueEnum};
use serde::Serialize;
use videotoken_core::summary::{TokenSummary, TokenSummaryAt};
use videotoken_providers::clock::{self, Timestamp};
use view::View;

/// What to show.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// VideoAccessTokens; none: all
    #[arg(value_name = "NAME", value_parser = object_name)]
    names: Vec<String>,

    /// Go on and show what changes: on a terminal a live table, else a line for each change
    #[arg(short, long)]
    watch: bool,

    /// Only those with these labels, as kubectl's -l
    #[arg(short = 'l', long, value_name = "SELECTOR", conflicts_with = "names")]
    selector: Option<String>,

    /// wide shows all columns uncut; json and yaml are for scripts, with --watch a document for each change
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// How to show it.
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

/// The document of `-o json` and `-o yaml`.
#[derive(Serialize)]
struct Document<'a> {
    items: Vec<TokenSummaryAt<'a>>,
}

/// Shows the table.
pub(super) async fn run(session: &Session, options: &Options, paint: &Paint) -> Result<(), Fault> {
    if !options.names.is_empty() {
        session.one_namespace()?;
    }
    let view = View::new(session.namespace.is_none(), options.output == Format::Wide, *paint);
    if options.watch {
        return live::run(session, options, view).await;
    }
    let mut rows = read(session, options).await?;
    let now = clock::now().wall;
    session.tell_waits(&mut rows, now).await;
    sort(&mut rows, now);
    if let Some(script) = options.output.script() {
        let items = rows.iter().map(|row| row.at(now)).collect();
        return show(&script.document(&Document { items })?);
    }
    if rows.is_empty() {
        note(&format!("No VideoAccessTokens {}.", session.whereabouts()));
        return Ok(());
    }
    let mut lines = view.lines(&rows, now);
    if paint.terminal && options.names.is_empty() {
        lines.push(view.summary(&rows, now));
    }
    show(&(lines.join("\n") + "\n"))
}

async fn read(session: &Session, options: &Options) -> Result<Vec<TokenSummary>, Fault> {
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
