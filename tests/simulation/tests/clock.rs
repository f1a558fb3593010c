//! Clocks of an operator that jump, in virtual time.

#![allow(clippy::unwrap_used)]

use serde_json::json;
use simulation::operator::Operator;
use simulation::token_api::TokenApi;
use simulation::users;
use simulation::world::{Rates, World};
use std::time::Duration;

const DAY: i64 = 86_400_000;

/// A read that failed is repeated after ten seconds by the wall clock.
#[tokio::test(start_paused = true)]
async fn p14_a_clock_that_is_set_back_delays_no_read_of_a_credential() {
    let world = World::new(1, Rates::default(), None);
    let api = TokenApi::new(&world, 0, 1);
    world.change(|store| users::create(store, 1));
    let operator = Operator::start(&world, &api, "operator", DAY, &[]);
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!(users::not_ready(&world.store.lock()), [""; 0]);

    // For a moment, the API server refuses everything but its watches.
    world.rates.lock().refused = 1_000_000;
    let provider = (users::namespace(0), "indexer".to_owned());
    let edit = json!({"spec": {"limits": {"concurrency": 7}}});
    world.change(|store| store.merge("tokenproviders", &provider, false, &edit).map(drop).unwrap());
    tokio::time::sleep(Duration::from_secs(3)).await;
    *world.rates.lock() = Rates::default();
    operator.set_clock(0);
    tokio::time::sleep(Duration::from_mins(1)).await;

    let provider = world.store.lock().get("tokenproviders", &provider).unwrap().value.clone();
    let (generation, seen) = (&provider["metadata"]["generation"], &provider["status"]["observedGeneration"]);
    assert_eq!(seen, generation, "{}", provider["status"]);
    assert_eq!(users::not_ready(&world.store.lock()), [""; 0]);
    assert!(operator.stop().await);
}
