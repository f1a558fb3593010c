//! Both operators' metrics over the run, and the Grafana dashboard's panels drawn from them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Options;
use super::stage::Stage;
use crate::dashboard::{self, prometheus::Scrapes};

const EVERY: Duration = Duration::from_secs(2);

/// What `$__rate_interval` comes to: four scrapes, and one that was missed.
const RATE: &str = "10s";

/// Scrapes whoever runs, for so long.
pub(super) async fn every_two_seconds(stage: Arc<Stage>, length: Duration) -> Scrapes {
    let (mut scrapes, mut targets) = (Scrapes::default(), BTreeMap::new());
    let (mut every, end) = (interval(EVERY), Instant::now() + length);
    every.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while Instant::now() < end {
        every.tick().await;
        for seat in &stage.operators.seats {
            targets.extend(seat.metrics().await.map(|(url, pod)| (pod, url)));
        }
        // one that was killed answers no more, and its series end
        for (pod, url) in &targets {
            scrapes.take(url, pod).await;
        }
    }
    scrapes
}

/// The dashboard's panels with what the scrapes told, as SVG.
pub(super) fn picture(scrapes: &Scrapes, options: &Options) -> Result<String> {
    let panels = dashboard::panels(&serde_json::from_str(&std::fs::read_to_string(dashboard::file())?)?)?;
    let answers = dashboard::answers(&panels, scrapes, RATE)?;
    let title = format!(
        "video-token-operator: {} tokens that live 30 s to 2 min, two operators, seven provider types, {} min of faults",
        options.objects, options.minutes
    );
    Ok(dashboard::draw(&title, &panels, &answers, scrapes))
}
