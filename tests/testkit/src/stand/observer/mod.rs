//! Looks at every Secret again and again, and asks those who issued its token whether it still holds.
//!
//! It knows of the operator what a user knows: the label on its Secrets and the annotation that names the token's key.

mod record;

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams};
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::kubeconfig::Kubeconfig;
use record::Record;
pub use record::{Event, Report, SecretReport, Stretch, What};

const LABEL: &str = "app.kubernetes.io/managed-by=video-token-operator";
const PATIENCE: Duration = Duration::from_secs(10);

/// Which Secrets an [`Observer`] looks at, and how often.
#[derive(Clone, Debug)]
pub struct ObserverOptions {
    /// None: all namespaces.
    pub namespace: Option<String>,
    /// From the beginning of one look to the next.
    pub every: Duration,
}

impl ObserverOptions {
    /// One namespace, each second.
    pub fn new(namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), every: Duration::from_secs(1) }
    }
}

/// An observer at work on a thread of its own, until it is finished or dropped.
#[derive(Debug)]
pub struct Observer {
    record: Arc<Mutex<Record>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Observer {
    /// Starts one. `truth` says of a token when it expires, or none if nobody issued it.
    pub fn start<T>(login: &Kubeconfig, options: ObserverOptions, truth: T) -> Result<Self>
    where
        T: Fn(&str) -> Option<DateTime<Utc>> + Send + 'static,
    {
        let record = Arc::<Mutex<Record>>::default();
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut config = login.config()?;
        config.default_retry = false;
        let kept = Arc::clone(&record);
        let thread = std::thread::Builder::new().name("observer".to_owned()).spawn(move || {
            if let Err(error) = runtime.block_on(observe(config, options, truth, kept, stopped)) {
                tracing::error!("the observer ended: {error:#}");
            }
        })?;
        Ok(Self { record, stop: Some(stop), thread: Some(thread) })
    }

    /// What it has seen so far.
    pub fn report(&self) -> Report {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).report.clone()
    }

    /// Shows each Secret by `namespace/name` as it was last seen, and what was seen of it so far.
    pub fn secrets(&self, mut show: impl FnMut(&str, &SecretReport)) {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        record.report.secrets.iter().for_each(|(name, report)| show(name, report));
    }

    /// Looks once more, ends and tells all.
    pub async fn finish(mut self) -> Result<Report> {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let joined = tokio::task::spawn_blocking(|| thread.join()).await?;
            joined.map_err(|_| anyhow::anyhow!("the observer panicked"))?;
        }
        Ok(self.report())
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        // A test that ends without a report does not wait for the last look.
        self.stop = None;
    }
}

async fn observe(
    config: kube::Config,
    options: ObserverOptions,
    truth: impl Fn(&str) -> Option<DateTime<Utc>>,
    record: Arc<Mutex<Record>>,
    mut stopped: oneshot::Receiver<()>,
) -> Result<()> {
    let client = kube::Client::try_from(config).context("make a client")?;
    let secrets: Api<Secret> = match &options.namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let selected = ListParams::default().labels(LABEL);
    let mut ticks = interval(options.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let last = tokio::select! {
            _ = &mut stopped => true,
            _ = ticks.tick() => false,
        };
        // What is read later than this and has expired before it is expired for sure.
        let asked = Utc::now();
        let found = timeout(PATIENCE, secrets.list(&selected)).await;
        let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
        match found {
            Ok(Ok(found)) => record.look(asked, &found.items, &truth),
            Ok(Err(error)) => record.blind(asked, &error.to_string()),
            Err(_) => record.blind(asked, "no answer"),
        }
        if last {
            return Ok(());
        }
    }
}
