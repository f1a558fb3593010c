//! What is to be issued: one token of the manifests and its provider, checked as the API server and the operator would.

use super::{Options, Stop};
use crate::check::{Kinds, Refuser, Report, Verdict, check};
use crate::cli::check::{fault_line, line};
use crate::manifest::{Manifest, Object, Path};
use chrono::TimeDelta;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::BTreeMap;
use videotoken_api::key::ObjectKey;
use videotoken_api::request::{FieldError, TokenRequest};
use videotoken_api::reserved;
use videotoken_api::video_access_token::{ProviderKind, VideoAccessTokenSpec};
use videotoken_core::plan::desired::{Fit, resolve_spec};
use videotoken_core::plan::facts::{Seconds, Uid};
use videotoken_core::plan::renewal;
use videotoken_core::plan::secret::{Previous, SecretTarget, TokenRecord};
use videotoken_core::plan::view::DesiredToken;
use videotoken_providers::Issued;
use videotoken_providers::account::{Admission, Owner, ProviderObject};
use videotoken_providers::clock::{self, Timestamp};

/// `previousToken` leaves the Secret this long before it expires.
pub(super) const PREVIOUS_MARGIN: TimeDelta = TimeDelta::seconds(5);

/// One token, ready to be asked for.
pub(super) struct Order {
    /// The object's namespace and name.
    pub(super) key: ObjectKey,
    /// Its spec.
    pub(super) spec: VideoAccessTokenSpec,
    /// Its provider's.
    pub(super) provider: ProviderObject,
    /// Whose the provider is.
    pub(super) owner: Owner,
    /// Where the provider's references resolve.
    pub(super) home: String,
    /// What is asked.
    pub(super) request: TokenRequest,
    /// What is wanted.
    pub(super) wanted: DesiredToken,
    /// Spreads renewals, as an object's UID does in a cluster.
    pub(super) uid: Uid,
}

impl Order {
    /// Reads the token that the options name, or the only one.
    pub(super) fn read(options: &Options, manifest: &Manifest, faults: &[String]) -> Result<Self, Stop> {
        let objects = &manifest.objects;
        stop_at(faults)?;
        let number = chosen(options, objects)?;
        let report = check(&Kinds::default(), objects);
        let key = ObjectKey::new(namespace_of(&objects[number], options), objects[number].name());
        stop_at(&lines(objects, &report, number))?;
        let spec: VideoAccessTokenSpec = spec_of(&report, number, &objects[number])?;
        let at = |error: &FieldError| Stop::Refused(blame(&objects[number], error));
        if spec.suspend {
            let error = FieldError::new("spec.suspend", "it is suspended, so nothing is issued: remove suspend");
            return Err(at(&error));
        }
        let provider_number = provider(&spec, &key, options, objects).map_err(|error| at(&error))?;
        stop_at(&lines(objects, &report, provider_number))?;
        let owner = match spec.provider_ref.kind {
            ProviderKind::ClusterTokenProvider => Owner::Cluster,
            ProviderKind::TokenProvider | ProviderKind::Other(_) => Owner::Namespace,
        };
        let stored = stored(&report, provider_number, &objects[provider_number])?;
        let provider =
            ProviderObject::parse(owner, stored["spec"].clone()).map_err(|refusal| Stop::Refused(refusal.message))?;
        if let Some(admission) = &provider.admission {
            admit(admission, &key, &spec, options, objects).map_err(|error| at(&error))?;
        }
        let freed = provider.admission.as_ref().map(|admission| &admission.secrets);
        let secret_name = spec.secret.name.as_deref().unwrap_or(&key.name);
        reserved::check(secret_name, &spec.secret, freed).map_err(|error| at(&error))?;
        let (request, wanted) =
            resolve_spec(&spec, &provider.spec, Fit::check(&spec.secret)).map_err(|error| at(&error))?;
        provider.spec.account_limits().map_err(|error| Stop::Refused(blame(&objects[provider_number], &error)))?;
        let home = match owner {
            Owner::Cluster => options.cluster_resource_namespace.clone(),
            Owner::Namespace => key.namespace.to_string(),
        };
        let uid = Uid::parse(&key.to_string());
        Ok(Self { key, spec, provider, owner, home, request, wanted, uid })
    }

