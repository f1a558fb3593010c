//! From kubeconfig and flags to a client and a namespace, as kubectl users expect it.

use super::fault::{Fault, reason};
use crate::config::duration;
use clap::Args;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::path::PathBuf;
use std::time::Duration;

/// Which cluster and namespace.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(next_help_heading = "Cluster")]
pub(super) struct Cluster {
    /// The kubeconfig to use; default: $KUBECONFIG, else ~/.kube/config, else the Pod's own login
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// Its context to use
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,

    /// The namespace; default: the context's
    #[arg(short, long, global = true, value_name = "NAME", conflicts_with = "all_namespaces")]
    namespace: Option<String>,

    /// All namespaces
    #[arg(short = 'A', long, global = true)]
    all_namespaces: bool,

    /// How long one request may take
    #[arg(long, global = true, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    request_timeout: Duration,
}

/// A client, and what it is about.
pub(super) struct Session {
    /// The client.
    pub(super) client: Client,
    /// The API server's URL.
    pub(super) url: String,
    /// The namespace asked about; none: all.
    pub(super) namespace: Option<String>,
    /// How long one request may take.
    pub(super) patience: Duration,
}

impl Session {
    /// Reads the kubeconfig. No request is made yet.
    pub(super) async fn open(cluster: &Cluster) -> Result<Self, Fault> {
        let mut config = cluster.config().await?;
        config.connect_timeout = Some(config.connect_timeout.unwrap_or(Duration::MAX).min(cluster.request_timeout));
        let url = config.cluster_url.to_string();
        let namespace = cluster.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| {
            Fault::Unasked(format!("the login of the kubeconfig can't be used: {}", reason(&error)))
        })?;
        let namespace = (!cluster.all_namespaces).then_some(namespace);
        Ok(Self { client, url, namespace, patience: cluster.request_timeout })
    }

    /// The one namespace of an object that is named.
    pub(super) fn one_namespace(&self) -> Result<&str, Fault> {
        self.namespace.as_deref().ok_or_else(|| {
            Fault::unwell("an object is named within one namespace: leave out -A, or give its namespace with -n")
        })
    }

    /// The namespace in words.
    pub(super) fn whereabouts(&self) -> String {
        self.namespace.as_ref().map_or_else(|| "in any namespace".to_owned(), |name| format!("in namespace {name}"))
    }

    /// Waits for one request, as long as one may take.
    pub(super) async fn ask<T>(
        &self,
        verb: &str,
        what: &str,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Fault> {
        match tokio::time::timeout(self.patience, request).await {
            Ok(answer) => answer.map_err(super::fault::asked(verb, what)),
            Err(_) => Err(Fault::Unasked(format!(
                "can't {verb} {what}: no answer from {} within {} s; is it reachable? --request-timeout gives it more",
                self.url,
                self.patience.as_secs_f32()
            ))),
        }
    }
}

impl Cluster {
    async fn config(&self) -> Result<Config, Fault> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let unread = |error: &(dyn std::error::Error + 'static)| {
            Fault::Unasked(format!(
                "the kubeconfig can't be used: {}; name one by --kubeconfig or $KUBECONFIG, and its context by --context",
                reason(error)
            ))
        };
        match (&self.kubeconfig, &self.context) {
            (Some(path), _) => {
                let file = Kubeconfig::read_from(path).map_err(|error| unread(&error))?;
                Config::from_custom_kubeconfig(file, &options).await.map_err(|error| unread(&error))
            }
            (None, Some(_)) => Config::from_kubeconfig(&options).await.map_err(|error| unread(&error)),
            (None, None) => Config::infer().await.map_err(|error| unread(&error)),
        }
    }
}
