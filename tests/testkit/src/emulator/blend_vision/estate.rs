//! What there is: organizations with their resources, and API tokens.

use chrono::{DateTime, Utc};
use std::collections::HashMap;

/// Who may see a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privacy {
    /// All.
    Public,
    /// `SECURITY_PRIVACY_TYPE_TOKEN`: known viewers, so that a token names one.
    Token,
}

/// What an API token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    /// Whose.
    pub organization: String,
    /// `None`: never.
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether it may ask for tokens that administer.
    pub may_administer: bool,
}

impl ApiToken {
    /// It may do all, for ever.
    pub fn of(organization: &str) -> Self {
        Self { organization: organization.to_owned(), expires_at: None, may_administer: true }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Resource {
    pub(super) type_: String,
    pub(super) privacy: Privacy,
}

#[derive(Default)]
pub(super) struct Estate {
    /// By organization and id.
    resources: HashMap<(String, String), Resource>,
    api_tokens: HashMap<String, ApiToken>,
}

impl Estate {
    pub(super) fn add_resource(&mut self, organization: &str, id: &str, type_: &str, privacy: Privacy) {
        let resource = Resource { type_: type_.to_owned(), privacy };
        self.resources.insert((organization.to_owned(), id.to_owned()), resource);
    }

    pub(super) fn remove_resource(&mut self, organization: &str, id: &str) {
        self.resources.remove(&(organization.to_owned(), id.to_owned()));
    }

    pub(super) fn resource(&self, organization: &str, id: &str) -> Option<&Resource> {
        self.resources.get(&(organization.to_owned(), id.to_owned()))
    }

    pub(super) fn add_api_token(&mut self, token: &str, api_token: ApiToken) {
        self.api_tokens.insert(token.to_owned(), api_token);
    }

    pub(super) fn revoke_api_token(&mut self, token: &str) {
        self.api_tokens.remove(token);
    }

    /// The API token, as long as it is good.
    pub(super) fn api_token(&self, token: &str, now: DateTime<Utc>) -> Option<&ApiToken> {
        self.api_tokens.get(token).filter(|api_token| api_token.expires_at.is_none_or(|at| now < at))
    }
}
