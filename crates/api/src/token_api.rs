//! Traits that each token API implements, and code that all token APIs share.

use super::cel::{Cel, cel};
use super::duration::GoDuration;
use super::limits::AccountLimits;
use super::parameters::Parameters;
use super::request::{FieldError, TokenRequest};
use schemars::{Schema, transform::Transform};
use std::borrow::Cow;

/// An account at a token API.
pub(super) trait TokenApi {
    /// Returns the default limits of the account.
    fn limits(&self) -> AccountLimits;

    /// Returns the account as the token API identifies it, or an error in the spec. Paths in the error start at the
    /// root of a provider object.
    fn identity(&self) -> Result<String, FieldError>;

    /// Returns the account in short form, for people.
    fn display_name(&self) -> String;

    /// If each token is a login and failed logins lock the user, returns a clause that says so. Only one call is then
    /// in flight.
    fn lockout(&self) -> Option<Cow<'static, str>> {
        None
    }

    /// Returns true if the type makes no calls, so that limits and certificates have no meaning.
    fn is_local(&self) -> bool {
        false
    }

    /// Returns the parameters that the spec declares. `None` for types without declared parameters.
    fn parameters(&self) -> Option<&Parameters> {
        None
    }

    /// Returns the names of the further values that come with each token.
    fn values(&self) -> Vec<String> {
        Vec::new()
    }

    /// Returns true if each new token ends the validity of the one before.
    fn invalidates_previous(&self) -> bool {
        false
    }

    /// Checks what only a ClusterTokenProvider must declare.
    fn check_cluster(&self) -> Result<(), FieldError> {
        Ok(())
    }
}

/// [`TokenApi`] with the scope of the type.
pub(super) trait TypedTokenApi: TokenApi {
    /// Scope of a token of this type.
    type Scope;

    /// Part of the `allowedScopes` of a ClusterTokenProvider that decides on this scope.
    type Allowed<'a>;

    /// Returns the rules of the spec of a VideoAccessToken that need more than the scope, mainly about lifetimes.
    fn rules() -> Vec<Cel>;

    /// Returns the request for one token. `account` is the identity of this account.
    fn request(
        &self,
        account: String,
        scope: &Self::Scope,
        lifetime: Option<&GoDuration>,
    ) -> Result<TokenRequest, FieldError>;

    /// Checks that the `allowedScopes` of a ClusterTokenProvider allow this scope.
    fn admits(allowed: Self::Allowed<'_>, scope: &Self::Scope) -> Result<(), FieldError>;
}

/// Schema transform: for each of these types, if a login can lock a user, only one call is in flight.
pub(super) fn one_login(lockouts: Vec<(&'static str, Cow<'static, str>)>) -> impl FnMut(&mut Schema) {
    move |schema| {
        for (name, lockout) in &lockouts {
            let rule = format!(
                "!has(self.{name}) || !has(self.limits) || !has(self.limits.concurrency) || self.limits.concurrency == 1"
            );
            cel(rule, one_at_a_time(lockout)).at(".limits.concurrency").transform(schema);
        }
    }
}

/// Schema transform: these types, which make no calls, have no limits and no certificates.
pub(super) fn no_network(local_types: Vec<&'static str>) -> impl FnMut(&mut Schema) {
    move |schema| {
        for name in &local_types {
            for member in ["limits", "caBundle", "caBundleRef"] {
                cel(format!("!has(self.{name}) || !has(self.{member})"), no_calls(name))
                    .at(&format!(".{member}"))
                    .forbidden()
                    .transform(schema);
            }
        }
    }
}

/// Returns the message for a setting of calls at a type that makes none.
pub(super) fn no_calls(name: &str) -> String {
    format!("{name} makes no calls: remove it")
}

/// Returns the message for a concurrency at a token API where a login can lock a user.
pub(super) fn one_at_a_time(lockout: &str) -> String {
    format!("{lockout}, so one is made at a time: remove concurrency")
}

/// Returns the only member that is set, or an error that lists what was found.
pub(super) fn one<T, const N: usize>(members: [Option<T>; N], field: &str, what: &str) -> Result<T, FieldError> {
    let mut set = members.into_iter().flatten();
    match (set.next(), set.count()) {
        (Some(member), 0) => Ok(member),
        (None, _) => Err(FieldError::new(field, format!("no {what} that is known here: set exactly one"))),
        (Some(_), more) => Err(FieldError::new(field, format!("{} of a {what}: set exactly one", more + 1))),
    }
}

/// Checks that `word` is in `allowed`, or in `default` if `allowed` is absent.
pub(super) fn among(field: &str, word: &str, allowed: Option<&[String]>, default: &[&str]) -> Result<(), FieldError> {
    let allowed = allowed.map_or_else(|| default.to_vec(), |words| words.iter().map(String::as_str).collect());
    if allowed.contains(&word) {
        return Ok(());
    }
    let list = if allowed.is_empty() { "nothing".into() } else { allowed.join(", ") };
    Err(FieldError::new(field, format!("the ClusterTokenProvider's allowedScopes admit {list}, not {word}")))
}

pub(super) fn blame_provider(error: &FieldError) -> FieldError {
    FieldError::new("spec.providerRef", format!("the provider's {error}"))
}

pub(super) fn other_type(provider: &str, scope: &str) -> FieldError {
    FieldError::new(
        "spec.scope",
        format!(
            "the provider is {provider} but the scope is {scope}: set scope.{provider}, or name a provider of type {scope}"
        ),
    )
}
