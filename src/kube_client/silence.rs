//! Detects responses whose body stops half-way. Without a time limit, a dead connection looks like a slow one.

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::{BoxError, Layer, Service};

/// First words of the error for a body that was silent for too long.
pub const SILENCE: &str = "nothing came for";

/// Maximum silence of a body.
const MOST: Duration = Duration::from_secs(30);

/// Maximum silence of a watch. The API server sends a bookmark every minute.
const MOST_OF_A_WATCH: Duration = Duration::from_secs(90);

/// Layer that ends the body of a response after too long a silence.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndSilence;

impl<S> Layer<S> for EndSilence {
    type Service = Ending<S>;

    fn layer(&self, inner: S) -> Ending<S> {
        Ending(inner)
    }
}

/// Service with limited silence; see [`EndSilence`].
#[derive(Clone, Debug)]
pub(super) struct Ending<S>(S);

impl<S, A, B> Service<Request<A>> for Ending<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<Bounded<B>>;
    type Error = S::Error;
    type Future = futures::future::BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let (verb, _) = crate::metrics::kind(request.method(), request.uri());
        let most = if verb == "watch" { MOST_OF_A_WATCH } else { MOST };
        let answer = self.0.call(request);
        Box::pin(async move { Ok(answer.await?.map(|inner| Bounded { inner, most, end: None })) })
    }
}

/// Body that ends with an error if no data arrives for `most`.
#[derive(Debug)]
pub(super) struct Bounded<B> {
    inner: B,
    most: Duration,
    /// Timer that runs while the body waits for data.
    end: Option<Pin<Box<Sleep>>>,
}

impl<B> Body for Bounded<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            this.end = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let most = this.most;
        let end = this.end.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + most)));
        ready!(end.as_mut().poll(cx));
        this.end = None;
        Poll::Ready(Some(Err(format!("{SILENCE} {} s", most.as_secs()).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use axum::body::{Body as Streamed, Bytes};
    use futures::{StreamExt, stream};
    use tower::{ServiceBuilder, ServiceExt, service_fn};

    /// Returns after how many seconds a body ends that sends `pieces` pieces, one every `every` seconds, and then is
    /// silent. Also returns the error.
    async fn ends_after(uri: &str, pieces: usize, every: u64) -> (u64, String) {
        let answer = service_fn(move |_: Request<()>| async move {
            let ticks = stream::iter(0..pieces).then(move |_| async move {
                tokio::time::sleep(Duration::from_secs(every)).await;
                Ok::<_, std::io::Error>(Bytes::from_static(b"x"))
            });
            Ok::<_, BoxError>(Response::new(Streamed::from_stream(ticks.chain(stream::pending()))))
        });
        let service = ServiceBuilder::new().layer(EndSilence).service(answer);
        let begun = Instant::now();
        let answer = service.oneshot(Request::get(uri).body(()).unwrap()).await.unwrap();
        let mut body = answer.into_body();
        loop {
            match std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.unwrap() {
                Ok(_) => {}
                Err(error) => return (begun.elapsed().as_secs(), error.to_string()),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn p17_a_body_over_which_nothing_comes_ends_and_a_slow_one_does_not() {
        let (list, watch) = ("/api/v1/secrets", "/api/v1/secrets?watch=true&resourceVersion=1");
        for (uri, pieces, every, expected) in
            [(list, 0, 0, 30), (list, 10, 29, 290 + 30), (watch, 0, 0, 90), (watch, 10, 60, 600 + 90)]
        {
            let (after, error) = ends_after(uri, pieces, every).await;
            assert!(
                (expected..=expected + 1).contains(&after) && error.starts_with(SILENCE),
                "{uri}: {after} s, {error}"
            );
        }
    }
}
