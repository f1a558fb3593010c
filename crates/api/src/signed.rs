//! Account and scope of tokens that the operator signs itself, with a key from a Secret and without any call.

use super::cel::{Cel, cel, exactly_one};
use super::duration::GoDuration;
use super::limits::AccountLimits;
use super::parameters::{self, AllowedValues, DeclaredLifetime, DeclaredScope, Parameters, is_name, value_names};
use super::references::SecretKeyRef;
use super::request::{FieldError, TokenRequest};
use super::token_api::{TokenApi, TypedTokenApi, one};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema, transform::Transform};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A key, and the form of the tokens that it signs: exactly one of jwt, message and agora.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = exactly_one(&["jwt", "message", "agora"]))]
pub struct SignedAccount {
    /// The key that signs.
    pub key: SigningKey,
    /// Parameters of the templates, which each VideoAccessToken sets in its scope. A template must use each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "parameters::parameters")]
    pub parameters: Parameters,
    /// Lifetimes of the tokens. A ClusterTokenProvider must set max.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<DeclaredLifetime>,
    /// JSON Web Tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<Jwt>,
    /// Tokens with a signed text, such as those of CDNs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
    /// AccessToken2 of Agora, which begins with 007. The key is the app certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agora: Option<Agora>,
}

/// A key in a Secret.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SigningKey {
    /// The Secret's key: a PEM text (PKCS#1, PKCS#8 or SEC1), a JWK, or the bytes of a shared secret. For a
    /// TokenProvider, the Secret must have the annotation `videotoken.dev/signing-key: "true"`.
    pub secret_ref: SecretKeyRef,
    /// Encoding of the whole text: none (default), base64, base64url or hex.
    #[serde(default)]
    pub encoding: KeyEncoding,
}

/// Encodings of a key.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[schemars(transform = super::cel::known)]
pub enum KeyEncoding {
    /// The text itself.
    #[default]
    None,
    /// Base64.
    Base64,
    /// Base64 with the alphabet for URLs.
    Base64Url,
    /// Hexadecimal digits.
    Hex,
    /// A value of another version of this API.
    #[serde(untagged)]
    Other(String),
}

/// A JSON Web Token (JWS, compact).
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Jwt {
    /// HS256, HS384, HS512, RS256, RS384, RS512, PS256, ES256, ES384 or EdDSA.
    pub algorithm: JwtAlgorithm,
    /// Header fields in addition to `alg` and `typ: JWT`. An empty `typ` removes it. Texts are templates.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schemars(schema_with = "header")]
    pub header: Map<String, Value>,
    /// Claims. Texts are templates; a text that is one `{{ expression }}` keeps the type of the expression. The
    /// operator adds `exp`. Other times, such as `iat`, are only added if they are declared.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schemars(schema_with = "claims")]
    pub claims: Map<String, Value>,
    /// Further tokens, by name: claims that replace claims of the same name. The Secret gets each under the key
    /// `values.NAME`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "variants", transform = value_names)]
    pub variants: BTreeMap<String, Map<String, Value>>,
}

/// Algorithms of a JWT (RFC 7518 and RFC 8037).
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(transform = super::cel::known)]
#[allow(missing_docs)] // names of the RFCs
pub enum JwtAlgorithm {
    #[default]
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    ES256,
    ES384,
    EdDSA,
    /// A value of another version of this API.
    #[serde(untagged)]
    Other(String),
}

/// A text, its signature, and the token that contains both.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Template of the text to sign, with `expires_at` or `lifetime`. For a plain digest (Sha1 to Sha512), it must also
    /// contain the variable `key`, which is the key.
    #[schemars(length(min = 1, max = LONGEST_TEXT))]
    pub text: String,
    /// HmacSha1, HmacSha256, HmacSha384, HmacSha512, Sha1, Sha256, Sha384, Sha512, RsaSha256, EcdsaSha256 (P-256, DER)
    /// or Ed25519.
    pub algorithm: MessageAlgorithm,
    /// Encoding of the signature: Hex, Base64, Base64Url, Base64UrlUnpadded or CloudFront.
    pub encoding: SignatureEncoding,
    /// Template of the token, with the variables `signature` and `message`, which is the signed text. A text with the
    /// variable `key` is not available. The token or a further value must contain `signature`.
    #[schemars(length(min = 1, max = LONGEST_TEXT))]
    pub token: String,
    /// Templates of further values, by name. The Secret gets each under the key `values.NAME`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "texts", transform = value_names)]
    pub values: BTreeMap<String, String>,
}

