//! The token to issue: one VideoAccessToken of the manifests and its provider, checked as the API server and the operator
//! check them.

use super::{CommandError, Options};
use crate::check::{Kinds, RejectedBy, Report, Verdict, check};
use crate::cli::check::{fault_line, line};
use crate::manifest::{Manifest, Object, Path};
use chrono::TimeDelta;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use std::collections::BTreeMap;
use videotoken_api::key::ObjectKey;
use videotoken_api::request::{FieldError, TokenRequest};
use videotoken_api::reserved;
use videotoken_api::video_access_token::{ProviderKind, VideoAccessTokenSpec};
use videotoken_api::wire_time;
use videotoken_core::plan::backoff;
use videotoken_core::plan::decide::{Decision, decide};
use videotoken_core::plan::desired::{Fit, resolve_spec, sign_with};
use videotoken_core::plan::facts::{Failure, Seconds, SecretFacts, StatusFacts, Uid, secret_facts};
use videotoken_core::plan::hash::request_hash;
use videotoken_core::plan::secret::{
    PREVIOUS_MARGIN, Previous, ReplacedToken, SecretTarget, TokenRecord, WritePrecondition, build_secret,
};
use videotoken_core::plan::view::{
    Before, DataView, DecisionInput, DesiredToken, QueueState, SecretView, UnsavedTokenView, Wait, WriteFailure,
};
use videotoken_providers::Issued;
use videotoken_providers::clock::{self, Timestamp};
use videotoken_providers::provider_setup::{AllowedUse, Owner, ProviderObject};

/// The token to issue.
pub(super) struct IssueJob {
    /// Namespace and name of the VideoAccessToken.
    pub(super) key: ObjectKey,
    /// Its spec.
    pub(super) spec: VideoAccessTokenSpec,
    /// Its provider.
    pub(super) provider: ProviderObject,
    /// Owner of the provider.
    pub(super) owner: Owner,
    /// Namespace in which the references of the provider resolve.
    pub(super) home: String,
    /// The token request.
    pub(super) request: TokenRequest,
    /// Token that the spec and the provider declare.
    pub(super) wanted: DesiredToken,
    /// Fixes the jitter of renewals and retries, as the UID of an object does in a cluster.
    pub(super) uid: Uid,
}

/// State that a decision depends on, in addition to the job.
#[derive(Default)]
pub(super) struct State {
    /// Token in the files.
    pub(super) stored: Option<TokenRecord>,
    /// Issued token that is not in the files yet.
    pub(super) unsaved: Option<TokenRecord>,
    /// Requested renewal, as the annotation of an object has it.
    pub(super) renew: Option<String>,
    /// Last failed attempt.
    pub(super) failure: Option<Failure>,
    /// Last failed write.
    pub(super) write_failure: Option<WriteFailure>,
}

impl State {
    /// Creates the state from the token in the files. `renew`: it is renewed at once.
    pub(super) fn new(stored: Option<TokenRecord>, renew: bool) -> Self {
        let after = |token: &TokenRecord| clock::now().wall.max(token.issued_at + TimeDelta::seconds(1));
        let renew = stored.as_ref().filter(|_| renew).map(|token| wire_time::text(after(token)));
        Self { stored, renew, ..Self::default() }
    }

    /// Returns true if the last attempt or the last write has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_some() || self.write_failure.is_some()
    }
}

impl IssueJob {
    /// Reads the VideoAccessToken that `--name` selects, or the only one.
    pub(super) fn read(options: &Options, manifest: &Manifest, faults: &[String]) -> Result<Self, CommandError> {
        let objects = &manifest.objects;
        stop_at(faults)?;
        let number = chosen(options, objects)?;
        let report = check(&Kinds::default(), objects);
        let key = ObjectKey::new(namespace_of(&objects[number], options), objects[number].name());
        stop_at(&lines(objects, &report, number))?;
        let spec: VideoAccessTokenSpec = spec_of(&report, number, &objects[number])?;
        let at = |error: &FieldError| CommandError::Refused(located(&objects[number], error));
        if spec.suspend {
            let error =
                FieldError::new("spec.suspend", "the token is suspended, so nothing is issued. Remove suspend.");
            return Err(at(&error));
        }
        let provider_number = provider(&spec, &key, options, objects).map_err(|error| at(&error))?;
        stop_at(&lines(objects, &report, provider_number))?;
        let owner = match spec.provider_ref.kind {
            ProviderKind::ClusterTokenProvider => Owner::Cluster,
            ProviderKind::TokenProvider | ProviderKind::Other(_) => Owner::Namespace,
        };
        let stored = stored(&report, provider_number, &objects[provider_number])?;
        let provider = ProviderObject::parse(owner, stored["spec"].clone())
            .map_err(|refusal| CommandError::Refused(refusal.message))?;
        if let Some(admission) = &provider.admission {
            admit(admission, &key, &spec, options, objects).map_err(|error| at(&error))?;
        }
        let freed = provider.admission.as_ref().map(|admission| &admission.secrets);
        let secret_name = spec.secret.name.as_deref().unwrap_or(&key.name);
        reserved::check(secret_name, &spec.secret, freed).map_err(|error| at(&error))?;
        let (request, wanted) =
            resolve_spec(&spec, &provider.spec, Fit::check(&spec.secret), None).map_err(|error| at(&error))?;
        provider
            .spec
            .account_limits()
            .map_err(|error| CommandError::Refused(located(&objects[provider_number], &error)))?;
        let home = options.credentials.home(owner, &key.namespace).to_owned();
        let uid = Uid::parse(&key.to_string());
        Ok(Self { key, spec, provider, owner, home, request, wanted, uid })
    }

