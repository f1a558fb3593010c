//! One run: the story, what disturbs it, and the verdict.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::Options;
use super::disturbance::{Disturbance, Kind, When};
use super::judge::{Evidence, outlines, unrest};
use super::plan::Plan;
use super::point::Point;
use super::stage::Stage;
use crate::stand::proxy::{Exchange, Rule};
use crate::stand::{Failure, Held, Matcher, Observer, ObserverOptions};

/// From the last request to the verdict: longer than the operator gathers changes of a provider's status, 5 s.
const SILENCE: Duration = Duration::from_secs(7);

/// How long the operator may take to come to rest after the last disturbance. Watches that stall are given up after
/// half a minute and more.
const TO_REST: Duration = Duration::from_secs(90);

/// How long a stale view lasts.
const STALE: Duration = Duration::from_secs(5);

/// Bytes of a body that arrive before it stalls.
const STALLED_AT: usize = 20;

/// Seconds until a client has given up an answer that stalls.
const GIVEN_UP: u64 = 35;

/// A request of a run and the operator's last decision before it.
pub(super) type Seen = (Point, String);

/// How a run ended.
pub(super) struct Outcome {
    pub(super) failures: Vec<String>,
    /// The disturbances whose point was reached, in the plan's order.
    pub(super) reached: Vec<bool>,
    pub(super) seen: Vec<Seen>,
    pub(super) outlines: Vec<serde_json::Value>,
    pub(super) seconds: f64,
    /// The requests and the operators' logs.
    pub(super) record: String,
}

/// A disturbance that waits for its point.
struct Fault {
    reached: Arc<AtomicBool>,
    task: JoinHandle<Result<()>>,
}

impl Fault {
    /// Whether it will do nothing more, or has not begun.
    fn is_idle(&self) -> bool {
        !self.reached.load(Ordering::Relaxed) || self.task.is_finished()
    }
}

/// Plays a plan. Errors: the stand failed, not the operator.
pub(super) async fn play(options: &Options, plan: &Plan) -> Result<Outcome> {
    let begun = Instant::now();
    let lapses = plan.faults.iter().any(|(disturbance, _)| *disturbance == Disturbance::LeaseLapse);
    let elects = plan.scenario.elects() || lapses;
    let binary = options.binary()?;
    let stage = Arc::new(Stage::new(plan.scenario, &binary, options.previous.clone(), elects).await?);
    let control = stage.scene.azure.video_indexer.clone();
    let truth = move |token: &str| control.control().knows(token).map(|token| token.expires_at);
    let observer = Observer::start(stage.scene.plane.admin(), ObserverOptions::new(&stage.scene.namespace), truth)?;
    if let Err(error) = plan.scenario.prepare(&stage).await {
        anyhow::bail!("before the story: {error:#}\n{}", stage.logs().await);
    }
    let bystander = stage.scene.secrets().get("bystander").await?.metadata.resource_version;

    let mark = stage.scene.proxy.log().len();
    let faults: Vec<_> = plan.faults.iter().map(|(disturbance, point)| arm(&stage, *disturbance, point)).collect();
    let mut failures = Vec::new();
    if let Err(error) = plan.scenario.act(&stage).await {
        failures.push(format!("the story could not be told: {error:#}"));
    }
    failures.extend(come_to_rest(&stage, mark, &faults).await?);
    let at_rest = stage.scene.proxy.log().len();
    if failures.is_empty() {
        sleep(Duration::from_secs(options.quiet)).await;
        failures.extend(noise(&stage.scene.proxy.log()[at_rest..]));
        // what was at rest stays so
        failures.extend(unrest(&stage.scene).await?.map(|why| format!("no longer at rest: {why}")));
    }
    let has = |wanted: fn(&Disturbance) -> bool| plan.faults.iter().any(|(disturbance, _)| wanted(disturbance));
    let lost = has(|one| matches!(one, Disturbance::LeaseLapse));
    let evidence = Evidence {
        stage: &stage,
        scenario: plan.scenario,
        observed: observer.finish().await?,
        bystander,
        may_expire: has(|one| matches!(one, Disturbance::Late(31) | Disturbance::Stalled)),
        more: usize::from(lost),
    };
    failures.extend(evidence.judge().await?);
    let outlines = outlines(&stage.scene).await?;
    let reached = faults.iter().map(|fault| fault.reached.load(Ordering::Relaxed)).collect();
    for fault in faults {
        if fault.task.is_finished() {
            fault.task.await.context("a disturbance ended")?.context("disturb")?;
        } else {
            fault.task.abort();
        }
    }
    stage.kill().await;
    let logs = stage.logs().await;
    let log = stage.scene.proxy.log();
    let named = Point::name_all(&log[mark.min(log.len())..at_rest.min(log.len())]);
    let decided = decisions(&logs);
    let seen = named.iter().map(|(point, exchange)| (point.clone(), before(&decided, exchange))).collect();
    let record = record(&named, &logs);
    Ok(Outcome { failures, reached, seen, outlines, seconds: begun.elapsed().as_secs_f64(), record })
}

