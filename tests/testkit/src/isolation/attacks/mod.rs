//! The attacks, each as one would make it with the rights of a namespace's editor, or as the cluster around would.
//!
//! | File | What it attacks with |
//! |---|---|
//! | `api` | webhooks, statuses, events, lists and rights of the API server |
//! | `fights` | other writers of the same Secrets |
//! | `bounds` | objects as large as the API server takes them, templates |
//! | `churn` | many edits, objects, renewals |
//! | `outside` | providers, and whoever reaches the metrics' port |
//!
//! [`prepare`] puts down what is there before the operator starts; [`press`] goes on for as long as it is polled, or
//! does what it does and ends.

mod api;
pub(crate) mod bounds;
pub(crate) mod churn;
pub(crate) mod fights;
mod outside;

use std::future::pending;
use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use super::attack::Attack;
use super::ground::Ground;
use crate::stand::Manner;

pub(super) use api::DENIED;

/// Before the operator starts.
pub(super) async fn prepare(attack: Attack, ground: &Ground) -> Result<()> {
    match attack {
        Attack::Specs => bounds::specs(&ground.attacker, ground.size.of(200, 40)).await,
        Attack::CaBundles => bounds::ca_bundles(ground).await,
        Attack::StrangerSecrets => bounds::stranger_secrets(ground).await,
        Attack::ProviderEdits => churn::many_providers(&ground.attacker).await,
        Attack::Churn => churn::narrow_account(&ground.attacker).await,
        _ => Ok(()),
    }
}

/// While the victim is looked at.
pub(super) async fn press(attack: Attack, ground: &Ground) -> Result<()> {
    match attack {
        Attack::WebhookHangs => api::webhook(ground, Manner::Silent, "Ignore").await,
        Attack::WebhookBreaks => api::webhook(ground, Manner::Broken(500), "Fail").await,
        Attack::WebhookDenies => api::webhook(ground, Manner::Denies(403, "not in this namespace"), "Fail").await,
        Attack::SecretsUnwritable => api::secrets_unwritable(ground).await,
        Attack::EventsHang => api::events_hang(ground).await,
        Attack::StatusesHang => api::statuses_hang(ground).await,
        Attack::ListStalls => api::list_stalls(ground).await,
        Attack::NoRole => api::no_role(ground).await,
        Attack::ProviderHangs | Attack::ProviderThrottles => outside::provider(ground, attack).await,
        Attack::FightToken | Attack::FightApply | Attack::FightLabels | Attack::FightDelete => {
            fights::fight(&ground.attacker, attack).await
        }
        Attack::PolicyRelabels => fights::policy(ground).await,
        Attack::ProviderEdits => churn::provider_edits(&ground.attacker).await,
        Attack::Churn => churn::create_and_delete(&ground.attacker).await,
        Attack::ForcedRenewals => churn::forced_renewals(&ground.attacker).await,
        Attack::Templates => bounds::templates(&ground.attacker).await,
        Attack::Scrapers => outside::scrapers(ground).await,
        Attack::OneSecret => churn::one_secret(ground).await,
        Attack::Specs | Attack::CaBundles | Attack::StrangerSecrets => bounds::touch(ground, attack).await,
        Attack::Crowd => churn::crowd(ground).await,
    }
}

/// Names with their numbers.
fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}-{n}")).collect()
}

/// Holds what the caller holds, until the row ends.
async fn for_ever() -> Result<()> {
    pending().await
}

/// Does something again and again.
async fn again(every: Duration, mut work: impl AsyncFnMut(usize)) -> Result<()> {
    for n in 0_usize.. {
        work(n).await;
        sleep(every).await;
    }
    Ok(())
}
