//! The token API of Azure's AI services, behind its gateway.
//!
//! `POST {endpoint}/sts/v1.0/issueLimitedAccessToken?expiredTime=` and `POST {endpoint}/sts/v1.0/issueToken`.
//!
//! Source: Token API v1.0 and the guide "Use limited access tokens for Face"; the words of the gateway's refusals as
//! clients have seen them. How a feature is refused that the issuing resource wasn't granted is not documented: here
//! it is as the Face API itself refuses it.

mod refusal;
mod request;

use super::api_management::Gateway;
use super::{Call, Control, Dialect, Emulator, Grant, SigningKey, Target, Validity, locked};
use axum::{
    Extension, Router,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use refusal::{Form, Refusal};
use request::{Ask, Operation};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// What [`CognitiveServices::furnished`] sets up.
pub mod example {
    /// The resource that issues, by its id.
    pub const ISSUER: &str = "/subscriptions/24237b72-8546-4da5-b204-8c3cb76dd930/resourceGroups/contoso-rg/providers\
                              /Microsoft.CognitiveServices/accounts/contoso-face";
    /// Its key.
    pub const KEY: &str = "9b8f1c3d5e7a4b6c8d0e2f4a6b8c0d1e";
    /// A customer's resource, for which tokens are issued.
    pub const TARGET: &str = "/subscriptions/dc4d27d9-ea49-4921-938f-7782a774e151/resourceGroups/client-rg/providers\
                              /Microsoft.CognitiveServices/accounts/client-face-api";
    /// What the issuing resource may pass on.
    pub const FEATURES: [&str; 2] = ["Face.Identification", "Face.Verification"];
}

/// The life of a service token.
const SERVICE_LIFE: Duration = Duration::from_mins(10);

/// One endpoint with any number of issuing resources.
pub struct CognitiveServices {
    control: Arc<Control>,
    shared: Arc<Shared>,
    key: SigningKey,
    resources: Mutex<HashMap<String, BTreeSet<String>>>,
    target_field: Mutex<String>,
}

/// What the API's manners depend on.
#[derive(Default)]
struct Shared {
    gateway: Gateway,
    flat: AtomicBool,
}

impl Shared {
    fn form(&self) -> Form {
        if self.flat.load(Ordering::Relaxed) { Form::Flat } else { Form::Nested }
    }
}

impl CognitiveServices {
    /// One without resources and keys.
    pub fn new() -> anyhow::Result<Arc<Self>> {
        let shared = Arc::<Shared>::default();
        Ok(Arc::new(Self {
            control: Control::new("cognitiveServices", StsDialect(shared.clone())),
            shared,
            key: SigningKey::generate("cognitive-services-emulator")?,
            resources: Mutex::default(),
            target_field: Mutex::new("targetAzureResourceId".to_owned()),
        }))
    }

    /// One with what [`example`] names.
    pub fn furnished() -> anyhow::Result<Arc<Self>> {
        let services = Self::new()?;
        services.gateway().add_key(example::KEY, example::ISSUER);
        for feature in example::FEATURES {
            services.grant_feature(example::ISSUER, feature);
        }
        Ok(services)
    }

    /// Its keys, each a resource's, its quota, and how it tells to wait.
    pub fn gateway(&self) -> &Gateway {
        &self.shared.gateway
    }

    /// Lets a resource issue tokens for a limited-access feature.
    pub fn grant_feature(&self, resource_id: &str, feature: &str) {
        locked(&self.resources).entry(resource_id.to_owned()).or_default().insert(feature.to_owned());
    }

    /// Errors come as `{code, message}` from now on, not inside `error`.
    pub fn set_flat_errors(&self, flat: bool) {
        self.shared.flat.store(flat, Ordering::Relaxed);
    }

    /// The body's field for the target resource has this name from now on.
    pub fn set_target_field(&self, name: &str) {
        name.clone_into(&mut locked(&self.target_field));
    }

    fn answer(&self, call: &Call) -> Result<Option<String>, Refusal> {
        let operation = Operation::parse(call)?;
        let resource = self.gateway().admit(call).map_err(Refusal::Barred)?;
        match operation {
            Operation::Service => {
                let grant = Grant { account: &resource, request: operation.name(), life: SERVICE_LIFE };
                Ok(self.issue(call, grant, Map::new()))
            }
            Operation::LimitedAccess => {
                let ask = Ask::parse(call, &locked(&self.target_field))?;
                let granted = locked(&self.resources).get(&resource).cloned().unwrap_or_default();
                let missing: Vec<_> = ask.features.difference(&granted).map(String::as_str).collect();
                if !missing.is_empty() {
                    return Err(Refusal::unsupported_feature(&missing.join(",")));
                }
                let claims = Map::from_iter([
                    ("target-azure-resource-id".to_owned(), Value::from(ask.target.as_str())),
                    ("feature-flags".to_owned(), ask.features.iter().cloned().collect()),
                ]);
                let request = ask.line(operation);
                Ok(self.issue(call, Grant { account: &resource, request: &request, life: ask.life }, claims))
            }
        }
    }

    /// A real one has `exp` and no `nbf`.
    fn issue(&self, call: &Call, grant: Grant<'_>, mut claims: Map<String, Value>) -> Option<String> {
        let (token, _) = self.control.issue(call, grant, |Validity { expires_at, .. }| {
            for (name, value) in [
                ("region", "westus"),
                ("subscription-id", "f1d2c3b4a5968778695a4b3c2d1e0f00"),
                ("product-id", "Face.S0"),
                ("cognitive-services-endpoint", "https://api.cognitive.microsoft.com/internal/v1.0/"),
                ("azure-resource-id", grant.account),
                ("iss", "urn:ms.cognitiveservices"),
                ("aud", "urn:ms.cognitiveservices"),
                ("jti", &call.request_id.to_string()),
            ] {
                claims.insert(name.into(), value.into());
            }
            if let Some(expires_at) = expires_at {
                claims.insert("exp".into(), expires_at.into());
            }
            self.key.sign(&claims)
        });
        token
    }
}

impl Emulator for CognitiveServices {
    fn control(&self) -> &Arc<Control> {
        &self.control
    }

    fn router(self: &Arc<Self>) -> Router {
        self.control.wrap(Router::new().fallback(respond).with_state(self.clone()))
    }
}

/// Every path and method.
async fn respond(State(services): State<Arc<CognitiveServices>>, Extension(call): Extension<Arc<Call>>) -> Response {
    match services.answer(&call) {
        Ok(token) => {
            let media_type = HeaderValue::from_static("application/jwt; charset=us-ascii");
            ([(header::CONTENT_TYPE, media_type)], token.unwrap_or_default()).into_response()
        }
        Err(refusal) => refusal.answer(services.gateway(), services.shared.form()),
    }
}

/// The gateway's manners.
struct StsDialect(Arc<Shared>);

impl Dialect for StsDialect {
    /// The account is the resource whose key it is.
    fn target(&self, call: &Call) -> Target {
        let operation = Operation::parse(call).map(Operation::name).unwrap_or_default();
        Target { account: self.0.gateway.owner(call).unwrap_or_default(), operation: operation.into() }
    }

    fn stamp(&self, call: &Call, headers: &mut HeaderMap) {
        if let Ok(id) = HeaderValue::try_from(call.request_id.to_string()) {
            headers.insert("apim-request-id", id);
        }
    }

    fn refuse(&self, _call: &Call, status: StatusCode, message: &str) -> Response {
        self.0.form().response(status, status.as_str(), message)
    }

    fn throttle(&self, _call: &Call, wait: Option<u64>) -> Response {
        let status = StatusCode::TOO_MANY_REQUESTS;
        self.0.gateway.throttle(wait, |words| self.0.form().response(status, "429", words))
    }
}
