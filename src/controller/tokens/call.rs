//! One call of a token API, from the grant to the issued token or the failure.

use crate::controller::context::{Context, Known};
use crate::controller::fail_point;
use crate::controller::grants::logins::{self, LoginBlocked};
use crate::controller::providers::registry::{ReadyProvider, Said};
use crate::controller::providers::resolve;
use crate::controller::settings::MIN_LEASE_TIME;
use crate::controller::tokens::observe::ObservedToken;
use crate::controller::tokens::trace_source;
use chrono::SubsecRound;
use secrecy::ExposeSecret;
use std::time::Duration;
use videotoken_api::key::ObjectKey;
use videotoken_api::request::TokenRequest;
use videotoken_api::wire_time;
use videotoken_core::budget::{self, CredentialBlock};
use videotoken_core::plan::backoff::Tries;
use videotoken_core::plan::decide::Decision;
use videotoken_core::plan::facts::Failure;
use videotoken_core::plan::hash::request_hash;
use videotoken_core::plan::issue_failure::{self, FailedAttempt, RefusedAccount};
use videotoken_core::plan::object_state::{Notes, UnsavedToken};
use videotoken_core::plan::secret::{ReplacedToken, TokenRecord};
use videotoken_core::plan::view::Before;
use videotoken_core::plan::write_breaker::BreakerState;
use videotoken_core::plan::write_failure::Extent;
use videotoken_providers::clock;
use videotoken_providers::{Class, GRACE, IssueError, Issued};

/// Makes the granted call of the token API. The issued token is kept in memory only; the step `Store` writes it. If the
/// process is killed in between, the token is lost and the next leader issues another (P05).
pub(crate) async fn call_token_api(context: &Context, seen: &ObservedToken, decision: &Decision) {
    let (key, uid) = (&seen.token.key, seen.token.uid);
    let (Some(account), Some(request)) = (&seen.account, seen.request()) else { return };
    if !can_store_token(context, seen).await {
        return return_grant(context, key).await;
    }
    let login = match logins::record_attempt(context, account).await {
        Ok(login) => login,
        Err(LoginBlocked::UsedUp(next)) => {
            let now = clock::now();
            context.grants.budgets.block_credential(
                &account.key,
                CredentialBlock::LoginsUsedUp,
                (next - now.wall).to_std().unwrap_or_default(),
                now,
            );
            context.providers.report_soon(&account.provider_key);
            return return_grant(context, key).await;
        }
        Err(LoginBlocked::Unwritten) => return return_grant(context, key).await,
    };
    if !context.lease.valid_for(MIN_LEASE_TIME) {
        if let Some(attempt) = login {
            logins::remove_attempt(context, account, attempt).await;
        }
        return return_grant(context, key).await;
    }
    let begun = clock::now();
    // From here on the call counts, even if the object is deleted.
    let Some(call) = context.grants.budgets.begin(key, &account.key, begun) else {
        if let Some(attempt) = login {
            logins::remove_attempt(context, account, attempt).await;
        }
        return return_grant(context, key).await;
    };
    if let Some(kind) = decision.unplanned {
        let Before { unplanned_calls, generation, .. } = seen.observation.before;
        context.objects.states.note_call((key, uid), kind, generation, unplanned_calls, begun.wall);
    }
    let mut call = CallGuard { context, begun: call, ended: false };
    fail_point::reach("call", key);
    let limit = context.settings.reach.timeout;
    let result = tokio::time::timeout(limit + GRACE, account.issuer.issue(request))
        .await
        .unwrap_or_else(|_| Err(IssueError::timed_out(limit)));
    let took = begun.mono.elapsed();
    let now = clock::now();
    context.output.traces.called(key, || trace_source::call(account.type_name, (begun.wall, now.wall), &result));
    context.note_skew(account);
    match result {
        Ok(issued) => {
            let was_accepted = context.grants.budgets.state(&account.key, now).accepted;
            call.end(budget::CallOutcome::Issued, now);
            logins::record_success(context.known(), account);
            account.history().issued(now.wall);
            let notes = Notes { expiry_assumed: issued.expiry_assumed, excess: issued.excess.clone() };
            let request_id = issued.request_id.clone();
            let unsaved = UnsavedToken { notes, record: record_of(seen, request, issued) };
            let (expires_at, is_new) = (unsaved.record.expires_at, !unsaved.record.returned_again);
            context.output.metrics.issued(account.type_name, decision.cause, took, is_new);
            let outcome = if is_new { "issued" } else { "the provider returned the same token again" };
            tracing::info!(%key, provider = seen.provider, %expires_at, request_id, "{outcome}");
            context.objects.states.change_of(key, uid, |state| state.record_issued(unsaved));
            // Removes the recorded login only now: if this request is cancelled, the token is already in memory.
            if let Some(attempt) = login {
                logins::remove_attempt(context, account, attempt).await;
            }
            // After that write, because one of two concurrent writes of one status would be lost.
            if !was_accepted {
                context.providers.report_soon(&account.provider_key);
            }
        }
        Err(error) => {
            match login {
                Some(attempt) if error.unsent => logins::remove_attempt(context, account, attempt).await,
                None if error.class == Class::Credential => logins::record_failure(context, account).await,
                _ => {}
            }
            record_issue_failure(context, seen, call, &error, now, took);
        }
    }
}

