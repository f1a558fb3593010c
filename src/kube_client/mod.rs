//! The client of the API server, with its time limits, its limit for a page of a list, and its user agent.
//!
//! | File | Content |
//! |---|---|
//! | `silence` | a body without data for too long ends with an error |
//! | `pages` | a page that is too large is requested again with fewer objects |

mod pages;
mod silence;

pub use silence::SILENCE;

use crate::metrics::CountRequests;
use axum::body::Bytes;
use http::header::USER_AGENT;
use http::{HeaderValue, Request, Response};
use hyper_util::client::legacy::connect::HttpConnector;
use kube::client::{Body, ClientBuilder};
use silence::EndSilence;
use std::time::Duration;
use tower::timeout::TimeoutLayer;
use tower::{BoxError, Service};
use videotoken_runtime::cluster::{Cluster, Unusable};

/// Time in which the API server must begin its response; longer than the limit of admission. A watch begins at once and
/// then continues.
const ANSWER_WITHIN: Duration = Duration::from_secs(40);

/// Idle time after which a connection is probed, so that a dead connection isn't used again.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Interval of the probes, and the number of unanswered probes that close the connection.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;

/// Returns a client that counts each request in the metrics of `layer`.
///
/// kube's retries (up to 15, over minutes, on 429, 503 and 504) are disabled: callers know whether the request is still
/// needed, and each counted request is a sent request. A body may take long, as for a watch, but must not be silent for
/// long. If a page of a list is too large, the client requests it again with fewer objects.
pub fn client(cluster: impl Into<Cluster>, layer: &CountRequests) -> Result<kube::Client, Unusable> {
    let mut cluster: Cluster = cluster.into();
    let agent = HeaderValue::from_static(concat!("video-token-operator/", env!("CARGO_PKG_VERSION")));
    cluster.config.headers.push((USER_AGENT, agent));
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    let builder = ClientBuilder::new(cluster.service(tcp)?, cluster.config.default_namespace.clone());
    Ok(layered(builder, layer))
}

/// Returns a client over the service of `builder`, with the limits and the metrics of [`client`].
pub fn layered<S, B>(builder: ClientBuilder<S>, layer: &CountRequests) -> kube::Client
where
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError> + Send + Sync + 'static,
    B: http_body::Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BoxError>,
{
    let timeout = TimeoutLayer::new(ANSWER_WITHIN);
    pages::bounded(builder.with_layer(&EndSilence).with_layer(&timeout).with_layer(layer).build())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::metrics::{Metrics, count_requests};

    #[tokio::test]
    async fn the_client_says_who_it_is() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let mut stream = listener.accept().await.unwrap().0;
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            let request = String::from_utf8_lossy(&request[..length]).to_ascii_lowercase();
            // The client keeps the connection only for another request, and no other request follows.
            let more = stream.read(&mut [0; 1]).await.unwrap_or_default();
            (request, more)
        });
        let metrics = Metrics::new();
        let client = client(kube::Config::new(url.parse().unwrap()), &count_requests(metrics.clone())).unwrap();
        assert!(client.apiserver_version().await.is_err());
        drop(client);
        let (request, more) = server.await.unwrap();
        assert_eq!(more, 0, "a 503 is asked again");
        let agent = concat!("user-agent: video-token-operator/", env!("CARGO_PKG_VERSION"));
        assert!(request.contains(agent), "{request}");
        let counted = r#"{verb="get",resource="none",code_class="5xx"} 1"#;
        assert!(metrics.encode().contains(counted), "{}", metrics.encode());
    }
}
