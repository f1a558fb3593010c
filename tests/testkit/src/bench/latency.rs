//! From the apply of a single object to its Secret: beside tokens at rest, and beside a crowd.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{PartialObjectMeta, ResourceExt as _};
use kube::runtime::watcher::{self, Event, watcher};
use tokio::time::{Instant, timeout};

use super::arrivals::SINGLE;
use super::report::Figures;
use super::stage::Stage;
use super::{say, while_saying};

const PATIENCE: Duration = Duration::from_secs(30);
const MANAGED: &str = "app.kubernetes.io/managed-by=video-token-operator";

type Watched = watcher::Result<Event<PartialObjectMeta<Secret>>>;

/// One after the other, with nothing else to do.
pub(super) async fn measure(stage: &Stage, figures: &mut Figures) -> Result<()> {
    let count = stage.options.latency_objects;
    say(&format!("latency of {count} single objects"));
    let singles = Singles::watch(stage, &stage.namespace).await?;
    let work = singles.apply(stage, count, std::future::pending());
    let mut times = while_saying("latency", || format!("of {count} objects"), work).await?;
    [figures.apply_to_secret_ms_p50, figures.apply_to_secret_ms_p99] = percentiles(&mut times);
    Ok(())
}

/// One after the other in a namespace of their own, until `stop`, while the operator issues the tokens of a crowd.
pub(super) async fn beside_a_crowd(stage: &Stage, stop: impl Future<Output = ()>) -> Result<Vec<Duration>> {
    let count = if stage.options.skip_latency { 0 } else { stage.options.latency_objects };
    Singles::watch(stage, &stage.singles_namespace).await?.apply(stage, count, stop).await
}

/// The 50th and the 99th percentile, in milliseconds.
pub(super) fn percentiles(times: &mut [Duration]) -> [Option<f64>; 2] {
    times.sort_unstable();
    [50, 99].map(|share| percentile(times, share).map(|time| time.as_secs_f64() * 1e3))
}

/// Single objects of one namespace, and the watch that shows their Secrets.
struct Singles {
    namespace: String,
    events: BoxStream<'static, Watched>,
}

impl Singles {
    async fn watch(stage: &Stage, namespace: &str) -> Result<Self> {
        let secrets: Api<PartialObjectMeta<Secret>> = Api::namespaced(stage.admin.clone(), namespace);
        let mut events = watcher(secrets, watcher::Config::default().labels(MANAGED)).boxed();
        seen(&mut events, |event| matches!(event, Event::InitDone)).await?;
        Ok(Self { namespace: namespace.to_owned(), events })
    }

    /// Applies up to `count` objects, the next when the last has its Secret. Returns the time of each: from before the
    /// request that makes the object to the watch event of its Secret.
    async fn apply(mut self, stage: &Stage, count: usize, stop: impl Future<Output = ()>) -> Result<Vec<Duration>> {
        let (mut stop, mut times) = (pin!(stop), Vec::new());
        for n in 0..count {
            if futures::poll!(&mut stop).is_ready() {
                break;
            }
            let begun = Instant::now();
            let made = stage.make(&self.namespace, &format!("{SINGLE}{n}"), 1).await?;
            let name = made.first().context("nothing made")?.name.clone();
            seen(&mut self.events, |event| matches!(event, Event::Apply(secret) if secret.name_any() == name)).await?;
            times.push(begun.elapsed());
        }
        Ok(times)
    }
}

async fn seen(
    events: &mut (impl Stream<Item = Watched> + Unpin),
    wanted: impl Fn(&Event<PartialObjectMeta<Secret>>) -> bool,
) -> Result<()> {
    loop {
        let event = timeout(PATIENCE, events.next()).await.with_context(|| format!("no event for {PATIENCE:?}"))?;
        if wanted(&event.context("the watch has ended")??) {
            return Ok(());
        }
    }
}

/// The nearest rank: of 50 values, the 99th percentile is the largest.
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let ms = |n: usize| Duration::from_millis(n as u64);
        let hundred: Vec<_> = (1..=100).map(ms).collect();
        let cases =
            [(&hundred[..], 50, Some(50)), (&hundred, 99, Some(99)), (&hundred[..50], 99, Some(50)), (&[], 50, None)];
        for (times, percent, expected) in cases {
            assert_eq!(percentile(times, percent), expected.map(ms), "{percent} of {}", times.len());
        }
        assert_eq!(percentile(&hundred[..1], 50), Some(ms(1)));
    }
}
