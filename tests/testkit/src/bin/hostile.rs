//! Applies objects at and beyond the CRDs' bounds to a live operator beside a victim's tokens. Fails if one isn't told
//! its state, if a refusal names no field, or if the victim or the process suffers.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use testkit::hostile::{self, Options};

/// Objects that nobody would write.
#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let outcome = hostile::run(&cli.options).await?;
    writeln!(std::io::stdout(), "seed {}: {}", cli.options.seed, outcome.text()).context("print the outcome")?;
    Ok(if outcome.failures().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
