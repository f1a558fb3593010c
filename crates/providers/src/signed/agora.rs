//! AccessToken2 of Agora: `007` and the base64 of a zlib stream that contains the signature and the signed data.
//!
//! Source: `DynamicKey/AgoraDynamicKey/nodejs/src/AccessToken2.js` of AgoraIO/Tools. All numbers are little-endian. A
//! text has its length in two bytes before it. The times of privileges are relative to the issue time.

use super::Signature;
use super::key::{Signer, hmac_sha256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use miniz_oxide::deflate::compress_to_vec_zlib;
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use uuid::Uuid;
use videotoken_api::request::FieldError;
use videotoken_api::signed::{Agora, AgoraPrivilege};
use videotoken_core::plan::template::declared::{Renderer, RequestVariables};

const VERSION: &str = "007";
/// zlib's default level, which the vendor's packer uses.
const LEVEL: u8 = 6;
pub(super) const RTC: u16 = 1;
const RTM: u16 = 2;
const RTM_LOGIN: u16 = 1;
/// Salts are 1 to this number.
const LARGEST_SALT: u128 = 99_999_999;

/// Renders and signs a token.
pub(super) fn sign(agora: &Agora, signer: &Signer, variables: &RequestVariables) -> Result<Signature, FieldError> {
    Ok(Signature { token: content(agora, variables)?.token(signer)?, values: BTreeMap::new() })
}

/// Renders the content of a token.
pub(super) fn content<'a>(agora: &'a Agora, variables: &RequestVariables) -> Result<Content<'a>, FieldError> {
    let mut renderer = Renderer::new(variables);
    let mut services = Vec::new();
    let lifetime = u32::try_from(variables.lifetime.as_secs()).unwrap_or(u32::MAX);
    if let Some(rtc) = &agora.rtc {
        let channel = renderer.text("spec.signed.agora.rtc.channel", &rtc.channel)?;
        let uid = renderer.text("spec.signed.agora.rtc.uid", &rtc.uid)?;
        let privileges = rtc.privileges.iter().map(|privilege| (number(privilege), lifetime)).collect();
        // user 0 is any user, which the token names by an empty text
        let uid = if uid.expose_secret() == "0" { SecretString::default() } else { uid };
        services.push(Service { type_: RTC, privileges, texts: vec![channel, uid] });
    }
    if let Some(rtm) = &agora.rtm {
        let user = renderer.text("spec.signed.agora.rtm.user", &rtm.user)?;
        services.push(Service { type_: RTM, privileges: BTreeMap::from([(RTM_LOGIN, lifetime)]), texts: vec![user] });
    }
    let chance = Uuid::parse_str(&variables.uuid).map(|uuid| uuid.as_u128()).unwrap_or_default();
    Ok(Content {
        app_id: &agora.app_id,
        issued_at: u32::try_from(variables.issued_at.timestamp()).unwrap_or(u32::MAX),
        lifetime,
        salt: u32::try_from(chance % LARGEST_SALT).unwrap_or_default() + 1,
        services,
    })
}

fn number(privilege: &AgoraPrivilege) -> u16 {
    match privilege {
        // another privilege is refused when the provider is resolved
        AgoraPrivilege::Join | AgoraPrivilege::Other(_) => 1,
        AgoraPrivilege::PublishAudio => 2,
        AgoraPrivilege::PublishVideo => 3,
        AgoraPrivilege::PublishData => 4,
    }
}

/// A service with its privileges, each with its lifetime in seconds.
pub(super) struct Service {
    pub(super) type_: u16,
    pub(super) privileges: BTreeMap<u16, u32>,
    pub(super) texts: Vec<SecretString>,
}

/// Content of a token.
pub(super) struct Content<'a> {
    pub(super) app_id: &'a str,
    pub(super) issued_at: u32,
    pub(super) lifetime: u32,
    pub(super) salt: u32,
    pub(super) services: Vec<Service>,
}

impl Content<'_> {
    /// Returns the token, signed with the app certificate.
    pub(super) fn token(&self, signer: &Signer) -> Result<SecretString, FieldError> {
        let mut info = Vec::new();
        put_text(&mut info, self.app_id.as_bytes())?;
        for number in [self.issued_at, self.lifetime, self.salt] {
            info.extend(number.to_le_bytes());
        }
        put_count(&mut info, self.services.len());
        for service in &self.services {
            info.extend(service.type_.to_le_bytes());
            put_count(&mut info, service.privileges.len());
            for (privilege, lifetime) in &service.privileges {
                info.extend(privilege.to_le_bytes());
                info.extend(lifetime.to_le_bytes());
            }
            for text in &service.texts {
                put_text(&mut info, text.expose_secret().as_bytes())?;
            }
        }
        let certificate = signer.certificate().map_err(|why| FieldError::new("spec.signed.key", why))?;
        let of_time = hmac_sha256(&self.issued_at.to_le_bytes(), certificate);
        let key = hmac_sha256(&self.salt.to_le_bytes(), &of_time);
        let mut content = Vec::new();
        put_text(&mut content, &hmac_sha256(&key, &info))?;
        content.extend(info);
        Ok(format!("{VERSION}{}", STANDARD.encode(compress_to_vec_zlib(&content, LEVEL))).into())
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend(u16::try_from(count).unwrap_or(u16::MAX).to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) -> Result<(), FieldError> {
    let length = u16::try_from(text.len())
        .map_err(|_| FieldError::new("spec.signed.agora", "renders to a text longer than 64 KiB: shorten it"))?;
    out.extend(length.to_le_bytes());
    out.extend(text);
    Ok(())
}
