//! What a call asks for: the resource and operation of its path, and the fields of its body.

use super::{LIFE, refusal::Refusal};
use crate::emulator::Call;
use http::{Method, header};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use std::time::Duration;

/// The versions that there are, and whether they have the extension operations.
const VERSIONS: [(&str, bool); 2] = [("2025-04-01", true), ("2024-01-01", false)];

/// The longest life that can be asked for, in seconds.
const LONGEST: i64 = 43_200;

/// An operation: its name in the path, and what its body must hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Operation {
    pub(super) name: &'static str,
    /// `permissionType` is required.
    permission: bool,
    /// `extensionId` is required, `tokenLifetimeInSeconds` taken, `projectId` not.
    extension: bool,
}

static TABLE: [Operation; 4] = [
    Operation { name: OPERATIONS[0], permission: true, extension: false },
    Operation { name: OPERATIONS[1], permission: false, extension: false },
    Operation { name: OPERATIONS[2], permission: true, extension: true },
    Operation { name: OPERATIONS[3], permission: false, extension: true },
];

/// The names of the four operations.
pub const OPERATIONS: [&str; 4] = [
    "generateAccessToken",
    "generateRestrictedViewerAccessToken",
    "generateExtensionAccessToken",
    "generateExtensionRestrictedViewerAccessToken",
];

/// An operation on an account.
pub(super) struct Resource {
    subscription: String,
    group: String,
    pub(super) account: String,
    pub(super) operation: &'static Operation,
}

impl Resource {
    pub(super) fn parse(call: &Call) -> Result<Self, Refusal> {
        let not_found = || Refusal::not_found(call.path());
        let segments: Option<Vec<String>> = call
            .path()
            .split('/')
            .skip(1)
            .map(|segment| percent_decode_str(segment).decode_utf8().ok().map(String::from))
            .collect();
        let segments: [String; 9] = segments.and_then(|all| all.try_into().ok()).ok_or_else(not_found)?;
        let [subscriptions, subscription, groups, group, providers, provider, accounts, account, operation] = segments;
        let fixed = [
            (&subscriptions, "subscriptions"),
            (&groups, "resourceGroups"),
            (&providers, "providers"),
            (&provider, "Microsoft.VideoIndexer"),
            (&accounts, "accounts"),
        ];
        if !fixed.iter().all(|(got, expected)| got.eq_ignore_ascii_case(expected)) {
            return Err(not_found());
        }
        let operation = TABLE.iter().find(|known| known.name.eq_ignore_ascii_case(&operation)).ok_or_else(not_found)?;
        if call.method != Method::POST {
            return Err(Refusal::method_not_allowed(call.method.as_str()));
        }
        Ok(Self { subscription, group, account, operation })
    }

    /// The account's resource id, in lower case.
    pub(super) fn id(&self) -> String {
        let Self { subscription, group, account, .. } = self;
        format!(
            "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.videoindexer/accounts/{account}"
        )
        .to_lowercase()
    }
}

/// Whether the version asked for has the operation.
pub(super) fn check_version(call: &Call, resource: &Resource) -> Result<(), Refusal> {
    let asked = call.query("api-version").ok_or_else(Refusal::no_version)?;
    let fitting = VERSIONS.iter().filter(|(_, extensions)| *extensions || !resource.operation.extension);
    let known: Vec<_> = fitting.map(|(version, _)| *version).collect();
    if known.contains(&asked.as_str()) { Ok(()) } else { Err(Refusal::unknown_version(&asked, &known.join(", "))) }
}

/// The fields of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) permission: String,
    scope: String,
    pub(super) video_id: Option<String>,
    pub(super) project_id: Option<String>,
    pub(super) extension_id: Option<String>,
    lifetime: Option<i64>,
}

impl Ask {
    pub(super) fn parse(call: &Call, resource: &Resource) -> Result<Self, Refusal> {
        let media_type = call.header(header::CONTENT_TYPE.as_str()).unwrap_or_default();
        if !media_type.to_lowercase().starts_with("application/json") {
            return Err(Refusal::not_json_type());
        }
        let body = serde_json::from_slice(&call.body).map_err(|error| Refusal::not_json(&error.to_string()))?;
        let body = Body(body);
        let operation = resource.operation;
        let permission = if operation.permission {
            body.one_of("permissionType", &["Contributor", "Reader"])?
        } else {
            "RestrictedViewer".to_owned()
        };
        let scope = body.one_of("scope", &["Video", "Account", "Project"])?;
        let when = |taken: bool, name| if taken { body.text(name) } else { Ok(None) };
        let ask = Self {
            video_id: when(true, "videoId")?,
            project_id: when(!operation.extension, "projectId")?,
            extension_id: when(operation.extension, "extensionId")?,
            lifetime: if operation.extension { body.lifetime()? } else { None },
            permission,
            scope,
        };
        ask.check(operation)?;
        Ok(ask)
    }

    /// What the operation or the scope requires beside the other fields.
    fn check(&self, operation: &Operation) -> Result<(), Refusal> {
        let required = [
            (operation.extension, &self.extension_id, "extensionId"),
            (self.scope == "Video", &self.video_id, "videoId"),
            (self.scope == "Project", &self.project_id, "projectId"),
        ];
        match required.into_iter().find(|(required, value, _)| *required && value.is_none()) {
            Some((_, _, field)) => Err(Refusal::field(field, "it is required")),
            None => Ok(()),
        }
    }

    /// The life of the token: what was asked for, for a video at an extension; else an hour.
    pub(super) fn life(&self, operation: &Operation) -> Duration {
        let asked = self.lifetime.filter(|_| operation.extension && self.scope == "Video");
        asked.and_then(|seconds| u64::try_from(seconds).ok()).map_or(LIFE, Duration::from_secs)
    }

    /// What tells this token from others, in one line: `generateAccessToken Reader Video 07ec9e38d4`.
    pub(super) fn line(&self, operation: &Operation) -> String {
        let mut line = format!("{} {} {}", operation.name, self.permission, self.scope);
        let media = match self.scope.as_str() {
            "Video" => &self.video_id,
            "Project" => &self.project_id,
            _ => &None,
        };
        if let Some(id) = media {
            line.push(' ');
            line.push_str(id);
        }
        line
    }
}

/// A body's fields, with their types checked as they are read.
struct Body(Map<String, Value>);

impl Body {
    /// A text that isn't empty; `None` if it isn't there.
    fn text(&self, name: &str) -> Result<Option<String>, Refusal> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Refusal::field(name, "it has to be a string")),
        }
    }

    /// A required text of a closed list; case doesn't count, as .NET reads enums.
    fn one_of(&self, name: &str, known: &[&str]) -> Result<String, Refusal> {
        let text = self.text(name)?.ok_or_else(|| Refusal::field(name, "it is required"))?;
        let found = known.iter().find(|value| value.eq_ignore_ascii_case(&text));
        found.map(ToString::to_string).ok_or_else(|| Refusal::field(name, &format!("'{text}' is not a known value")))
    }

    fn lifetime(&self) -> Result<Option<i64>, Refusal> {
        const NAME: &str = "tokenLifetimeInSeconds";
        match self.0.get(NAME) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_i64() {
                Some(seconds) if (1..=LONGEST).contains(&seconds) => Ok(Some(seconds)),
                Some(_) => Err(Refusal::field(NAME, &format!("it has to lie between 1 and {LONGEST}"))),
                None => Err(Refusal::field(NAME, "it has to be a whole number")),
            },
        }
    }
}