/// Waits until every disturbance is over, nothing is asked any more and everything is as it must be.
async fn come_to_rest(stage: &Stage, mark: usize, faults: &[Fault]) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    let (mut since, mut counted, mut last) = (Instant::now(), 0, Instant::now());
    loop {
        failures.extend(stage.revive().await?);
        if !failures.is_empty() {
            return Ok(failures);
        }
        if !faults.iter().all(Fault::is_idle) {
            (since, last) = (Instant::now(), Instant::now());
        }
        let count = asked(&stage.scene.proxy.log()[mark..]);
        if count != counted {
            (counted, last) = (count, Instant::now());
        }
        if last.elapsed() > SILENCE {
            match unrest(&stage.scene).await? {
                None => return Ok(failures),
                Some(why) if since.elapsed() > TO_REST => return Ok(vec![format!("not at rest: {why}")]),
                Some(_) => {}
            }
        } else if since.elapsed() > TO_REST * 2 {
            return Ok(vec![format!("{count} requests and no end (P18)")]);
        }
        sleep(Duration::from_millis(300)).await;
    }
}

/// Counts what says that the operator is at work.
fn asked(log: &[Exchange]) -> usize {
    Point::name_all(log).iter().filter(|(point, _)| point.verb() != "watch").count()
}

/// Tells of requests in a time when nothing is due. What a provider's status counts is gathered before it is written.
fn noise(log: &[Exchange]) -> Option<String> {
    let named = Point::name_all(log);
    let gathered = |point: &Point| point.request.starts_with("patch tokenproviders/status") && point.ordinal == 1;
    let asked = named.iter().filter(|(point, _)| point.verb() != "watch" && !gathered(point));
    let asked: Vec<_> = asked.map(|(point, _)| point.to_string()).collect();
    (!asked.is_empty()).then(|| format!("requests when nothing is due (P18): {}", asked.join(", ")))
}

/// Makes a disturbance wait for its point.
fn arm(stage: &Arc<Stage>, disturbance: Disturbance, point: &Point) -> Fault {
    let proxy = &stage.scene.proxy;
    let matcher = point.matcher();
    let failure = |failure| proxy.fail(matcher.clone(), failure);
    let reached = Arc::new(AtomicBool::new(false));
    let watched = |rule, tail| tokio::spawn(applied(rule, Arc::clone(&reached), Duration::from_secs(tail)));
    let task = match disturbance {
        Disturbance::Status(code) => watched(failure(Failure::Status(code)), 0),
        Disturbance::Closed => watched(failure(Failure::Closed), 0),
        Disturbance::Lost => watched(failure(Failure::LostAnswer), 0),
        Disturbance::Stalled => watched(failure(Failure::StalledBody(STALLED_AT)), GIVEN_UP),
        Disturbance::Late(seconds) => watched(proxy.delay(matcher, Duration::from_secs(seconds)), seconds),
        Disturbance::Crash(When::After) | Disturbance::User(_, When::After) => {
            tokio::spawn(strike(Arc::clone(stage), disturbance, proxy.hold_answer(matcher), Arc::clone(&reached)))
        }
        _ => tokio::spawn(strike(Arc::clone(stage), disturbance, proxy.hold(matcher), Arc::clone(&reached))),
    };
    Fault { reached, task }
}

