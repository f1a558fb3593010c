//! Logins, where failed ones lock a user at the provider (P07): counted over all provider objects that log the same
//! user in, and each written to its provider object's status before it is made, so that no restart and no other leader
//! forgets one.

use super::Context;
use super::accounts::{Account, ProviderKey};
use super::provider_status;
use crate::api::provider_status::CredentialsStatus;
use crate::clock::{self, Timestamp};
use crate::plan::login::{self, Attempt, Permit, Record};
use crate::plan::write_failure::ApiError;
use kube::core::DynamicObject;
use parking_lot::Mutex;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// The attempts that this process knows of, by who logs in. They outlive their provider objects.
#[derive(Default)]
pub(super) struct Logins {
    known: Mutex<HashMap<String, Vec<Attempt<ProviderKey>>>>,
    /// The provider objects whose logins have worked, by who logs in.
    worked: Mutex<BTreeMap<String, BTreeSet<ProviderKey>>>,
    /// One login of a user is begun at a time, so that two provider objects don't both take the last.
    beginning: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Logins {
    /// Whose turn it is to begin a login of this user.
    fn turn(&self, login: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.beginning.lock();
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        turns.entry(login.to_owned()).or_default().clone()
    }
}

/// Why no login may be made now.
pub(super) enum LoginBlocked {
    /// As many were made as may be: the next at this time.
    UsedUp(Timestamp),
    /// It couldn't be written down.
    Unwritten,
}

/// Writes down a login that is about to be made. `None`: none need be counted, since failed logins lock nobody there or
/// the credential has worked.
pub(super) async fn begin(context: &Context, account: &Account) -> Result<Option<Timestamp>, LoginBlocked> {
    let Some(login) = account.issuer.login() else { return Ok(None) };
    let works = context.turns.state(&account.key, clock::now()).proven;
    if !login::is_recorded(&counting(context, &login, clock::now().wall), works) {
        return Ok(None);
    }
    let turn = context.logins.turn(&login);
    let _beginning = turn.lock().await;
    let now = clock::now().wall;
    let counting = counting(context, &login, now);
    let worked = all_that_worked(context, &login);
    let attempt = match login::permit(&counting, &account.of, works, &worked, now) {
        Permit::Record(attempt) => attempt,
        Permit::UsedUp(next) => return Err(LoginBlocked::UsedUp(next)),
    };
    if let Err(error) =
        write(context, account, now, |attempts| attempts.push(Record { at: attempt, login: login.clone() })).await
    {
        tracing::info!(provider = %account.of, %error, "a login isn't made, since it couldn't be written down");
        return Err(LoginBlocked::Unwritten);
    }
    remember(context, login, account, attempt);
    Ok(Some(attempt))
}

/// Writes down a login that failed with a credential that had worked until now.
pub(super) async fn note(context: &Context, account: &Account) {
    let Some(login) = account.issuer.login() else { return };
    let now = clock::now().wall;
    let attempt = login::attempt(&counting(context, &login, now), now);
    remember(context, login.clone(), account, attempt);
    if let Err(error) = write(context, account, now, |attempts| attempts.push(Record { at: attempt, login })).await {
        tracing::warn!(provider = %account.of, %error, "a failed login isn't written down");
    }
}

fn remember(context: &Context, login: String, account: &Account, at: Timestamp) {
    let attempt = Attempt { at, by: account.of.clone() };
    context.logins.known.lock().entry(login).or_default().push(attempt);
}

/// A login of this account has worked: one attempt is kept for it from now on, whatever its credential is.
pub(super) fn worked(context: &Context, account: &Account) {
    if let Some(login) = account.issuer.login() {
        context.logins.worked.lock().entry(login).or_default().insert(account.of.clone());
    }
}

/// Who logs in with this account, if that has ever worked; for its provider object's status.
pub(super) fn proven(context: &Context, account: &Account) -> Option<String> {
    account.issuer.login().filter(|login| has_worked(context, login, account))
}

fn has_worked(context: &Context, login: &str, account: &Account) -> bool {
    if context.logins.worked.lock().get(login).is_some_and(|objects| objects.contains(&account.of)) {
        return true;
    }
    let Some(object) = context.providers.get(&account.of) else { return false };
    let status = provider_status::written(&object);
    let accepted = |told: &CredentialsStatus| told.accepted && told.version == account.credentials.to_string();
    status.proven_login.as_deref() == Some(login) || status.credentials.as_ref().is_some_and(accepted)
}

/// The provider objects whose logins of this user have worked.
fn all_that_worked(context: &Context, login: &str) -> Vec<ProviderKey> {
    let accounts = context.accounts.all().into_iter().filter_map(|(_, resolved)| resolved.state.ok());
    let same = accounts.filter(|account| account.issuer.login().as_deref() == Some(login));
    same.filter(|account| has_worked(context, login, account)).map(|account| account.of.clone()).collect()
}

/// Strikes out a login that reached nobody, or that succeeded.
pub(super) async fn withdraw(context: &Context, account: &Account, attempt: Timestamp) {
    let Some(login) = account.issuer.login() else { return };
    let turn = context.logins.turn(&login);
    let _beginning = turn.lock().await;
    let struck =
        write(context, account, clock::now().wall, |attempts| attempts.retain(|written| written.at != attempt)).await;
    match struck {
        Ok(()) => {
            if let Some(known) = context.logins.known.lock().get_mut(&login) {
                known.retain(|known| known.at != attempt);
            }
        }
        // it goes on to count
        Err(error) => tracing::debug!(provider = %account.of, %error, "a login that didn't fail still counts"),
    }
}

/// All attempts of this login that count: those of this process, and those in the statuses of the provider objects,
/// also of objects that aren't resolved yet or can't be.
fn counting(context: &Context, login: &str, now: Timestamp) -> Vec<Attempt<ProviderKey>> {
    let mut all = Vec::new();
    for (of, object) in context.providers.all() {
        let of_login = written(&object).into_iter().filter(|written| written.login == login);
        all.extend(of_login.map(|written| Attempt { at: written.at, by: of.clone() }));
    }
    let mut known = context.logins.known.lock();
    let of_login = known.entry(login.to_owned()).or_default();
    all.append(of_login);
    let counting = login::counting(all, now);
    of_login.clone_from(&counting);
    known.retain(|_, attempts| !attempts.is_empty());
    counting
}

/// The attempts in an object's status. A text that is none isn't counted.
fn written(object: &DynamicObject) -> Vec<Record> {
    let attempts = object.data.pointer("/status/loginAttempts").and_then(|all| all.as_array());
    attempts.into_iter().flatten().filter_map(|attempt| Record::parse(attempt.as_str()?)).collect()
}

/// Changes the attempts in the status of the account's object, on the object as it was seen.
async fn write(
    context: &Context,
    account: &Account,
    now: Timestamp,
    change: impl FnOnce(&mut Vec<Record>),
) -> Result<(), ApiError> {
    let _alone = context.provider_status.alone(&account.of).await;
    let Some(object) = context.providers.get(&account.of) else {
        return Err(ApiError::Gone("the provider object is gone".to_owned()));
    };
    let mut attempts = written(&object);
    attempts.retain(|written| login::counts(written.at, now));
    change(&mut attempts);
    let changed = json!({"loginAttempts": attempts.iter().map(Record::text).collect::<Vec<_>>()});
    let version = context.applier.merge_provider_status(&object, account.of.is_cluster(), &changed).await?;
    context.providers.learn_status(&account.of, &object, &changed, &version);
    Ok(())
}
