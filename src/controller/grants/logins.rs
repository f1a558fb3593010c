//! Logins at token APIs where failed logins lock the user (P07). They are counted over all provider objects with the
//! same user. Each is written to the status of its provider object before it is made, so that a restart or another
//! leader counts it too.

use crate::controller::context::{Context, Known};
use crate::controller::providers::registry::ReadyProvider;
use crate::controller::stores::provider_key::ProviderKey;
use crate::controller::stores::provider_objects::parse_status;
use kube::core::DynamicObject;
use serde_json::json;
use videotoken_api::provider_status::CredentialsStatus;
use videotoken_core::plan::login::{self, Attempt, Permit, Record};
use videotoken_core::plan::write_failure::ApiError;
use videotoken_providers::clock::{self, Timestamp};

/// Reason why no login may be made now.
pub(crate) enum LoginBlocked {
    /// The permitted number of logins is used up. The next login may be made at this time.
    UsedUp(Timestamp),
    /// The login could not be recorded.
    Unwritten,
}

/// Records a login before it is made. Returns `None` if it needs no record, because failed logins lock no user at this
/// token API, or because the credential has worked.
pub(crate) async fn record_attempt(
    context: &Context,
    account: &ReadyProvider,
) -> Result<Option<Timestamp>, LoginBlocked> {
    let Some(login) = account.issuer.login() else { return Ok(None) };
    let works = context.grants.budgets.state(&account.key, clock::now()).accepted;
    if !login::is_recorded(&attempts_in_window(context.known(), &login, clock::now().wall), works) {
        return Ok(None);
    }
    let turn = context.grants.logins.turn(&login);
    let _beginning = turn.lock().await;
    let now = clock::now().wall;
    let counting = attempts_in_window(context.known(), &login, now);
    let worked = all_that_worked(context.known(), &login);
    let attempt = match login::permit(&counting, &account.provider_key, works, &worked, now) {
        Permit::Record(attempt) => attempt,
        Permit::UsedUp(next) => return Err(LoginBlocked::UsedUp(next)),
    };
    if let Err(error) =
        write(context, account, now, |attempts| attempts.push(Record { at: attempt, login: login.clone() })).await
    {
        tracing::info!(provider = %account.provider_key, %error, "a login isn't made, since it couldn't be written down");
        return Err(LoginBlocked::Unwritten);
    }
    remember(context.known(), login, account, attempt);
    Ok(Some(attempt))
}

/// Records a login that failed with a credential that had worked before.
pub(crate) async fn record_failure(context: &Context, account: &ReadyProvider) {
    let Some(login) = account.issuer.login() else { return };
    let now = clock::now().wall;
    let attempt = login::attempt(&attempts_in_window(context.known(), &login, now), now);
    remember(context.known(), login.clone(), account, attempt);
    if let Err(error) = write(context, account, now, |attempts| attempts.push(Record { at: attempt, login })).await {
        tracing::warn!(provider = %account.provider_key, %error, "a failed login isn't written down");
    }
}

fn remember(known: Known<'_>, login: String, account: &ReadyProvider, at: Timestamp) {
    let attempt = Attempt { at, by: account.provider_key.clone() };
    known.grants.logins.known.lock().entry(login).or_default().push(attempt);
}

/// Records a successful login of this account. From now on one attempt is reserved for it, whatever its credential is.
pub(crate) fn record_success(known: Known<'_>, account: &ReadyProvider) {
    if let Some(login) = account.issuer.login() {
        known.grants.logins.worked.lock().entry(login).or_default().insert(account.provider_key.clone());
    }
}

/// Returns the user of this account if a login has ever succeeded. The status of the provider object reports the user.
pub(crate) fn proven(known: Known<'_>, account: &ReadyProvider) -> Option<String> {
    account.issuer.login().filter(|login| has_worked(known, login, account))
}

