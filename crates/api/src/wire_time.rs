//! Times in a status: RFC 3339 in UTC with whole seconds, as Kubernetes writes them. Decoding never fails: the status
//! only mirrors other state, and an unreadable time must not prevent the decoding of its object.

use crate::Timestamp;
use chrono::{DateTime, SecondsFormat, SubsecRound, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// Returns the text of a time, such as `2026-01-02T03:04:05Z`. A fraction of a second is dropped.
pub fn text(time: Timestamp) -> String {
    time.trunc_subsecs(0).to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Parses a time with any offset from UTC.
pub fn parse(text: &str) -> Option<Timestamp> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.with_timezone(&Utc))
}

/// Serializes a time as [`text`].
pub fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*time))
}

/// Deserializes a time. An unreadable time becomes the epoch.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Functions for a time that may be missing.
pub mod option {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Timestamp, Value};

    /// Serializes a time, or null.
    #[allow(clippy::ref_option)] // serde's signature
    pub fn serialize<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        time.map(super::text).serialize(serializer)
    }

    /// Deserializes a time. An unreadable time becomes `None`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        Ok(Value::deserialize(deserializer)?.as_str().and_then(super::parse))
    }
}