    /// Adds the fingerprint of the key that signs the token, once the key is read.
    pub(super) fn sign_with(&mut self, fingerprint: &str) {
        sign_with(&mut self.request, fingerprint);
        self.wanted.request = request_hash(&self.request);
    }

    /// Returns the operator's decision for the token in the files.
    pub(super) fn decide(&self, state: &State, now: Timestamp) -> Decision {
        let facts = state.stored.as_ref().and_then(|token| self.facts(token));
        let secret = facts.as_ref().map_or(SecretView::Absent, |facts| SecretView::Known {
            facts,
            data: DataView::Verified,
            owner_gone: false,
        });
        let renew = state.renew.as_deref();
        let held = state.unsaved.as_ref().map(|token| UnsavedTokenView {
            request: token.request,
            renew_request: renew,
            issued_at: token.issued_at,
            expires_at: token.expires_at,
            returned_again: token.returned_again,
        });
        let of_account = state.failure.as_ref().filter(|failure| failure.is_of_account());
        let is_blocked = of_account.is_some_and(|failure| backoff::held_until(failure, false, now).is_some());
        let view = DecisionInput {
            uid: self.uid,
            deleting: false,
            renew_requested_at: renew,
            status: &StatusFacts::default(),
            desired: Some(Ok(self.wanted.clone())),
            secret,
            old_secret: None,
            unsaved: held,
            failure: state.failure.as_ref(),
            queue: if is_blocked {
                QueueState::Waiting(Wait { since: now, in_crowd: false })
            } else {
                QueueState::None
            },
            block: None,
            write_failure: state.write_failure.as_ref(),
            contest: None,
            damaged: false,
            before: Before::default(),
        };
        decide(&view, now)
    }

    /// Returns what the metadata of a token's Secret states. The files belong to this job, so its owner is this one.
    fn facts(&self, token: &TokenRecord) -> Option<SecretFacts> {
        let mut manifest = build_secret(self.subject(), token).ok()?.manifest(WritePrecondition::None);
        let metadata: ObjectMeta = serde_json::from_value(manifest["metadata"].take()).ok()?;
        Some(SecretFacts { owner: Some(self.uid), ..secret_facts(&metadata) })
    }

    /// Returns the record of an issued token, with the token that it replaces if the spec has a key for it.
    pub(super) fn record(&self, issued: Issued, before: Option<TokenRecord>) -> TokenRecord {
        let since = before.as_ref().map_or_else(Seconds::default, |before| before.issued_at.into());
        let replaced = before.as_ref().map(|before| ReplacedToken {
            issued_at: before.issued_at,
            expires_at: before.expires_at,
            request: before.request,
        });
        let mut token = TokenRecord::new(issued, self.wanted.request, since, None).replacing(replaced);
        if self.spec.secret.keys.previous_token.is_some() {
            let previous = before.map(|before| Previous { token: before.token, expires_at: before.expires_at });
            token.previous = previous.filter(|previous| clock::now().wall + PREVIOUS_MARGIN < previous.expires_at);
        }
        token
    }

    /// Returns the object that the Secret is built for.
    pub(super) fn subject(&self) -> SecretTarget<'_> {
        SecretTarget { key: &self.key, uid: None, spec: &self.spec.secret }
    }
}

fn namespace_of<'a>(object: &'a Object, options: &'a Options) -> &'a str {
    object.namespace().unwrap_or(&options.credentials.namespace)
}

