//! Client and namespace, from the kubeconfig and the flags that kubectl also has.

use super::error::CliError;
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser as _};
use kube::Client;
use std::path::PathBuf;
use std::time::Duration;
use videotoken_api::duration::flag as duration;
use videotoken_api::schema::is_object_name;
use videotoken_runtime::cluster::{self, ClusterSelection, Unusable};

/// Cluster and namespace.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(next_help_heading = "Cluster")]
pub(super) struct Cluster {
    /// Kubeconfig; default: $KUBECONFIG, else ~/.kube/config, else the ServiceAccount of the Pod
    #[arg(long, global = true, value_name = "FILE", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,

    /// Namespace; default: that of the context
    #[arg(short, long, global = true, value_name = "NAME", conflicts_with = "all_namespaces", value_parser = name_or_nothing)]
    namespace: Option<String>,

    /// All namespaces
    #[arg(short = 'A', long, global = true)]
    all_namespaces: bool,

    /// Timeout of one request
    #[arg(long, global = true, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    request_timeout: Duration,
}

/// Parses the name of an object. Any other text could lead to another URL.
pub(super) fn object_name(text: &str) -> Result<String, String> {
    if is_object_name(text) {
        return Ok(text.to_owned());
    }
    Err("must be the name of an object: lower-case letters, digits, dashes and dots".to_owned())
}

/// Parses an optional name as [`object_name`] does. An empty text is no name, as in kubectl.
fn name_or_nothing(text: &str) -> Result<String, String> {
    if text.is_empty() { Ok(String::new()) } else { object_name(text) }
}

/// Client of one cluster.
pub(super) struct Session {
    /// Client.
    pub(super) client: Client,
    /// URL of the API server.
    pub(super) url: String,
    /// Selected namespace; `None`: all.
    pub(super) namespace: Option<String>,
    /// Timeout of one request.
    pub(super) request_timeout: Duration,
}

impl Session {
    /// Reads the kubeconfig without making a request.
    pub(super) async fn open(options: &Cluster) -> Result<Self, CliError> {
        let selection = ClusterSelection {
            kubeconfig: options.kubeconfig.clone().filter(|path| !path.as_os_str().is_empty()),
            context: set(options.context.as_ref()),
        };
        let unusable = |error: Unusable| CliError::ClusterUnavailable(error.to_string());
        let mut cluster = cluster::Cluster::open(&selection, options.request_timeout).await.map_err(unusable)?;
        let config = &mut cluster.config;
        config.connect_timeout = Some(config.connect_timeout.unwrap_or(Duration::MAX).min(options.request_timeout));
        let url = config.cluster_url.to_string();
        let namespace = set(options.namespace.as_ref()).unwrap_or_else(|| config.default_namespace.clone());
        let client = cluster.client().map_err(unusable)?;
        let namespace = (!options.all_namespaces).then_some(namespace);
        Ok(Self { client, url, namespace, request_timeout: options.request_timeout })
    }

    /// Returns the namespace of a named object.
    pub(super) fn one_namespace(&self) -> Result<&str, CliError> {
        self.namespace.as_deref().ok_or_else(|| {
            CliError::not_healthy("-A can't be used with the name of an object. Select its namespace with -n.")
        })
    }

    /// Returns the namespace as part of a sentence.
    pub(super) fn namespace_phrase(&self) -> String {
        self.namespace.as_ref().map_or_else(|| "in any namespace".to_owned(), |name| format!("in namespace {name}"))
    }

    /// Awaits one request, at most for its timeout.
    pub(super) async fn request<T>(
        &self,
        verb: &str,
        what: &str,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, CliError> {
        match tokio::time::timeout(self.request_timeout, request).await {
            Ok(answer) => answer.map_err(super::error::request_error(verb, what)),
            Err(_) => Err(CliError::ClusterUnavailable(format!(
                "can't {verb} {what}: no response from {} within {} s. Check the connection, or increase --request-timeout.",
                self.url,
                self.request_timeout.as_secs_f32()
            ))),
        }
    }
}

/// Returns the value of a flag. An empty one counts as not set, as in kubectl: `-n "$UNSET"`.
fn set(value: Option<&String>) -> Option<String> {
    value.filter(|value| !value.is_empty()).cloned()
}
