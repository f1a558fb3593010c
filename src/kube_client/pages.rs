//! Limits the memory of one page of a list, whatever the objects contain.
//!
//! A request for a page states a number of objects, and the size of an object ranges from a kilobyte to over a
//! megabyte. Five hundred Secrets with the largest annotations that Kubernetes accepts take 125 MB, and several copies
//! exist during decoding. This module drops a page that grows too large and requests it again with fewer objects; the
//! `continue` token of the API server accepts any number. The module uses the number that worked for the next page too.

use axum::body::Body as Answer;
use futures::StreamExt;
use futures::future::BoxFuture;
use http::{Method, Request, Response, Uri};
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{BoxError, Service};

/// Maximum size in bytes of one page. 10,000 ordinary objects of 4 kB take about ten pages.
const LARGEST_PAGE: usize = 4 * 1024 * 1024;

/// Maximum size in bytes of a page with one object: etcd accepts objects up to 1.5 MiB, and JSON adds to that.
const LARGEST_OBJECT: usize = 16 * 1024 * 1024;

/// Returns a client that limits the pages of its lists.
pub(super) fn bounded(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    Client::new(Pages { client, limits: Arc::default() }, namespace)
}

/// Service that requests smaller pages if they grow too large.
#[derive(Clone)]
struct Pages {
    client: Client,
    limits: Arc<PageLimits>,
}

impl Service<Request<Body>> for Pages {
    type Response = Response<Answer>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Answer>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { client, limits } = self.clone();
        Box::pin(async move {
            let Some(asked) = asked_for(&request) else { return Ok(client.send(request).await?.map(Answer::new)) };
            let (head, _) = request.into_parts();
            loop {
                let limit = limits.for_path(head.uri.path(), asked);
                let mut request = Request::new(Body::empty());
                *request.method_mut() = Method::GET;
                *request.uri_mut() = with_limit(&head.uri, limit)?;
                *request.headers_mut() = head.headers.clone();
                let (answer, body) = client.send(request).await?.into_parts();
                let most = if limit == 1 { LARGEST_OBJECT } else { LARGEST_PAGE };
                match read(body, most).await? {
                    Some(page) => {
                        limits.took(head.uri.path(), limit, asked, page.len());
                        return Ok(Response::from_parts(answer, Answer::from(page)));
                    }
                    None if limit > 1 => limits.too_large(head.uri.path(), limit),
                    None => return Err("an object of a list is larger than any can be".into()),
                }
            }
        })
    }
}

/// Returns the whole body, or `None` if it is longer than `most`.
async fn read(body: Body, most: usize) -> Result<Option<Vec<u8>>, BoxError> {
    let (mut bytes, mut body) = (Vec::new(), Answer::new(body).into_data_stream());
    while let Some(more) = body.next().await {
        let more = more?;
        if bytes.len() + more.len() > most {
            return Ok(None);
        }
        bytes.extend_from_slice(&more);
    }
    Ok(Some(bytes))
}

/// Returns the number of objects that a list requests, or `None` for all other requests.
fn asked_for(request: &Request<Body>) -> Option<u32> {
    let query = request.uri().query().filter(|_| *request.method() == Method::GET)?;
    let mut parts = query.split('&');
    if parts.clone().any(|part| part.starts_with("watch=")) {
        return None;
    }
    parts.find_map(|part| part.strip_prefix("limit="))?.parse().ok()
}

fn with_limit(uri: &Uri, limit: u32) -> Result<Uri, http::Error> {
    let query = uri.query().unwrap_or_default().split('&');
    let query: Vec<_> =
        query.map(|part| if part.starts_with("limit=") { format!("limit={limit}") } else { part.to_owned() }).collect();
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(format!("{}?{}", uri.path(), query.join("&")).parse()?);
    Ok(Uri::from_parts(parts)?)
}

/// Number of objects that fit into a page, by path. Contains only paths with fewer objects than requested.
#[derive(Default)]
struct PageLimits(Mutex<HashMap<String, u32>>);

