//! Checks the worlds whose name contains the argument, or all of them, and prints a line for each.

#![allow(clippy::print_stdout)]

use model::check::{large, run};
use model::lease::{Election, ONE_LEADER};
use stateright::{Checker, Model};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let wanted = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    let limit = Duration::from_mins(30);
    let faults = std::env::var("FAULTS").ok().and_then(|text| text.parse().ok());
    let mut is_broken = false;
    for (name, config) in large().into_iter().filter(|(name, _)| name.contains(&wanted)) {
        let config = faults.map_or(config, |faults| model::Config { faults, ..config });
        let report = run(config, false, limit);
        println!("{}", report.line(name));
        for (property, path) in &report.broken {
            println!(" broken: {property}\n{path}");
            is_broken = true;
        }
    }
    if wanted.is_empty() || "leader election".contains(&wanted) {
        let checker = Election::default().checker().spawn_bfs().join();
        println!("leader election: {} states, depth {}", checker.unique_state_count(), checker.max_depth());
        is_broken |= checker.discovery(ONE_LEADER).is_some();
    }
    if is_broken { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
