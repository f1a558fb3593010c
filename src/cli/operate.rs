//! The operator's process: from flags to rooms, and from a signal to a clean end.

use crate::config::{Config, LogFormat, identity};
use crate::http_server::{Health, Server};
use crate::status_page::Page;
use crate::telemetry::traces::Traces;
use crate::{controller, lease, metrics, wiring};
use futures::FutureExt;
use tokio::sync::watch;
use videotoken_core::plan::template::STACK;
use videotoken_providers::http::environment_fault;
use videotoken_runtime::cluster::{Cluster, ClusterSelection, LOG_IN_WITHIN};
use videotoken_runtime::output::Failure;
use videotoken_runtime::{logs, signal};

/// Runs until SIGTERM or SIGINT.
pub(super) fn run(config: &Config) -> Result<(), Failure> {
    // templates are rendered on the runtime's blocking threads
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().thread_stack_size(STACK).build()?;
    let ended = runtime.block_on(operate(config));
    // a name lookup without an answer keeps its thread for half a minute
    runtime.shutdown_background();
    ended
}

async fn operate(config: &Config) -> Result<(), Failure> {
    logs::init(config.log_format == LogFormat::Json)?;
    if let Some(fault) = environment_fault() {
        return Err(fault.to_string().into());
    }
    let traces = Traces::start(config.otlp_endpoint.as_ref()).map_err(|error| error.to_string())?;
    let metrics = metrics::Metrics::new();
    let kubernetes = Cluster::open(&ClusterSelection::default(), LOG_IN_WITHIN).await?;
    let mut settings = wiring::controller(config, &kubernetes.config.cluster_url)?;
    let client = metrics::client(kubernetes, &metrics::count_requests(metrics.clone()))?;
    let health = Health::new(&["caches"]);
    let (stopping, stop) = watch::channel(false);
    let server = Server::bind(config.metrics_addr).await?;
    let (scraped, mut stopped) = (metrics.clone(), stop.clone());
    let page = config.status_page.then(|| Page::new(&config.status_page_hosts));
    let more = page.clone().map(Page::routes).unwrap_or_default();
    let server = tokio::spawn(server.run(health.clone(), wiring::scrape(scraped), more, async move {
        stopped.wait_for(|stop| *stop).map(|_| ()).await;
    }));
    let (released, release) = tokio::sync::oneshot::channel::<()>();
    let (lease, candidate) = lease::candidate(client.clone(), wiring::lease(config, identity()));
    let lease = if config.leader_elect { lease } else { lease::LeaseHandle::always() };
    let candidate = config.leader_elect.then(|| tokio::spawn(candidate.run(release.map(|_| ()))));
    tokio::spawn(async move { stopping.send(signal::wait_for_stop().await) });
    wiring::guard(&mut settings, &client).await;
    let observers = controller::Observers { metrics, traces: traces.clone(), page };
    let ended = controller::run(client, settings, lease, observers, health, stop).await;
    traces.stop().await;
    drop(released);
    if let Some(candidate) = candidate {
        candidate.await?;
    }
    // the server would go on answering: it ends with the process
    ended?;
    server.await?;
    Ok(())
}
