//! From the apply of a single object to its Secret, beside all the others.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{PartialObjectMeta, ResourceExt as _};
use kube::runtime::watcher::{self, Event, watcher};
use tokio::time::{Instant, timeout};

use super::report::Figures;
use super::stage::Stage;
use super::{say, while_saying};

const PATIENCE: Duration = Duration::from_secs(30);
const MANAGED: &str = "app.kubernetes.io/managed-by=video-token-operator";

type Watched = watcher::Result<Event<PartialObjectMeta<Secret>>>;

/// One after the other: from before the request that makes the object to the watch event of its Secret.
pub(super) async fn measure(stage: &Stage, figures: &mut Figures) -> Result<()> {
    let count = stage.options.latency_objects;
    say(&format!("latency of {count} single objects"));
    let secrets: Api<PartialObjectMeta<Secret>> = Api::namespaced(stage.admin.clone(), &stage.namespace);
    let mut events = pin!(watcher(secrets, watcher::Config::default().labels(MANAGED)));
    seen(&mut events, |event| matches!(event, Event::InitDone)).await?;
    let mut times = Vec::new();
    for n in 0..count {
        stage.arrivals.reset();
        let begun = Instant::now();
        let made = stage.make(&stage.namespace, &format!("single-{n}"), 1).await?;
        let name = made.first().context("nothing made")?.name.clone();
        seen(&mut events, |event| matches!(event, Event::Apply(secret) if secret.name_any() == name)).await?;
        times.push(begun.elapsed());
        // the next begins when this one is done with
        let done = stage.arrivals.all(1, PATIENCE);
        while_saying("latency", || format!("{n} of {count}"), done).await?;
    }
    times.sort_unstable();
    let milliseconds = |share| percentile(&times, share).map(|time| time.as_secs_f64() * 1e3);
    figures.apply_to_secret_ms_p50 = milliseconds(50);
    figures.apply_to_secret_ms_p99 = milliseconds(99);
    Ok(())
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
