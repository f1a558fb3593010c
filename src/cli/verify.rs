//! `video-token-operator verify`: is an installed operator well? Asked from outside, by `helm test` from a Pod.
//!
//! It needs no permission: what an API server serves is told to everybody who is logged in.

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

/// Where to look for an installed operator.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The operator's /readyz; none: only the API server is asked
    #[arg(long, value_name = "URL")]
    pub readyz: Option<Url>,

    /// How long it may take until all is well
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    pub within: Duration,
}

/// Looks, and says that all is well; an error says what isn't.
pub fn run(options: &Options) -> Result<(), Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run_now(options))
}

async fn run_now(options: &Options) -> Result<(), Failure> {
    logs::init(false)?;
    let client = Cluster::open(&ClusterSelection::default(), LOG_IN_WITHIN).await?.client()?;
    verify(&client, options.readyz.as_ref(), options.within).await?;
    print("the API server serves the kinds, and the operator is ready\n")
}

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// What isn't well.
#[derive(Debug, thiserror::Error)]
pub enum Unwell {
    /// The API server can't be asked, or doesn't know the group.
    #[error(
        "the API server doesn't serve {GROUP}/{VERSION}: {0}; install the CRDs: crds.install=true, or kubectl apply -f crds/"
    )]
    Group(String),
    /// Some of what the operator needs isn't served.
    #[error("the API server doesn't serve {0} of {GROUP}/{VERSION}: bring the CRDs up to date")]
    Kinds(String),
    /// The operator doesn't say that it is ready.
    #[error("{url}: {said}")]
    NotReady {
        /// Who was asked.
        url: Url,
        /// What came back.
        said: String,
    },
}

/// Looks until all is well, `within` at most; then tells what isn't.
pub async fn verify(client: &Client, readyz: Option<&Url>, within: Duration) -> Result<(), Unwell> {
    let end = Instant::now() + within;
    let mut last = Unwell::Group(format!("no answer within {} s", within.as_secs()));
    loop {
        match timeout_at(end, look(client, readyz)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(unwell)) => last = unwell,
            Err(_) => return Err(last),
        }
        if Instant::now() + PAUSE >= end {
            return Err(last);
        }
        sleep(PAUSE).await;
    }
}

async fn look(client: &Client, readyz: Option<&Url>) -> Result<(), Unwell> {
    let group = format!("{GROUP}/{VERSION}");
    let served = client.list_api_group_resources(&group).await.map_err(|error| Unwell::Group(error.to_string()))?;
    match missing(&served) {
        absent if absent.is_empty() => {}
        absent => return Err(Unwell::Kinds(absent.join(", "))),
    }
    let Some(url) = readyz else { return Ok(()) };
    ask(url).await.map_err(|said| Unwell::NotReady { url: url.clone(), said })
}

/// Never through a proxy: the operator is in the same cluster.
async fn ask(url: &Url) -> Result<(), String> {
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
