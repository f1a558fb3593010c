//! `doctor`: checks the cluster, the operator and the providers. Each line is ok, a warning or a failure, with an action.
//!
//! | File | Content |
//! |---|---|
//! | `report` | findings and their output |
//! | `cluster` | the API server, its version, its clock, the CRDs |
//! | `crd_diff` | differences between a CRD and this program; pure |
//! | `operator` | the Deployment and the leader |
//! | `permissions` | permissions of the user and of the operator |
//! | `providers` | conditions and credentials of each provider object |
//! | `network` | connections from this machine to the token APIs |
//!
//! The command changes nothing, and reads only metadata of Secrets.

mod cluster;
mod crd_diff;
mod network;
mod operator;
mod permissions;
mod providers;
mod report;

use super::error::CliError;
use super::output::{Script, show};
use super::session::Session;
use super::terminal::TerminalStyle;
use clap::Args;
use report::Report;
use videotoken_providers::hosts::HostPattern;

/// Scope of the checks.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// Namespace of the operator
    #[arg(long, value_name = "NAME", default_value = "video-token-operator")]
    operator_namespace: String,

    /// Lease of the operator, if its Deployment doesn't name one
    #[arg(long, value_name = "NAME", default_value = "video-token-operator")]
    lease: String,

    /// Host that TokenProviders may call, in addition to those in the Deployment of the operator; repeatable
    #[arg(long, value_name = "HOST")]
    allowed_endpoint: Vec<HostPattern>,

    /// Don't connect to the token APIs from this machine
    #[arg(long)]
    offline: bool,

    /// Output format for scripts
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    output: Option<Script>,
}

/// Runs all checks. Fails if one of them fails.
pub(super) async fn run(session: &Session, options: &Options, style: &TerminalStyle) -> Result<(), CliError> {
    let mut report = Report::new(options.output.is_none().then_some(*style));
    if let Some(skew) = cluster::server(session, &mut report).await? {
        let served = cluster::definitions(session, &mut report).await?;
        let operator = operator::check(session, options, skew, &mut report).await?;
        permissions::yours(session, &mut report).await?;
        permissions::of_operator(session, &operator, &mut report).await?;
        if served {
            let found = providers::check(session, &operator, &mut report).await?;
            if !options.offline {
                network::check(session, &operator, &found, &mut report).await?;
            }
        }
    }
    if let Some(script) = options.output {
        show(&script.document(&report)?)?;
    } else {
        report.summary()?;
    }
    if report.is_well() { Ok(()) } else { Err(CliError::AlreadyReported(1)) }
}
