//! `make hostile`: objects that nobody would write, beside a victim (P17, P21).
//!
//! Objects are generated from the CRDs' own schemas: fields at their bounds, beyond them and of the wrong type, texts that
//! have broken programs before, templates by a grammar. The API server refuses an object with the place of the mistake,
//! or the operator tells its state in a condition. Neither costs a token of another namespace its renewal, the process
//! its memory, or its life.
//!
//! | File | What it is |
//! |---|---|
//! | `schema` | values for the fields of a CRD |
//! | `text` | texts, keys and templates |

pub(crate) mod schema;
mod text;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use futures::{StreamExt as _, stream};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams};
use serde_json::{Value, json};

use crate::isolation::attack::Size;
use crate::isolation::ground::{Ground, VICTIMS};
use crate::isolation::report::{Row, chart_limit};
use crate::isolation::tenant::PROVIDER;
use crate::isolation::victim::Watch;
use crate::soak::schedule::Dice;
use crate::stand::wait::{condition, poll};
use crate::stand::{ControlPlane, ControlPlaneOptions, Observer, ObserverOptions, operator};
use schema::Schema;

/// What to run.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// What is generated depends on it alone
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// How many objects
    #[arg(long, default_value_t = 2000)]
    pub objects: u64,

    /// Only the object of this number, as a failure names it
    #[arg(long)]
    pub only: Option<u64>,

    /// The operator's program [default: the one beside this program]
    #[arg(long, env = "VTO_OPERATOR")]
    pub operator: Option<PathBuf>,

    /// Where to copy the operator's log, if anywhere
    #[arg(long, value_name = "DIRECTORY")]
    pub logs: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 1, objects: 2000, only: None, operator: None, logs: None }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Objects that the API server took.
    pub taken: u64,
    /// Of these, those whose token was issued.
    pub ready: u64,
    /// Objects that the API server refused.
    pub refused: u64,
    /// What the victim and the process suffered.
    pub row: Row,
    /// What is wrong with single objects.
    pub faults: Vec<String>,
}

impl Outcome {
    /// Everything that fails the run; empty: it passed.
    pub fn failures(&self) -> Vec<String> {
        self.row.failures.iter().chain(&self.faults).cloned().collect()
    }

    /// One line of figures, and below it what failed.
    pub fn text(&self) -> String {
        let Row { late_seconds, renewals, peak_bytes, livez_failed, livez_asked, .. } = &self.row;
        let mut text = format!(
            "{} objects taken ({} with a token), {} refused; the victim: {renewals} renewals, at most {late_seconds:.1} s \
             late; /livez failed {livez_failed} of {livez_asked}; peak of memory {} MB",
            self.taken,
            self.ready,
            self.refused,
            peak_bytes / 1_000_000,
        );
        for failure in self.failures() {
            text.push('\n');
            text.push_str(&failure);
        }
        text
    }
}

/// Objects that stand at once.
const BATCH: usize = 40;

/// How many are applied at once.
const AT_ONCE: usize = 8;

/// Time in which the operator tells the state of each object of a batch.
const PATIENCE: Duration = Duration::from_mins(2);

/// How long the victim's first tokens may take.
const FIRST_TOKENS: Duration = Duration::from_secs(30);

