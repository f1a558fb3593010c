//! Account and scope of the classic Authorization API of Azure Video Indexer.
//!
//! Wire facts: the API's reference, `Get Account Access Token` and its siblings.

use super::cel::{Cel, open, union};
use super::duration::GoDuration;
use super::lifetime::LifetimeRule;
use super::limits::AccountLimits;
use super::references::SecretKeyRef;
use super::request::{FieldError, TokenRequest};
use super::schema::{NOT_A_SEGMENT, guid, is_segment, root, segment, url};
use super::token_api::{TokenApi, TypedTokenApi, among, one};
use super::video_indexer::VideoIndexerAllowed;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::time::Duration;

/// An account of Video Indexer in its classic API.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VideoIndexerClassicAccount {
    /// URL of the API. Default: <https://api.videoindexer.ai>. For the US Government:
    /// <https://api.videoindexer.ai.azure.us>.
    #[serde(default = "endpoint")]
    #[schemars(transform = url)]
    pub endpoint: String,
    /// Region of the account, such as `eastus`, or `trial`.
    #[schemars(length(min = 1, max = 64), transform = segment)]
    pub location: String,
    /// GUID of the account.
    #[schemars(transform = guid)]
    pub account_id: String,
    /// Subscription key of the API.
    pub subscription_key_ref: SecretKeyRef,
}

impl VideoIndexerClassicAccount {
    /// Returns the endpoint, without the path of an operation.
    pub fn root(&self) -> &str {
        root(&self.endpoint, &["Auth", &self.location])
    }
}

fn endpoint() -> String {
    "https://api.videoindexer.ai".into()
}

/// Scope of a token of the classic API: exactly one member. The lifetime is always 1 hour.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = union)]
pub struct VideoIndexerClassicScope {
    /// Access to the whole account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<ClassicAccount>,
    /// Access to the whole account with a named permission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_with_permission: Option<ClassicPermission>,
    /// Access to one project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ClassicProject>,
    /// Access to one video.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<ClassicVideo>,
    /// Access of the user that the key belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<ClassicAccount>,
}

/// A token for a whole account or user.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassicAccount {
    /// Permits changes. Default: false.
    #[serde(default)]
    pub allow_edit: bool,
}

/// A permission by name.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassicPermission {
    /// The permission: Reader, Contributor, `MyAccessAdministrator` or Owner.
    pub permission: AccountPermission,
}

/// A project.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassicProject {
    /// ID of the project.
    #[schemars(length(min = 1, max = 64), transform = segment)]
    pub project_id: String,
    /// Permits changes. Default: false.
    #[serde(default)]
    pub allow_edit: bool,
}

/// A video.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassicVideo {
    /// ID of the video.
    #[schemars(length(min = 1, max = 64), transform = segment)]
    pub video_id: String,
    /// Permits changes. Default: false.
    #[serde(default)]
    pub allow_edit: bool,
}

/// Permission of an account token.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(transform = open)]
pub enum AccountPermission {
    /// Permission to read.
    #[default]
    Reader,
    /// Permission to change.
    Contributor,
    /// Permission to manage one's own access.
    MyAccessAdministrator,
    /// All permissions.
    Owner,
    /// A value that the token API has added since.
    #[serde(untagged)]
    Other(String),
}

impl AccountPermission {
    /// Returns the value on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Reader => "Reader",
            Self::Contributor => "Contributor",
            Self::MyAccessAdministrator => "MyAccessAdministrator",
            Self::Owner => "Owner",
            Self::Other(word) => word,
        }
    }
}

/// Kinds of token that a ClusterTokenProvider allows.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoIndexerClassicAllowed {
    /// Members of the scope. Default: all but user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 64)), extend("x-kubernetes-list-type" = "set"))]
    pub kinds: Option<Vec<String>>,
}

/// Default of `kinds`: all but the user's token, which gives access to every account of that user.
const OF_ACCOUNT: &[&str] = &["account", "accountWithPermission", "project", "video"];

const LIFETIME: LifetimeRule = LifetimeRule::Fixed {
    lifetime: Duration::from_hours(1),
    rejection_message: Cow::Borrowed("Video Indexer's classic API always issues for 1h: remove lifetime"),
};

const SCOPE: &str = "spec.scope.videoIndexerClassic";

