//! `videotoken issue -f FILE…`: issues a token without a cluster. Spec, checks, issuers, decisions and Secret are those of
//! the operator.
//!
//! | File | Content |
//! |---|---|
//! | `job` | the token to issue, from the manifests, and the decision about it |
//! | `source`, `secret_flags` | credentials: from the manifests, from files and variables |
//! | `call` | one call of the token API |
//! | `store` | the files that contain the token |
//! | `exclusive` | the lock that lets one run at a time write them |
//! | `refresh`, `command` | `--watch` and `--exec` |

mod call;
mod command;
mod exclusive;
mod job;
mod refresh;
mod secret_flags;
mod source;
mod store;

pub use secret_flags::CredentialFlags;
pub(super) use source::Manifests;

use crate::manifest::{Manifest, read, read_files};
use call::{Caller, NotIssued, key_fingerprint};
use chrono::TimeDelta;
use clap::{ArgGroup, Args, ValueEnum};
use command::AfterRenewal;
use job::{IssueJob, State, fault_lines};
use refresh::TokenRefresher;
use secrecy::ExposeSecret;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use store::Store;
use videotoken_api::wire_time;
use videotoken_core::plan::secret::{DesiredSecret, TokenRecord, WritePrecondition, build_secret};
use videotoken_providers::IssueError;
use videotoken_providers::clock::{self, Timestamp};
use videotoken_providers::provider_setup::OutboundPolicy;
use videotoken_runtime::{logs, yaml};

/// Token to issue, its credentials and its destination.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Exit codes: 0: a token was issued, or the stored token is not due for renewal; 1: the request was rejected or failed; 2: invalid arguments or files."
)]
#[command(group = ArgGroup::new("written").args(["into", "output_file"]).multiple(true))]
#[allow(clippy::struct_excessive_bools)] // flags: each is set by itself
pub struct Options {
    /// File or directory with manifests, or - for standard input; repeatable
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true, num_args = 1..)]
    pub files: Vec<PathBuf>,

    /// VideoAccessToken to issue, if the files contain several
    #[arg(long, value_name = "[NAMESPACE/]NAME")]
    pub name: Option<String>,

    /// Where credentials come from, and what they may be sent to.
    #[command(flatten)]
    pub credentials: CredentialFlags,

    /// Print the Secret, or only the token
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Format::Yaml, conflicts_with = "written")]
    pub output: Format,

    /// Print nothing, and write one file for each key of the Secret into this directory
    #[arg(long, value_name = "DIR")]
    pub into: Option<PathBuf>,

    /// Print nothing, and write the Secret as YAML into this file
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,

    /// Issue a token even if the stored token is not due for renewal
    #[arg(long, requires = "written")]
    pub renew: bool,

    /// Renew the token in the files until SIGTERM
    #[arg(long, requires = "written")]
    pub watch: bool,

    /// Run this command with sh after each write of a token; VIDEO_TOKEN_DIR and VIDEO_TOKEN_FILE contain its location
    #[arg(long, value_name = "COMMAND", requires = "written")]
    pub exec: Option<String>,

    /// Ignore the allowedNamespaces of ClusterTokenProviders
    #[arg(long)]
    pub ignore_allowed_namespaces: bool,

    /// Allow calls of token APIs over plain HTTP
    #[arg(long)]
    pub allow_insecure_endpoints: bool,

    /// URL of the instance metadata service, for tests
    #[arg(long, env = "VTO_METADATA_ENDPOINT", value_name = "URL", hide = true)]
    pub metadata_endpoint: Option<url::Url>,
}

/// Output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The Secret, as YAML.
    Yaml,
    /// The Secret, as JSON.
    Json,
    /// Only the token, with a line break.
    Token,
}

/// Why the command ends without a token.
enum CommandError {
    /// Arguments or files are invalid: exit code 2.
    Usage(String),
    /// The request was rejected or failed: exit code 1.
    Refused(String),
}

/// Issues a token, and prints or writes it. The exit code is 0 if there is a token, 1 if the request was rejected or
/// failed, and 2 if arguments or files are invalid.
#[tokio::main]
pub(super) async fn run(options: &Options) -> ExitCode {
    let (code, message) = match started(options).await {
        Ok(()) => return ExitCode::SUCCESS,
        Err(CommandError::Usage(message)) => (2, message),
        Err(CommandError::Refused(message)) => (1, message),
    };
    let _ = writeln!(io::stderr(), "error: {message}");
    ExitCode::from(code)
}

async fn started(options: &Options) -> Result<(), CommandError> {
    logs::init(false).map_err(|error| CommandError::Usage(error.to_string()))?;
    let (manifest, faults) = manifest(options)?;
    let mut job = IssueJob::read(options, &manifest, &faults)?;
    let source = options.credentials.manifests(&manifest.objects).map_err(CommandError::Refused)?;
    let fingerprint = key_fingerprint(&job, &source, &reach(options)).await;
    if let Some(fingerprint) = fingerprint.map_err(|refusal| CommandError::Refused(refusal.message))? {
        job.sign_with(&fingerprint);
    }
    let caller = Caller::new(&job, &source, reach(options));
    if options.into.is_none() && options.output_file.is_none() {
        return print(options.output, &issue(&job, caller, None).await?);
    }
    let store = Store { folder: options.into.clone(), file: options.output_file.clone() };
    let command = AfterRenewal::new(options, &store, &job.key);
    if options.watch {
        let state = State::new(valid_token(&store, &job), options.renew);
        return TokenRefresher::new(&job, &store, caller, command, state).run().await;
    }
    once(&job, &store, caller, command, options.renew).await
}

