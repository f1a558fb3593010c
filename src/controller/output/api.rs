//! Writes to Kubernetes, by server-side apply with one field manager.

use crate::controller::stores::meta::WireMeta;
use crate::controller::stores::provider_key::provider_resource;
use crate::controller::stores::secrets::SecretMeta;
use crate::controller::stores::token::Token;
use crate::controller::tokens::renders::{Renders, Room, SMALL};
use crate::lease::LeaseHandle;
use futures::AsyncBufReadExt;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use kube::api::{DeleteParams, GetParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::{ApiResource, DynamicObject, ObjectMeta, Request, Resource};
use kube::{Api, Client};
use secrecy::SecretString;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::pin::pin;
use std::time::Duration;
use videotoken_api::key::ObjectKey;
use videotoken_api::names;
use videotoken_api::video_access_token::VideoAccessToken;
use videotoken_core::plan::facts::SecretFacts;
use videotoken_core::plan::secret::{DesiredSecret, WritePrecondition};
use videotoken_core::plan::write_failure::ApiError;
use videotoken_providers::redact::Redactor;

pub(crate) mod workload;

/// Time limit of a write. Admission may take 30 s, the maximum `timeoutSeconds` of a webhook, and the API server
/// cancels a write when its client disconnects. With a shorter limit, a write would never succeed behind a webhook that
/// doesn't respond and may be ignored.
///
/// The lease must be valid only when a write begins: the UID and resourceVersion in the write make a late one harmless.
const WRITE_WITHIN: Duration = Duration::from_secs(34);

/// Time limit of a read, which admission can't delay.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// Maximum size in bytes of a response with a Secret: etcd accepts objects up to 1.5 MiB, and JSON adds to that.
const LARGEST_READ: usize = 3 * 1024 * 1024;

/// Maximum number of bytes quoted from a response of the API server.
const MAX_SAID: usize = 512;

/// A failed request with its response. Don't show the response unredacted: an admission webhook may quote the object.
enum Failed {
    Kube(kube::Error),
    /// No response arrived within this time.
    Late(Duration),
}

impl Failed {
    /// Returns true if the error quotes text of the API server or a webhook.
    fn quotes_text(&self) -> bool {
        matches!(self, Self::Kube(kube::Error::Api(status)) if ![404, 409, 429, 503, 504].contains(&status.code))
    }

    /// Classifies the error, and quotes its text without known secrets.
    fn into_api_error(self, redactor: &Redactor) -> ApiError {
        let error = match self {
            Self::Kube(error) => error,
            Self::Late(limit) => {
                return ApiError::Unanswered(format!("no answer within {} s", limit.as_secs()));
            }
        };
        let kube::Error::Api(status) = error else {
            return ApiError::Unavailable(redactor.quote(safe_error_text(&error)));
        };
        let said = &status.message;
        let message = redactor.quote_within(MAX_SAID, said);
        ApiError::of_status(status.code, said, message)
    }
}

/// Returns the error's own text. The sources of a transport error may quote the request, so they are left out.
fn safe_error_text(error: &kube::Error) -> String {
    match error {
        kube::Error::Service(source) => format!("no answer ({source})"),
        kube::Error::HyperError(_) => "the connection broke".to_owned(),
        kube::Error::SerdeError(_) => "its answer can't be read".to_owned(),
        _ => "the request failed".to_owned(),
    }
}

/// Client for the permitted calls, with the lease that each write needs.
#[derive(Clone)]
pub(crate) struct Applier {
    client: Client,
    lease: LeaseHandle,
}

impl Applier {
    /// Creates an applier that sends calls through this client, and writes only while this process holds the lease.
    pub(crate) fn new(client: Client, lease: LeaseHandle) -> Self {
        Self { client, lease }
    }

    /// Returns an error unless this process holds the lease. Each write calls this function immediately before sending.
    /// [`WRITE_WITHIN`] explains why the lease need not last as long as the write.
    fn check_lease(&self) -> Result<(), ApiError> {
        if self.lease.is_leader() { Ok(()) } else { Err(ApiError::NotLeading) }
    }

    /// Writes the Secret if the guard permits it. Returns the whole Secret as stored, because admission may have
    /// changed any part.
    pub(crate) async fn apply_secret(
        &self,
        key: &ObjectKey,
        shape: &DesiredSecret,
        guard: WritePrecondition<'_>,
    ) -> Result<Secret, ApiError> {
        let params = PatchParams::apply(names::OPERATOR).force();
        let request = Request::new(Secret::url_path(&(), Some(&key.namespace)))
            .patch(&key.name, &params, &Patch::Apply(shape.manifest(guard)))
            .map_err(|error| ApiError::Refused(error.to_string()))?
            .map(json_that_is_yaml);
        self.check_lease()?;
        let error = match with_timeout(WRITE_WITHIN, self.client.request(request)).await {
            Ok(secret) => return Ok(secret),
            Err(error) => error,
        };
        let mut secrets = shape.secrets();
        if error.quotes_text() && matches!(guard, WritePrecondition::Unchanged { .. }) {
            secrets.extend(self.values_of(key).await);
        }
        Err(error.into_api_error(&Redactor::of_object(secrets)))
    }

    /// Returns the values in the Secret of this name, because the error of a rejected change may quote them.
    async fn values_of(&self, key: &ObjectKey) -> Vec<SecretString> {
        let Ok(Some(secret)) = self.credential(key).await else { return Vec::new() };
        let values = secret.data.unwrap_or_default().into_values();
        values.filter_map(|bytes| String::from_utf8(bytes.0).ok()).map(SecretString::from).collect()
    }

    /// Deletes a Secret if it is unchanged since it was read.
    pub(crate) async fn delete_secret(&self, key: &ObjectKey, seen: &SecretFacts) -> Result<(), ApiError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &key.namespace);
        let preconditions = Preconditions {
            uid: Some(seen.uid_text.to_string()),
            resource_version: Some(seen.resource_version.to_string()),
        };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        self.check_lease()?;
        let Err(error) = with_timeout(WRITE_WITHIN, async { api.delete(&key.name, &params).await }).await else {
            return Ok(());
        };
        let secrets = if error.quotes_text() { self.values_of(key).await } else { Vec::new() };
        match error.into_api_error(&Redactor::of_object(secrets)) {
            ApiError::Gone(_) => Ok(()),
            error => Err(error),
        }
    }

    /// Returns the metadata of the Secret, or `None` if it doesn't exist.
    pub(crate) async fn probe(&self, key: &ObjectKey) -> Result<Option<SecretFacts>, ApiError> {
        let api: Api<SecretMeta> = Api::namespaced(self.client.clone(), &key.namespace);
        let meta = read(async { api.get_opt(&key.name).await }).await?;
        Ok(meta.map(|meta| meta.facts()))
    }

    /// Returns the whole Secret, or `None` if it doesn't exist. For a large Secret, waits for memory before reading the
    /// rest. The caller holds that memory until it drops the result.
    pub(crate) async fn read(
        &self,
        key: &ObjectKey,
        renders: &Renders,
    ) -> Result<Option<(Secret, Option<Room>)>, ApiError> {
        let url = Secret::url_path(&(), Some(&key.namespace));
        let request = Request::new(url)
            .get(&key.name, &GetParams::default())
            .map_err(|error| ApiError::Refused(error.to_string()))?;
        let answer = async {
            let mut body = pin!(self.client.request_stream(request).await?);
            let (mut bytes, mut room) = (Vec::new(), None);
            loop {
                let more = body.fill_buf().await.map_err(|error| kube::Error::Service(error.into()))?;
                let length = more.len();
                if length == 0 {
                    break;
                }
                if room.is_none() && bytes.len() + length > SMALL {
                    room = Some(renders.room(&key.namespace, LARGEST_READ).await);
                }
                if bytes.len() + length > LARGEST_READ {
                    return Err(kube::Error::Service("the Secret is larger than any can be".into()));
                }
                bytes.extend_from_slice(more);
                body.consume_unpin(length);
            }
            let secret = serde_json::from_slice(&bytes).map_err(kube::Error::SerdeError)?;
            Ok((secret, room))
        };
        match read(answer).await {
            Ok(found) => Ok(Some(found)),
            Err(ApiError::Gone(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns a whole credential Secret, or `None` if it doesn't exist.
    pub(crate) async fn credential(&self, key: &ObjectKey) -> Result<Option<Secret>, ApiError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &key.namespace);
        read(async { api.get_opt(&key.name).await }).await
    }

    /// Returns the current metadata of the object, or `None` if it is deleted or being deleted. Sends one GET.
    pub(crate) async fn token_metadata(&self, seen: &Token) -> Result<Option<ObjectMeta>, ApiError> {
        let api: Api<VideoAccessToken> = Api::namespaced(self.client.clone(), &seen.key.namespace);
        let found = read(async { api.get_metadata_opt(&seen.key.name).await }).await?;
        let is_same = |found: &ObjectMeta| found.uid.as_deref() == Some(seen.uid_text());
        let found = found.map(|found| found.metadata);
        Ok(found.filter(|found| is_same(found) && found.deletion_timestamp.is_none()))
    }

    /// Returns a whole `ConfigMap`, or `None` if it doesn't exist.
    pub(crate) async fn config_map(&self, key: &ObjectKey) -> Result<Option<ConfigMap>, ApiError> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &key.namespace);
        read(async { api.get_opt(&key.name).await }).await
    }

    /// Returns the annotations of a `ServiceAccount`, or `None` if it doesn't exist.
    pub(crate) async fn service_account(&self, key: &ObjectKey) -> Result<Option<BTreeMap<String, String>>, ApiError> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &key.namespace);
        let meta = read(async { api.get_metadata_opt(&key.name).await }).await?;
        Ok(meta.map(|meta| meta.metadata.annotations.unwrap_or_default()))
    }

    /// Requests a token of a `ServiceAccount`. The error may quote the response, which contains the token.
    pub(crate) async fn request_token(
        &self,
        account: &ObjectKey,
        request: &TokenRequest,
    ) -> Result<TokenRequest, kube::Error> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &account.namespace);
        api.create_token_request(&account.name, &PostParams::default(), request).await
    }

    /// Writes a status, based on the version of the object that was read, and returns the new resourceVersion.
    pub(crate) async fn apply_status(&self, seen: &Token, status: &impl Serialize) -> Result<String, ApiError> {
        let url = VideoAccessToken::url_path(&(), Some(&seen.key.namespace));
        let [version, kind] = [VideoAccessToken::api_version(&()), VideoAccessToken::kind(&())];
        self.patch_status(url, &version, &kind, &seen.identity(), status).await
    }

    /// Merges a status into an object that breaks its schema. The API server rejects any server-side apply to such an
    /// object.
    pub(crate) async fn merge_status(&self, seen: &Token, status: &impl Serialize) -> Result<String, ApiError> {
        let url = VideoAccessToken::url_path(&(), Some(&seen.key.namespace));
        self.merge(url, &seen.identity(), status).await
    }

    /// Merges into the status of a provider object, based on the version that was read. Merged fields stay outside the
    /// applied ones.
    pub(crate) async fn merge_provider_status(
        &self,
        seen: &DynamicObject,
        cluster: bool,
        status: &impl Serialize,
    ) -> Result<String, ApiError> {
        let url = DynamicObject::url_path(&provider_kind(cluster), seen.metadata.namespace.as_deref());
        self.merge(url, &seen.metadata, status).await
    }

    async fn merge(&self, url: String, meta: &ObjectMeta, status: &impl Serialize) -> Result<String, ApiError> {
        let patch = json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version}, "status": status});
        let params = PatchParams { field_manager: Some(names::OPERATOR.to_owned()), ..PatchParams::default() };
        self.send_status(url, meta.name.as_deref().unwrap_or_default(), &params, &Patch::Merge(patch)).await
    }

    /// Writes the status of a provider object of either kind.
    pub(crate) async fn provider_status(
        &self,
        seen: &DynamicObject,
        cluster: bool,
        status: &impl Serialize,
    ) -> Result<String, ApiError> {
        let resource = provider_kind(cluster);
        let url = DynamicObject::url_path(&resource, seen.metadata.namespace.as_deref());
        self.patch_status(url, &resource.api_version, &resource.kind, &seen.metadata, status).await
    }

    async fn patch_status(
        &self,
        url: String,
        api_version: &str,
        kind: &str,
        meta: &ObjectMeta,
        status: &impl Serialize,
    ) -> Result<String, ApiError> {
        let name = meta.name.as_deref().unwrap_or_default();
        let mut metadata = json!({"name": name, "uid": meta.uid, "resourceVersion": meta.resource_version});
        if let Some(namespace) = &meta.namespace {
            metadata["namespace"] = namespace.as_str().into();
        }
        let manifest = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "status": status});
        self.send_status(url, name, &PatchParams::apply(names::OPERATOR).force(), &Patch::Apply(manifest)).await
    }

    /// Sends the request and returns the new resourceVersion of the object.
    async fn send_status(
        &self,
        url: String,
        name: &str,
        params: &PatchParams,
        patch: &Patch<serde_json::Value>,
    ) -> Result<String, ApiError> {
        let mut request = Request::new(url)
            .patch_subresource("status", name, params, patch)
            .map_err(|error| ApiError::Refused(error.to_string()))?
            .map(json_that_is_yaml);
        // kube has no metadata form of `patch_status`, and the whole object isn't needed.
        request.headers_mut().insert(http::header::ACCEPT, METADATA_ONLY);
        self.check_lease()?;
        let answer: PatchResponse = written(self.client.request(request)).await?;
        Ok(answer.metadata.resource_version.unwrap_or_default())
    }
}

