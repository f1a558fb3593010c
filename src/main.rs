//! The binary: wiring only.

use futures::FutureExt;
use std::process::ExitCode;
use tokio::sync::watch;
use video_token_operator::config::{Command, Config, LogFormat, Verify, identity};
use video_token_operator::serve::{Health, Server};
use video_token_operator::{api, assemble, controller, lease, metrics, telemetry, verify};

/// Returns what a relist freed to the system; glibc keeps it.
#[cfg(target_env = "gnu")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let result = match Command::from_process() {
        Command::Crds => print(&api::crds::yaml()),
        Command::Verify(verify) => verify_installed(&verify),
        Command::Run(config) => run(&config),
    };
    result.map_or_else(
        |error| {
            tracing::error!("{error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

#[tokio::main]
async fn verify_installed(options: &Verify) -> Result<(), Failure> {
    telemetry::init(false)?;
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = kube::Client::try_default().await?;
    verify::verify(&client, options.readyz.as_ref(), options.within).await?;
    print("the API server serves the kinds, and the operator is ready\n")
}

#[tokio::main]
async fn run(config: &Config) -> Result<(), Failure> {
    telemetry::init(config.log_format == LogFormat::Json)?;
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let metrics = metrics::Metrics::new();
    let kubernetes = kube::Config::infer().await?;
    let settings = assemble::controller(config, &kubernetes.cluster_url)?;
    let client = metrics::client(kubernetes, &metrics::count_requests(metrics.clone()))?;
    let health = Health::new(&["caches"]);
    let (stopping, stop) = watch::channel(false);
    let server = Server::bind(config.metrics_addr).await?;
    let (scraped, mut stopped) = (metrics.clone(), stop.clone());
    let server = tokio::spawn(server.run(health.clone(), assemble::scrape(scraped), async move {
        stopped.wait_for(|stop| *stop).map(|_| ()).await;
    }));
    let (released, release) = tokio::sync::oneshot::channel::<()>();
    let (lease, candidate) = lease::candidate(client.clone(), assemble::lease(config, identity()));
    let lease = if config.leader_elect { lease } else { lease::LeaseHandle::always() };
    let candidate = config.leader_elect.then(|| tokio::spawn(candidate.run(release.map(|_| ()))));
    tokio::spawn(async move { stopping.send(signalled().await) });
    controller::run(client, settings, lease, metrics, health, stop).await;
    drop(released);
    if let Some(candidate) = candidate {
        candidate.await?;
    }
    server.await?;
    Ok(())
}

/// SIGTERM or SIGINT.
async fn signalled() -> bool {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return true };
    tokio::select! {
        _ = terminate.recv() => true,
        _ = tokio::signal::ctrl_c() => true,
    }
}