/// Returns the token that an earlier run left in the files, if it was issued for the same request.
fn valid_token(store: &Store, job: &IssueJob) -> Option<TokenRecord> {
    store.valid_token(job.subject()).filter(|token| token.request == job.wanted.request)
}

/// Time within which another run must release the files. It makes one call of a token API, or writes.
const LOCK_TIMEOUT: Duration = Duration::from_mins(1);

fn manifest(options: &Options) -> Result<(Manifest, Vec<String>), CommandError> {
    let texts = read_files(&options.files).map_err(|unread| CommandError::Usage(unread.to_string()))?;
    let (mut all, mut faults) = (Manifest::default(), Vec::new());
    for text in &texts {
        let mut manifest = read(text);
        faults.extend(fault_lines(&text.name, &manifest));
        all.objects.append(&mut manifest.objects);
    }
    Ok((all, faults))
}

fn reach(options: &Options) -> OutboundPolicy {
    OutboundPolicy {
        allow_insecure: options.allow_insecure_endpoints,
        metadata_endpoint: options.metadata_endpoint.clone(),
        ..options.credentials.reach()
    }
}

/// Makes one call of the token API. `stored` is the valid token in the files.
async fn issue(
    job: &IssueJob,
    mut caller: Caller<'_>,
    stored: Option<TokenRecord>,
) -> Result<(DesiredSecret, TokenRecord), CommandError> {
    if let Some(refusal) = job.decide(&State::default(), clock::now().wall).refusal {
        return Err(CommandError::Refused(format!("{}: {}", job.key, refusal.message)));
    }
    let issued = caller.call().await.map_err(|why| {
        CommandError::Refused(match why {
            NotIssued::Unusable(refusal) => refusal.message,
            NotIssued::Failed(error, _) => format!("{}: {}", job.key, describe(&error)),
            NotIssued::LoginsUsedUp(at) => {
                format!("no login is made before {}, because failed logins lock the user", wire_time::text(at))
            }
        })
    })?;
    let token = job.record(issued, stored);
    let secret = build_secret(job.subject(), &token).map_err(|error| CommandError::Refused(error.to_string()))?;
    Ok((secret, token))
}

/// Writes the files once, unless their token is valid and not due for renewal.
async fn once(
    job: &IssueJob,
    store: &Store,
    caller: Caller<'_>,
    mut command: AfterRenewal<'_>,
    renew: bool,
) -> Result<(), CommandError> {
    // the token in the files, and true if it is not due
    let read = || {
        let state = State::new(valid_token(store, job), renew);
        let decision = job.decide(&state, clock::now().wall);
        (state.stored, decision.cause.is_none() && decision.refusal.is_none())
    };
    // A user with read access only needs no lock.
    let (mut stored, mut is_kept) = read();
    let mut exclusive = None;
    if !is_kept {
        let locked = store.exclusive(LOCK_TIMEOUT).await;
        exclusive = Some(locked.map_err(|error| CommandError::Refused(format!("no token is requested: {error}")))?);
        (stored, is_kept) = read();
    }
    if let Some(token) = stored.as_ref().filter(|_| is_kept) {
        drop(exclusive);
        tracing::info!(expires_at = %wire_time::text(token.expires_at), "the files contain a valid token");
        return if command.is_pending() { execute(&mut command, token.expires_at).await } else { Ok(()) };
    }
    let (secret, token) = issue(job, caller, stored).await?;
    let written = command.announce().and_then(|()| store.write(&secret));
    written.map_err(|error| CommandError::Refused(format!("the token can't be stored: {error}")))?;
    drop(exclusive);
    tracing::info!(expires_at = %wire_time::text(token.expires_at), "issued");
    execute(&mut command, token.expires_at).await
}

async fn execute(command: &mut AfterRenewal<'_>, expires_at: Timestamp) -> Result<(), CommandError> {
    match command.run(expires_at).await {
        Ok(Some(status)) if !status.success() => Err(CommandError::Refused(format!("--exec: {status}"))),
        Ok(_) => Ok(()),
        Err(error) => Err(CommandError::Refused(format!("--exec: {error}"))),
    }
}

fn print(format: Format, (secret, record): &(DesiredSecret, TokenRecord)) -> Result<(), CommandError> {
    let text = match format {
        Format::Token => format!("{}\n", record.token.expose_secret()),
        Format::Json => format!("{:#}\n", secret.manifest(WritePrecondition::None)),
        Format::Yaml => yaml::to_string(&secret.manifest(WritePrecondition::None))
            .map_err(|_| CommandError::Refused("the Secret can't be written as YAML".to_owned()))?,
    };
    let mut stdout = io::stdout();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| CommandError::Refused(format!("the output can't be written: {error}")))
}

/// Returns a failure as a sentence, with the request ID of the token API and the time of its Retry-After.
fn describe(error: &IssueError) -> String {
    let id = error.request_id.as_ref().map(|id| format!(" (request ID {id})")).unwrap_or_default();
    let after = error.retry_after.and_then(|after| TimeDelta::from_std(after).ok());
    let again = after.map(|after| wire_time::text(clock::now().wall + after));
    let again = again.map(|at| format!("; retry after {at}, as the token API requests")).unwrap_or_default();
    format!("{error}{id}{again}")
}