impl PageLimits {
    fn for_path(&self, path: &str, asked: u32) -> u32 {
        self.0.lock().get(path).map_or(asked, |limit| asked.min(*limit))
    }

    fn too_large(&self, path: &str, limit: u32) {
        tracing::info!(path, limit, "a page of a list is too large: it is asked for with fewer objects");
        self.0.lock().insert(path.to_owned(), (limit / 4).max(1));
    }

    /// Raises the limit after a small page.
    fn took(&self, path: &str, limit: u32, asked: u32, bytes: usize) {
        if limit >= asked || bytes > LARGEST_PAGE / 4 {
            return;
        }
        let mut limits = self.0.lock();
        if limit * 2 >= asked {
            limits.remove(path);
        } else {
            limits.insert(path.to_owned(), limit * 2);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use tower::service_fn;

    const PATH: &str = "/api/v1/secrets";

    /// Returns a client of a server that lists objects of these sizes in bytes, and the limits that it received.
    fn api_server(sizes: Vec<usize>) -> (Client, Arc<Mutex<Vec<u32>>>) {
        let limits: Arc<Mutex<Vec<u32>>> = Arc::default();
        let noted = limits.clone();
        let service = service_fn(move |request: Request<Body>| {
            let query = request.uri().query().unwrap_or_default().to_owned();
            let number = |name: &str| query.split('&').find_map(|part| part.strip_prefix(name)?.parse::<usize>().ok());
            let (limit, from) = (number("limit=").unwrap(), number("continue=").unwrap_or(0));
            noted.lock().push(u32::try_from(limit).unwrap());
            let end = (from + limit).min(sizes.len());
            let items: Vec<_> = sizes[from..end].iter().map(|size| json!({"text": "x".repeat(*size)})).collect();
            let next = if end < sizes.len() { end.to_string() } else { String::new() };
            let body = json!({"metadata": {"continue": next}, "items": items}).to_string();
            async move { Ok::<_, BoxError>(Response::new(Answer::from(body))) }
        });
        (bounded(Client::new(service, "default")), limits)
    }

    async fn list(client: &Client, limit: u32) -> usize {
        let (mut count, mut next) = (0, String::new());
        loop {
            let uri = format!("{PATH}?&limit={limit}&continue={next}");
            let request = Request::get(uri).body(Vec::new()).unwrap();
            let page: Value = client.request(request).await.unwrap();
            count += page["items"].as_array().unwrap().len();
            next = page["metadata"]["continue"].as_str().unwrap().to_owned();
            if next.is_empty() {
                return count;
            }
        }
    }

    #[tokio::test]
    async fn p21_a_page_that_is_too_large_is_asked_for_with_fewer_objects() {
        let mut sizes = vec![1_000; 600];
        sizes.extend(vec![250_000; 100]);
        sizes.push(2 * LARGEST_PAGE);
        sizes.extend(vec![1_000; 600]);
        let (client, limits) = api_server(sizes.clone());
        assert_eq!(list(&client, 250).await, sizes.len(), "none is lost, none reported twice");
        let asked = limits.lock().clone();
        assert_eq!(asked[..2], [250, 250]);
        assert!(asked.contains(&1) && asked.last() > Some(&50), "{asked:?}");
        assert!(asked.len() < 60, "{asked:?}");
    }

    #[tokio::test]
    async fn what_is_small_costs_no_more_requests() {
        let (client, limits) = api_server(vec![4_000; 1_000]);
        assert_eq!(list(&client, 250).await, 1_000);
        assert_eq!(*limits.lock(), [250; 4]);
    }

    #[test]
    fn only_lists_have_pages() {
        let get = |uri: &str| Request::get(uri).body(Body::empty()).unwrap();
        assert_eq!(asked_for(&get("/api/v1/secrets?&limit=250")), Some(250));
        assert_eq!(asked_for(&get("/api/v1/secrets?&watch=true&limit=250")), None);
        assert_eq!(asked_for(&get("/api/v1/namespaces/a/secrets/b")), None);
        assert_eq!(asked_for(&Request::delete("/api/v1/secrets?limit=1").body(Body::empty()).unwrap()), None);
    }
}
