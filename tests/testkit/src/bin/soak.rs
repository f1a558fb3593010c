//! Runs the operator through faults for minutes, prints what happened and a verdict, and writes `target/soak.json`,
//! `target/soak.svg` and `target/dashboard.svg`. Fails if a promise was broken.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use testkit::soak::{self, Options};

/// Whether tokens stay fresh while everything around the operator breaks.
#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let outcome = soak::run(&cli.options).await?;
    let written = outcome.figures.write(&outcome.chart, &outcome.dashboard, cli.options.out.as_deref())?;
    let written = written.map(|path| path.display().to_string()).join(", ");
    writeln!(std::io::stdout(), "written to {written}").context("print the report")?;
    Ok(if outcome.reasons.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