/// Algorithms of a signed text.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(transform = super::cel::known)]
#[allow(missing_docs)] // the names explain themselves
pub enum MessageAlgorithm {
    HmacSha1,
    #[default]
    HmacSha256,
    HmacSha384,
    HmacSha512,
    Sha1,
    Sha256,
    Sha384,
    Sha512,
    RsaSha256,
    EcdsaSha256,
    Ed25519,
    /// A value of another version of this API.
    #[serde(untagged)]
    Other(String),
}

impl MessageAlgorithm {
    /// Returns true for a digest, which has no key of its own: the text contains it.
    pub fn is_digest(&self) -> bool {
        matches!(self, Self::Sha1 | Self::Sha256 | Self::Sha384 | Self::Sha512)
    }
}

/// Encodings of a signature.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(transform = super::cel::known)]
pub enum SignatureEncoding {
    /// Hexadecimal digits in lower case.
    #[default]
    Hex,
    /// Base64.
    Base64,
    /// Base64 with the alphabet for URLs, padded.
    Base64Url,
    /// Base64 with the alphabet for URLs, without padding.
    Base64UrlUnpadded,
    /// Base64 with `-`, `_` and `~` for `+`, `=` and `/`.
    CloudFront,
    /// A value of another version of this API.
    #[serde(untagged)]
    Other(String),
}

/// AccessToken2 of Agora.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = cel("has(self.rtc) || has(self.rtm)", NO_SERVICE))]
pub struct Agora {
    /// The app ID: 32 hexadecimal digits.
    #[schemars(length(max = 32))]
    #[schemars(transform = cel("self.matches('^[0-9a-fA-F]{32}$')", NO_APP_ID))]
    pub app_id: String,
    /// Real-time video and audio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtc: Option<AgoraRtc>,
    /// Signaling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtm: Option<AgoraRtm>,
}

/// Access to a channel.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgoraRtc {
    /// Template of the channel's name.
    #[schemars(length(min = 1, max = 1024))]
    pub channel: String,
    /// Template of the user's number. Default: 0, which is any user.
    #[serde(default = "any_user")]
    #[schemars(length(min = 1, max = 1024))]
    pub uid: String,
    /// Join (default), PublishAudio, PublishVideo and PublishData. Join alone is a viewer.
    #[serde(default = "join")]
    #[schemars(length(min = 1, max = 4), extend("x-kubernetes-list-type" = "set"))]
    pub privileges: Vec<AgoraPrivilege>,
}

fn any_user() -> String {
    "0".into()
}

fn join() -> Vec<AgoraPrivilege> {
    vec![AgoraPrivilege::Join]
}

/// Privileges in a channel.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(transform = super::cel::known)]
pub enum AgoraPrivilege {
    /// Joins the channel.
    #[default]
    Join,
    /// Publishes audio.
    PublishAudio,
    /// Publishes video.
    PublishVideo,
    /// Publishes data.
    PublishData,
    /// A value of another version of this API.
    #[serde(untagged)]
    Other(String),
}

/// Access to Agora's signaling.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgoraRtm {
    /// Template of the user's ID.
    #[schemars(length(min = 1, max = 1024))]
    pub user: String,
}

/// Maximum characters of one template.
const LONGEST_TEXT: usize = 4096;
/// Maximum number of further values.
const MOST_VALUES: usize = 8;

const NO_SERVICE: &str = "set rtc, rtm or both";
const NO_APP_ID: &str = "must be the app's ID: 32 hexadecimal digits";
const OWN_EXP: &str = "exp comes from the lifetime: remove it";
const OWN_ALG: &str = "alg comes from algorithm: remove it";
const EMPTY: &str = "must be set";

/// Returns the schema of an object with any members, except one of the operator's own.
fn free(own: &str, message: &str) -> Schema {
    let mut schema = json_schema!({
        "type": "object", "maxProperties": 64, "x-kubernetes-preserve-unknown-fields": true,
        "properties": {own: {"x-kubernetes-int-or-string": true}}
    });
    cel(format!("!has(self.{own})"), message).at(&format!(".{own}")).forbidden().transform(&mut schema);
    schema
}

fn header(_: &mut SchemaGenerator) -> Schema {
    free("alg", OWN_ALG)
}

fn claims(_: &mut SchemaGenerator) -> Schema {
    free("exp", OWN_EXP)
}

