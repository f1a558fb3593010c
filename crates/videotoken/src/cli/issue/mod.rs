//! `videotoken issue -f FILE…`: a token without a cluster, by the operator's own code: the same spec, the same
//! checks, the same issuers, the same Secret.
//!
//! | File | What lives there |
//! |---|---|
//! | `order` | which token of the manifests, from which provider |
//! | `source`, `handed` | credentials: from the manifests, from files and variables |
//! | `attempt` | one call, and what is remembered to the next |
//! | `store` | the files that hold the token |
//! | `exclusive` | one run at a time writes them |
//! | `keep`, `command` | `--watch` and `--exec` |

mod attempt;
mod command;
mod exclusive;
mod handed;
mod keep;
mod order;
mod source;
mod store;

pub use handed::{FromEnvironment, FromFile};

use crate::manifest::{Manifest, read, read_files};
use attempt::{Attempts, Outcome};
use chrono::TimeDelta;
use clap::{ArgGroup, Args, ValueEnum};
use command::AfterRenewal;
use keep::Keeper;
use order::{Order, fault_lines};
use secrecy::ExposeSecret;
use source::Manifests;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use videotoken_api::duration::flag as duration;
use videotoken_api::names::OPERATOR;
use videotoken_api::wire_time;
use videotoken_core::plan::secret::{DesiredSecret, TokenRecord, WritePrecondition, build_secret};
use videotoken_providers::IssueError;
use videotoken_providers::account::Reach;
use videotoken_providers::clock::{self, Timestamp};
use videotoken_providers::hosts::{HostPattern, NetworkGuard};
use videotoken_runtime::logs;

/// Which token, with which credentials, to where.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Exit codes: 0 a token was issued, or the files hold one that still serves; 1 it is refused, or failed; 2 the arguments or files make no sense."
)]
#[command(group = ArgGroup::new("written").args(["into", "output_file"]).multiple(true))]
#[allow(clippy::struct_excessive_bools)] // flags: each is set by itself
pub struct Options {
    /// A file, a folder, or - for the standard input; repeatable
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true, num_args = 1..)]
    pub files: Vec<PathBuf>,

    /// Which VideoAccessToken, if the files have several
    #[arg(long, value_name = "[NAMESPACE/]NAME")]
    pub name: Option<String>,

    /// The namespace of objects that name none
    #[arg(short, long, value_name = "NAMESPACE", default_value = "default")]
    pub namespace: String,

    /// A key of a Secret or ConfigMap from a file, or all keys from a folder; repeatable
    #[arg(long, value_name = "NAME/KEY=PATH|NAME=DIR")]
    pub secret_file: Vec<FromFile>,

    /// A key of a Secret or ConfigMap from an environment variable; repeatable
    #[arg(long, value_name = "NAME/KEY=VARIABLE")]
    pub secret_env: Vec<FromEnvironment>,

    /// What is printed: the Secret, or the token alone
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Format::Yaml, conflicts_with = "written")]
    pub output: Format,

    /// Print nothing, and write a file for each key of the Secret into this folder
    #[arg(long, value_name = "DIR")]
    pub into: Option<PathBuf>,

    /// Print nothing, and write the Secret as YAML into this file
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,

    /// Issue also while the files hold a token that isn't due for renewal
    #[arg(long, requires = "written")]
    pub renew: bool,

    /// Keep the files fresh until SIGTERM
    #[arg(long, requires = "written")]
    pub watch: bool,

    /// Run this by sh after each token that is written; VIDEO_TOKEN_DIR and VIDEO_TOKEN_FILE say where it is
    #[arg(long, value_name = "COMMAND", requires = "written")]
    pub exec: Option<String>,

    /// Issue whatever a ClusterTokenProvider's allowedNamespaces say
    #[arg(long)]
    pub ignore_allowed_namespaces: bool,

    /// Where ClusterTokenProviders find their Secrets and ConfigMaps
    #[arg(long, env = "VTO_CLUSTER_RESOURCE_NAMESPACE", value_name = "NAMESPACE", default_value = OPERATOR)]
    pub cluster_resource_namespace: String,

    /// A host that a TokenProvider may name beside its provider's public ones; repeatable
    #[arg(long = "allowed-endpoint", env = "VTO_ALLOWED_ENDPOINT", value_delimiter = ',', value_name = "PATTERN")]
    pub allowed_endpoints: Vec<HostPattern>,

    /// Let providers be called over plain http
    #[arg(long)]
    pub allow_insecure_endpoints: bool,

    /// How long one call of a provider may take
    #[arg(long, env = "VTO_PROVIDER_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub provider_timeout: Duration,

    /// Where the instance metadata service is, if not where Azure has it; for tests
    #[arg(long, env = "VTO_METADATA_ENDPOINT", value_name = "URL", hide = true)]
    pub metadata_endpoint: Option<url::Url>,
}

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The Secret, as YAML.
    Yaml,
    /// The Secret, as JSON.
    Json,
    /// The token alone, and a line end.
    Token,
}

