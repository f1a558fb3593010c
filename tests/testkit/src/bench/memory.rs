//! The operator's resident anonymous memory: idle, with all objects, and after relists.

use std::time::Duration;

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::time::Instant;

use super::report::Figures;
use super::say;
use super::stage::{Running, Stage};

/// The allocator gives back what has been free for ten seconds.
const GIVE_BACK: Duration = Duration::from_secs(25);

const QUIET: Duration = Duration::from_secs(3);

const RELISTS: usize = 2;

/// With a provider and no objects.
pub(super) async fn idle(stage: &Stage, figures: &mut Figures) -> Result<()> {
    say("memory: idle");
    let mut operator = stage.operator()?;
    operator.ready().await?;
    let idle = settled(&operator).await?;
    figures.idle_rss_bytes = Some(idle);
    say(&format!("memory: idle {}", megabytes(idle)));
    operator.stop().await
}

/// With all objects, each issued by this process; then after the API server has forgotten what the operator had seen.
pub(super) async fn with_objects(stage: &mut Stage, operator: &mut Running, figures: &mut Figures) -> Result<()> {
    say("memory: with all objects");
    let before = settled(operator).await?;
    for relist in 1..=RELISTS {
        say(&format!("memory: relist {relist} of {RELISTS}: {} before", megabytes(before)));
        forced_relist(stage, operator).await?;
    }
    let after = settled(operator).await?;
    say(&format!("memory: {} after", megabytes(after)));
    figures.note(format!(
        "memory: {} with all objects, {} after {RELISTS} relists",
        megabytes(before),
        megabytes(after)
    ));
    if let Some(idle) = figures.idle_rss_bytes {
        figures.rss_bytes_per_token = Some(per_token(after, idle, stage.options.n));
        let before = per_token(before, idle, stage.options.n);
        figures.note(format!("memory: {before:.0} bytes a token above idle before the relists"));
    }
    Ok(())
}

/// With all objects and with half of them, each in a new process, so that what a process kept of earlier work doesn't
/// count.
pub(super) async fn slope(stage: &Stage, figures: &mut Figures) -> Result<()> {
    say("memory: a new process with all objects, then with half of them");
    let all = in_new_process(stage).await?;
    let half = stage.options.n / 2;
    stage.delete_tokens(&stage.namespace, half..stage.options.n).await?;
    let with_half = in_new_process(stage).await?;
    let [some, more] = [with_half, all].map(megabytes);
    figures.note(format!("memory of a new process: {some} with {half} objects, {more} with {}", stage.options.n));
    figures.rss_slope_bytes_per_token = Some(per_token(all, with_half, stage.options.n - half));
    Ok(())
}

async fn in_new_process(stage: &Stage) -> Result<u64> {
    let mut operator = stage.operator()?;
    operator.ready().await?;
    let memory = settled(&operator).await?;
    operator.stop().await?;
    Ok(memory)
}

async fn settled(operator: &Running) -> Result<u64> {
    operator.settled(QUIET).await?;
    tokio::time::sleep(GIVE_BACK).await;
    operator.rss().await
}

/// Restarts the API server after a few writes: it can't go on from where the watches were, and answers 410 Gone.
async fn forced_relist(stage: &mut Stage, operator: &Running) -> Result<()> {
    let lists = lists(operator).await?;
    let maps: Api<ConfigMap> = Api::namespaced(stage.admin.clone(), &stage.raw_namespace);
    for _ in 0..3 {
        let metadata = ObjectMeta { generate_name: Some("later-".to_owned()), ..ObjectMeta::default() };
        maps.create(&PostParams::default(), &ConfigMap { metadata, ..ConfigMap::default() }).await?;
    }
    stage.plane.stop_apiserver();
    stage.plane.start_apiserver().await?;
    let begun = Instant::now();
    while self::lists(operator).await?.iter().zip(&lists).any(|(now, before)| now <= before) {
        if begun.elapsed() > Duration::from_mins(2) {
            bail!("the operator didn't list again; {}", operator.log_tail());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

/// How many pages it has listed of each of the two that grow with the tokens.
async fn lists(operator: &Running) -> Result<[f64; 2]> {
    let metrics = operator.metrics().await?;
    let of = |resource| {
        let labels = [("verb", "list"), ("resource", resource), ("code_class", "2xx")];
        metrics.count("videotoken_kubernetes_requests_total", &labels)
    };
    Ok(["secrets", "videoaccesstokens"].map(of))
}

#[allow(clippy::cast_precision_loss)] // far below what a float holds exactly
fn per_token(with: u64, idle: u64, n: usize) -> f64 {
    (with as f64 - idle as f64) / n as f64
}

#[allow(clippy::cast_precision_loss)]
pub(super) fn megabytes(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}