/// A call in progress. If its reconcile panics, it ends as failed.
struct CallGuard<'a> {
    context: &'a Context,
    begun: budget::StartedCall,
    ended: bool,
}

impl CallGuard<'_> {
    fn end(&mut self, outcome: budget::CallOutcome, now: clock::Now) {
        self.ended = true;
        self.context.grants.budgets.end(&self.begun, outcome, now);
    }
}

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.end(budget::CallOutcome::Failed, clock::now());
        }
    }
}

/// Returns the unused grant and waits 200 ms, because no event reports that the call has become possible.
async fn return_grant(context: &Context, key: &ObjectKey) {
    context.grants.budgets.leave_queue(key, clock::now());
    tokio::time::sleep(Duration::from_millis(200)).await;
}

/// Returns true if a token could probably be stored now. While the write breaker is half-open, one metadata GET tests
/// the API server first, which costs less than a call of a token API.
async fn can_store_token(context: &Context, seen: &ObservedToken) -> bool {
    let namespace = &seen.token.key.namespace;
    match context.grants.breaker_state(namespace) {
        BreakerState::Closed => true,
        BreakerState::Open(_) => false,
        BreakerState::HalfOpen => {
            let extent = context.output.api.probe(&seen.secret_key).await.err().and_then(|error| error.extent());
            if let Some(extent) = extent {
                context.grants.write_failed(namespace, extent);
            }
            extent != Some(Extent::Everywhere)
        }
    }
}

/// Returns the token with its record.
fn record_of(seen: &ObservedToken, request: &TokenRequest, issued: Issued) -> TokenRecord {
    debug_assert!(!issued.token.expose_secret().is_empty());
    let renew_request = seen.token.renew_requested_at.clone().filter(|asked| wire_time::parse(asked).is_some());
    let replaced = seen.secret_facts().and_then(|facts| {
        let (issued_at, expires_at) = facts.lifetime()?;
        Some(ReplacedToken { issued_at, expires_at, request: facts.request? })
    });
    TokenRecord::new(issued, request_hash(request), seen.issued_before(), renew_request).replacing(replaced)
}

/// Records a failed call: its failure class, its effect on the account, and the time of the next attempt.
fn record_issue_failure(
    context: &Context,
    seen: &ObservedToken,
    mut call: CallGuard<'_>,
    error: &IssueError,
    now: clock::Now,
    took: Duration,
) {
    let (key, Some(account)) = (&seen.token.key, &seen.account) else { return };
    let (class, outcome) = issue_failure::classify(error, refused_account(context.known(), account, key, error, now));
    context.output.metrics.issue_failed(account.type_name, class, error.reason.clone(), took);
    let attempts = seen.observation.attempts + 1;
    resolve::note_trust(&context.providers, account, error, now.wall);
    if issue_failure::is_of_account(class) {
        let namespace = (&*key.namespace).into();
        account.history().refusal =
            Some(Said { namespace, reason: error.reason.clone(), message: error.message.clone() });
    }
    call.end(outcome, now);
    let attempt = FailedAttempt {
        error,
        class,
        tries: Tries { failed: attempts, waited: seen.waited() },
        account: context.grants.budgets.state(&account.key, now),
        expires_at: seen.secret_facts().and_then(|facts| facts.expires_at.time()),
    };
    let next = attempt.next(now.wall, seen.token.uid);
    if attempt.is_delayed_by_account() {
        context.providers.report_soon(&account.provider_key);
    }
    tracing::warn!(%key, provider = seen.provider, ?class, reason = %error.reason, message = error.message,
        request_id = error.request_id, attempts, next_attempt_at = %next, "the issue failed");
    let failure = Failure {
        time: now.wall.trunc_subsecs(0),
        class,
        reason: error.reason.to_string(),
        message: error.message.clone(),
        request_id: error.request_id.clone(),
        next_attempt_at: Some(next),
    };
    context.objects.states.change_of(key, seen.token.uid, |state| {
        state.record_issue_failure(&seen.observation, failure);
    });
}

/// Returns the facts about an account whose credential was rejected, and the default for other failures.
fn refused_account(
    known: Known<'_>,
    account: &ReadyProvider,
    key: &ObjectKey,
    error: &IssueError,
    now: clock::Now,
) -> RefusedAccount {
    if error.class != Class::Credential {
        return RefusedAccount::default();
    }
    RefusedAccount {
        logs_in: account.issuer.login().is_some(),
        has_peer: known.has_peer(&account.key, key),
        is_suspected: known.grants.budgets.is_credential_failure(&account.key, key),
        is_retried_on_demand: account.issuer.is_retried_on_demand(),
        has_worked: known.grants.budgets.state(&account.key, now).has_worked,
    }
}
