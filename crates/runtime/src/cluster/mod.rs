//! Connection to an API server, from the kubeconfig and the environment, as in kubectl.
//!
//! | File | Content |
//! |---|---|
//! | `kubeconfig` | file and context |
//! | `proxy` | selection of the proxy by Go's rules; pure |
//! | `connect` | direct connections and connections through a proxy |
//! | `exec` | programs that a kubeconfig runs to log in |
//!
//! These modules replace parts of kube: it compares `NO_PROXY` with the proxy's host instead of the API server's, fails at
//! an empty entry of `NO_PROXY`, runs exec plugins without a timeout, and prints their output if they fail.

mod connect;
mod exec;
mod kubeconfig;
mod proxy;

pub use kubeconfig::ClusterSelection;

use exec::Exec;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::retry::RetryPolicy;
use kube::client::{AuthError, Body, ClientBuilder, ConfigExt};
use kube::{Client, Config};
use proxy::Proxy;
use std::sync::Arc;
use std::time::Duration;
use tower::filter::AsyncFilterLayer;
use tower::retry::RetryLayer;
use tower::timeout::TimeoutLayer;
use tower::timeout::error::Elapsed;
use tower::util::MapFutureLayer;
use tower::{BoxError, Service, ServiceBuilder};

/// An API server, with the login and the proxy.
pub struct Cluster {
    /// Configuration without proxy and exec plugin, which this type applies.
    pub config: Config,
    proxy: Option<Proxy>,
    exec: Option<Arc<Exec>>,
}

/// Why there is no connection to the API server, in a sentence for the user.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(String);

impl From<Config> for Cluster {
    fn from(mut config: Config) -> Self {
        config.proxy_url = None;
        Self { config, proxy: None, exec: None }
    }
}

/// Default timeout of an exec plugin.
pub const LOG_IN_WITHIN: Duration = Duration::from_secs(30);

impl Cluster {
    /// Reads the kubeconfig and runs its exec plugin, if it has one, at most for `within`. No request is made.
    pub async fn open(selection: &ClusterSelection, within: Duration) -> Result<Self, Unusable> {
        let mut selected = kubeconfig::select(selection)?;
        let url = &selected.config.cluster_url;
        let proxy = match &selected.proxy_url {
            Some(text) => Some(proxy::of_kubeconfig(text)?),
            None if selected.in_cluster => None,
            None => proxy::Environment::read().proxy_for(url)?,
        };
        let exec = selected.config.auth_info.exec.take().map(|config| Exec::new(config, within)).transpose()?;
        if let Some(exec) = &exec
            && let Some(certificate) = exec.log_in().await?
        {
            let auth = &mut selected.config.auth_info;
            auth.client_certificate_data = Some(certificate.certificate);
            auth.client_key_data = Some(certificate.key);
        }
        selected.config.proxy_url = None;
        Ok(Self { config: selected.config, proxy, exec: exec.map(Arc::new) })
    }

    /// Returns a client that retries requests for which the API server is too busy.
    pub fn client(&self) -> Result<Client, Unusable> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        let retry = RetryLayer::new(RetryPolicy::server_retry());
        let service = ServiceBuilder::new().layer(retry).service(self.service(tcp)?);
        Ok(ClientBuilder::new(service, self.config.default_namespace.clone()).build())
    }

    /// Returns a service that adds the URL, the login and the configured headers to requests. `tcp` opens connections.
    ///
    /// # Errors
    /// The login can't be used.
    pub fn service(
        &self,
        tcp: HttpConnector,
    ) -> Result<
        impl Service<Request<Body>, Response = Response<Incoming>, Error = BoxError, Future: Send + 'static>
        + Clone
        + Send
        + 'static,
        Unusable,
    > {
        let unusable = |error: kube::Error| Unusable(format!("the login can't be used: {}", login_error(&error)));
        let way = connect::connector(tcp, self.proxy.as_ref(), &self.config).map_err(unusable)?;
        let https = self.config.rustls_https_connector_with_connector(way).map_err(unusable)?;
        let timeout = self.config.connect_timeout.unwrap_or(Duration::MAX);
        let url = self.config.cluster_url.clone();
        let late = format!("no connection to {} within {} s", self.config.cluster_url, timeout.as_secs_f32());
        let connector = ServiceBuilder::new()
            .layer(MapFutureLayer::new(Box::pin))
            .map_err(move |error: BoxError| {
                let said = if error.is::<Elapsed>() {
                    late.clone()
                } else {
                    format!("no connection to {url}: {}", innermost(&*error))
                };
                BoxError::from(said)
            })
            .layer(TimeoutLayer::new(timeout))
            .service(https);
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build::<_, Body>(connector);
        let login = self.exec.clone().map(|exec| AsyncFilterLayer::new(exec::Login(exec)));
        Ok(ServiceBuilder::new()
            .layer(explicit_port(&self.config).base_uri_layer())
            .option_layer(self.config.auth_layer().map_err(unusable)?)
            .option_layer(login)
            .layer(self.config.extra_headers_layer().map_err(unusable)?)
            .map_err(BoxError::from)
            .service(http))
    }
}

/// Returns the message of the innermost cause of an error.
pub fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// Adds the port 80 to an http URL without a port, because a tunnel assumes 443.
fn explicit_port(config: &Config) -> Config {
    let mut config = config.clone();
    let url = &config.cluster_url;
    if url.scheme_str() == Some("http")
        && url.port().is_none()
        && let Some(host) = url.host()
        && let Ok(url) = Uri::builder()
            .scheme("http")
            .authority(format!("{host}:80"))
            .path_and_query(url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str))
            .build()
    {
        config.cluster_url = url;
    }
    config
}

/// Returns the message of a login error, without the output of a program.
fn login_error(error: &kube::Error) -> String {
    match error {
        kube::Error::Auth(AuthError::AuthExecRun { cmd, out }) => {
            let program = cmd.split_whitespace().next().unwrap_or_default();
            format!("the program {program} of its auth-provider failed: {}", out.status)
        }
        kube::Error::Auth(error) => error.to_string(),
        kube::Error::InferKubeconfig(error) => error.to_string(),
        error => innermost(error),
    }
}
