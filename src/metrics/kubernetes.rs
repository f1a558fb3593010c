//! The layer that counts the requests to the API server.

use super::{API_SERVER, Metrics, RequestLabels};
use chrono::DateTime;
use futures::future::BoxFuture;
use http::header::DATE;
use http::{HeaderMap, Method, Request, Response, Uri};
use std::task::{Context, Poll};
use tower::{BoxError, Layer, Service};
use videotoken_providers::clock;

/// Returns a layer that counts requests to the API server by verb, resource and class of response, and records the
/// clock of the API server.
pub fn count_requests(metrics: Metrics) -> CountRequests {
    CountRequests(metrics)
}

/// Layer that counts requests; see [`count_requests`].
#[derive(Clone, Debug)]
pub struct CountRequests(Metrics);

impl<S> Layer<S> for CountRequests {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, metrics: self.0.clone() }
    }
}

/// Service with counted requests; see [`count_requests`].
#[derive(Clone, Debug)]
pub struct Counted<S> {
    inner: S,
    metrics: Metrics,
}

impl<S, A, B> Service<Request<A>> for Counted<S>
where
    S: Service<Request<A>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let (verb, resource) = kind(request.method(), request.uri());
        let metrics = self.metrics.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code_class = answer.as_ref().map_or("none", |answer| class_of(answer.status().as_u16()));
            metrics.requested(&RequestLabels { verb, resource, code_class });
            if let Some(skew) = answer.as_ref().ok().and_then(|answer| skew(answer.headers())) {
                metrics.set_clock_skew(API_SERVER, skew);
            }
            answer
        })
    }
}

fn class_of(status: u16) -> &'static str {
    match status / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}

/// Returns how many seconds the clock of the server is ahead of the local clock. The Date header has no fractions.
fn skew(headers: &HeaderMap) -> Option<i64> {
    let date = DateTime::parse_from_rfc2822(headers.get(DATE)?.to_str().ok()?).ok()?;
    Some(date.timestamp() - clock::now().wall.timestamp())
}

/// Resources that have a label of their own in the metrics. Any other resource is counted as `other`.
const RESOURCES: [&str; 18] = [
    "videoaccesstokens",
    "videoaccesstokens/status",
    "tokenproviders",
    "tokenproviders/status",
    "clustertokenproviders",
    "clustertokenproviders/status",
    "secrets",
    "configmaps",
    "namespaces",
    "serviceaccounts",
    "serviceaccounts/token",
    "deployments",
    "statefulsets",
    "daemonsets",
    "events",
    "leases",
    "customresourcedefinitions",
    "selfsubjectaccessreviews",
];

/// Returns the verb and resource of a request as the API server's RBAC and audit log name them.
///
/// Paths are `/api/v1` or `/apis/GROUP/VERSION`, then `[/namespaces/NAMESPACE]/RESOURCE[/NAME[/SUBRESOURCE]]`.
pub(crate) fn kind(method: &Method, uri: &Uri) -> (&'static str, &'static str) {
    let mut path = uri.path().split('/').filter(|part| !part.is_empty());
    let skipped = match path.next() {
        Some("api") => 1,
        Some("apis") => 2,
        _ => return (verb(method, uri, true), "none"),
    };
    let path: Vec<&str> = path.skip(skipped).collect();
    let path = match path.as_slice() {
        ["namespaces", _, inside @ ..] if !inside.is_empty() => inside,
        all => all,
    };
    let (resource, named) = match path {
        [] => ("none", true),
        [resource] => (known(resource, None), false),
        [resource, _] => (known(resource, None), true),
        [resource, _, sub, ..] => (known(resource, Some(sub)), true),
    };
    (verb(method, uri, named), resource)
}

fn known(resource: &str, sub: Option<&str>) -> &'static str {
    let is_it = |known: &&&str| match (known.split_once('/'), sub) {
        (Some(parts), Some(sub)) => parts == (resource, sub),
        (None, None) => **known == resource,
        _ => false,
    };
    RESOURCES.iter().find(is_it).copied().unwrap_or("other")
}

