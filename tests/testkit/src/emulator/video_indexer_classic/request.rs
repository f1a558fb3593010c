//! What a call asks for: the account and media of its path, and what the token shall allow.

use super::{Access, refusal::Refusal};
use crate::emulator::Call;
use http::Method;
use percent_encoding::percent_decode_str;
use uuid::Uuid;

/// What a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Media {
    Account,
    Project(String),
    Video(String),
    /// The key's user.
    User,
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) location: String,
    /// Empty for a user's token.
    pub(super) account_id: String,
    pub(super) media: Media,
    /// `AccessTokenWithPermission`, which only the account has.
    by_permission: bool,
}

impl Route {
    /// The words of the path are compared as the gateway does, without case.
    pub(super) fn parse(call: &Call) -> Result<Self, Refusal> {
        let segments: Option<Vec<String>> = call
            .path()
            .split('/')
            .skip(1)
            .map(|segment| percent_decode_str(segment).decode_utf8().ok().map(String::from))
            .collect();
        let segments = segments.unwrap_or_default();
        if call.method != Method::GET {
            return Err(Refusal::NoOperation);
        }
        let is = |n: usize, word: &str| segments.get(n).is_some_and(|segment| segment.eq_ignore_ascii_case(word));
        let text = |n: usize| segments.get(n).cloned().unwrap_or_default();
        let last = segments.len().saturating_sub(1);
        let media = match (last, is(2, "Accounts")) {
            (4, true) => Media::Account,
            (6, true) if is(4, "Projects") => Media::Project(text(5)),
            (6, true) if is(4, "Videos") => Media::Video(text(5)),
            (4, false) if is(2, "Users") && is(3, "me") => Media::User,
            _ => return Err(Refusal::NoOperation),
        };
        let by_permission = is(last, "AccessTokenWithPermission") && media == Media::Account;
        if !is(0, "Auth") || !(by_permission || is(last, "AccessToken")) {
            return Err(Refusal::NoOperation);
        }
        let account_id = if media == Media::User { String::new() } else { text(3) };
        Ok(Self { location: text(1), account_id, media, by_permission })
    }

    /// The operation, by the reference's name.
    pub(super) fn operation(&self) -> &'static str {
        match self.media {
            Media::Account if self.by_permission => "Get-Account-Access-Token-With-Permission",
            Media::Account => "Get-Account-Access-Token",
            Media::Project(_) => "Get-Project-Access-Token",
            Media::Video(_) => "Get-Video-Access-Token",
            Media::User => "Get-User-Access-Token",
        }
    }
}

/// What a token shall allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// `allowEdit`.
    Edit(bool),
    /// `permission`.
    Permission(String),
}

impl Wish {
    /// What the user must have.
    pub(super) fn takes(&self) -> Access {
        match self {
            Self::Edit(false) => Access::Read,
            Self::Edit(true) => Access::Edit,
            Self::Permission(name) => Access::of(name).unwrap_or(Access::Own),
        }
    }

    pub(super) fn verb(&self) -> &'static str {
        match self.takes() {
            Access::Read => "access",
            Access::Edit => "edit",
            Access::Own => "own",
        }
    }
}

/// A whole request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) route: Route,
    pub(super) wish: Wish,
}

impl Ask {
    pub(super) fn parse(call: &Call, route: Route) -> Result<Self, Refusal> {
        if route.media != Media::User && Uuid::parse_str(&route.account_id).is_err() {
            return Err(Refusal::invalid(&format!("The value '{}' is not valid for accountId.", route.account_id)));
        }
        let wish = if route.by_permission {
            let name = call.query("permission").unwrap_or_default();
            match Access::of(&name) {
                Some(_) => Wish::Permission(name),
                None => return Err(Refusal::invalid(&format!("The value '{name}' is not valid for permission."))),
            }
        } else {
            match call.query("allowEdit").as_deref() {
                None => Wish::Edit(false),
                Some(text) => match text.to_lowercase().parse() {
                    Ok(edit) => Wish::Edit(edit),
                    Err(_) => {
                        return Err(Refusal::invalid(&format!("The value '{text}' is not valid for allowEdit.")));
                    }
                },
            }
        };
        Ok(Self { route, wish })
    }

    /// What tells this token from others, in one line: `Get-Video-Access-Token allowEdit=false 07ec9e38d4`.
    pub(super) fn line(&self) -> String {
        let wish = match &self.wish {
            Wish::Edit(edit) => format!("allowEdit={edit}"),
            Wish::Permission(name) => format!("permission={name}"),
        };
        let line = format!("{} {wish}", self.route.operation());
        match &self.route.media {
            Media::Project(id) | Media::Video(id) => format!("{line} {id}"),
            Media::Account | Media::User => line,
        }
    }
}
