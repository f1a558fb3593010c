//! Account and scope of Azure Video Indexer through Azure Resource Manager.
//!
//! Wire facts: the reference's `Generate - … Access Token`, api-version 2025-04-01.

use super::azure::{AzureAuth, AzureEndpoints, Cloud, CloudEndpoints};
use super::cel::{Cel, cel, cel_saying, open};
use super::duration::GoDuration;
use super::lifetime::LifetimeRule;
use super::limits::AccountLimits;
use super::request::{FieldError, TokenRequest};
use super::schema::{NOT_A_SEGMENT, is_segment, segment};
use super::token_api::{TokenApi, TypedTokenApi, among};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// An account of Azure Video Indexer.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = cel("!(has(self.cloud) && has(self.endpoints))", "set cloud or endpoints, not both").at(".endpoints"))]
pub struct VideoIndexerAccount {
    /// ID of the subscription, usually a GUID.
    #[schemars(length(min = 1, max = 64), transform = segment)]
    pub subscription_id: String,
    /// Name of the resource group.
    #[schemars(length(min = 1, max = 90), transform = segment)]
    pub resource_group: String,
    /// Name of the account.
    #[schemars(length(max = 50))]
    #[schemars(transform = cel("self.matches('^[A-Za-z0-9-]{3,50}$')", "must be the account's name alone: 3 to 50 letters, digits and dashes"))]
    pub account_name: String,
    /// Public (default), USGovernment or China.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<Cloud>,
    /// The endpoints of a cloud that is not listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<AzureEndpoints>,
    /// How to authenticate to Microsoft Entra.
    pub auth: AzureAuth,
}

impl VideoIndexerAccount {
    /// Returns the endpoints of the spec, else those of the cloud.
    pub fn cloud_endpoints(&self) -> Result<CloudEndpoints, FieldError> {
        if let Some(endpoints) = &self.endpoints {
            return Ok(endpoints.clone().into());
        }
        self.cloud.clone().unwrap_or_default().endpoints().ok_or_else(|| {
            let message = "must be Public, USGovernment or China; set endpoints instead for another cloud";
            FieldError::new("spec.videoIndexer.cloud", message)
        })
    }
}

/// Scope of a Video Indexer token.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = cel_saying(
    "(self.mediaScope == 'Video') == has(self.videoId)",
    "self.mediaScope == 'Video' ? 'mediaScope Video needs a videoId' : 'videoId goes with mediaScope Video, not ' + self.mediaScope + ': remove it'"
).at(".videoId"))]
#[schemars(transform = cel_saying(
    "(self.mediaScope == 'Project' && !has(self.extensionId)) == has(self.projectId) || (has(self.projectId) && has(self.extensionId))",
    "self.mediaScope == 'Project' ? 'mediaScope Project needs a projectId' : 'projectId goes with mediaScope Project, not ' + self.mediaScope + ': remove it'"
).at(".projectId"))]
#[schemars(transform = cel("!(has(self.extensionId) && has(self.projectId))", NO_PROJECT).at(".projectId").forbidden())]
pub struct VideoIndexerScope {
    /// The permission: RestrictedViewer, Reader or Contributor.
    pub permission: Permission,
    /// The part of the account that the token gives access to: Account, Video or Project.
    pub media_scope: MediaScope,
    /// ID of the video. Required with mediaScope Video.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub video_id: Option<String>,
    /// ID of the project. Required with mediaScope Project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub project_id: Option<String>,
    /// The resource ID of the extension on an Arc-enabled cluster. If set, the token is for that extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), transform = extension_id)]
    pub extension_id: Option<String>,
}

const NO_PROJECT: &str = "the extension operations take no projectId: remove projectId or extensionId";
const EXTENSION_ID: &str = "must be /subscriptions/…/resourceGroups/…/providers/Microsoft.Kubernetes/ConnectedClusters/…/providers/Microsoft.KubernetesConfiguration/extensions/…, or of another type of cluster";

fn extension_id(schema: &mut schemars::Schema) {
    use schemars::transform::Transform;
    let rule = "self.matches('(?i)^/subscriptions/[^/]+/resourceGroups/[^/]+/providers/[a-z0-9]+([.][a-z0-9]+)+/[a-z0-9]+/[^/]+\
                /providers/Microsoft[.]KubernetesConfiguration/extensions/[^/]+$')";
    cel(rule, EXTENSION_ID).transform(schema);
}

