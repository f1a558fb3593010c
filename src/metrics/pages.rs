//! Bounds what one page of a list takes of memory, whatever anybody wrote into the objects.
//!
//! A page is asked for by a number of objects, and an object may be anything from a kilobyte to over a megabyte: five
//! hundred Secrets with annotations at Kubernetes' bound are 125 MB, and are there several times while they are read. A
//! page that grows too large is dropped and asked for anew with fewer objects; the API server's `continue` token works
//! with any number. The number that worked is remembered for the next page.

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

/// Bytes of one page. 10,000 ordinary objects of 4 kB are some ten pages.
const LARGEST_PAGE: usize = 4 * 1024 * 1024;

/// Bytes of a page of one object: etcd takes 1.5 MiB of an object, and JSON adds to it.
const LARGEST_OBJECT: usize = 16 * 1024 * 1024;

/// Bounds the pages of the lists that are asked for by `client`.
pub(super) fn bounded(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    Client::new(Pages { client, limits: Arc::default() }, namespace)
}

/// Asks for smaller pages where they grow too large.
#[derive(Clone)]
struct Pages {
    client: Client,
    limits: Arc<Limits>,
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
                let limit = limits.of(head.uri.path(), asked);
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

/// The whole body; `None` if it is longer.
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

/// How many objects a list asks for; `None` for all other requests.
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

/// How many objects fit into a page, by path; only where they are fewer than was asked for.
#[derive(Default)]
struct Limits(Mutex<HashMap<String, u32>>);

impl Limits {
    fn of(&self, path: &str, asked: u32) -> u32 {
        self.0.lock().get(path).map_or(asked, |limit| asked.min(*limit))
    }

    fn too_large(&self, path: &str, limit: u32) {
        tracing::info!(path, limit, "a page of a list is too large: it is asked for with fewer objects");
        self.0.lock().insert(path.to_owned(), (limit / 4).max(1));
    }

    /// A page that took little lets the next be larger.
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

    /// Answers lists of objects of so many bytes each, and notes the limits that were asked for.
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
        assert_eq!(list(&client, 250).await, sizes.len(), "none is lost, none told twice");
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