    /// What is recorded of a token that was issued, beside the one before it where that is asked for.
    pub(super) fn record(&self, issued: Issued, before: Option<TokenRecord>) -> TokenRecord {
        let since = before.as_ref().map_or_else(Seconds::default, |before| before.issued_at.into());
        let mut material = TokenRecord::new(issued, self.wanted.request, since, None);
        if self.spec.secret.keys.previous_token.is_some() {
            let previous = before.map(|before| Previous { token: before.token, expires_at: before.expires_at });
            material.previous = previous.filter(|previous| clock::now().wall + PREVIOUS_MARGIN < previous.expires_at);
        }
        material
    }

    /// When this token is renewed.
    pub(super) fn due(&self, token: &TokenRecord) -> Timestamp {
        renewal::plan(token.issued_at, token.expires_at, self.wanted.renew_before, self.uid.0).due
    }

    /// The object as its Secret's shape needs it.
    pub(super) fn subject(&self) -> SecretTarget<'_> {
        SecretTarget { key: &self.key, uid: None, spec: &self.spec.secret }
    }
}

fn namespace_of<'a>(object: &'a Object, options: &'a Options) -> &'a str {
    object.namespace().unwrap_or(&options.namespace)
}

/// The only token, or the one that `--name` means.
fn chosen(options: &Options, objects: &[Object]) -> Result<usize, Stop> {
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
        ([], _) if all.is_empty() => Err(Stop::Usage("there is no VideoAccessToken in these files".to_owned())),
        ([], Some(name)) => Err(Stop::Usage(format!("--name {name}: there is none of that name, only {all}"))),
        _ => Err(Stop::Usage(format!("several VideoAccessTokens: choose one by --name [NAMESPACE/]NAME: {all}"))),
    }
}

/// What the API server would say to one object.
fn lines(objects: &[Object], report: &Report, number: usize) -> Vec<String> {
    let of_it = report.findings.iter().filter(|found| found.object == number && found.refuser == Refuser::ApiServer);
    of_it.map(|finding| line(&objects[number], finding)).collect()
}

fn stop_at(lines: &[String]) -> Result<(), Stop> {
    if lines.is_empty() { Ok(()) } else { Err(Stop::Refused(lines.join("\n"))) }
}

/// An error of the operator's, with its place.
fn blame(object: &Object, error: &FieldError) -> String {
    let place = object.place(&Path::parse(&error.field));
    format!("{}:{}:{}: {error}", object.file, place.line, place.column)
}

/// The object as the API server would store it. One that only the operator refuses stands as it is written.
fn stored<'a>(
    report: &'a Report,
    number: usize,
    object: &'a Object,
) -> Result<std::borrow::Cow<'a, serde_json::Value>, Stop> {
    match &report.verdicts[number] {
        Verdict::Good(value) => Ok(std::borrow::Cow::Borrowed(value)),
        Verdict::Refused => Ok(std::borrow::Cow::Borrowed(&object.value)),
        Verdict::Skipped => Err(Stop::Refused(format!(
            "{}:{}: no kind of ours: {} {}",
            object.file,
            object.start().line,
            object.api_version(),
            object.kind()
        ))),
    }
}

fn spec_of(report: &Report, number: usize, object: &Object) -> Result<VideoAccessTokenSpec, Stop> {
    let stored = stored(report, number, object)?;
    serde_path_to_error::deserialize(&stored["spec"]).map_err(|error| {
        let error = FieldError::new(format!("spec.{}", error.path()), error.inner().to_string());
        Stop::Refused(blame(object, &error))
    })
}

/// The provider that the spec names.
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
        let message = format!("these files have no {kind} {}{within}: give its file too, by -f", reference.name);
        FieldError::new("spec.providerRef", message)
    })
}

/// Does the provider's admin let this token ask for its scope?
fn admit(
    admission: &Admission,
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
                    "{} selects namespaces by their labels, and these files have no Namespace {namespace}: give its \
                     manifest too, by -f, or pass --ignore-allowed-namespaces",
                    spec.provider_ref.name
                ),
            ));
        }
        None => false,
    };
    admission.admits(namespace, admitted, spec)
}

/// What couldn't be read of a file, as a line.
pub(super) fn fault_lines(file: &str, manifest: &Manifest) -> Vec<String> {
    manifest.faults.iter().map(|fault| fault_line(file, fault)).collect()
}