fn verb(method: &Method, uri: &Uri, named: bool) -> &'static str {
    let watches =
        || uri.query().is_some_and(|query| query.split('&').any(|part| matches!(part, "watch=true" | "watch=1")));
    match *method {
        Method::GET if watches() => "watch",
        Method::GET if named => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if named => "delete",
        Method::DELETE => "deletecollection",
        _ => "other",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use http::StatusCode;
    use tower::{ServiceBuilder, ServiceExt, service_fn};

    #[test]
    fn requests_are_named_as_rbac_names_them() {
        let ours = "/apis/videotoken.dev/v1alpha1";
        for (method, path, expected) in [
            (Method::GET, format!("{ours}/videoaccesstokens?limit=500"), ("list", "videoaccesstokens")),
            (
                Method::GET,
                format!("{ours}/videoaccesstokens?&watch=true&timeoutSeconds=290"),
                ("watch", "videoaccesstokens"),
            ),
            (Method::GET, format!("{ours}/namespaces/a/tokenproviders"), ("list", "tokenproviders")),
            (
                Method::PATCH,
                format!("{ours}/namespaces/a/videoaccesstokens/b/status?fieldManager=x"),
                ("patch", "videoaccesstokens/status"),
            ),
            (
                Method::PATCH,
                format!("{ours}/clustertokenproviders/b/status"),
                ("patch", "clustertokenproviders/status"),
            ),
            (Method::GET, "/api/v1/namespaces/a/secrets/b".into(), ("get", "secrets")),
            (Method::POST, "/api/v1/namespaces/a/secrets?".into(), ("create", "secrets")),
            (Method::DELETE, "/api/v1/namespaces/a/secrets/b".into(), ("delete", "secrets")),
            (Method::DELETE, "/api/v1/namespaces/a/secrets".into(), ("deletecollection", "secrets")),
            (Method::GET, "/api/v1/namespaces".into(), ("list", "namespaces")),
            (Method::GET, "/api/v1/namespaces/secrets".into(), ("get", "namespaces")),
            (Method::GET, "/api/v1/namespaces?watch=true".into(), ("watch", "namespaces")),
            (Method::POST, "/api/v1/namespaces/a/serviceaccounts/b/token".into(), ("create", "serviceaccounts/token")),
            (Method::PUT, "/apis/coordination.k8s.io/v1/namespaces/a/leases/b".into(), ("update", "leases")),
            (Method::PATCH, "/apis/apps/v1/namespaces/a/deployments/b".into(), ("patch", "deployments")),
            (Method::PATCH, "/apis/apps/v1/namespaces/a/deployments/b/scale".into(), ("patch", "other")),
            (Method::GET, "/apis/example.com/v1/widgets".into(), ("list", "other")),
            (Method::GET, "/version".into(), ("get", "none")),
            (Method::GET, "/apis/videotoken.dev/v1alpha1".into(), ("get", "none")),
            (Method::GET, "/".into(), ("get", "none")),
        ] {
            assert_eq!(kind(&method, &path.parse().unwrap()), expected, "{method} {path}");
        }
    }

    #[tokio::test]
    async fn each_request_counts_once_by_its_answer_and_shows_the_servers_clock() {
        let metrics = Metrics::new();
        let server = service_fn(|request: Request<()>| async move {
            let date = (clock::now().wall + chrono::TimeDelta::seconds(400)).to_rfc2822().replace("+0000", "GMT");
            match request.uri().path() {
                "/api/v1/namespaces/a/secrets/b" => {
                    Ok(Response::builder().status(StatusCode::CONFLICT).header(DATE, date).body(()).unwrap())
                }
                _ => Err(BoxError::from("cut off")),
            }
        });
        let counted = ServiceBuilder::new().layer(count_requests(metrics.clone())).service(server);
        for path in ["/api/v1/namespaces/a/secrets/b", "/api/v1/namespaces/a/secrets/b", "/api/v1/secrets"] {
            let request = Request::patch(path).body(()).unwrap();
            let _ = counted.clone().oneshot(request).await;
        }
        let scrape = metrics.encode();
        for line in [
            r#"videotoken_kubernetes_requests_total{verb="patch",resource="secrets",code_class="4xx"} 2"#,
            r#"videotoken_kubernetes_requests_total{verb="patch",resource="secrets",code_class="none"} 1"#,
        ] {
            assert!(scrape.lines().any(|found| found == line), "{line} is not in\n{scrape}");
        }
        let skew = metrics.clock_skew(API_SERVER).unwrap();
        assert!((398..=401).contains(&skew), "{skew}");
    }
}