/// What ends the command without a token.
enum Stop {
    /// It can't be understood what is asked for: exit code 2.
    Usage(String),
    /// It is refused, or failed: exit code 1.
    Refused(String),
}

/// Issues, and writes what was asked for. The exit code is 0 if a token is there, 1 if it was refused or failed, 2 if
/// the arguments or files make no sense.
#[tokio::main]
pub(super) async fn run(options: &Options) -> ExitCode {
    let (code, message) = match started(options).await {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Stop::Usage(message)) => (2, message),
        Err(Stop::Refused(message)) => (1, message),
    };
    let _ = writeln!(io::stderr(), "error: {message}");
    ExitCode::from(code)
}

async fn started(options: &Options) -> Result<(), Stop> {
    logs::init(false).map_err(|error| Stop::Usage(error.to_string()))?;
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (manifest, faults) = manifest(options)?;
    let order = Order::read(options, &manifest, &faults)?;
    let (files, variables) = (options.secret_file.clone(), options.secret_env.clone());
    let source = Manifests::new(&manifest.objects, &options.namespace, files, variables).map_err(Stop::Refused)?;
    let attempts = Attempts::new(&order, &source, reach(options));
    if options.into.is_none() && options.output_file.is_none() {
        return print(options.output, &issue(&order, attempts, None).await?);
    }
    let store = Store { folder: options.into.clone(), file: options.output_file.clone() };
    let command = AfterRenewal::new(options, &store, &order.key);
    if options.watch {
        let held = held(&store, &order);
        return Keeper::new(&order, &store, attempts, command, held).run(options.renew).await;
    }
    once(&order, &store, attempts, command, options.renew).await
}

/// What an earlier run left in the files, if it answers what is asked for now.
fn held(store: &Store, order: &Order) -> Option<TokenRecord> {
    store.held(order.subject()).filter(|held| held.request == order.wanted.request)
}

/// How long another run may be at the same files: it calls a provider once, or writes.
const OTHERS: Duration = Duration::from_mins(1);

fn manifest(options: &Options) -> Result<(Manifest, Vec<String>), Stop> {
    let texts = read_files(&options.files).map_err(|unread| Stop::Usage(unread.to_string()))?;
    let (mut all, mut faults) = (Manifest::default(), Vec::new());
    for text in &texts {
        let mut manifest = read(text);
        faults.extend(fault_lines(&text.name, &manifest));
        all.objects.append(&mut manifest.objects);
    }
    Ok((all, faults))
}

fn reach(options: &Options) -> Reach {
    let network = NetworkGuard { allowed: options.allowed_endpoints.clone(), ..NetworkGuard::default() };
    Reach {
        network: Arc::new(network),
        allow_insecure: options.allow_insecure_endpoints,
        timeout: options.provider_timeout,
        metadata_endpoint: options.metadata_endpoint.clone(),
    }
}

