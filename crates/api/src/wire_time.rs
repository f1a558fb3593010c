//! Times in a status: RFC 3339 in UTC with whole seconds, as Kubernetes writes them. Reading never fails: a status is
//! only a shadow, and a time that can't be read must not hide its object.

use crate::Timestamp;
use chrono::{DateTime, SecondsFormat, SubsecRound, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// The text of an instant, such as `2026-01-02T03:04:05Z`. A fraction of a second is dropped.
pub fn text(time: Timestamp) -> String {
    time.trunc_subsecs(0).to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// An instant from its text, in any zone.
pub fn parse(text: &str) -> Option<Timestamp> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.with_timezone(&Utc))
}

/// For serde.
pub fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*time))
}

/// For serde. What can't be read is the epoch.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// For a time that may be missing.
pub mod option {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Timestamp, Value};

    /// For serde.
    #[allow(clippy::ref_option)] // serde's signature
    pub fn serialize<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        time.map(super::text).serialize(serializer)
    }

    /// For serde. What can't be read is `None`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        Ok(Value::deserialize(deserializer)?.as_str().and_then(super::parse))
    }
}
