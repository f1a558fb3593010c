//! `video-token-operator verify` checks an installed operator from outside. `helm test` runs it in a Pod.
//!
//! The check needs no permission: an API server lists its kinds for each authenticated client.

use clap::Args;
use kube::Client;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};
use url::Url;
use videotoken_api::crds::missing;
use videotoken_api::duration::flag as duration;
use videotoken_api::{GROUP, VERSION};
use videotoken_runtime::cluster::{Cluster, ClusterSelection, LOG_IN_WITHIN};
use videotoken_runtime::logs;
use videotoken_runtime::output::{Failure, print};

/// Options of the check.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The operator's /readyz; none: only the API server is asked
    #[arg(long, value_name = "URL")]
    pub readyz: Option<Url>,

    /// How long it may take until all is well
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    pub within: Duration,
}

/// Runs the check and prints its success. The error describes the failed check.
pub fn run(options: &Options) -> Result<(), Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run_now(options))
}

async fn run_now(options: &Options) -> Result<(), Failure> {
    logs::init(false)?;
    let client = Cluster::open(&ClusterSelection::default(), LOG_IN_WITHIN).await?.client()?;
    verify(&client, options.readyz.as_ref(), options.within).await?;
    print("the API server serves the kinds, and the operator is ready\n")
}

/// Time between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// Failed check.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The API server doesn't respond, or doesn't serve the group.
    #[error(
        "the API server doesn't serve {GROUP}/{VERSION}: {0}; install the CRDs: crds.install=true, or kubectl apply -f crds/"
    )]
    Group(String),
    /// The API server doesn't serve some of the kinds.
    #[error("the API server doesn't serve {0} of {GROUP}/{VERSION}: bring the CRDs up to date")]
    Kinds(String),
    /// The operator doesn't report that it is ready.
    #[error("{url}: {said}")]
    NotReady {
        /// URL of the request.
        url: Url,
        /// Response, or the error of the request.
        said: String,
    },
}

/// Repeats the check until it succeeds, for at most `within`. Then returns the last failure.
pub async fn verify(client: &Client, readyz: Option<&Url>, within: Duration) -> Result<(), VerifyError> {
    let end = Instant::now() + within;
    let mut last = VerifyError::Group(format!("no answer within {} s", within.as_secs()));
    loop {
        match timeout_at(end, check(client, readyz)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => last = error,
            Err(_) => return Err(last),
        }
        if Instant::now() + PAUSE >= end {
            return Err(last);
        }
        sleep(PAUSE).await;
    }
}

async fn check(client: &Client, readyz: Option<&Url>) -> Result<(), VerifyError> {
    let group = format!("{GROUP}/{VERSION}");
    let served =
        client.list_api_group_resources(&group).await.map_err(|error| VerifyError::Group(error.to_string()))?;
    match missing(&served) {
        absent if absent.is_empty() => {}
        absent => return Err(VerifyError::Kinds(absent.join(", "))),
    }
    let Some(url) = readyz else { return Ok(()) };
    get(url).await.map_err(|said| VerifyError::NotReady { url: url.clone(), said })
}

/// Requests `url` without a proxy, because the operator is in the same cluster.
async fn get(url: &Url) -> Result<(), String> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build();
    let answer = client.map_err(|error| error.to_string())?.get(url.clone()).send().await;
    let answer =
        answer.map_err(|error| if error.is_connect() { "no connection".to_owned() } else { error.to_string() })?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    Err(format!("{status}: {}", answer.text().await.unwrap_or_default()))
}
