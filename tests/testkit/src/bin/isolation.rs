//! Puts a victim's tokens beside each attack of a list, prints a table and writes `target/isolation.json`. Fails if a
//! victim suffered, or the operator spent more on an attacker than it may.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use testkit::isolation::{self, Options};

/// Whether one namespace's trouble stays its own.
#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let figures = isolation::run(&cli.options).await?;
    let path = figures.write(cli.options.out.as_deref())?;
    writeln!(std::io::stdout(), "{}\nwritten to {}", figures.table(), path.display()).context("print the table")?;
    Ok(if figures.failures().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
