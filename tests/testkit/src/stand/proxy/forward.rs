//! The proxy's server: one exchange from its arrival to the end of its answer.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use http::header::{self, HeaderMap, HeaderName};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

use super::request::Request;
use super::rules::{Action, Failure, Stage, Verdict, lock};
use super::{State, Traffic};

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The connection is closed without an answer, or in the middle of one.
fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "closed by the proxy")
}

/// Serves until `stopped` resolves, which it does when its sender is dropped.
pub(super) async fn serve(
    listener: std::net::TcpListener,
    state: Arc<State>,
    mut stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        tokio::select! {
            _ = &mut stopped => return Ok(()),
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                tokio::spawn(connection(stream, Arc::clone(&state)));
            }
        }
    }
}

async fn connection(stream: TcpStream, state: Arc<State>) {
    let mut traffic = state.traffic.subscribe();
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let state = Arc::clone(&state);
        async move { accept(request, state).await }
    });
    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = traffic.wait_for(|traffic| *traffic == Traffic::Closed) => {}
        // An error is a client that has gone, or a connection that is meant to break.
        _ = served => {}
    }
}

/// Takes a request in. From here on it goes its way even if its client does not wait.
async fn accept(request: http::Request<Incoming>, state: Arc<State>) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let mut traffic = state.traffic.subscribe();
    flowing(&mut traffic).await?;
    let answer = tokio::spawn(exchange(head, body, state)).await.map_err(io::Error::other)??;
    flowing(&mut traffic).await?;
    Ok(answer)
}

/// Waits while traffic is silent.
async fn flowing(traffic: &mut watch::Receiver<Traffic>) -> io::Result<()> {
    let state = traffic.wait_for(|traffic| *traffic != Traffic::Silent).await;
    match state.map(|traffic| *traffic) {
        Ok(Traffic::Open) => Ok(()),
        _ => Err(closed()),
    }
}

async fn exchange(head: http::request::Parts, body: Bytes, state: Arc<State>) -> io::Result<Response<Body>> {
    let begun = Instant::now();
    let request = Request::parse(&head.method, &head.uri, &head.headers, &body);
    let number = state.open(&request);
    let latency = *lock(&state.latency);
    if !latency.is_zero() {
        tokio::time::sleep(latency).await; // even a sleep for nothing takes a tick of the timer, 1 ms
    }

    let rules = state.rules.meeting(&request);
    let (mut lose, mut stall) = (false, None);
    for rule in &rules {
        match &rule.action {
            Action::Delay(delay) => tokio::time::sleep(*delay).await,
            Action::Hold(Stage::Before, waiting) => go_on(waiting.stand(&request).await)?,
            Action::Hold(Stage::Answered, _) => {}
            Action::Fail(Failure::LostAnswer) => lose = true,
            Action::Fail(Failure::StalledBody(bytes)) => stall = Some(*bytes),
            Action::Fail(Failure::Closed) => return Err(closed()),
            Action::Fail(Failure::Status(code)) => {
                state.close(number, *code, begun.elapsed());
                return Ok(refusal(*code));
            }
        }
    }
    let mut answer = forward(head, body, &state, &request).await?;
    let answered = rules.iter().filter_map(|rule| match &rule.action {
        Action::Hold(Stage::Answered, waiting) => Some(waiting),
        _ => None,
    });
    for waiting in answered {
        if request.verb != "watch" {
            answer = whole(answer).await?;
        }
        go_on(waiting.stand(&request).await)?;
    }
    if lose {
        if request.verb != "watch" {
            whole(answer).await?;
        }
        return Err(closed());
    }
    state.close(number, answer.status().as_u16(), begun.elapsed());
    Ok(match stall {
        Some(bytes) => answer.map(|body| stalled(body, bytes)),
        None => answer,
    })
}

/// The first bytes of a body, then nothing more and no end.
fn stalled(body: Body, bytes: usize) -> Body {
    let pieces = futures::stream::unfold((body, bytes), |(mut body, left)| async move {
        if left == 0 {
            return std::future::pending().await;
        }
        let piece = loop {
            match body.frame().await? {
                Ok(frame) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => break data,
                    _ => {}
                },
                Err(error) => return Some((Err(error), (body, left))),
            }
        };
        let sent = piece.slice(..left.min(piece.len()));
        let left = left - sent.len();
        Some((Ok(Frame::data(sent)), (body, left)))
    });
    BodyExt::boxed_unsync(StreamBody::new(pieces))
}

fn go_on(verdict: Verdict) -> io::Result<()> {
    match verdict {
        Verdict::Release => Ok(()),
        Verdict::Close => Err(closed()),
    }
}

/// Reads the answer to its end, so that the API server is known to be done.
async fn whole(answer: Response<Body>) -> io::Result<Response<Body>> {
    let (head, body) = answer.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Response::from_parts(head, full(body)))
}

