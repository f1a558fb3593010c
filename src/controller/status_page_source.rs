//! Source of the status page: rows from the same memory that the reconciles read.

use crate::controller::context::{Context, Known};
use crate::controller::providers::registry::Resolved;
use crate::controller::stores::provider_key::ProviderKey;
use crate::controller::stores::provider_objects::parse_status;
use crate::controller::stores::token::Token;
use crate::status_page::{Provider, Source, TokenEntry};
use videotoken_api::condition::ConditionStatus;
use videotoken_core::summary::{ConditionSummary, StatusSummary, TokenSummary};
use videotoken_providers::clock::{self, Timestamp};

impl Source for Context {
    fn tokens(&self) -> Vec<TokenEntry> {
        let mut all = Vec::new();
        self.stores.tokens.each(|token| all.push(token_entry(self.known(), token)));
        all
    }

    fn providers(&self) -> Vec<Provider> {
        let all = self.providers.registry.all().into_iter();
        all.map(|(key, resolved)| provider(self.known(), key, &resolved)).collect()
    }

    fn leads(&self) -> bool {
        self.lease.is_leader()
    }
}

fn token_entry(known: Known<'_>, token: &Token) -> TokenEntry {
    let facts = &token.status;
    let secret_key = token.secret_key();
    let secret = known.stores.secrets.get(&secret_key).filter(|secret| secret.owner == Some(token.uid));
    let failure = facts.last_failure.as_deref().filter(|_| facts.failed_attempts > 0);
    let (provider, suspended) = token.provider_and_suspension();
    let conditions = facts
        .conditions
        .each_ref()
        .map(|condition| ConditionSummary { holds: condition.status == Some(true), reason: &condition.reason });
    let failed = (facts.failed_attempts > 0).then(|| failure.map_or("", |failure| &failure.reason));
    let (state, reason) = StatusSummary { conditions, failed, suspended }.state();
    let is_in_crowd = reason.is_empty() && known.grants.budgets.is_queued(&token.key);
    let reason = if is_in_crowd { "WaitingForBudget" } else { reason };
    let row = TokenSummary {
        namespace: token.key.namespace.to_string(),
        name: token.key.name.to_string(),
        reported_state: state,
        reason: reason.to_owned(),
        suspended,
        provider: provider.map(|provider| provider.to_string()).unwrap_or_default(),
        secret_name: secret_key.name.to_string(),
        issued_at: secret.and_then(|secret| secret.issued_at.time()),
        expires_at: facts.expires_at.time(),
        renew_at: facts.renew_at.time(),
        next_attempt_at: held_until(known, token).or_else(|| failure.and_then(|failure| failure.next_attempt_at)),
        created_at: token.created_at(),
    };
    TokenEntry {
        row,
        message: failure.map(|failure| failure.message.clone()).unwrap_or_default(),
        request_id: failure.and_then(|failure| failure.request_id.clone()),
    }
}

/// Returns the time until which the account blocks the token, if the status reports the block.
fn held_until(known: Known<'_>, token: &Token) -> Option<Timestamp> {
    let [_, issuing, _] = &token.status.conditions;
    if issuing.status != Some(true) {
        return None;
    }
    let account = known.account_of(&token.key)?;
    let block = known.grants.budgets.account_block(&account.key, None, clock::now())?;
    block.until.filter(|_| *issuing.reason == *block.reason)
}

fn provider(known: Known<'_>, key: ProviderKey, resolved: &Resolved) -> Provider {
    let status = known.stores.provider_objects.get(&key).map(|object| parse_status(&object)).unwrap_or_default();
    let ready = status.conditions.into_iter().find(|condition| condition.type_ == "Ready");
    let account = resolved.state.as_ref().ok();
    Provider {
        ready: ready.as_ref().is_some_and(|ready| ready.status == ConditionStatus::True),
        kind: key.kind(),
        namespace: key.namespace.unwrap_or_default(),
        name: key.name,
        type_: status.type_.unwrap_or_default(),
        tokens: status.tokens,
        credential_expires_at: account.and_then(|account| account.issuer.credential_expires_at()),
        reason: ready.as_ref().map(|ready| ready.reason.clone()).unwrap_or_default(),
        message: ready.map(|ready| ready.message).unwrap_or_default(),
    }
}