fn has_worked(known: Known<'_>, login: &str, account: &ReadyProvider) -> bool {
    if known.grants.logins.worked.lock().get(login).is_some_and(|objects| objects.contains(&account.provider_key)) {
        return true;
    }
    let Some(object) = known.stores.provider_objects.get(&account.provider_key) else { return false };
    let status = parse_status(&object);
    let accepted = |status: &CredentialsStatus| status.accepted && status.version == account.credentials.to_string();
    status.proven_login.as_deref() == Some(login) || status.credentials.as_ref().is_some_and(accepted)
}

/// Returns the provider objects with a successful login of this user.
fn all_that_worked(known: Known<'_>, login: &str) -> Vec<ProviderKey> {
    let accounts = known.providers.registry.all().into_iter().filter_map(|(_, resolved)| resolved.state.ok());
    let same = accounts.filter(|account| account.issuer.login().as_deref() == Some(login));
    same.filter(|account| has_worked(known, login, account)).map(|account| account.provider_key.clone()).collect()
}

/// Removes the record of a login that never reached the token API, or that succeeded.
pub(crate) async fn remove_attempt(context: &Context, account: &ReadyProvider, attempt: Timestamp) {
    let Some(login) = account.issuer.login() else { return };
    let turn = context.grants.logins.turn(&login);
    let _beginning = turn.lock().await;
    let struck =
        write(context, account, clock::now().wall, |attempts| attempts.retain(|written| written.at != attempt)).await;
    match struck {
        Ok(()) => {
            if let Some(known) = context.grants.logins.known.lock().get_mut(&login) {
                known.retain(|known| known.at != attempt);
            }
        }
        // The attempt still counts.
        Err(error) => {
            tracing::debug!(provider = %account.provider_key, %error, "a login that didn't fail still counts");
        }
    }
}

/// Returns all attempts of this user that count: those of this process, and those in the statuses of all provider
/// objects, including unresolved ones.
fn attempts_in_window(known: Known<'_>, login: &str, now: Timestamp) -> Vec<Attempt<ProviderKey>> {
    let mut all = Vec::new();
    for (of, object) in known.stores.provider_objects.all() {
        let of_login = recorded_attempts(&object).into_iter().filter(|written| written.login == login);
        all.extend(of_login.map(|written| Attempt { at: written.at, by: of.clone() }));
    }
    let mut known = known.grants.logins.known.lock();
    let of_login = known.entry(login.to_owned()).or_default();
    all.append(of_login);
    let counting = login::attempts_in_window(all, now);
    of_login.clone_from(&counting);
    known.retain(|_, attempts| !attempts.is_empty());
    counting
}

/// Parses the attempts in the status of an object. Ignores invalid entries.
fn recorded_attempts(object: &DynamicObject) -> Vec<Record> {
    let attempts = object.data.pointer("/status/loginAttempts").and_then(|all| all.as_array());
    attempts.into_iter().flatten().filter_map(|attempt| Record::parse(attempt.as_str()?)).collect()
}

/// Changes the attempts in the status of the account's object, based on the version that was read.
async fn write(
    context: &Context,
    account: &ReadyProvider,
    now: Timestamp,
    change: impl FnOnce(&mut Vec<Record>),
) -> Result<(), ApiError> {
    let _alone = context.providers.last_written.alone(&account.provider_key).await;
    let Some(object) = context.stores.provider_objects.get(&account.provider_key) else {
        return Err(ApiError::Gone("the provider object is gone".to_owned()));
    };
    let mut attempts = recorded_attempts(&object);
    attempts.retain(|written| login::counts(written.at, now));
    change(&mut attempts);
    let changed = json!({"loginAttempts": attempts.iter().map(Record::text).collect::<Vec<_>>()});
    let version =
        context.output.api.merge_provider_status(&object, account.provider_key.is_cluster(), &changed).await?;
    context.stores.provider_objects.apply_own_status_write(&account.provider_key, &object, &changed, &version);
    Ok(())
}
