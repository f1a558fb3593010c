//! `make at-rest`: the CPU time of one operator whose tokens are all issued and not due, in virtual time.

#![allow(clippy::print_stdout)]

use clap::Parser;
use serde_json::Value;
use simulation::api_server::store::{Key, Store};
use simulation::operator::Operator;
use simulation::token_api::TokenApi;
use simulation::users;
use simulation::world::{Rates, World};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Measures an operator at rest.
#[derive(Debug, Parser)]
struct Arguments {
    /// Number of `VideoAccessToken`s.
    #[arg(long, default_value_t = 100_000)]
    tokens: usize,
    /// Virtual time in seconds for which the CPU time is measured. No token is due in it.
    #[arg(long, default_value_t = 120)]
    seconds: u32,
}

/// Virtual time without a request, other than for the Lease, after which the operator is at rest.
const REST: Duration = Duration::from_secs(30);

/// Longest virtual time until the operator is at rest. Tokens are due after more than twice this time.
const PATIENCE: Duration = Duration::from_mins(15);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    match runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(measure(&arguments))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: &Arguments) -> Result<(), String> {
    let world = World::new(1, Rates::default(), None);
    let api = TokenApi::new(&world, 0, 1);
    world.change(|store| users::create(store, 1));
    let first = Operator::start(&world, &api, "first", 0, &[]);
    rests(&world, &first).await?;
    if !first.stop().await {
        return Err("the first operator didn't end cleanly".to_owned());
    }
    world.change(|store| multiply(store, arguments.tokens))?;
    let calls = api.calls.lock().issued;

    let begun = cpu();
    let operator = Operator::start(&world, &api, "second", 0, &[]);
    rests(&world, &operator).await?;
    let (filled, requests) = (cpu().saturating_sub(begun), world.trace.lock().counted);
    let begun = cpu();
    tokio::time::sleep(Duration::from_secs(arguments.seconds.into())).await;
    let rest = cpu().saturating_sub(begun);

    let sent = world.trace.lock().counted - requests;
    let issued = api.calls.lock().issued - calls;
    #[allow(clippy::cast_precision_loss)] // millions
    let tokens = arguments.tokens as f64;
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / tokens;
    println!("tokens                                    {}", arguments.tokens);
    println!("CPU until the caches are filled           {:.1} µs a token, API server included", micros(filled));
    println!(
        "CPU at rest                               {:.4} µs a token and second",
        micros(rest) / f64::from(arguments.seconds)
    );
    println!("requests at rest, apart from the Lease's  {sent}");
    println!("tokens issued                             {issued}");
    if !operator.leads() || issued > 0 { Err("the operator was not at rest".to_owned()) } else { Ok(()) }
}

/// Waits until the operator leads and sends no request other than for the Lease.
async fn rests(world: &Arc<World>, operator: &Operator) -> Result<(), String> {
    let begun = tokio::time::Instant::now();
    let mut last = (u64::MAX, begun);
    while begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let counted = world.trace.lock().counted;
        if counted != last.0 {
            last = (counted, tokio::time::Instant::now());
        }
        if operator.leads() && last.1.elapsed() >= REST {
            return Ok(());
        }
    }
    Err("the operator doesn't come to rest".to_owned())
}

/// Copies the only token and its Secret, as the operator stored them, until this number of tokens exists.
fn multiply(store: &mut Store, tokens: usize) -> Result<(), String> {
    const KIND: &str = "videoaccesstokens";
    let (key, token) =
        store.list(KIND, None, None).next().map(|(key, token)| (key.clone(), token.value.clone())).ok_or("no token")?;
    let secret = store.get("secrets", &key).ok_or("the token has no Secret")?.value.clone();
    if token["status"]["conditions"].as_array().is_none_or(|all| all.iter().all(|it| it["status"] != "True")) {
        return Err(format!("the token isn't Ready: {}", token["status"]));
    }
    let uid = text(&token["metadata"]["uid"]);
    let (token, secret) = (token.to_string(), secret.to_string());
    for n in 1..tokens {
        let copied: Key = (key.0.clone(), format!("token-{n:07}"));
        let rename = |manifest: &str| manifest.replace(&key.1, &copied.1);
        let mut token = parse(&rename(&token))?;
        // Predicts the version of the Secret below. With another version in the status, the operator reads the Secret and
        // finds that its content hash belongs to another object.
        token["status"]["secretResourceVersion"] = (store.version + 2).to_string().into();
        let created = store.load(KIND, &copied.0, token).map_err(|refusal| refusal.2)?;
        let owner = text(&created.value["metadata"]["uid"]);
        store
            .load("secrets", &copied.0, parse(&rename(&secret).replace(&uid, &owner))?)
            .map_err(|refusal| refusal.2)?;
    }
    store.compact();
    Ok(())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn parse(manifest: &str) -> Result<Value, String> {
    serde_json::from_str(manifest).map_err(|error| error.to_string())
}

/// Returns the CPU time of this thread, which is the only one that works.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default())
}