/// Escapes the characters of a JSON document that YAML doesn't take as they are (YAML 1.1, section 5.1 and 5.4). The API
/// server reads the body of a server-side apply as YAML: it rejects a body with a control character or a noncharacter,
/// and folds the line breaks of Unicode into spaces. Any text of a user or of a token API may have such a character.
fn json_that_is_yaml(body: Vec<u8>) -> Vec<u8> {
    if body.is_ascii() && !body.contains(&0x7f) {
        return body;
    }
    let text = match String::from_utf8(body) {
        Ok(text) => text,
        Err(error) => return error.into_bytes(),
    };
    let mut escaped = String::with_capacity(text.len() + 32);
    for character in text.chars() {
        match character {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                let _ = write!(escaped, "\\u{:04x}", u32::from(character));
            }
            _ => escaped.push(character),
        }
    }
    escaped.into_bytes()
}

fn provider_kind(cluster: bool) -> ApiResource {
    provider_resource(if cluster { "ClusterTokenProvider" } else { "TokenProvider" })
}

#[derive(serde::Deserialize)]
struct PatchResponse {
    metadata: WireMeta,
}

const METADATA_ONLY: http::HeaderValue =
    http::HeaderValue::from_static("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");

async fn written<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, ApiError> {
    with_timeout(WRITE_WITHIN, call).await.map_err(|failed| failed.into_api_error(&Redactor::default()))
}