/// Applies hostile objects in batches, and judges what the API server and the operator make of them.
///
/// # Errors
/// Returns an error if the stand or the operator can't be started.
pub async fn run(options: &Options) -> Result<Outcome> {
    let binary = std::path::absolute(options.operator.clone().map_or_else(operator::binary, Ok)?)?;
    say("starting the control plane");
    let plane = ControlPlane::start(ControlPlaneOptions::default()).await?;
    let ground = Ground::lay(&plane, &binary, Size { short: true }, "hostile").await?;
    let control = ground.victim.control().clone();
    let truth = move |token: &str| control.knows(token).map(|known| known.expires_at);
    let every = ObserverOptions { namespace: Some(ground.victim.namespace.clone()), every: Duration::from_millis(500) };
    let observer = Observer::start(plane.admin(), every, truth)?;
    let watch = Watch::start(ground.admin.clone(), ground.victim.namespace.clone());
    ground.restart().await?;
    ground.victim.make_tokens((0..VICTIMS).map(|n| format!("victim-{n}")), &json!({})).await?;
    ground.victim.ready(VICTIMS, FIRST_TOKENS).await?;

    let mut outcome = Outcome::default();
    let generator = Generator::new(options.seed)?;
    let numbers: Vec<u64> = options.only.map_or_else(|| (0..options.objects).collect(), |only| vec![only]);
    for batch in numbers.chunks(BATCH) {
        let objects = batch.iter().map(|number| generator.object(*number, &ground)).collect();
        let broken = press(&ground, objects, &mut outcome).await.err().map(|error| format!("{error:#}"));
        let ended = ground.ended().await;
        outcome.faults.extend(broken.into_iter().chain(ended.clone()));
        let last = batch.last().copied().unwrap_or_default();
        say(&format!("{} objects: {} taken, {} refused", last + 1, outcome.taken, outcome.refused));
        if let Some(ended) = ended {
            outcome.row.broken = Some(format!("objects {batch:?}: {ended}"));
            break;
        }
    }
    // A short run ends before the victim's first renewal is due. One that never comes is the row's failure.
    let renewed = async || if watch.renewals().renewed() { Ok(()) } else { Err("none yet") };
    let _ = poll(FIRST_TOKENS, "a renewal of the victim's", renewed).await;
    let (renewals, health) = (watch.renewals(), ground.gauge.health());
    let seen = observer.finish().await?;
    ground.stop(options.logs.as_ref(), "hostile").await;
    outcome.row = Row {
        attack: format!("hostile objects, seed {}", options.seed),
        late_seconds: renewals.latest.as_seconds_f64().max(0.0),
        renewals: renewals.count,
        expired_seconds: seen.expired().as_seconds_f64(),
        livez_asked: health.asked,
        livez_failed: health.failed,
        peak_bytes: health.peak_bytes,
        peak_bound: chart_limit()?,
        broken: outcome.row.broken.take(),
        ..Row::default()
    }
    .judged();
    Ok(outcome)
}

/// Creates the objects of one batch, waits for the operator's word about each that was taken, and deletes them.
async fn press(ground: &Ground, objects: Vec<(u64, Value)>, outcome: &mut Outcome) -> Result<()> {
    let created: Vec<_> =
        stream::iter(objects).map(|(number, object)| create(ground, number, object)).buffered(AT_ONCE).collect().await;
    let mut taken = Vec::new();
    for one in created {
        match one {
            Ok(Some(object)) => taken.push(object),
            Ok(None) => outcome.refused += 1,
            Err(fault) => outcome.faults.push(format!("{fault:#}")),
        }
    }
    outcome.taken += taken.len() as u64;
    for kind in ["TokenProvider", "VideoAccessToken"] {
        let api = ground.attacker.api(kind);
        let mine: Vec<&Taken> = taken.iter().filter(|one| one.kind == kind).collect();
        let told = poll(PATIENCE, "the operator's word", async || {
            let all = api.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            let silent: Vec<String> = mine
                .iter()
                .filter_map(|one| {
                    let object = all.items.iter().find(|object| object.name_any() == one.name)?;
                    let why = silent(object)?;
                    Some(format!("object {} ({kind} {}): {why}", one.number, one.name))
                })
                .collect();
            if silent.is_empty() { Ok(all.items) } else { Err(silent.join("; ")) }
        })
        .await;
        match told {
            Ok(all) if kind == "VideoAccessToken" => {
                let ready =
                    |object: &&DynamicObject| condition(object, "Ready").is_some_and(|told| told.status == "True");
                outcome.ready += all.iter().filter(ready).count() as u64;
            }
            Ok(_) => {}
            Err(error) => outcome.faults.push(format!("{error:#}")),
        }
    }
    for one in taken {
        let api = ground.attacker.api(one.kind);
        match api.delete(&one.name, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error).with_context(|| format!("delete {} {}", one.kind, one.name)),
        }
    }
    ground.attacker.apply(&ground.attacker.token_provider(PROVIDER, &json!({}))).await
}

/// Why an object has no word of the operator's about its current spec. `None`: it has.
fn silent(object: &DynamicObject) -> Option<String> {
    let observed = object.data.pointer("/status/observedGeneration").and_then(Value::as_i64);
    if observed != object.metadata.generation {
        return Some("no status of its generation".to_owned());
    }
    let told = ["Ready", "Stalled"].into_iter().filter_map(|kind| condition(object, kind));
    let speaks =
        told.into_iter().any(|told| told.status == "True" || (!told.reason.is_empty() && !told.message.is_empty()));
    (!speaks).then(|| format!("no condition says why: {}", object.data["status"]))
}

