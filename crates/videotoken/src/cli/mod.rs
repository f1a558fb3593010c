//! The subcommands of `videotoken`, read from the command line and carried out.
//!
//! | File | What lives there |
//! |---|---|
//! | `check` | what would be refused of a manifest |
//! | `issue` | a token without a cluster: once, or kept fresh in files |
//! | `kubectl` | `kubectl videotoken`, also under a name of its own |
//! | `man` | manual pages |
//!
//! May not enter: decisions. A command reads its arguments, asks the other rooms and prints.

#![allow(clippy::doc_markdown)] // the arguments' docs are what --help prints: no backticks

pub mod check;
pub mod issue;
pub mod kubectl;
pub mod man;

use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use videotoken_core::plan::template::STACK;
use videotoken_providers::clock;
use videotoken_runtime::output::{Failure, print, report};

/// The name of the program.
pub const NAME: &str = "videotoken";

/// What the process is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Say what would be refused of a manifest.
    Check(check::Options),
    /// Issue a token without a cluster.
    Issue(Box<issue::Options>),
    /// Show how tokens are, and do something about it.
    Kubectl(Box<kubectl::Options>),
    /// Tell kubectl what these words may be completed to.
    Complete(Vec<OsString>),
    /// Print or write manual pages.
    Man(man::Options),
}

#[derive(Debug, Parser)]
#[command(name = NAME, version, about, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Say what the API server and the operator would refuse of a manifest, with line numbers; no cluster is needed
    Check(check::Options),
    /// Issue a token without a cluster, from the same YAML; or keep it fresh in files
    Issue(Box<issue::Options>),
    /// How tokens are, and what to do about it: kubectl videotoken, without a link
    Kubectl(Box<kubectl::Options>),
    /// Print manual pages, or write them
    Man(man::Options),
}

impl Command {
    /// Reads `args`, the first of which is the program's name: under its name for kubectl it is that plugin.
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
            Subcommands::Kubectl(options) => Self::Kubectl(options),
            Subcommands::Man(options) => Self::Man(options),
        })
    }
}

/// Does what the process's own arguments and environment ask for; answers `--help`, and explains what is wrong with
/// them, by exiting.
pub fn main() -> ExitCode {
    let command = Command::from_args(std::env::args_os()).unwrap_or_else(|error| error.exit());
    if let Err(wrong) = clock::check(std::time::SystemTime::now()) {
        report(&wrong);
        return ExitCode::FAILURE;
    }
    // a manifest's templates are rendered on this thread
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