async fn read<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, ApiError> {
    with_timeout(READ_WITHIN, call).await.map_err(|failed| failed.into_api_error(&Redactor::default()))
}

async fn with_timeout<T>(limit: Duration, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Failed> {
    match tokio::time::timeout(limit, call).await {
        Ok(result) => result.map_err(Failed::Kube),
        Err(_) => Err(Failed::Late(limit)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::workload::WorkloadMeta;
    use super::*;
    use crate::controller::stores::token::ListedToken;
    use crate::controller::workloads::kinds::RestartKinds;
    use kube::client::Body;
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use videotoken_api::workload::Workload;
    use videotoken_core::plan::facts::secret_facts;
    use videotoken_core::plan::secret::{SecretTarget, TokenRecord, build_secret};
    use videotoken_providers::clock::Timestamp;

    /// Returns a client of an API server that responds with 404, and the number of requests that the server received.
    fn client() -> (Client, Arc<AtomicUsize>) {
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = requests.clone();
        let answer = tower::service_fn(move |_: http::Request<Body>| {
            counted.fetch_add(1, Ordering::Relaxed);
            let body =
                json!({"kind": "Status", "status": "Failure", "message": "gone", "reason": "NotFound", "code": 404});
            let answer = http::Response::builder().status(404).body(Body::from(body.to_string().into_bytes()));
            std::future::ready(Ok::<_, Infallible>(answer.unwrap()))
        });
        (Client::new(answer, "n"), requests)
    }

    /// Sends one write of each kind.
    async fn all_writes(applier: &Applier) -> Vec<(&'static str, Result<(), ApiError>)> {
        let (key, spec) = (ObjectKey::new("n", "s"), videotoken_api::secret::SecretSpec::default());
        let record = TokenRecord {
            token: "token".into(),
            values: std::collections::BTreeMap::new(),
            issued_at: Timestamp::UNIX_EPOCH,
            expires_at: Timestamp::UNIX_EPOCH,
            request: videotoken_core::plan::hash::Hash::of([b"".as_slice()]),
            renew_request: None,
            previous: None,
            returned_again: false,
        };
        let shape = build_secret(SecretTarget { key: &key, uid: Some("u"), spec: &spec }, &record).unwrap();
        let meta = ObjectMeta { name: Some("s".to_owned()), namespace: Some("n".to_owned()), ..ObjectMeta::default() };
        let listed: ListedToken = serde_json::from_value(json!({"metadata": {"name": "s", "namespace": "n"}})).unwrap();
        let token = listed.token;
        let mut provider = DynamicObject::new("p", &provider_kind(false));
        provider.metadata = meta.clone();
        let workload = Workload { kind: "Deployment".into(), name: "w".into() };
        let (kinds, seen) = (RestartKinds::default(), WorkloadMeta { meta: meta.clone(), has_template: true });
        let status = json!({});
        vec![
            ("Secret", applier.apply_secret(&key, &shape, WritePrecondition::Absent).await.map(drop)),
            ("deletion of a Secret", applier.delete_secret(&key, &secret_facts(&meta)).await),
            ("status", applier.apply_status(&token, &status).await.map(drop)),
            ("merged status", applier.merge_status(&token, &status).await.map(drop)),
            ("provider status", applier.provider_status(&provider, false, &status).await.map(drop)),
            ("merged provider status", applier.merge_provider_status(&provider, false, &status).await.map(drop)),
            ("restart", applier.restart("n", kinds.get(&workload).unwrap(), &seen, "now").await),
        ]
    }

    #[tokio::test]
    async fn p01_no_write_begins_without_the_lease() {
        let (client, requests) = client();
        for (what, written) in all_writes(&Applier::new(client.clone(), LeaseHandle::always())).await {
            // Deleting an object that doesn't exist succeeds.
            assert!(matches!(written, Ok(()) | Err(ApiError::Gone(_))), "{what}: {written:?}");
        }
        let sent = requests.load(Ordering::Relaxed);
        assert_eq!(sent, 7, "each write is sent");
        for (what, written) in all_writes(&Applier::new(client, LeaseHandle::never())).await {
            assert!(matches!(written, Err(ApiError::NotLeading)), "{what}: {written:?}");
        }
        assert_eq!(requests.load(Ordering::Relaxed), sent, "nothing more is sent");
    }
}
