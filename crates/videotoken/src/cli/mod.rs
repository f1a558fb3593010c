//! The subcommands of `videotoken`.
//!
//! | File | Content |
//! |---|---|
//! | `check` | checks manifests |
//! | `issue` | issues a token without a cluster, once or continuously |
//! | `kubectl` | the plugin `kubectl videotoken` |
//! | `man` | manual pages |
//! | `trial` | tries a declared provider |
//!
//! This module makes no decisions. A command reads its arguments, calls the other modules and prints.

#![allow(clippy::doc_markdown)] // the arguments' docs are what --help prints: no backticks

pub mod check;
pub mod issue;
pub mod kubectl;
pub mod man;
pub mod trial;

use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use videotoken_core::plan::template::STACK;
use videotoken_providers::clock;
use videotoken_runtime::crypto::{self, VERSION};
use videotoken_runtime::output::{Failure, print, report};

/// Name of the program.
pub const NAME: &str = "videotoken";

/// Command of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Check manifests.
    Check(check::Options),
    /// Issue a token without a cluster.
    Issue(Box<issue::Options>),
    /// Try a declared provider.
    Try(Box<trial::Options>),
    /// Run the kubectl plugin.
    Kubectl(Box<kubectl::Options>),
    /// Complete these words for kubectl.
    Complete(Vec<OsString>),
    /// Print or write manual pages.
    Man(man::Options),
}

#[derive(Debug, Parser)]
#[command(name = NAME, version = VERSION.as_str(), about, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Check manifests without a cluster, and report what the API server and the operator would reject
    Check(check::Options),
    /// Issue a token without a cluster from the same manifests, or renew it in files
    Issue(Box<issue::Options>),
    /// Show the request of a declared provider, send it if asked, and show how its answer is read
    Try(Box<trial::Options>),
    /// Run the kubectl plugin: kubectl videotoken
    Kubectl(Box<kubectl::Options>),
    /// Print or write manual pages
    Man(man::Options),
}

impl Command {
    /// Parses `args`. The first one is the name of the program, which selects the plugin if it is `kubectl-videotoken`.
    pub fn from_args<A>(args: impl IntoIterator<Item = A>) -> Result<Self, clap::Error>
    where
        A: Into<OsString> + Clone,
    {
        let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
        let name = args.first().and_then(|path| Path::new(path).file_name()?.to_str());
        match name {
            Some(kubectl::PROGRAM) => {
                return Ok(Self::Kubectl(Box::new(kubectl::Program::try_parse_from(args)?.options)));
            }
            Some(kubectl::COMPLETER) => return Ok(Self::Complete(args[1..].to_vec())),
            _ => {}
        }
        Ok(match Cli::try_parse_from(args)?.command {
            Subcommands::Check(options) => Self::Check(options),
            Subcommands::Issue(options) => Self::Issue(options),
            Subcommands::Try(options) => Self::Try(options),
            Subcommands::Kubectl(options) => Self::Kubectl(options),
            Subcommands::Man(options) => Self::Man(options),
        })
    }
}

/// Runs the command that arguments and environment of the process select. For `--help` and invalid arguments it prints a
/// message and exits.
pub fn main() -> ExitCode {
    let command = Command::from_args(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let checked = clock::check();
    if let Err(wrong) = checked.and_then(|()| crypto::install().map_err(|wrong| wrong.to_string())) {
        report(&wrong);
        return ExitCode::FAILURE;
    }
    // templates of manifests are rendered on this thread
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(|| run(command));
    match thread.map(std::thread::JoinHandle::join) {
        Ok(ended) => ended.unwrap_or(ExitCode::FAILURE),
        Err(error) => {
            report(&format!("no thread can be started: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> ExitCode {
    match command {
        Command::Check(options) => check::run(&options),
        Command::Issue(options) => issue::run(&options),
        Command::Try(options) => trial::run(&options),
        Command::Kubectl(options) => kubectl::run(&options),
        Command::Complete(words) => kubectl::complete(&words),
        Command::Man(options) => man::run(&options).map_or_else(
            |error| {
                report(&error.to_string());
                ExitCode::FAILURE
            },
            |()| ExitCode::SUCCESS,
        ),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(args: &[&str]) -> Result<Command, clap::Error> {
        Command::from_args(std::iter::once(NAME).chain(args.iter().copied()))
    }

    #[test]
    fn each_subcommand_is_read() {
        Cli::command().debug_assert();
        assert!(matches!(parse(&["kubectl", "status", "-A"]).unwrap(), Command::Kubectl(_)));
        assert!(matches!(parse(&["man"]).unwrap(), Command::Man(_)));
        assert!(parse(&[]).is_err());
    }

    #[test]
    fn under_its_name_for_kubectl_it_is_the_plugin() {
        kubectl::Program::command().debug_assert();
        let plugin = Command::from_args(["/usr/bin/kubectl-videotoken", "renew", "--all", "-n", "cinema"]).unwrap();
        assert_eq!(plugin, parse(&["kubectl", "renew", "--all", "-n", "cinema"]).unwrap());
        let words = Command::from_args(["kubectl_complete-videotoken", "status", ""]).unwrap();
        assert_eq!(words, Command::Complete(vec!["status".into(), "".into()]));
        for args in [&["renew"][..], &["renew", "a", "--all"], &["status", "-A", "-n", "a"], &["describe"], &[]] {
            let args = std::iter::once("kubectl-videotoken").chain(args.iter().copied());
            assert!(Command::from_args(args.clone()).is_err(), "{:?}", args.collect::<Vec<_>>());
        }
    }
}
