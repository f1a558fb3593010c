//! `kubectl videotoken`: how tokens are, for people and for scripts.
//!
//! The same binary under the name `kubectl-videotoken`, as kubectl looks for its plugins; `video-token-operator
//! kubectl …` is the same without a link.
//!
//! | File | What lives there |
//! |---|---|
//! | `status`, `renew`, `describe`, `inspect`, `doctor`, `completion` | one for each command; `check` is [`super::check`] |
//! | `session` | from kubeconfig and flags to a client and a namespace |
//! | `tokens` | the objects, slim: lists page by page |
//! | `fault` | why a command ends early: what to say, and the exit code |
//! | `paint`, `table`, `output` | a terminal's colours and width; columns that fit; JSON and YAML |
//!
//! It shows no secret unless asked by `inspect --show-token`. May not enter: how a state is judged ([`videotoken_core::summary`]).

mod completion;
mod describe;
mod doctor;
mod fault;
mod inspect;
mod output;
mod paint;
mod renew;
mod session;
mod status;
mod table;
mod tokens;

use super::check;
use clap::{Args, Parser, Subcommand};
pub(super) use completion::complete;
use fault::Fault;
use paint::{Paint, When};
use session::{Cluster, Session};
use std::io::Write as _;
use std::process::ExitCode;

/// The name under which kubectl finds the plugin.
pub const PROGRAM: &str = "kubectl-videotoken";
/// The name under which kubectl asks for the plugin's completions.
pub const COMPLETER: &str = "kubectl_complete-videotoken";

/// The plugin as a program of its own.
#[derive(Debug, Parser)]
#[command(name = PROGRAM, bin_name = "kubectl videotoken", version, max_term_width = 120)]
#[command(about = "How the video access tokens of a cluster are, and what to do about it")]
#[command(after_help = EXIT_CODES)]
pub struct Program {
    /// What to do, and where.
    #[command(flatten)]
    pub options: Options,
}

const EXIT_CODES: &str = "Exit codes: 0 done, and well; 1 not well: no such object, a renewal that failed, a check of \
                          doctor; 2 wrong usage; 3 the cluster can't be asked";

/// What to do, and where.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Options {
    #[command(flatten)]
    cluster: Cluster,

    /// Colours: auto is for a terminal, and unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = When::Auto, help_heading = "Output")]
    color: When,

    #[command(subcommand)]
    command: Command,
}

/// The commands.
#[derive(Subcommand, Clone, Debug, PartialEq, Eq)]
enum Command {
    /// Tokens at a glance, the most urgent first
    Status(status::Options),
    /// Renew tokens now, before they are due
    Renew(renew::Options),
    /// Why a token is in its state, what happens next, and what to do
    Describe(describe::Options),
    /// What the token in a Secret says of itself; never the token, unless asked
    Inspect(inspect::Options),
    /// Is all well between this cluster, the operator and the providers?
    Doctor(doctor::Options),
    /// Say what the API server and the operator would refuse of a manifest, with line numbers; no cluster is needed
    Check(check::Options),
    /// Print a shell's completions of this program
    Completion(completion::Options),
}

/// Does what is asked and returns the exit code.
#[tokio::main(flavor = "current_thread")]
pub(super) async fn run(options: &Options) -> ExitCode {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let done = match &options.command {
        Command::Check(of) => return check::run(of),
        Command::Completion(of) => completion::run(of),
        command => ask(command, options).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Fault::Quiet(code)) => ExitCode::from(code),
        Err(fault) => {
            // nobody is left to be told if this fails
            let _ = writeln!(std::io::stderr(), "error: {}", paint::plain(&fault.to_string()));
            ExitCode::from(fault.exit_code())
        }
    }
}

/// The commands that ask a cluster.
async fn ask(command: &Command, options: &Options) -> Result<(), Fault> {
    let paint = Paint::of_stdout(options.color);
    let session = Session::open(&options.cluster).await?;
    match command {
        Command::Status(of) => status::run(&session, of, &paint).await,
        Command::Renew(of) => renew::run(&session, of).await,
        Command::Describe(of) => describe::run(&session, of, &paint).await,
        Command::Inspect(of) => inspect::run(&session, of, &paint).await,
        Command::Doctor(of) => doctor::run(&session, of, &paint).await,
        Command::Check(_) | Command::Completion(_) => Ok(()),
    }
}