/// One call. `before` is the token that is there.
async fn issue(
    order: &Order,
    mut attempts: Attempts<'_>,
    before: Option<TokenRecord>,
) -> Result<(DesiredSecret, TokenRecord), Stop> {
    let issued = match attempts.make().await {
        Outcome::Issued(issued) => issued,
        Outcome::Refused(refusal) => return Err(Stop::Refused(refusal.message)),
        Outcome::Failed(error) => return Err(Stop::Refused(format!("{}: {}", order.key, describe(&error)))),
        Outcome::LoginsUsedUp(at) => {
            return Err(Stop::Refused(format!("no login before {}: failed ones lock the user", wire_time::text(at))));
        }
    };
    let material = order.record(issued, before);
    let shape = build_secret(order.subject(), &material).map_err(|error| Stop::Refused(error.to_string()))?;
    Ok((shape, material))
}

/// Writes the files once, unless what they hold still serves.
async fn once(
    order: &Order,
    store: &Store,
    attempts: Attempts<'_>,
    mut command: AfterRenewal<'_>,
    renew: bool,
) -> Result<(), Stop> {
    let serves = |held: &TokenRecord| !renew && clock::now().wall < order.due(held);
    let still = async |command: &mut AfterRenewal<'_>, held: &TokenRecord| {
        tracing::info!(expires_at = %wire_time::text(held.expires_at), "the files hold a token that still serves");
        if command.is_pending() { execute(command, held.expires_at).await } else { Ok(()) }
    };
    // one who may only read the files needs no more than that
    if let Some(held) = held(store, order).filter(serves) {
        return still(&mut command, &held).await;
    }
    let exclusive = store.exclusive(OTHERS).await;
    let exclusive = exclusive.map_err(|error| Stop::Refused(format!("no token is asked for: {error}")))?;
    let held = held(store, order);
    if let Some(held) = held.as_ref().filter(|held| serves(held)) {
        drop(exclusive);
        return still(&mut command, held).await;
    }
    let (shape, material) = issue(order, attempts, held).await?;
    let written = command.announce().and_then(|()| store.write(&shape));
    written.map_err(|error| Stop::Refused(format!("the token isn't stored: {error}")))?;
    drop(exclusive);
    tracing::info!(expires_at = %wire_time::text(material.expires_at), "issued");
    execute(&mut command, material.expires_at).await
}

async fn execute(command: &mut AfterRenewal<'_>, expires_at: Timestamp) -> Result<(), Stop> {
    match command.run(expires_at).await {
        Ok(Some(status)) if !status.success() => Err(Stop::Refused(format!("--exec: {status}"))),
        Ok(_) => Ok(()),
        Err(error) => Err(Stop::Refused(format!("--exec: {error}"))),
    }
}

fn print(format: Format, (shape, material): &(DesiredSecret, TokenRecord)) -> Result<(), Stop> {
    let text = match format {
        Format::Token => format!("{}\n", material.token.expose_secret()),
        Format::Json => format!("{:#}\n", shape.manifest(WritePrecondition::None)),
        Format::Yaml => serde_yaml_ng::to_string(&shape.manifest(WritePrecondition::None))
            .map_err(|_| Stop::Refused("the Secret can't be written as YAML".to_owned()))?,
    };
    let mut stdout = io::stdout();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| Stop::Refused(format!("the output can't be written: {error}")))
}

/// A failure for people: what happened, the provider's id of it, and when it may be tried again.
fn describe(error: &IssueError) -> String {
    let id = error.request_id.as_ref().map(|id| format!(" (request id {id})")).unwrap_or_default();
    let after = error.retry_after.and_then(|after| TimeDelta::from_std(after).ok());
    let again = after.map(|after| wire_time::text(clock::now().wall + after));
    let again = again.map(|at| format!("; the provider asks to come back at {at}")).unwrap_or_default();
    format!("{error}{id}{again}")
}