/// An object that the API server took.
struct Taken {
    number: u64,
    kind: &'static str,
    name: String,
}

/// Creates one object. `None`: it was refused, as it should be.
async fn create(ground: &Ground, number: u64, value: Value) -> Result<Option<Taken>> {
    let kind = if value["kind"] == "TokenProvider" { "TokenProvider" } else { "VideoAccessToken" };
    let shown = || {
        let text: String = value.to_string().chars().take(600).collect();
        format!("object {number}: {text}")
    };
    // What isn't an object of the kind at all, kube's client can't send.
    let Ok(object) = serde_json::from_value::<DynamicObject>(value.clone()) else { return Ok(None) };
    match ground.attacker.api(kind).create(&PostParams::default(), &object).await {
        Ok(stored) => Ok(Some(Taken { number, kind, name: stored.name_any() })),
        Err(kube::Error::Api(status)) => {
            let too_large = status.message.contains("too large") || status.message.contains("limit is");
            let says_where = ["spec", "metadata", "name", "annotations", "strict decoding", "cannot unmarshal"];
            if (400..500).contains(&status.code) && says_where.iter().any(|word| status.message.contains(word))
                || too_large
            {
                return Ok(None);
            }
            anyhow::bail!("the refusal names no field: {} {}; {}", status.code, status.message, shown())
        }
        Err(error) => Err(error).with_context(shown),
    }
}

/// Makes objects by number.
struct Generator {
    seed: u64,
    tokens: Schema,
    providers: Schema,
}

impl Generator {
    fn new(seed: u64) -> Result<Self> {
        Ok(Self { seed, tokens: Schema::read("videoaccesstokens")?, providers: Schema::read("tokenproviders")? })
    }

    /// Returns the object of this number: a good one of either kind, with one to three changes.
    fn object(&self, number: u64, ground: &Ground) -> (u64, Value) {
        let mut dice = Dice::new(self.seed.wrapping_mul(0x9E37_79B9).wrapping_add(number));
        dice.next();
        let tenant = &ground.attacker;
        let name = format!("hostile-{number}");
        let is_token = dice.below(4) != 0;
        let (mut object, schema) = if is_token {
            (tenant.token(&name, &json!({})), &self.tokens)
        } else {
            (tenant.token_provider(&name, &json!({})), &self.providers)
        };
        let changes = [1, 1, 1, 1, 2, 3][dice.index(6)];
        for _ in 0..changes {
            // Templates have the largest space, so they come more often than their share of the fields.
            if is_token && dice.below(3) == 0 {
                let keys = 1 + dice.index(3);
                let data: serde_json::Map<String, Value> =
                    (0..keys).map(|key| (format!("k{key}"), text::template(&mut dice, 16_384).into())).collect();
                schema::set(&mut object["spec"], &["secret", "template", "data"], Some(data.into()));
            } else {
                schema.mutate(&mut object["spec"], &mut dice);
            }
        }
        if dice.below(12) == 0 {
            disfigure(&mut object["metadata"], number, &mut dice);
        }
        (number, object)
    }
}

/// Changes the metadata: long names, large annotations, the operator's own annotations.
fn disfigure(metadata: &mut Value, number: u64, dice: &mut Dice) {
    match dice.below(4) {
        0 => metadata["name"] = format!("{}-{number}", "n".repeat(252 - number.to_string().len())).into(),
        1 => metadata["annotations"] = json!({"example.com/long": "x".repeat(250_000)}),
        2 => metadata["name"] = format!("a.{number}.b-c").into(),
        _ => {
            let names = ["renew-requested-at", "restart-on-renewal", "keep-whitespace", "renew-request", "issued-at"];
            let name = format!("videotoken.dev/{}", names[dice.index(names.len())]);
            metadata["annotations"] = json!({name: text::text(dice, 0, Some(4096))});
        }
    }
}

/// Says on stderr what goes on.
fn say(text: &str) {
    // nobody reads along: then nobody misses it
    let _ = writeln!(std::io::stderr(), "hostile: {} {text}", chrono::Utc::now().format("%H:%M:%S"));
}