fn variants(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "maxProperties": MOST_VALUES, "additionalProperties": free("exp", OWN_EXP)})
}

fn texts(_: &mut SchemaGenerator) -> Schema {
    super::schema::strings(8, 4096)
}

/// Form of the tokens.
#[derive(Clone, Copy, Debug)]
pub enum Form<'a> {
    /// A JSON Web Token.
    Jwt(&'a Jwt),
    /// A signed text.
    Message(&'a Message),
    /// An AccessToken2 of Agora.
    Agora(&'a Agora),
}

const ACCOUNT: &str = "spec.signed";
const SCOPE: &str = "spec.scope.signed.parameters";

impl SignedAccount {
    /// Returns the form of the tokens, or the field that is missing or not known.
    pub fn form(&self) -> Result<Form<'_>, FieldError> {
        let forms = [
            self.jwt.as_ref().map(Form::Jwt),
            self.message.as_ref().map(Form::Message),
            self.agora.as_ref().map(Form::Agora),
        ];
        one(forms, ACCOUNT, "form of tokens (jwt, message or agora)")
    }

    fn check(&self) -> Result<(), FieldError> {
        let refused = |member: &str, message: &str| Err(FieldError::new(format!("{ACCOUNT}.{member}"), message));
        parameters::check(&format!("{ACCOUNT}.parameters"), &self.parameters)?;
        self.lifetime.clone().unwrap_or_default().rule(&format!("{ACCOUNT}.lifetime"))?;
        if let KeyEncoding::Other(_) = self.key.encoding {
            return refused("key.encoding", "must be none, base64, base64url or hex");
        }
        match self.form()? {
            Form::Jwt(jwt) => jwt.check(),
            Form::Message(message) => message.check(),
            Form::Agora(agora) => agora.check(),
        }
    }
}

fn check_names<T>(field: &str, values: &BTreeMap<String, T>) -> Result<(), FieldError> {
    if values.len() > MOST_VALUES {
        return Err(FieldError::new(field, format!("declare at most {MOST_VALUES}")));
    }
    let Some(name) = values.keys().find(|name| !is_name(name)) else { return Ok(()) };
    let message = "must be a word of letters, digits and underscores that begins with a letter";
    Err(FieldError::new(format!("{field}[{name}]"), message))
}

impl Jwt {
    fn check(&self) -> Result<(), FieldError> {
        const FIELD: &str = "spec.signed.jwt";
        if let JwtAlgorithm::Other(_) = self.algorithm {
            let words = "must be one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, ES256, ES384, EdDSA";
            return Err(FieldError::new(format!("{FIELD}.algorithm"), words));
        }
        if self.header.contains_key("alg") {
            return Err(FieldError::new(format!("{FIELD}.header.alg"), OWN_ALG));
        }
        let variants = self.variants.iter().map(|(name, claims)| (format!("variants.{name}"), claims));
        for (member, claims) in [("claims".to_owned(), &self.claims)].into_iter().chain(variants) {
            if claims.contains_key("exp") {
                return Err(FieldError::new(format!("{FIELD}.{member}.exp"), OWN_EXP));
            }
        }
        check_names(&format!("{FIELD}.variants"), &self.variants)
    }
}

impl Message {
    fn check(&self) -> Result<(), FieldError> {
        const FIELD: &str = "spec.signed.message";
        let refused = |member: &str, message: &str| Err(FieldError::new(format!("{FIELD}.{member}"), message));
        if let MessageAlgorithm::Other(_) = self.algorithm {
            return refused(
                "algorithm",
                "must be one of HmacSha1, HmacSha256, HmacSha384, HmacSha512, Sha1, Sha256, Sha384, Sha512, RsaSha256, EcdsaSha256, Ed25519",
            );
        }
        if let SignatureEncoding::Other(_) = self.encoding {
            return refused("encoding", "must be one of Hex, Base64, Base64Url, Base64UrlUnpadded, CloudFront");
        }
        for (member, text) in [("text", &self.text), ("token", &self.token)] {
            if text.is_empty() {
                return refused(member, EMPTY);
            }
        }
        check_names(&format!("{FIELD}.values"), &self.values)
    }
}

impl Agora {
    fn check(&self) -> Result<(), FieldError> {
        const FIELD: &str = "spec.signed.agora";
        if self.app_id.len() != 32 || !self.app_id.bytes().all(|c| c.is_ascii_hexdigit()) {
            return Err(FieldError::new(format!("{FIELD}.appId"), NO_APP_ID));
        }
        if self.rtc.is_none() && self.rtm.is_none() {
            return Err(FieldError::new(FIELD, NO_SERVICE));
        }
        let is_other = |privilege: &AgoraPrivilege| matches!(privilege, AgoraPrivilege::Other(_));
        if self.rtc.iter().flat_map(|rtc| &rtc.privileges).any(is_other) {
            let words = "must be of Join, PublishAudio, PublishVideo, PublishData";
            return Err(FieldError::new(format!("{FIELD}.rtc.privileges"), words));
        }
        Ok(())
    }
}

impl TokenApi for SignedAccount {
    /// Returns no limits, because the type makes no calls.
    fn limits(&self) -> AccountLimits {
        AccountLimits { windows: Vec::new(), concurrency: u32::MAX }
    }

    fn is_local(&self) -> bool {
        true
    }

    /// Returns the type. All that makes a token differ is in the fields of its request.
    fn identity(&self) -> Result<String, FieldError> {
        self.check().map(|()| "signed".to_owned())
    }

    fn display_name(&self) -> String {
        let word = |value: Result<Value, serde_json::Error>| {
            value.ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
        };
        match self.form() {
            Ok(Form::Jwt(jwt)) => word(serde_json::to_value(&jwt.algorithm)),
            Ok(Form::Message(message)) => word(serde_json::to_value(&message.algorithm)),
            Ok(Form::Agora(agora)) => agora.app_id.clone(),
            Err(_) => String::new(),
        }
    }

    fn parameters(&self) -> Option<&Parameters> {
        Some(&self.parameters)
    }

    fn values(&self) -> Vec<String> {
        match self.form() {
            Ok(Form::Jwt(jwt)) => jwt.variants.keys().cloned().collect(),
            Ok(Form::Message(message)) => message.values.keys().cloned().collect(),
            Ok(Form::Agora(_)) | Err(_) => Vec::new(),
        }
    }

    /// A provider of the cluster signs for many, so the administrator must limit the lifetime.
    fn check_cluster(&self) -> Result<(), FieldError> {
        let is_limited = self.lifetime.as_ref().is_some_and(|lifetime| lifetime.max.is_some());
        if is_limited { Ok(()) } else { Err(FieldError::new("spec.signed.lifetime.max", NO_MAX)) }
    }
}

const NO_MAX: &str = "must be set in a ClusterTokenProvider: nothing else limits how long its tokens are valid";

/// Schema transform of a ClusterTokenProvider: the lifetime is limited.
pub(super) fn limited(schema: &mut Schema) {
    cel(
        "!has(self.signed) || (has(self.signed.lifetime) && has(self.signed.lifetime.max))",
        format!("lifetime.max {NO_MAX}"),
    )
    .at(".signed")
    .required()
    .transform(schema);
}

impl TypedTokenApi for SignedAccount {
    type Scope = DeclaredScope;
    type Allowed<'a> = &'a AllowedValues;

    fn rules() -> Vec<Cel> {
        Vec::new()
    }

    /// Builds the request: the templates, the parameters and the lifetime. Rendered times are no part of it.
    fn request(
        &self,
        account: String,
        scope: &DeclaredScope,
        lifetime: Option<&GoDuration>,
    ) -> Result<TokenRequest, FieldError> {
        let parameters = parameters::fill(&self.parameters, SCOPE, &scope.parameters)?;
        let declared = self.lifetime.clone().unwrap_or_default();
        let rule =
            declared.rule(&format!("{ACCOUNT}.lifetime")).map_err(|error| super::token_api::blame_provider(&error))?;
        let promised_lifetime = rule.choose(lifetime)?;
        let (operation, form) = match self.form()? {
            Form::Jwt(jwt) => ("jwt", serde_json::to_value(jwt)),
            Form::Message(message) => ("message", serde_json::to_value(message)),
            Form::Agora(agora) => ("agora", serde_json::to_value(agora)),
        };
        let fields = Map::from_iter([
            (operation.to_owned(), form.unwrap_or_default()),
            ("parameters".to_owned(), parameters.into()),
            ("lifetime".to_owned(), promised_lifetime.as_secs().into()),
        ]);
        Ok(TokenRequest { account, operation: operation.into(), fields, promised_lifetime, ends_at: None })
    }

    fn admits(allowed: Self::Allowed<'_>, scope: &DeclaredScope) -> Result<(), FieldError> {
        parameters::admits(allowed, SCOPE, &scope.parameters)
    }
}
