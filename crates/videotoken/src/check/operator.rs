//! Objects that the API server would store and the operator would reject, by the code of the operator.
//!
//! The check uses only the manifests. A provider that isn't among them may exist in the cluster.

use super::secrets::{self, Secrets};
use super::{RejectedBy, Verdict, Violation, hints};
use crate::manifest::{Object, Path, Step};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use videotoken_api::names;
use videotoken_api::request::FieldError;
use videotoken_api::reserved;
use videotoken_api::video_access_token::{ProviderKind, VideoAccessTokenSpec};
use videotoken_core::plan::desired::{Fit, resolve_spec};
use videotoken_core::plan::secret;
use videotoken_providers::provider_setup::{Owner, ProviderObject, References, encrypted_value};

/// Namespace of objects without one.
const NAMESPACE: &str = "default";

/// Returns the objects that would be rejected, by their index.
pub(super) fn refusals(objects: &[Object], verdicts: &[Verdict]) -> Vec<(usize, Violation)> {
    let set = ManifestSet { objects, verdicts };
    let mut refusals = set.duplicates();
    refusals.extend(
        objects
            .iter()
            .enumerate()
            .flat_map(|(number, object)| encrypted(object).into_iter().map(move |violation| (number, violation))),
    );
    refusals.extend(set.secret_conflicts());
    for number in 0..objects.len() {
        let error = match set.good(number) {
            Some(("VideoAccessToken", value)) => set.token(number, value),
            Some((kind, value)) => provider(kind, value),
            None => Ok(()),
        };
        if let Err(error) = error {
            refusals.push((number, violation(&error)));
        }
    }
    refusals
}

/// Returns the encrypted values of a credential Secret: the operator would send them as credentials.
fn encrypted(object: &Object) -> Vec<Violation> {
    let meant = object.value["metadata"]["labels"][names::CREDENTIALS] == "true";
    if !object.is("v1", "Secret") || !meant {
        return Vec::new();
    }
    let mut violations = Vec::new();
    for member in ["data", "stringData"] {
        for (key, value) in object.value[member].as_object().into_iter().flatten() {
            let Some(text) = value.as_str() else { continue };
            let decoded = STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            if let Some(how) = encrypted_value(text).or_else(|| decoded.as_deref().and_then(encrypted_value)) {
                let path = Path::default().field(member).with(Step::Key(key.clone()));
                violations.push(Violation::new(&path, how));
            }
        }
    }
    violations
}

/// Returns the hints for the providers, by the index of the object.
pub(super) fn hints(objects: &[Object], verdicts: &[Verdict]) -> Vec<(usize, Violation)> {
    let (set, secrets) = (ManifestSet { objects, verdicts }, Secrets::from_objects(objects, NAMESPACE));
    let of = |(number, provider, own): (usize, ProviderObject, Option<&str>)| {
        hints::find(&provider, own, &secrets).into_iter().map(move |hint| (number, hint)).collect::<Vec<_>>()
    };
    set.providers().flat_map(of).collect()
}

/// Returns what is wrong with the Secrets among the objects, by the index of the object.
pub(super) fn about_secrets(objects: &[Object], verdicts: &[Verdict]) -> Vec<(usize, RejectedBy, Violation)> {
    let (set, given) = (ManifestSet { objects, verdicts }, Secrets::from_objects(objects, NAMESPACE));
    let (mut found, mut named) = (Vec::new(), Vec::new());
    for (number, provider, own) in set.providers() {
        let Ok(account) = provider.spec.account() else { continue };
        let (account, home) = (videotoken_providers::provider(&account), own.unwrap_or(secrets::HOME));
        let all = account.secrets().unwrap_or_default();
        if !all.is_empty() && all.iter().all(|name| given.has(home, name)) {
            let owner = if own.is_some() { Owner::Namespace } else { Owner::Cluster };
            let references = References::new(&given, owner, home);
            // the Secrets are in memory, so nothing is waited for
            let refusal = account.check_secrets(&references).now_or_never().and_then(Result::err);
            let violation = refusal.as_ref().and_then(secrets::refused);
            found.extend(violation.map(|violation| (number, RejectedBy::Operator, violation)));
        }
        named.extend(all);
    }
    for (number, object) in objects.iter().enumerate().filter(|(_, object)| object.is("v1", "Secret")) {
        let is_ours = !object.value["metadata"]["labels"][names::CREDENTIALS].is_null();
        if (is_ours || named.iter().any(|name| name == object.name()))
            && let Some((path, message)) = secrets::unreadable(object)
        {
            found.push((number, RejectedBy::ApiServer, Violation::new(&path, message)));
        }
    }
    found
}

fn violation(error: &FieldError) -> Violation {
    Violation::new(&Path::parse(&error.field), error.message.clone())
}

/// Returns the typed spec of an object that matches its schema.
fn parsed(kind: &str, value: &Value) -> Result<ProviderObject, FieldError> {
    ProviderObject::parse(Owner::from_kind(kind), value["spec"].clone())
        .map_err(|refusal| FieldError::new("spec", refusal.message))
}

