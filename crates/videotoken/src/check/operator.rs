//! What the API server would store and the operator refuse: by the same code as in a cluster.
//!
//! Only what the manifests themselves show counts. A provider that isn't among them may be in the cluster.

use super::{Complaint, Verdict};
use crate::manifest::{Object, Path, Step};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use videotoken_api::names;
use videotoken_api::request::FieldError;
use videotoken_api::reserved;
use videotoken_api::video_access_token::{ProviderKind, VideoAccessTokenSpec};
use videotoken_core::plan::desired::{Fit, resolve_spec};
use videotoken_core::plan::secret;
use videotoken_providers::account::{Owner, ProviderObject, encrypted_value};

/// The objects that would be refused, by their numbers.
pub(super) fn refusals(objects: &[Object], verdicts: &[Verdict]) -> Vec<(usize, Complaint)> {
    let scene = Scene { objects, verdicts };
    let mut refusals = scene.twice();
    refusals.extend(
        objects
            .iter()
            .enumerate()
            .flat_map(|(number, object)| encrypted(object).into_iter().map(move |complaint| (number, complaint))),
    );
    refusals.extend(scene.claimed_twice());
    for number in 0..objects.len() {
        let error = match scene.good(number) {
            Some(("VideoAccessToken", value)) => scene.token(number, value),
            Some((kind, value)) => provider(kind, value),
            None => Ok(()),
        };
        if let Err(error) = error {
            refusals.push((number, complaint(&error)));
        }
    }
    refusals
}

/// What is still encrypted of a Secret that is meant for the operator: it would be sent as the credential.
fn encrypted(object: &Object) -> Vec<Complaint> {
    let meant = object.value["metadata"]["labels"][names::CREDENTIALS] == "true";
    if !object.is("v1", "Secret") || !meant {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for member in ["data", "stringData"] {
        for (key, value) in object.value[member].as_object().into_iter().flatten() {
            let Some(text) = value.as_str() else { continue };
            let decoded = STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            if let Some(how) = encrypted_value(text).or_else(|| decoded.as_deref().and_then(encrypted_value)) {
                let path = Path::default().field(member).with(Step::Key(key.clone()));
                complaints.push(Complaint::new(&path, how));
            }
        }
    }
    complaints
}

fn complaint(error: &FieldError) -> Complaint {
    Complaint::new(&Path::parse(&error.field), error.message.clone())
}

/// The typed spec of an object that fits its schema; the decoding can't fail then.
fn parsed(kind: &str, value: &Value) -> Result<ProviderObject, FieldError> {
    let owner = if kind == "TokenProvider" { Owner::Namespace } else { Owner::Cluster };
    ProviderObject::parse(owner, value["spec"].clone()).map_err(|refusal| FieldError::new("spec", refusal.message))
}

fn provider(kind: &str, value: &Value) -> Result<(), FieldError> {
    let object = parsed(kind, value)?;
    object.spec.account_limits()?;
    object.spec.account()?.identity().map(drop)
}

struct Scene<'a> {
    objects: &'a [Object],
    verdicts: &'a [Verdict],
}

impl Scene<'_> {
    /// The kind and the content of an object that is good so far.
    fn good(&self, number: usize) -> Option<(&str, &Value)> {
        let Verdict::Good(value) = self.verdicts.get(number)? else { return None };
        Some((self.objects[number].kind(), value))
    }

    fn token(&self, number: usize, value: &Value) -> Result<(), FieldError> {
        let spec: VideoAccessTokenSpec = serde_path_to_error::deserialize(&value["spec"])
            .map_err(|error| FieldError::new(format!("spec.{}", error.path()), error.inner().to_string()))?;
        let namespace = self.objects[number].namespace();
        let name = spec.secret.name.as_deref().unwrap_or(self.objects[number].name());
        let Some(provider) = self.provider(&spec, namespace) else {
            // what a ClusterTokenProvider frees only the cluster knows
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
                // what its labels are only the cluster knows
                None => admission.namespaces.selector.is_some() || names.iter().any(|name| name == namespace),
            };
            admission.admits(namespace, admitted, &spec)?;
        }
        reserved::check(name, &spec.secret, provider.admission.as_ref().map(|admission| &admission.secrets))?;
        resolve_spec(&spec, &provider.spec, Fit::check(&spec.secret)).map(drop)
    }

    /// The provider that a token of this namespace names, if it is among the objects and good.
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

    /// The labels of a namespace that is among the objects.
    fn labels(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        let object = self.objects.iter().find(|object| object.is("v1", "Namespace") && object.name() == namespace)?;
        Some(serde_json::from_value(object.value["metadata"]["labels"].clone()).unwrap_or_default())
    }

    /// Objects of ours that are there twice: the later would overwrite the earlier.
    fn twice(&self) -> Vec<(usize, Complaint)> {
        let mut seen = HashMap::new();
        let mut twice = Vec::new();
        for (number, object) in self.objects.iter().enumerate().filter(|(_, object)| !object.name().is_empty()) {
            let Some((kind, _)) = self.good(number) else { continue };
            let namespace = object.namespace().filter(|_| kind != "ClusterTokenProvider");
            if let Some(first) = seen.insert((kind, namespace, object.name()), number) {
                let first = &self.objects[first];
                let message =
                    format!("this {kind} is at {}:{} too: one overwrites the other", first.file, first.start().line);
                twice.push((number, Complaint::new(&Path::parse("metadata.name"), message)));
            }
        }
        twice
    }

    /// Tokens that want the Secret of another.
    fn claimed_twice(&self) -> Vec<(usize, Complaint)> {
        let mut claimed: HashMap<_, &str> = HashMap::new();
        let mut twice = Vec::new();
        for (number, object) in self.objects.iter().enumerate() {
            let Some(("VideoAccessToken", value)) = self.good(number) else { continue };
            let secret = value["spec"]["secret"]["name"].as_str().unwrap_or(object.name());
            match claimed.get(&(object.namespace(), secret)) {
                Some(holder) if *holder != object.name() => {
                    let message = format!("the VideoAccessToken {holder} has the Secret {secret}: choose another name");
                    twice.push((number, Complaint::new(&Path::parse("spec.secret.name"), message)));
                }
                Some(_) => {}
                None => drop(claimed.insert((object.namespace(), secret), object.name())),
            }
        }
        twice
    }
}
