//! Runs the scenarios of fleets and prints a table.
#![allow(clippy::print_stdout)]

use clap::Parser;
use fleet::scenario::Scenario;
use fleet::{picture, report};
use std::path::PathBuf;

/// Many clusters with one account of 120 calls a minute and 10 a second, in virtual time.
#[derive(Debug, Parser)]
struct Args {
    /// Seed of everything that is random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only scenarios whose name contains this text
    #[arg(long, default_value = "")]
    only: String,
    /// Draws the first of these scenarios into this file
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
}

fn main() -> std::io::Result<()> {
    let args = Args::parse();
    let chosen = Scenario::all().into_iter().filter(|scenario| scenario.name.contains(&args.only));
    let reports: Vec<_> = chosen.map(|scenario| fleet::run(&Scenario { seed: args.seed, ..scenario })).collect();
    println!("{}", report::table(&reports));
    if let (Some(file), Some(first)) = (args.picture, reports.first()) {
        std::fs::write(file, picture::draw(first))?;
    }
    Ok(())
}
