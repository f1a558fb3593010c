//! `make isolation`: what the operator's neighbours do to a victim (P17, P18, P21).
//!
//! For each attack of a list a victim's short-lived tokens, in another namespace and of another account, are looked at
//! while the attack goes on: how late their renewals are, whether they expire, what the attack costs the operator.
//!
//! | File | What it is |
//! |---|---|
//! | [`attack`] | the list: names, how long each lasts, what the operator may spend on it |
//! | `attacks` | how each is made |
//! | `ground`, `tenant` | victim, attacker, proxy and operator of one row; a namespace with its provider |
//! | `victim`, `gauge` | looks at the victim's tokens; at the operator's memory and health |
//! | [`report`] | figures, table and verdict |

pub mod attack;
pub(crate) mod attacks;
pub(crate) mod gauge;
pub(crate) mod ground;
pub mod report;
pub(crate) mod tenant;
pub(crate) mod victim;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use chrono::Utc;
use clap::Args;
use futures::{StreamExt as _, stream};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::stand::{ControlPlane, ControlPlaneOptions, Matcher, Observer, ObserverOptions, operator};
use attack::{Attack, Size};
use ground::{Ground, VICTIMS};
use report::{Figures, Row};
use victim::Watch;

/// What to run.
#[derive(Args, Clone, Debug, Default)]
pub struct Options {
    /// Only this attack; repeatable
    #[arg(long, value_name = "ATTACK", value_parser = Attack::named)]
    pub only: Vec<Attack>,

    /// Fewer and smaller attacks, some beside each other: three minutes
    #[arg(long)]
    pub short: bool,

    /// How many of the attacks that leave the processors alone are made at once, each with an operator of its own
    /// [default: 2, or 4 with --short]
    #[arg(long, value_name = "COUNT")]
    pub at_once: Option<usize>,

    /// The operator's program [default: the one beside this program]
    #[arg(long, env = "VTO_OPERATOR")]
    pub operator: Option<PathBuf>,

    /// Where the figures go [default: isolation.json in cargo's target directory]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// Where to copy the operators' logs, if anywhere
    #[arg(long, value_name = "DIRECTORY")]
    pub logs: Option<PathBuf>,
}

/// How long the victim's first tokens may take.
const FIRST_TOKENS: Duration = Duration::from_secs(30);

/// Makes each attack, and tells what it came to.
pub async fn run(options: &Options) -> Result<Figures> {
    let binary = options.operator.clone().map_or_else(operator::binary, Ok)?;
    let binary = std::path::absolute(binary)?;
    if !binary.is_file() {
        bail!("{} is no file: build the operator with cargo build", binary.display());
    }
    let chosen = |attack: &Attack| match options.only.as_slice() {
        [] => !options.short || attack.is_in_short_form(),
        only => only.contains(attack),
    };
    let (heavy, light): (Vec<_>, Vec<_>) = Attack::ALL.into_iter().filter(chosen).partition(|one| one.is_heavy());
    say(&format!("starting the control plane; {} attacks", light.len() + heavy.len()));
    let plane = ControlPlane::start(ControlPlaneOptions::default()).await?;
    let at_once = options.at_once.unwrap_or(if options.short { 4 } else { 2 }).max(1);
    let of = |attack| row(options, &plane, &binary, attack);
    let mut rows: Vec<Row> = stream::iter(light).map(of).buffered(at_once).collect().await;
    for attack in heavy {
        rows.push(row(options, &plane, &binary, attack).await);
    }
    Ok(Figures { operator: binary, short: options.short, rows })
}

/// One attack. What breaks it is the row's to tell.
async fn row(options: &Options, plane: &ControlPlane, binary: &Path, attack: Attack) -> Row {
    say(&format!("{}: {}", attack.name(), attack.about()));
    let size = Size { short: options.short };
    let made = make(options, plane, binary, attack, size).await;
    let broken = |error: anyhow::Error| Row { broken: Some(format!("{error:#}")), ..Row::default() };
    let mut row = made.unwrap_or_else(broken);
    attack.name().clone_into(&mut row.attack);
    row.load = load().unwrap_or_default();
    let row = row.judged();
    let told = if row.failures.is_empty() { "passed".to_owned() } else { row.failures.join("; ") };
    say(&format!("{}: {told}", attack.name()));
    row
}

async fn make(options: &Options, plane: &ControlPlane, binary: &Path, attack: Attack, size: Size) -> Result<Row> {
    let ground = Ground::lay(plane, binary, size, attack.name()).await?;
    attacks::prepare(attack, &ground).await.context("prepare the attack")?;
    let control = ground.victim.control().clone();
    let truth = move |token: &str| control.knows(token).map(|known| known.expires_at);
    let every = ObserverOptions { namespace: Some(ground.victim.namespace.clone()), every: Duration::from_millis(500) };
    let observer = Observer::start(plane.admin(), every, truth)?;
    let watch = Watch::start(ground.admin.clone(), ground.victim.namespace.clone());
    ground.restart().await?;
    let victims = (0..VICTIMS).map(|n| format!("victim-{n}"));
    ground.victim.make_tokens(victims, &json!({})).await?;
    let mut broken = ground.victim.ready(VICTIMS, FIRST_TOKENS).await.err().map(|error| format!("{error:#}"));

    let begun = Instant::now();
    if broken.is_none() {
        let window = attack.window(size);
        let pressed = async {
            attacks::press(attack, &ground).await.context("make the attack")?;
            std::future::pending::<Result<()>>().await
        };
        tokio::select! {
            pressed = pressed => broken = pressed.err().map(|error| format!("{error:#}")),
            () = sleep(window) => {}
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let (renewals, health) = (watch.renewals(), ground.gauge.health());
    if let Some(ended) = ground.ended().await {
        broken = Some(ended);
    }
    if broken.is_none() && !renewals.fell_due() {
        broken = Some("no renewal fell due: the row shows nothing".to_owned());
    }
    let seen = observer.finish().await?;
    ground.stop(options.logs.as_ref(), attack.name()).await;
    let bounds = attack.bounds(size);
    let namespace = &ground.attacker.namespace;
    let writes = ["create", "update", "patch", "delete"];
    let secrets = |verb: &str| Matcher::any().verb(verb).resource("secrets").namespace(namespace);
    let row = Row {
        seconds,
        late_seconds: renewals.latest.as_seconds_f64().max(0.0),
        renewals: renewals.count,
        expired_seconds: seen.expired().as_seconds_f64(),
        livez_asked: health.asked,
        livez_failed: health.failed,
        peak_bytes: health.peak_bytes,
        peak_bound: report::chart_limit()?,
        calls: ground.attacker.control().counters().requests,
        calls_bound: bounds.calls,
        writes: writes.iter().map(|verb| ground.proxy.count(&secrets(verb))).sum(),
        writes_bound: bounds.writes,
        requests: ground.proxy.count(&Matcher::any().namespace(namespace)),
        broken,
        ..Row::default()
    };
    ground.clear().await?;
    Ok(row)
}

/// The load average over a minute: what else the machine does.
fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// Says on stderr what goes on.
fn say(text: &str) {
    // nobody reads along: then nobody misses it
    let _ = writeln!(std::io::stderr(), "isolation: {} {text}", Utc::now().format("%H:%M:%S"));
}
