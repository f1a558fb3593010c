//! Disturbs the operator at each of its requests in each way, and prints which promises did not hold. Fails if there is
//! one.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use testkit::explorer::{self, Options};

/// What the operator makes of each disturbance at each of its requests.
#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let report = explorer::run(&Cli::parse().options).await?;
    write!(std::io::stdout(), "{}", report.text()).context("print the report")?;
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
