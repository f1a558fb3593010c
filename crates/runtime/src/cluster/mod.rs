//! The way to an API server: from kubeconfig and environment to a client, as kubectl goes it.
//!
//! | File | What lives there |
//! |---|---|
//! | `kubeconfig` | which file, which context |
//! | `proxy` | which proxy, if any: Go's rules; pure |
//! | `connect` | a connection, straight or through a proxy |
//! | `exec` | programs that a kubeconfig runs to log in |
//!
//! kube does the rest. It compares `NO_PROXY` with the proxy's host instead of the API server's, ends at a `NO_PROXY`
//! with an empty entry, runs exec plugins without a time limit, and prints their output when they fail.
//!
//! May not enter: what is asked of the API server.

mod connect;
mod exec;
mod kubeconfig;
mod proxy;

pub use kubeconfig::Place;

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

/// An API server, who one is to it, and how it is reached.
pub struct Cluster {
    /// All but proxy and exec plugin, which are looked after here.
    pub config: Config,
    proxy: Option<Proxy>,
    exec: Option<Arc<Exec>>,
}

/// Why an API server can't be asked, in a sentence for whoever set it up.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(String);

impl From<Config> for Cluster {
    fn from(mut config: Config) -> Self {
        config.proxy_url = None;
        Self { config, proxy: None, exec: None }
    }
}

/// How long an exec plugin may take where nothing else is said.
pub const LOG_IN_WITHIN: Duration = Duration::from_secs(30);

impl Cluster {
    /// Reads the kubeconfig and logs in by its exec plugin, if it has one: within `within`. No request is made yet.
    pub async fn open(place: &Place, within: Duration) -> Result<Self, Unusable> {
        let mut chosen = kubeconfig::choose(place)?;
        let url = &chosen.config.cluster_url;
        let proxy = match &chosen.proxy_url {
            Some(text) => Some(proxy::of_kubeconfig(text)?),
            None if chosen.in_cluster => None,
            None => proxy::Environment::read().proxy_for(url)?,
        };
        let exec = chosen.config.auth_info.exec.take().map(|config| Exec::new(config, within)).transpose()?;
        if let Some(exec) = &exec
            && let Some(certificate) = exec.log_in().await?
        {
            let auth = &mut chosen.config.auth_info;
            auth.client_certificate_data = Some(certificate.certificate);
            auth.client_key_data = Some(certificate.key);
        }
        chosen.config.proxy_url = None;
        Ok(Self { config: chosen.config, proxy, exec: exec.map(Arc::new) })
    }

    /// A client that tries again for a while what the API server is too busy for.
    pub fn client(&self) -> Result<Client, Unusable> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        let patient = RetryLayer::new(RetryPolicy::server_retry());
        let service = ServiceBuilder::new().layer(patient).service(self.service(tcp)?);
        Ok(ClientBuilder::new(service, self.config.default_namespace.clone()).build())
    }

    /// Sends requests to the API server, with its URL, the login and the configured headers. `tcp` opens connections.
    /// The error is a login that can't be used.
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
        let way = connect::way(tcp, self.proxy.as_ref(), &self.config).map_err(unusable)?;
        let https = self.config.rustls_https_connector_with_connector(way).map_err(unusable)?;
        let patience = self.config.connect_timeout.unwrap_or(Duration::MAX);
        let url = self.config.cluster_url.clone();
        let late = format!("no connection to {} within {} s", self.config.cluster_url, patience.as_secs_f32());
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
            .layer(TimeoutLayer::new(patience))
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

/// The innermost cause of an error, which names what is really wrong.
pub fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// A tunnel takes a port that isn't named for 443, also of a plain http server.
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

/// What is wrong with a login, without the output of a program.
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
