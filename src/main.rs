//! The process: from the arguments to the settings of each room, and from a signal to a clean end.

use futures::FutureExt;
use std::process::ExitCode;
use tokio::sync::watch;
use video_token_operator::cli::{Command, verify};
use video_token_operator::config::{Config, LogFormat, identity};
use video_token_operator::http_server::{Health, Server};
use video_token_operator::status_page::Page;
use video_token_operator::telemetry::traces::Traces;
use video_token_operator::{controller, crds, kube_client, lease, metrics, wiring};
use videotoken_providers::clock;
use videotoken_providers::http::environment_fault;
use videotoken_runtime::cluster::{Cluster, ClusterSelection, LOG_IN_WITHIN};
use videotoken_runtime::crypto;
use videotoken_runtime::output::{Failure, print, report};
use videotoken_runtime::{logs, signal};

/// Returns what a relist freed to the system; glibc keeps it.
#[cfg(target_env = "gnu")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Runs the command of the process's arguments and environment. `--help` and invalid arguments end the process with a
/// message.
fn main() -> ExitCode {
    let command = Command::from_args(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let checked = clock::check();
    if let Err(wrong) = checked.and_then(|()| crypto::install().map_err(|wrong| wrong.to_string())) {
        report(&wrong);
        return ExitCode::FAILURE;
    }
    let result = match command {
        Command::Crds => print(&crds::yaml()),
        Command::Verify(options) => verify::run(&options),
        Command::Run(config) => run(&config),
    };
    result.map_or_else(
        |error| {
            report(&error.to_string());
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

/// Runs until SIGTERM or SIGINT.
fn run(config: &Config) -> Result<(), Failure> {
    // templates are rendered on the runtime's blocking threads
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().thread_stack_size(controller::STACK).build()?;
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
    let client = kube_client::client(kubernetes, &metrics::count_requests(metrics.clone()))?;
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