/// Returns true if `id` matches [`extension_id`]. The subscription need not be a GUID: the example in the reference
/// isn't one. The cluster is Arc-enabled (`Microsoft.Kubernetes/ConnectedClusters`) or of another type that supports
/// extensions, such as `Microsoft.ContainerService/managedClusters` or
/// `Microsoft.HybridContainerService/provisionedClusters`.
fn is_extension_id(id: &str) -> bool {
    const FORM: &str = "/subscriptions/*/resourceGroups/*/providers/NAMESPACE/TYPE/*/providers/Microsoft.KubernetesConfiguration/extensions/*";
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let fits = |(given, form): (&str, &str)| match form {
        "*" => !given.is_empty(),
        "NAMESPACE" => given.contains('.') && given.split('.').all(is_word),
        "TYPE" => is_word(given),
        _ => given.eq_ignore_ascii_case(form),
    };
    id.split('/').count() == FORM.split('/').count() && id.split('/').zip(FORM.split('/')).all(fits)
}

/// Permission of a Video Indexer token.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(transform = open)]
pub enum Permission {
    /// Permission to watch.
    #[default]
    RestrictedViewer,
    /// Permission to read.
    Reader,
    /// Permission to change.
    Contributor,
    /// A value that the token API has added since.
    #[serde(untagged)]
    Other(String),
}

/// Part of the account that a Video Indexer token gives access to.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(transform = open)]
pub enum MediaScope {
    /// The whole account.
    #[default]
    Account,
    /// A video.
    Video,
    /// A project.
    Project,
    /// A value that the token API has added since.
    #[serde(untagged)]
    Other(String),
}

impl Permission {
    /// Returns the value on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::RestrictedViewer => "RestrictedViewer",
            Self::Reader => "Reader",
            Self::Contributor => "Contributor",
            Self::Other(word) => word,
        }
    }
}

impl MediaScope {
    /// Returns the value on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Account => "Account",
            Self::Video => "Video",
            Self::Project => "Project",
            Self::Other(word) => word,
        }
    }
}

impl fmt::Display for MediaScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Lifetimes with mediaScope Video and an extension. The reference states a maximum of 43200 s and a default of 3600 s.
const ASKED: LifetimeRule = LifetimeRule::Asked {
    least: Duration::from_secs(1),
    most: Some(Duration::from_hours(12)),
    default: Duration::from_hours(1),
    issuer: Cow::Borrowed("Video Indexer"),
};

const FIXED: LifetimeRule = LifetimeRule::Fixed {
    lifetime: Duration::from_hours(1),
    rejection_message: Cow::Borrowed(
        "Video Indexer honours a lifetime only with mediaScope Video and an extensionId; \
              any other token lives 1h: remove lifetime",
    ),
};

impl VideoIndexerScope {
    fn takes_lifetime(&self) -> bool {
        self.media_scope == MediaScope::Video && self.extension_id.is_some()
    }

    fn operation(&self) -> &'static str {
        match (&self.permission, &self.extension_id) {
            (Permission::RestrictedViewer, None) => "generateRestrictedViewerAccessToken",
            (Permission::RestrictedViewer, Some(_)) => "generateExtensionRestrictedViewerAccessToken",
            (_, None) => "generateAccessToken",
            (_, Some(_)) => "generateExtensionAccessToken",
        }
    }

    /// Repeats the checks of the CRD's rules, because an older CRD may have accepted the spec.
    fn check(&self) -> Result<(), FieldError> {
        let refused =
            |member: &str, message: String| Err(FieldError::new(format!("spec.scope.videoIndexer.{member}"), message));
        if self.extension_id.is_some() && self.project_id.is_some() {
            return refused("projectId", NO_PROJECT.into());
        }
        for (member, scope, id) in
            [("videoId", MediaScope::Video, &self.video_id), ("projectId", MediaScope::Project, &self.project_id)]
        {
            match (id.as_deref(), self.media_scope == scope) {
                (None, true) if scope == MediaScope::Project && self.extension_id.is_some() => {}
                (None | Some(""), true) => return refused(member, format!("mediaScope {scope} needs a {member}")),
                (Some(_), false) => {
                    let message = format!("{member} goes with mediaScope {scope}, not {}: remove it", self.media_scope);
                    return refused(member, message);
                }
                _ => {}
            }
        }
        if self.extension_id.as_deref().is_some_and(|id| !is_extension_id(id)) {
            return refused("extensionId", EXTENSION_ID.into());
        }
        Ok(())
    }

    /// Returns the JSON body of the request.
    fn body(&self, lifetime: Duration) -> Map<String, Value> {
        let mut body = Map::new();
        if self.permission != Permission::RestrictedViewer {
            body.insert("permissionType".into(), self.permission.as_str().into());
        }
        body.insert("scope".into(), self.media_scope.as_str().into());
        let ids = [("videoId", &self.video_id), ("projectId", &self.project_id), ("extensionId", &self.extension_id)];
        for (name, id) in ids {
            if let Some(id) = id {
                body.insert(name.into(), id.as_str().into());
            }
        }
        if self.takes_lifetime() {
            body.insert("tokenLifetimeInSeconds".into(), lifetime.as_secs().into());
        }
        body
    }
}