/// Waits until a rule has been applied and its effect is over.
async fn applied(rule: Rule, reached: Arc<AtomicBool>, tail: Duration) -> Result<()> {
    while rule.hits() == 0 {
        sleep(Duration::from_millis(100)).await;
    }
    reached.store(true, Ordering::Relaxed);
    sleep(tail).await;
    Ok(())
}

/// Waits for the request and does what is to be done at it.
async fn strike(stage: Arc<Stage>, disturbance: Disturbance, held: Held, reached: Arc<AtomicBool>) -> Result<()> {
    held.next().await;
    reached.store(true, Ordering::Relaxed);
    let proxy = &stage.scene.proxy;
    match disturbance {
        Disturbance::Crash(_) => {
            stage.kill().await;
            held.drop_all();
            stage.start().await?;
        }
        Disturbance::CrashLate => {
            stage.kill().await;
            stage.start().await?;
            sleep(Duration::from_secs(1)).await;
            held.release();
        }
        Disturbance::Stale(kind) | Disturbance::StaleRestart(kind) => {
            let view = proxy.freeze_at(Matcher::any().resource(kind.plural()), stage.version().await?);
            held.release();
            if matches!(disturbance, Disturbance::StaleRestart(_)) {
                sleep(Duration::from_secs(1)).await;
                stage.kill().await;
                stage.start().await?;
            }
            sleep(STALE).await;
            drop(view);
        }
        Disturbance::Gone => {
            proxy.expire_watches();
            held.release();
        }
        Disturbance::Merged => {
            let kinds = [Kind::Tokens, Kind::Secrets, Kind::Providers];
            let silent = kinds.map(|kind| proxy.freeze(Matcher::watch(kind.plural())));
            held.release();
            sleep(Duration::from_secs(1)).await;
            proxy.expire_watches();
            sleep(Duration::from_millis(100)).await;
            drop(silent);
        }
        Disturbance::User(action, _) => {
            stage.user(action).await?;
            // its event reaches the operator before the request goes on
            sleep(Duration::from_millis(500)).await;
            held.release();
        }
        Disturbance::LeaseLapse => lapse(&stage, held).await,
        // These are rules of the proxy's.
        Disturbance::Status(_)
        | Disturbance::Closed
        | Disturbance::Lost
        | Disturbance::Late(_)
        | Disturbance::Stalled => held.release(),
    }
    Ok(())
}

/// Keeps the Lease from being renewed until it has lapsed, and lets the held request go on then.
async fn lapse(stage: &Stage, held: Held) {
    stage.lapsing.store(true, Ordering::Relaxed);
    let leases = Matcher::any().resource("leases");
    let cut = stage.scene.proxy.fail(leases, Failure::Closed);
    sleep(Duration::from_secs(7)).await;
    held.release();
    drop(cut);
    sleep(Duration::from_secs(2)).await;
}

type Decision = (chrono::DateTime<chrono::Utc>, String);

/// Reads the decisions from logs: when, and what for which cause.
fn decisions(logs: &str) -> Vec<Decision> {
    let decision = |line: &str| {
        let at = line.split_whitespace().next()?.parse().ok()?;
        let (_, act) = line.split_once(" act=")?;
        // what is decided, without its details
        let what: String = act.chars().take_while(|c| c.is_alphanumeric()).collect();
        let cause = act.split_once(" cause=").map_or("", |(_, cause)| cause);
        let cause: String = cause.chars().take_while(|c| !matches!(c, ' ' | '{')).collect();
        Some((at, format!("{what} {cause}")))
    };
    logs.lines().filter(|line| line.contains("decided")).filter_map(decision).collect()
}

/// Returns the last decision before a request.
fn before(decisions: &[Decision], exchange: &Exchange) -> String {
    let last = decisions.iter().filter(|(at, _)| *at <= exchange.at).max_by_key(|(at, _)| *at);
    last.map_or_else(|| "none".to_owned(), |(_, what)| what.clone())
}

/// Returns what someone needs who looks into a failure.
fn record(named: &[(Point, &Exchange)], logs: &str) -> String {
    let line = |(point, exchange): &(Point, &Exchange)| {
        let status = exchange.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        format!("{} {status} {point}\n", exchange.at.format("%H:%M:%S%.3f"))
    };
    let requests: String = named.iter().map(line).collect();
    format!("{requests}\n{logs}")
}