fn full(body: Bytes) -> Body {
    Full::new(body).map_err(|never: Infallible| match never {}).boxed_unsync()
}

async fn forward(
    head: http::request::Parts,
    body: Bytes,
    state: &Arc<State>,
    request: &Request,
) -> io::Result<Response<Body>> {
    let is_watch = request.verb == "watch";
    let cuts = state.cuts.subscribe();
    let expiries = state.expiries.subscribe();
    let mut path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    if request.verb == "list"
        && !path.contains("continue=")
        && let Some(version) = state.freezes.lists_at(request)
    {
        let joint = if path.contains('?') { '&' } else { '?' };
        path = format!("{path}{joint}resourceVersion={version}&resourceVersionMatch=Exact");
    }
    let mut headers = head.headers;
    strip(&mut headers);
    headers.remove(header::HOST);
    headers.remove(header::CONTENT_LENGTH);
    let sent = state.upstream.request(head.method, format!("{}{path}", state.server)).headers(headers).body(body);
    let answer = sent.send().await.map_err(|error| {
        tracing::debug!("the API server did not answer: {error}");
        closed()
    })?;
    let mut response = Response::new(());
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    strip(response.headers_mut());
    let frozen = is_watch.then(|| (Arc::clone(state), request.clone()));
    let ends = Ends {
        cuts: is_watch.then_some(cuts),
        expiries: is_watch.then_some(expiries),
        traffic: state.traffic.subscribe(),
        frozen,
        within_line: false,
    };
    let body = StreamBody::new(passed_on(answer.bytes_stream(), ends));
    Ok(response.map(|()| BodyExt::boxed_unsync(body)))
}

/// Removes what concerns one connection only (RFC 9110, 7.6.1).
fn strip(headers: &mut HeaderMap) {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    for name in [header::CONNECTION, KEEP_ALIVE, header::TE, header::TRANSFER_ENCODING, header::UPGRADE] {
        headers.remove(name);
    }
}

/// What breaks an answer's body off.
struct Ends {
    cuts: Option<watch::Receiver<u64>>,
    expiries: Option<watch::Receiver<u64>>,
    traffic: watch::Receiver<Traffic>,
    /// What may silence it.
    frozen: Option<(Arc<State>, Request)>,
    /// The last piece ended in the middle of an event.
    within_line: bool,
}

/// What comes next in an answer's body.
enum Next {
    Piece(io::Result<Bytes>),
    /// The last piece of all.
    Expired(Bytes),
}

impl Ends {
    async fn told(told: &mut Option<watch::Receiver<u64>>) {
        match told {
            Some(told) => {
                // An error is a proxy that has gone: the connection ends with it.
                let _ = told.changed().await;
            }
            None => std::future::pending().await,
        }
    }

    /// The next piece, once traffic flows; or the end.
    async fn next<S>(&mut self, body: &mut S) -> Option<Next>
    where
        S: Stream<Item = reqwest::Result<Bytes>> + Unpin,
    {
        let piece = async {
            let piece = body.next().await?;
            if let Some((state, request)) = &self.frozen {
                state.freezes.thawed(request).await;
            }
            let flows = flowing(&mut self.traffic).await;
            Some(flows.and_then(|()| piece.map_err(io::Error::other)))
        };
        let next = tokio::select! {
            () = Self::told(&mut self.cuts) => Some(Next::Piece(Err(closed()))),
            () = Self::told(&mut self.expiries), if !self.within_line => Some(Next::Expired(expiry())),
            piece = piece => piece.map(Next::Piece),
        };
        if let Some(Next::Piece(Ok(piece))) = &next {
            self.within_line = piece.last().is_some_and(|last| *last != b'\n');
        }
        next
    }
}

/// The event with which the API server ends a watch whose version it no longer has.
fn expiry() -> Bytes {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "too old resource version: said by the proxy", "reason": "Expired", "code": 410});
    format!("{}\n", json!({"type": "ERROR", "object": status})).into()
}

fn passed_on<S>(body: S, ends: Ends) -> impl Stream<Item = io::Result<Frame<Bytes>>>
where
    S: Stream<Item = reqwest::Result<Bytes>> + Unpin,
{
    futures::stream::unfold(Some((body, ends)), |open| async {
        let (mut body, mut ends) = open?;
        match ends.next(&mut body).await? {
            Next::Expired(last) => Some((Ok(Frame::data(last)), None)),
            Next::Piece(piece) => {
                let open = piece.is_ok().then_some((body, ends));
                Some((piece.map(Frame::data), open))
            }
        }
    })
}

/// A Status as the API server would send it.
fn refusal(code: u16) -> Response<Body> {
    let reason = match code {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        422 => "Invalid",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "",
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("{reason}: said by the proxy"), "reason": reason, "code": code,
    });
    let mut response = Response::new(full(status.to_string().into()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}
