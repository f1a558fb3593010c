//! The operator's subcommands, read from the command line. `src/main.rs` carries them out; `verify` has a file here.

#![allow(clippy::doc_markdown)] // the arguments' docs are what --help prints: no backticks

pub mod verify;

use crate::config::{Config, NAME};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use videotoken_runtime::crypto::VERSION;

/// Task of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Run the operator.
    Run(Box<Config>),
    /// Print the CustomResourceDefinitions and exit.
    Crds,
    /// Say whether an installed operator is well, and exit.
    Verify(verify::Options),
}

#[derive(Debug, Parser)]
#[command(name = NAME, version = VERSION.as_str(), about, max_term_width = 120, args_conflicts_with_subcommands = true)]
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
}

impl Command {
    /// Reads `args`, the first of which is the program's name.
    pub fn from_args<A>(args: impl IntoIterator<Item = A>) -> Result<Self, clap::Error>
    where
        A: Into<OsString> + Clone,
    {
        let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
        let cli = Cli::try_parse_from(args)?;
        let mut config = match cli.command {
            Some(Subcommands::Crds) => return Ok(Self::Crds),
            Some(Subcommands::Verify(options)) => return Ok(Self::Verify(options)),
            Some(Subcommands::Run(config)) => config,
            None => Box::new(cli.config),
        };
        config.complete().map_err(|message| Cli::command().error(ErrorKind::ValueValidation, message))?;
        Ok(Self::Run(config))
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
        assert!(parse(&["crds", "--lease-name=other"]).is_err());
        assert!(parse(&["--lease-name=other", "crds"]).is_err());
    }
}