/// Default of `permissions`: read access.
const READ_ONLY: &[&str] = &["RestrictedViewer", "Reader"];

/// Permissions that a ClusterTokenProvider allows.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoIndexerAllowed {
    /// Permissions of Video Indexer. In its classic API, `allowEdit` counts as Contributor, everything else as Reader.
    /// Default: RestrictedViewer, Reader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 64)), extend("x-kubernetes-list-type" = "set"))]
    pub permissions: Option<Vec<String>>,
}

impl VideoIndexerAllowed {
    pub(super) fn admits_permission(&self, field: &str, permission: &str) -> Result<(), FieldError> {
        among(field, permission, self.permissions.as_deref(), READ_ONLY)
    }
}

impl TokenApi for VideoIndexerAccount {
    /// 10 calls per second and 120 per minute, according to the responses of Video Indexer to excess calls.
    fn limits(&self) -> AccountLimits {
        AccountLimits::new(10, 120, 4)
    }

    /// Returns the resource ID in lower case, because Azure ignores case.
    fn identity(&self) -> Result<String, FieldError> {
        for (member, value) in [
            ("subscriptionId", &self.subscription_id),
            ("resourceGroup", &self.resource_group),
            ("accountName", &self.account_name),
        ] {
            if !is_segment(value) {
                let field = format!("spec.videoIndexer.{member}");
                return Err(FieldError::new(field, NOT_A_SEGMENT));
            }
        }
        let id = format!(
            "subscriptions/{}/resourcegroups/{}/accounts/{}",
            self.subscription_id, self.resource_group, self.account_name
        );
        Ok(format!("videoIndexer/{}", id.to_lowercase()))
    }

    fn display_name(&self) -> String {
        self.account_name.clone()
    }
}

impl TypedTokenApi for VideoIndexerAccount {
    type Scope = VideoIndexerScope;
    type Allowed<'a> = &'a VideoIndexerAllowed;

    fn rules() -> Vec<Cel> {
        let scope = "self.scope.videoIndexer";
        let asked = format!("has({scope}) && {scope}.mediaScope == 'Video' && has({scope}.extensionId)");
        let fixed = format!("has({scope}) && !({scope}.mediaScope == 'Video' && has({scope}.extensionId))");
        [ASKED.rules(&asked), FIXED.rules(&fixed)].concat()
    }

    fn request(
        &self,
        account: String,
        scope: &VideoIndexerScope,
        lifetime: Option<&GoDuration>,
    ) -> Result<TokenRequest, FieldError> {
        scope.check()?;
        if scope.extension_id.is_some() && self.endpoints.is_none() && self.cloud == Some(Cloud::UsGovernment) {
            let message = "the USGovernment cloud has no extension operations: remove extensionId";
            return Err(FieldError::new("spec.scope.videoIndexer.extensionId", message));
        }
        let promised_lifetime = if scope.takes_lifetime() { ASKED } else { FIXED }.choose(lifetime)?;
        Ok(TokenRequest {
            account,
            operation: scope.operation().into(),
            fields: scope.body(promised_lifetime),
            promised_lifetime,
            ends_at: None,
        })
    }

    fn admits(allowed: Self::Allowed<'_>, scope: &VideoIndexerScope) -> Result<(), FieldError> {
        allowed.admits_permission("spec.scope.videoIndexer.permission", scope.permission.as_str())
    }
}
