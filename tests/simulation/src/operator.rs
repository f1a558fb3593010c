//! One operator process: the real controller and leader election in tasks of their own.

use crate::api_server::service::serve;
use crate::token_api::{Route, TokenApi};
use crate::world::{Link, SkewedClock, World};
use futures::FutureExt;
use kube::client::ClientBuilder;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tower::service_fn;
use video_token_operator::controller::{self, Observers};
use video_token_operator::http_server::Health;
use video_token_operator::kube_client;
use video_token_operator::lease::{self, LeaseHandle};
use video_token_operator::metrics::{self, Metrics};
use video_token_operator::telemetry::traces::Traces;
use videotoken_providers::clock::Scope;
use videotoken_providers::hosts::NetworkGuard;
use videotoken_providers::provider_setup::OutboundPolicy;

/// Namespace of the operators and their Lease.
pub const NAMESPACE: &str = "operator";

/// A running operator.
#[derive(Debug)]
pub struct Operator {
    lease: LeaseHandle,
    link: Arc<Link>,
    clock: Arc<SkewedClock>,
    stop: watch::Sender<bool>,
    /// Returns false if a task of the operator panicked or ended.
    process: JoinHandle<bool>,
}

impl Operator {
    /// Starts an operator as the program does, over the world's API server and token API.
    ///
    /// It serves these namespaces, or all if there are none.
    pub fn start(world: &Arc<World>, api: &Arc<TokenApi>, name: &str, ahead: i64, served: &[String]) -> Self {
        let (link, metrics) = (Link::new(name), Metrics::new());
        let (outside, of) = (world.clone(), link.clone());
        let service = service_fn(move |request| serve(outside.clone(), of.clone(), request).boxed());
        let client =
            kube_client::layered(ClientBuilder::new(service, "default"), &metrics::count_requests(metrics.clone()));
        let (lease, candidate) = lease::candidate(client.clone(), election(name));
        let settings = settings(Route { api: api.clone(), link: link.clone() }, served);
        let observers = Observers { metrics, traces: Traces::default(), page: None };
        let (stop, stopped) = watch::channel(false);
        let (released, release) = oneshot::channel::<()>();
        let clock = Arc::new(SkewedClock { world: world.clone(), ahead: AtomicI64::new(ahead) });
        let (handle, health) = (lease.clone(), Health::new(&["caches"]));
        let scope = Scope::with(clock.clone());
        let process = scope.spawn(async move {
            let control = Box::pin(async {
                let ended = controller::run(client, settings, handle, observers, health, stopped).await;
                drop(released);
                ended.is_ok()
            });
            let candidate = Box::pin(candidate.run(release.map(|_| ())));
            futures::future::join(control, candidate).await.0
        });
        Self { lease, link, clock, stop, process }
    }

    /// Returns true if it leads.
    pub fn leads(&self) -> bool {
        // The handle's own check reads the clock of its operator.
        !self.process.is_finished() && *self.lease.changes().borrow()
    }

    /// Returns true if a request killed it.
    pub fn is_cut(&self) -> bool {
        self.link.is_cut()
    }

    /// Returns true if it ended by itself, which is a fault.
    pub fn has_ended(&self) -> bool {
        self.process.is_finished()
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.link.name
    }

    /// Sets its wall clock to so many milliseconds ahead of the true time.
    pub fn set_clock(&self, ahead: i64) {
        self.clock.ahead.store(ahead, Ordering::Relaxed);
    }

    /// Kills it: its tasks end where they are, and its connections carry nothing more.
    pub fn kill(self) {
        self.link.cut();
        self.process.abort();
    }

    /// Asks it to stop, and waits for its end.
    /// Returns true if it ended cleanly.
    pub async fn stop(self) -> bool {
        let _ = self.stop.send(true);
        self.process.await.unwrap_or_default()
    }
}

/// Returns the chart's timing.
fn election(name: &str) -> lease::Settings {
    lease::Settings {
        namespace: NAMESPACE.to_owned(),
        name: "video-token-operator".to_owned(),
        identity: name.to_owned(),
        duration: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        retry_period: Duration::from_secs(2),
    }
}

fn settings(route: Route, served: &[String]) -> controller::Settings {
    controller::Settings {
        watch_namespaces: served.to_vec(),
        cluster_providers: true,
        cluster_provider_status: true,
        cluster_resource_namespace: NAMESPACE.to_owned(),
        reach: OutboundPolicy {
            network: Arc::new(NetworkGuard::default()),
            allow_insecure: false,
            timeout: Duration::from_secs(10),
            metadata_endpoint: None,
            transport: Some(Arc::new(route)),
        },
        max_in_flight: 64,
        token_metrics: false,
        restart_kinds: controller::RestartKinds::default(),
    }
}
