//! First issuance, restart and renewal of all tokens.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use chrono::{DateTime, Utc};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::counts::{Requests, whole};
use super::cpu::Cpu;
use super::report::Figures;
use super::stage::{Running, Stage};
use super::{latency, per_second, say, while_saying};

/// How long the operator may take to its first call, or between two tokens.
const PATIENCE: Duration = Duration::from_mins(1);

/// Without a request for this long it has done all that it had to do; what it does once every few seconds shows too.
const QUIET: Duration = Duration::from_secs(5);

/// After a restart it is watched for longer: it should do nothing at all.
const STILL: Duration = Duration::from_secs(20);

/// First issuance: all objects are there when the operator starts; measured from its first call of the token API,
/// which follows its lists, to the last status seen Ready. Returns when that was.
///
/// Meanwhile single objects of another namespace are applied, one after the other, for the latency beside a crowd.
pub(super) async fn first_issuance(stage: &Stage, figures: &mut Figures) -> Result<DateTime<Utc>> {
    let n = stage.options.n;
    say(&format!("first issuance: making {n} objects"));
    stage.make(&stage.namespace, "token", n).await?;
    let (api, cpu) = (Requests::of_apiserver(&stage.admin).await?, Cpu::now()?);
    let begun = Instant::now();
    let operator = stage.operator()?;
    let stop = Notify::new();
    let crowd = async {
        let arrived = tokens_arrive(stage, &operator, "first issuance").await;
        stop.notify_one();
        arrived
    };
    let (arrived, beside) = tokio::join!(crowd, latency::beside_a_crowd(stage, stop.notified()));
    let ((first, rate), beside) = (arrived?, beside?);
    let (last, tokens) = (Utc::now(), n + beside.len());
    figures.first_issue_tokens_per_s = Some(rate);
    let cost = Cpu::now()?.per_token(cpu, tokens);
    let requests = operator.settled(QUIET).await?;
    let api = Requests::of_apiserver(&stage.admin).await? - api;
    figures.first_issue(cost, [requests.writes, requests.gets].map(|total| each(total, tokens)));
    figures.beside_a_crowd(beside);
    figures.note(format!(
        "first issuance: {rate:.1} tokens/s, begun {:.2} s after the start",
        (first - begun).as_secs_f64()
    ));
    figures.note(format!("first issuance: CPU a token {cost}"));
    figures.note(format!("first issuance: {requests}; by the API server's count {api}"));
    let issued = stage.issued();
    if issued != tokens as u64 {
        figures.note(format!("first issuance: {issued} tokens issued for {tokens} objects"));
    }
    // the provider's status counts its objects, every few seconds
    stage.clear(&stage.singles_namespace).await?;
    operator.settled(QUIET * 2).await?;
    operator.stop().await?;
    Ok(last)
}

/// Waits for a token of each object. Returns the moment of the first call, and tokens a second from there.
async fn tokens_arrive(stage: &Stage, operator: &Running, what: &str) -> Result<(Instant, f64)> {
    let n = stage.options.n;
    stage.arrivals.reset();
    stage.next_call(PATIENCE).await.with_context(|| operator.log_tail())?;
    let first = Instant::now();
    let progress = || format!("{} of {n} tokens", stage.arrivals.tally().count);
    let all = while_saying(what, progress, stage.arrivals.all(n, PATIENCE)).await;
    let last = all.with_context(|| operator.log_tail())?.last;
    let rate = per_second(n, last - first);
    say(&format!("{what}: {rate:.1} tokens/s"));
    Ok((first, rate))
}

/// Restart with all objects served and none due.
pub(super) async fn restart(stage: &Stage, figures: &mut Figures) -> Result<Running> {
    let n = stage.options.n;
    say(&format!("restart with {n} objects"));
    let (issued, api, cpu) = (stage.issued(), Requests::of_apiserver(&stage.admin).await?, Cpu::now()?);
    let begun = Instant::now();
    let mut operator = stage.operator()?;
    operator.ready().await?;
    let ready = begun.elapsed();
    knows_all(&operator, n).await?;
    let knows = begun.elapsed();
    let cost = Cpu::now()?.per_token(cpu, n);
    let requests = operator.settled(STILL).await?;
    let api = Requests::of_apiserver(&stage.admin).await? - api;
    figures.restart_seconds = Some(knows.as_secs_f64());
    figures.restart_issuances = Some(stage.issued() - issued);
    figures.restart_secret_reads = Some(requests.secret_gets);
    figures.restart_writes = Some(requests.writes);
    let [ready, knows] = [ready, knows].map(|time| time.as_secs_f64());
    say(&format!("restart: ready after {ready:.2} s, leading and all tokens known after {knows:.2} s"));
    figures.note(format!("restart: ready after {ready:.2} s, leading and all tokens known after {knows:.2} s"));
    figures.note(format!("restart: CPU a token {cost}"));
    figures.note(format!("restart: {requests}; by the API server's count {api}"));
    Ok(operator)
}

/// Waits until it leads and calls every token ready.
async fn knows_all(operator: &Running, n: usize) -> Result<()> {
    let begun = Instant::now();
    loop {
        let metrics = operator.metrics().await?;
        let ready = whole(metrics.count("videotoken_tokens", &[("state", "ready")]));
        let leads = metrics.count("videotoken_leader", &[]) > 0.0;
        if leads && ready >= n as u64 {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            bail!("after {PATIENCE:?}: leader {leads}, {ready} of {n} tokens ready; {}", operator.log_tail());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Renewal of all: the operator is stopped where it stands until the last token is due, so that all are due at once
/// when it goes on; nothing asks for them but their age. Measured as the first issuance.
pub(super) async fn renewal(
    stage: &Stage,
    operator: &mut Running,
    due_in: Duration,
    figures: &mut Figures,
) -> Result<()> {
    let n = stage.options.n;
    let (before, api, issued) =
        (operator.requests().await?, Requests::of_apiserver(&stage.admin).await?, stage.issued());
    operator.pause()?;
    if stage.issued() != issued {
        bail!("tokens were renewed before all were due: this machine is too slow for their lives");
    }
    say(&format!("renewal: all {n} tokens are due in {} s; the operator sleeps", due_in.as_secs()));
    tokio::time::sleep(due_in + Duration::from_secs(1)).await;
    let (cpu, begun) = (Cpu::now()?, Instant::now());
    operator.resume()?;
    let (first, rate) = tokens_arrive(stage, operator, "renewal").await?;
    let cost = Cpu::now()?.per_token(cpu, n);
    let requests = operator.settled(QUIET).await? - before;
    let api = Requests::of_apiserver(&stage.admin).await? - api;
    figures.renewal_tokens_per_s = Some(rate);
    figures.renewal(cost);
    figures.writes_per_renewal = Some(each(requests.writes, n));
    figures.reads_per_renewal = Some(each(requests.reads(), n));
    figures
        .note(format!("renewal: {rate:.1} tokens/s, begun {:.2} s after all were due", (first - begun).as_secs_f64()));
    figures.note(format!("renewal: CPU a token {cost}"));
    figures.note(format!("renewal: {requests}; by the API server's count {api}"));
    let renewed = stage.issued() - issued;
    if renewed != n as u64 {
        figures.note(format!("renewal: {renewed} tokens issued for {n} objects"));
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss)] // thousands
fn each(total: u64, n: usize) -> f64 {
    total as f64 / n as f64
}
