//! What a person or a Pod runs: the program's subcommands, read from the command line and carried out.
//!
//! | File | What lives there |
//! |---|---|
//! | `operate` | the operator itself: wiring from flags to rooms |
//! | `check` | what would be refused of a manifest |
//! | `issue` | a token without a cluster: once, or kept fresh in files |
//! | `signal` | what ends a process |
//! | `verify` | whether an installed operator is well, asked from outside |
//! | `kubectl` | `kubectl videotoken`, also under a name of its own |
//! | `man` | manual pages |
//!
//! May not enter: decisions. A command reads its arguments, asks the other rooms and prints.

#![allow(clippy::doc_markdown)] // the arguments' docs are what --help prints: no backticks

pub mod check;
pub mod issue;
pub mod kubectl;
pub mod man;
mod operate;
mod signal;
pub mod verify;

use crate::api;
use crate::clock;
use crate::config::{Config, NAME};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// What ends a command early; its text is for whoever ran it.
type Failure = Box<dyn std::error::Error>;

/// What the process is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Run the operator.
    Run(Box<Config>),
    /// Print the CustomResourceDefinitions and exit.
    Crds,
    /// Say whether an installed operator is well, and exit.
    Verify(verify::Options),
    /// Say what would be refused of a manifest, and exit.
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
#[command(name = NAME, version, about, max_term_width = 120, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Subcommands>,
    #[command(flatten)]
    config: Config,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Run the operator (the default)
    Run(Box<Config>),
    /// Print the CustomResourceDefinitions
    Crds,
    /// Say whether an installed operator answers and its kinds are served; `helm test` runs it
    Verify(verify::Options),
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
        let cli = Cli::try_parse_from(args)?;
        let mut config = match cli.command {
            Some(Subcommands::Crds) => return Ok(Self::Crds),
            Some(Subcommands::Verify(options)) => return Ok(Self::Verify(options)),
            Some(Subcommands::Check(options)) => return Ok(Self::Check(options)),
            Some(Subcommands::Issue(options)) => return Ok(Self::Issue(options)),
            Some(Subcommands::Kubectl(options)) => return Ok(Self::Kubectl(options)),
            Some(Subcommands::Man(options)) => return Ok(Self::Man(options)),
            Some(Subcommands::Run(config)) => config,
            None => Box::new(cli.config),
        };
        config.settle().map_err(|message| Cli::command().error(ErrorKind::ValueValidation, message))?;
        Ok(Self::Run(config))
    }
}

/// Does what the process's own arguments and environment ask for; answers `--help`, and explains what is wrong with
/// them, by exiting.
pub fn main() -> ExitCode {
    let command = Command::from_args(std::env::args_os()).unwrap_or_else(|error| error.exit());
    if let Err(wrong) = clock::check(std::time::SystemTime::now()) {
        tell(&wrong);
        return ExitCode::FAILURE;
    }
    let result = match command {
        Command::Crds => print(&api::crds::yaml()),
        Command::Verify(options) => verify::run(&options),
        Command::Check(options) => return check::run(&options),
        Command::Issue(options) => return issue::run(&options),
        Command::Kubectl(options) => return kubectl::run(&options),
        Command::Complete(words) => return kubectl::complete(&words),
        Command::Man(options) => man::run(&options),
        Command::Run(config) => operate::run(&config),
    };
    result.map_or_else(
        |error| {
            tell(&error.to_string());
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

/// Why the process ends: into its log, where it has one, else in plain words.
fn tell(error: &str) {
    if tracing::dispatcher::has_been_set() {
        tracing::error!("{error}");
    } else {
        // nobody is left to be told if this fails
        let _ = writeln!(std::io::stderr(), "error: {error}");
    }
}

/// To stdout, whole and at once. Whoever reads may have enough, as `head` has: no fault.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(format!("the output can't be written: {error}").into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn parse(args: &[&str]) -> Result<Command, clap::Error> {
        Command::from_args(std::iter::once(NAME).chain(args.iter().copied()))
    }

    #[test]
    fn run_is_the_default_and_takes_the_same_flags() {
        for flags in [&[][..], &["--lease-name=other"]] {
            let run = parse(&[&["run"], flags].concat()).unwrap();
            assert!(matches!(run, Command::Run(_)), "{run:?}");
            assert_eq!(parse(flags).unwrap(), run);
        }
        assert!(parse(&["--lease-duration=10s"]).unwrap_err().to_string().contains("--lease-renew-deadline (10s)"));
    }

    #[test]
    fn each_subcommand_is_read_and_takes_no_flag_of_the_operator() {
        Cli::command().debug_assert();
        assert_eq!(parse(&["crds"]).unwrap(), Command::Crds);
        let url = "http://operator.svc:8080/readyz";
        let verify = verify::Options { readyz: Some(url.parse().unwrap()), within: Duration::from_mins(1) };
        assert_eq!(parse(&["verify", "--readyz", url]).unwrap(), Command::Verify(verify));
        assert!(matches!(parse(&["kubectl", "status", "-A"]).unwrap(), Command::Kubectl(_)));
        assert!(matches!(parse(&["man"]).unwrap(), Command::Man(_)));
        assert!(parse(&["crds", "--lease-name=other"]).is_err());
        assert!(parse(&["--lease-name=other", "crds"]).is_err());
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