/// The kind that a scope selects: its member and its wire format.
struct Kind {
    member: &'static str,
    /// Name of the operation in the API reference.
    operation: &'static str,
    /// `allowEdit` or `permission`, and the ID in the path.
    fields: Map<String, Value>,
}

impl VideoIndexerClassicScope {
    fn kind(&self) -> Result<Kind, FieldError> {
        let kind = |member, operation, field: &str, value: Value| {
            let fields = Map::from_iter([(field.to_owned(), value)]);
            Kind { member, operation, fields }
        };
        let edit = |member, operation, allow_edit: bool| kind(member, operation, "allowEdit", allow_edit.into());
        let with_id = |mut kind: Kind, field: &str, id: &str| {
            kind.fields.insert(field.into(), id.into());
            kind
        };
        let kinds = [
            self.account.as_ref().map(|a| edit("account", "Get-Account-Access-Token", a.allow_edit)),
            self.account_with_permission.as_ref().map(|a| {
                let permission = a.permission.as_str().into();
                kind("accountWithPermission", "Get-Account-Access-Token-With-Permission", "permission", permission)
            }),
            self.project.as_ref().map(|p| {
                with_id(edit("project", "Get-Project-Access-Token", p.allow_edit), "projectId", &p.project_id)
            }),
            self.video
                .as_ref()
                .map(|v| with_id(edit("video", "Get-Video-Access-Token", v.allow_edit), "videoId", &v.video_id)),
            self.user.as_ref().map(|u| edit("user", "Get-User-Access-Token", u.allow_edit)),
        ];
        let kind = one(kinds, SCOPE, "kind of token")?;
        for id in ["projectId", "videoId"] {
            if kind.fields.get(id).and_then(Value::as_str).is_some_and(|id| !is_segment(id)) {
                let field = format!("{SCOPE}.{}.{id}", kind.member);
                return Err(FieldError::new(field, NOT_A_SEGMENT));
            }
        }
        Ok(kind)
    }
}

impl TokenApi for VideoIndexerClassicAccount {
    /// 10 calls per second and 120 per minute, according to the responses of Video Indexer to excess calls.
    fn limits(&self) -> AccountLimits {
        AccountLimits::new(10, 120, 4)
    }

    fn identity(&self) -> Result<String, FieldError> {
        for (member, value) in [("location", &self.location), ("accountId", &self.account_id)] {
            if !is_segment(value) {
                let field = format!("spec.videoIndexerClassic.{member}");
                return Err(FieldError::new(field, NOT_A_SEGMENT));
            }
        }
        let id = format!("{}/{}", self.location, self.account_id);
        Ok(format!("videoIndexerClassic/{}", id.to_lowercase()))
    }

    fn display_name(&self) -> String {
        self.account_id.clone()
    }
}

impl TypedTokenApi for VideoIndexerClassicAccount {
    type Scope = VideoIndexerClassicScope;
    type Allowed<'a> = (Option<&'a VideoIndexerClassicAllowed>, &'a VideoIndexerAllowed);

    fn rules() -> Vec<Cel> {
        LIFETIME.rules("has(self.scope.videoIndexerClassic)")
    }

    fn request(
        &self,
        account: String,
        scope: &VideoIndexerClassicScope,
        lifetime: Option<&GoDuration>,
    ) -> Result<TokenRequest, FieldError> {
        let Kind { operation, fields, .. } = scope.kind()?;
        Ok(TokenRequest {
            account,
            operation: operation.into(),
            fields,
            promised_lifetime: LIFETIME.choose(lifetime)?,
            ends_at: None,
        })
    }

    fn admits((classic, permissions): Self::Allowed<'_>, scope: &VideoIndexerClassicScope) -> Result<(), FieldError> {
        let kind = scope.kind()?;
        let kinds = classic.and_then(|classic| classic.kinds.as_deref());
        among(SCOPE, kind.member, kinds, OF_ACCOUNT)?;
        let permission = match kind.fields.get("permission").and_then(Value::as_str) {
            Some(permission) => permission,
            None if kind.fields.get("allowEdit") == Some(&Value::Bool(true)) => "Contributor",
            None => "Reader",
        };
        permissions.admits_permission(&format!("{SCOPE}.{}", kind.member), permission)
    }
}