fn provider(kind: &str, value: &Value) -> Result<(), FieldError> {
    let object = parsed(kind, value)?;
    object.spec.account_limits()?;
    let account = object.spec.account()?;
    account.identity()?;
    videotoken_providers::provider(&account).check(Owner::from_kind(kind))
}

struct ManifestSet<'a> {
    objects: &'a [Object],
    verdicts: &'a [Verdict],
}

impl ManifestSet<'_> {
    /// Returns kind and content of an object without findings.
    fn good(&self, number: usize) -> Option<(&str, &Value)> {
        let Verdict::Good(value) = self.verdicts.get(number)? else { return None };
        Some((self.objects[number].kind(), value))
    }

    /// Returns the valid providers, each with its index, and the namespace of a TokenProvider.
    fn providers(&self) -> impl Iterator<Item = (usize, ProviderObject, Option<&str>)> {
        (0..self.objects.len()).filter_map(|number| {
            let (kind, value) = self.good(number).filter(|(kind, _)| kind.ends_with("TokenProvider"))?;
            let own = (kind == "TokenProvider").then(|| self.objects[number].namespace().unwrap_or(NAMESPACE));
            Some((number, parsed(kind, value).ok()?, own))
        })
    }

    fn token(&self, number: usize, value: &Value) -> Result<(), FieldError> {
        let spec: VideoAccessTokenSpec = serde_path_to_error::deserialize(&value["spec"])
            .map_err(|error| FieldError::new(format!("spec.{}", error.path()), error.inner().to_string()))?;
        let namespace = self.objects[number].namespace();
        let name = spec.secret.name.as_deref().unwrap_or(self.objects[number].name());
        let Some(provider) = self.provider(&spec, namespace) else {
            // a ClusterTokenProvider in the cluster may allow more
            if spec.provider_ref.kind == ProviderKind::TokenProvider {
                reserved::check(name, &spec.secret, None)?;
            }
            spec.workloads()?;
            secret::check(&spec.secret)?;
            return spec.renew_before().map(drop);
        };
        if let (Some(admission), Some(namespace)) = (&provider.admission, namespace) {
            let names = &admission.namespaces.names;
            let admitted = match self.labels(namespace) {
                Some(labels) => admission.namespaces.admits(namespace, &labels),
                // its labels in the cluster are unknown
                None => admission.namespaces.selector.is_some() || names.iter().any(|name| name == namespace),
            };
            admission.admits(namespace, admitted, &spec)?;
        }
        reserved::check(name, &spec.secret, provider.admission.as_ref().map(|admission| &admission.secrets))?;
        resolve_spec(&spec, &provider.spec, Fit::check(&spec.secret), None).map(drop)
    }

    /// Returns the provider that a VideoAccessToken of this namespace names, if it is among the objects and valid.
    fn provider(&self, spec: &VideoAccessTokenSpec, namespace: Option<&str>) -> Option<ProviderObject> {
        let reference = &spec.provider_ref;
        let number = self.objects.iter().position(|object| {
            object.kind() == reference.kind.as_str()
                && object.name() == reference.name
                && (reference.kind == ProviderKind::ClusterTokenProvider || object.namespace() == namespace)
        })?;
        let (kind, value) = self.good(number)?;
        parsed(kind, value).ok()
    }

    /// Returns the labels of a namespace that is among the objects.
    fn labels(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        let object = self.objects.iter().find(|object| object.is("v1", "Namespace") && object.name() == namespace)?;
        Some(serde_json::from_value(object.value["metadata"]["labels"].clone()).unwrap_or_default())
    }

    /// Returns the objects that occur twice: the later one would overwrite the earlier one.
    fn duplicates(&self) -> Vec<(usize, Violation)> {
        let mut seen = HashMap::new();
        let mut twice = Vec::new();
        for (number, object) in self.objects.iter().enumerate().filter(|(_, object)| !object.name().is_empty()) {
            let Some((kind, _)) = self.good(number) else { continue };
            let namespace = object.namespace().filter(|_| kind != "ClusterTokenProvider");
            if let Some(first) = seen.insert((kind, namespace, object.name()), number) {
                let first = &self.objects[first];
                let message =
                    format!("this {kind} is also at {}:{}. One overwrites the other.", first.file, first.start().line);
                twice.push((number, Violation::new(&Path::parse("metadata.name"), message)));
            }
        }
        twice
    }

    /// Returns the VideoAccessTokens whose Secret belongs to another one.
    fn secret_conflicts(&self) -> Vec<(usize, Violation)> {
        let mut claimed: HashMap<_, &str> = HashMap::new();
        let mut twice = Vec::new();
        for (number, object) in self.objects.iter().enumerate() {
            let Some(("VideoAccessToken", value)) = self.good(number) else { continue };
            let secret = value["spec"]["secret"]["name"].as_str().unwrap_or(object.name());
            match claimed.get(&(object.namespace(), secret)) {
                Some(holder) if *holder != object.name() => {
                    let message = format!(
                        "the Secret {secret} is already used by the VideoAccessToken {holder}. Choose another name."
                    );
                    twice.push((number, Violation::new(&Path::parse("spec.secret.name"), message)));
                }
                Some(_) => {}
                None => drop(claimed.insert((object.namespace(), secret), object.name())),
            }
        }
        twice
    }
}
