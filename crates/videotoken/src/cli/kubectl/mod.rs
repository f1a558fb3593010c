//! The plugin `kubectl videotoken`.
//!
//! kubectl finds it by the name `kubectl-videotoken`. `videotoken kubectl` runs it without a link.
//!
//! | File | Content |
//! |---|---|
//! | `status`, `renew`, `describe`, `inspect`, `doctor`, `completion` | one module for each command; `check` is [`super::check`] |
//! | `session` | client and namespace, from the kubeconfig and flags |
//! | `tokens` | lists of VideoAccessTokens |
//! | `error` | messages and exit codes of failures |
//! | `terminal`, `table`, `output` | colours and width of a terminal; columns; JSON and YAML |
//!
//! Only `inspect --show-token` prints a secret. The state of a token comes from [`videotoken_core::summary`].

mod completion;
mod describe;
mod doctor;
mod error;
mod inspect;
mod output;
mod renew;
mod session;
mod status;
mod table;
mod terminal;
mod tokens;

use super::check;
use clap::{Args, Parser, Subcommand};
pub(super) use completion::complete;
use error::CliError;
use session::{Cluster, Session};
use std::io::Write as _;
use std::process::ExitCode;
use terminal::{TerminalStyle, When};
use videotoken_runtime::crypto::VERSION;

/// Name under which kubectl finds the plugin.
pub const PROGRAM: &str = "kubectl-videotoken";
/// Name of the program that kubectl runs for completions of the plugin.
pub const COMPLETER: &str = "kubectl_complete-videotoken";

/// The plugin as a program.
#[derive(Debug, Parser)]
#[command(name = PROGRAM, bin_name = "kubectl videotoken", version = VERSION.as_str(), max_term_width = 120)]
#[command(about = "Inspect, renew and troubleshoot the video access tokens of a cluster")]
#[command(after_help = EXIT_CODES)]
pub struct Program {
    /// Command and cluster.
    #[command(flatten)]
    pub options: Options,
}

const EXIT_CODES: &str = "Exit codes: 0: done; 1: no such object, a failed renewal, or a failed check of doctor; 2: wrong \
                          usage; 3: the cluster can't be reached or rejects the request";

/// Command and cluster.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Options {
    #[command(flatten)]
    cluster: Cluster,

    /// When to use colours; auto: on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = When::Auto, help_heading = "Output")]
    color: When,

    #[command(subcommand)]
    command: Command,
}

/// The commands.
#[derive(Subcommand, Clone, Debug, PartialEq, Eq)]
enum Command {
    /// List tokens, the most urgent first
    Status(status::Options),
    /// Renew tokens now, before they are due
    Renew(renew::Options),
    /// Show the state of a token, its cause, the next step and the action
    Describe(describe::Options),
    /// Show the claims of the token in a Secret; --show-token also prints the token
    Inspect(inspect::Options),
    /// Check the cluster, the operator and the providers for problems
    Doctor(doctor::Options),
    /// Check manifests without a cluster, and report what the API server and the operator would reject
    Check(check::Options),
    /// Print the completion script of a shell
    Completion(completion::Options),
}

/// Runs the command and returns the exit code.
#[tokio::main(flavor = "current_thread")]
pub(super) async fn run(options: &Options) -> ExitCode {
    let done = match &options.command {
        Command::Check(of) => return check::run(of),
        Command::Completion(of) => completion::run(of),
        command => run_in_cluster(command, options).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(CliError::AlreadyReported(code)) => ExitCode::from(code),
        Err(error) => {
            // a failure to print can't be reported
            let _ = writeln!(std::io::stderr(), "error: {}", terminal::plain(&error.to_string()));
            ExitCode::from(error.exit_code())
        }
    }
}

/// Runs a command that needs a cluster.
async fn run_in_cluster(command: &Command, options: &Options) -> Result<(), CliError> {
    let style = TerminalStyle::of_stdout(options.color);
    let session = Session::open(&options.cluster).await?;
    match command {
        Command::Status(of) => status::run(&session, of, &style).await,
        Command::Renew(of) => renew::run(&session, of).await,
        Command::Describe(of) => describe::run(&session, of, &style).await,
        Command::Inspect(of) => inspect::run(&session, of, &style).await,
        Command::Doctor(of) => doctor::run(&session, of, &style).await,
        Command::Check(_) | Command::Completion(_) => Ok(()),
    }
}
