//! Measures the operator beside a bare client on one stand, prints a table and writes `target/bench.json`.

use std::io::Write as _;

use anyhow::Context as _;
use clap::Parser;
use testkit::bench::{self, Options};

/// How fast the operator is and what it costs, beside a bare client that does the same writes on the same stand.
#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let figures = bench::run(&cli.options).await?;
    let path = figures.write()?;
    writeln!(std::io::stdout(), "{}\nwritten to {}", figures.table(), path.display()).context("print the table")
}
