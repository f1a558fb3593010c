//! The status of a provider object: is it ready, is more asked of it than it allows, does its clock agree with ours.

use super::Context;
use super::accounts::{ProviderKey, Resolved};
use super::secrets::lock;
use crate::api::condition::{Condition, ConditionStatus};
use crate::api::provider_status::ProviderStatus;
use crate::api::token_api;
use crate::clock;
use crate::metrics::API_SERVER;
use crate::plan::hash::Hash;
use kube::core::DynamicObject;
use std::collections::HashMap;
use std::sync::Mutex;

/// A clock that is off by more is told.
pub(super) const SKEW: i64 = 300;

/// What was last written for each, so that two operators that see different things don't answer each other.
#[derive(Default)]
pub(super) struct Written(Mutex<HashMap<ProviderKey, u64>>);

/// Writes the status of one provider object where it says something new.
pub(super) async fn write(context: &Context, key: &ProviderKey) {
    // an operator of some namespaces leaves the cluster's providers to the one that serves them all
    let others = key.namespace.is_none() && !context.settings.watch_namespaces.is_empty();
    if others || !context.lease.is_leader() {
        return;
    }
    let (Some(object), Some(resolved)) = (context.providers.get(key), context.accounts.get(key)) else { return };
    let before: ProviderStatus =
        object.data.get("status").and_then(|status| serde_json::from_value(status.clone()).ok()).unwrap_or_default();
    let status = compose(context, &resolved, &object, &before);
    let hash = Hash::of([serde_json::to_vec(&status).unwrap_or_default().as_slice()]).short();
    let same = lock(&context.provider_status.0).get(key) == Some(&hash);
    if same || status == before {
        return;
    }
    match context.applier.provider_status(&object, key.namespace.is_none(), &status).await {
        Ok(_) => {
            lock(&context.provider_status.0).insert(key.clone(), hash);
        }
        Err(error) => tracing::debug!(provider = %key, %error, "the provider's status isn't written"),
    }
}

fn compose(context: &Context, resolved: &Resolved, object: &DynamicObject, before: &ProviderStatus) -> ProviderStatus {
    let generation = object.metadata.generation;
    let has = |name: &&str| object.data.get("spec").is_some_and(|spec| spec.get(*name).is_some());
    let now = clock::now();
    let mut says = match &resolved.state {
        Ok(_) => vec![
            ("Ready", true, "Configured".to_owned(), "ready to issue".to_owned()),
            ("Stalled", false, "AsExpected".to_owned(), "nothing stands in the way".to_owned()),
        ],
        Err(refusal) => vec![
            ("Ready", false, refusal.reason.to_string(), refusal.message.clone()),
            ("Stalled", true, refusal.reason.to_string(), refusal.message.clone()),
        ],
    };
    if let Ok(account) = &resolved.state {
        let state = context.turns.state(&account.key, now);
        if state.locked_for.is_some() {
            let message = "the provider refuses the credential: tried again when it changes, else every 15 min";
            says[0] = ("Ready", false, "CredentialRejected".to_owned(), message.to_owned());
        }
        says.push(if state.oversubscribed {
            let message = "its tokens ask for more than 80 % of spec.limits: raise them if the provider allows it, or \
                           spread the tokens over accounts";
            ("Oversubscribed", true, "DemandOverBudget".to_owned(), message.to_owned())
        } else {
            ("Oversubscribed", false, "WithinBudget".to_owned(), "its tokens ask for less than the limits".to_owned())
        });
        let clocks =
            [("provider", account.issuer.clock_skew()), ("API server", context.metrics.clock_skew(API_SERVER))];
        let skewed = clocks.into_iter().find_map(|(whose, skew)| Some((whose, skew.filter(|skew| skew.abs() > SKEW)?)));
        if let Some((whose, skew)) = skewed {
            let message = format!("the {whose}'s clock differs from the operator's by {} min: check both", skew / 60);
            says.push(("ClockSkewed", true, "ClockSkewed".to_owned(), message));
        }
    }
    let conditions = says.into_iter().map(|(type_, holds, reason, message)| {
        let status = if holds { ConditionStatus::True } else { ConditionStatus::False };
        let old = before.conditions.iter().find(|old| old.type_ == type_ && old.status == status);
        Condition {
            type_: type_.to_owned(),
            status,
            observed_generation: generation,
            last_transition_time: old.map_or(now.wall, |old| old.last_transition_time),
            reason,
            message,
        }
    });
    ProviderStatus {
        observed_generation: generation,
        conditions: conditions.collect(),
        type_: token_api::NAMES.iter().copied().find(has).map(str::to_owned),
    }
}
