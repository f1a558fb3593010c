//! `doctor`: is all well between this cluster, the operator and the providers? Each line is ok, a warning or a failure,
//! and says the way out.
//!
//! | File | What lives there |
//! |---|---|
//! | `report` | findings, and how they are shown |
//! | `cluster` | the API server, its version, its clock, the CRDs |
//! | `drift` | what a CRD says otherwise than this program; pure |
//! | `operator` | its Deployment, and who leads |
//! | `permissions` | what you and the operator may do |
//! | `providers` | conditions and credentials of each provider object |
//! | `network` | whether this machine reaches the providers' hosts |
//!
//! It reads, and changes nothing. Of Secrets only metadata is read.

mod cluster;
mod drift;
mod network;
mod operator;
mod permissions;
mod providers;
mod report;

use super::fault::Fault;
use super::output::{Script, show};
use super::paint::Paint;
use super::session::Session;
use clap::Args;
use report::Report;
use videotoken_providers::hosts::HostPattern;

/// How to look.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// The operator's namespace
    #[arg(long, value_name = "NAME", default_value = "video-token-operator")]
    operator_namespace: String,

    /// The operator's Lease, where its Deployment doesn't name it
    #[arg(long, value_name = "NAME", default_value = "video-token-operator")]
    lease: String,

    /// A host that the operator's admin allows TokenProviders to name, beside those of its Deployment
    #[arg(long, value_name = "HOST")]
    allowed_endpoint: Vec<HostPattern>,

    /// Don't call the providers' hosts from this machine
    #[arg(long)]
    offline: bool,

    /// For scripts
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    output: Option<Script>,
}

/// Looks at all there is, and fails if something is wrong.
pub(super) async fn run(session: &Session, options: &Options, paint: &Paint) -> Result<(), Fault> {
    let mut report = Report::new(options.output.is_none().then_some(*paint));
    if let Some(skew) = cluster::server(session, &mut report).await? {
        let served = cluster::definitions(session, &mut report).await?;
        let operator = operator::look(session, options, skew, &mut report).await?;
        permissions::yours(session, &mut report).await?;
        permissions::of_operator(session, &operator, &mut report).await?;
        if served {
            let found = providers::look(session, &operator, &mut report).await?;
            if !options.offline {
                network::look(session, &operator, &found, &mut report).await?;
            }
        }
    }
    if let Some(script) = options.output {
        show(&script.document(&report)?)?;
    } else {
        report.summary()?;
    }
    if report.is_well() { Ok(()) } else { Err(Fault::Quiet(1)) }
}