/// Returns the VideoAccessToken that `--name` selects, or the only one.
fn chosen(options: &Options, objects: &[Object]) -> Result<usize, CommandError> {
    let mut tokens = Vec::new();
    for (number, object) in objects.iter().enumerate() {
        let shown = format!("{}/{}", namespace_of(object, options), object.name());
        if object.kind() == "VideoAccessToken" {
            tokens.push((number, shown));
        }
    }
    let all = tokens.iter().map(|(_, shown)| shown.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(name) = &options.name {
        tokens.retain(|(_, shown)| shown == name || shown.split_once('/').is_some_and(|(_, own)| own == name));
    }
    match (&tokens[..], &options.name) {
        ([(number, _)], _) => Ok(*number),
        ([], _) if all.is_empty() => Err(CommandError::Usage("these files contain no VideoAccessToken".to_owned())),
        ([], Some(name)) => Err(CommandError::Usage(format!(
            "--name {name}: these files contain no VideoAccessToken with this name, only {all}"
        ))),
        _ => Err(CommandError::Usage(format!(
            "these files contain several VideoAccessTokens. Select one with --name [NAMESPACE/]NAME: {all}"
        ))),
    }
}

/// Returns what the API server would reject of one object.
fn lines(objects: &[Object], report: &Report, number: usize) -> Vec<String> {
    let of_it =
        report.findings.iter().filter(|found| found.object == number && found.rejected_by == RejectedBy::ApiServer);
    of_it.map(|finding| line(&objects[number], finding)).collect()
}

fn stop_at(lines: &[String]) -> Result<(), CommandError> {
    if lines.is_empty() { Ok(()) } else { Err(CommandError::Refused(lines.join("\n"))) }
}

/// Returns an error of the operator with its location in the file.
fn located(object: &Object, error: &FieldError) -> String {
    let place = object.place(&Path::parse(&error.field));
    format!("{}:{}:{}: {error}", object.file, place.line, place.column)
}

/// Returns the object as the API server would store it. An object that only the operator rejects is returned as written.
fn stored<'a>(
    report: &'a Report,
    number: usize,
    object: &'a Object,
) -> Result<std::borrow::Cow<'a, serde_json::Value>, CommandError> {
    match &report.verdicts[number] {
        Verdict::Good(value) => Ok(std::borrow::Cow::Borrowed(value)),
        Verdict::Refused => Ok(std::borrow::Cow::Borrowed(&object.value)),
        Verdict::Skipped => Err(CommandError::Refused(format!(
            "{}:{}: not a kind of videotoken.dev: {} {}",
            object.file,
            object.start().line,
            object.api_version(),
            object.kind()
        ))),
    }
}

fn spec_of(report: &Report, number: usize, object: &Object) -> Result<VideoAccessTokenSpec, CommandError> {
    let stored = stored(report, number, object)?;
    serde_path_to_error::deserialize(&stored["spec"]).map_err(|error| {
        let error = FieldError::new(format!("spec.{}", error.path()), error.inner().to_string());
        CommandError::Refused(located(object, &error))
    })
}

/// Returns the provider that the spec names.
fn provider(
    spec: &VideoAccessTokenSpec,
    token: &ObjectKey,
    options: &Options,
    objects: &[Object],
) -> Result<usize, FieldError> {
    let reference = &spec.provider_ref;
    let kind = reference.kind.as_str();
    let found = objects.iter().position(|object| {
        let near = kind == "ClusterTokenProvider" || namespace_of(object, options) == &*token.namespace;
        object.kind() == kind && object.name() == reference.name && near
    });
    found.ok_or_else(|| {
        let within =
            if kind == "ClusterTokenProvider" { String::new() } else { format!(" in namespace {}", token.namespace) };
        let message = format!("these files contain no {kind} {}{within}. Add its file with -f.", reference.name);
        FieldError::new("spec.providerRef", message)
    })
}

/// Checks that the administrator of the provider allows this namespace and scope.
fn admit(
    admission: &AllowedUse,
    token: &ObjectKey,
    spec: &VideoAccessTokenSpec,
    options: &Options,
    objects: &[Object],
) -> Result<(), FieldError> {
    let namespace = &*token.namespace;
    let allowed = &admission.namespaces;
    let all = allowed.selector == Some(LabelSelector::default());
    let named = allowed.names.iter().any(|name| name == namespace);
    let labels = objects.iter().find(|object| object.is("v1", "Namespace") && object.name() == namespace);
    let labels: Option<BTreeMap<String, String>> =
        labels.map(|object| serde_json::from_value(object.value["metadata"]["labels"].clone()).unwrap_or_default());
    let admitted = match labels {
        _ if options.ignore_allowed_namespaces || all || named => true,
        Some(labels) => allowed.admits(namespace, &labels),
        None if allowed.selector.is_some() => {
            return Err(FieldError::new(
                "spec.providerRef",
                format!(
                    "{} selects namespaces by their labels, and these files contain no Namespace {namespace}. Add its \
                     manifest with -f, or set --ignore-allowed-namespaces.",
                    spec.provider_ref.name
                ),
            ));
        }
        None => false,
    };
    admission.admits(namespace, admitted, spec)
}

/// Returns one line for each part of a file that couldn't be read.
pub(super) fn fault_lines(file: &str, manifest: &Manifest) -> Vec<String> {
    manifest.faults.iter().map(|fault| fault_line(file, fault)).collect()
}
