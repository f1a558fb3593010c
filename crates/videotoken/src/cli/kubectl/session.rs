//! From kubeconfig and flags to a client and a namespace, as kubectl users expect it.

use super::fault::Fault;
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser as _};
use kube::Client;
use std::path::PathBuf;
use std::time::Duration;
use videotoken_api::duration::flag as duration;
use videotoken_api::schema::is_object_name;
use videotoken_runtime::cluster::{self, Place, Unusable};

/// Which cluster and namespace.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(next_help_heading = "Cluster")]
pub(super) struct Cluster {
    /// The kubeconfig to use; default: $KUBECONFIG, else ~/.kube/config, else the Pod's own login
    #[arg(long, global = true, value_name = "FILE", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    kubeconfig: Option<PathBuf>,

    /// Its context to use
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,

    /// The namespace; default: the context's
    #[arg(short, long, global = true, value_name = "NAME", conflicts_with = "all_namespaces", value_parser = name_or_nothing)]
    namespace: Option<String>,

    /// All namespaces
    #[arg(short = 'A', long, global = true)]
    all_namespaces: bool,

    /// How long one request may take
    #[arg(long, global = true, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    request_timeout: Duration,
}

/// An argument that names an object: anything else would lead to another URL.
pub(super) fn object_name(text: &str) -> Result<String, String> {
    if is_object_name(text) {
        return Ok(text.to_owned());
    }
    Err("is no name of an object: lower-case letters, digits, dashes and dots".to_owned())
}

/// As [`object_name`]; one that a script left empty is none.
fn name_or_nothing(text: &str) -> Result<String, String> {
    if text.is_empty() { Ok(String::new()) } else { object_name(text) }
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
    pub(super) async fn open(options: &Cluster) -> Result<Self, Fault> {
        let place = Place {
            kubeconfig: options.kubeconfig.clone().filter(|path| !path.as_os_str().is_empty()),
            context: set(options.context.as_ref()),
        };
        let unusable = |error: Unusable| Fault::Unasked(error.to_string());
        let mut cluster = cluster::Cluster::open(&place, options.request_timeout).await.map_err(unusable)?;
        let config = &mut cluster.config;
        config.connect_timeout = Some(config.connect_timeout.unwrap_or(Duration::MAX).min(options.request_timeout));
        let url = config.cluster_url.to_string();
        let namespace = set(options.namespace.as_ref()).unwrap_or_else(|| config.default_namespace.clone());
        let client = cluster.client().map_err(unusable)?;
        let namespace = (!options.all_namespaces).then_some(namespace);
        Ok(Self { client, url, namespace, patience: options.request_timeout })
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

/// As with kubectl a flag without a value is as good as none: `-n "$UNSET"` is the context's namespace.
fn set(value: Option<&String>) -> Option<String> {
    value.filter(|value| !value.is_empty()).cloned()
}
