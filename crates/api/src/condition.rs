//! metav1.Condition in our own times and names.

use super::wire_time;
use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// One condition of a status. Reading is lenient: each member may lack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// `Ready`, `Issuing` or `Stalled`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// The `metadata.generation` that it was decided for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When `status` last changed.
    #[serde(with = "wire_time")]
    pub last_transition_time: Timestamp,
    /// Why, in one CamelCase word.
    pub reason: String,
    /// Why, for people.
    pub message: String,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConditionStatus {
    /// It does.
    True,
    /// It does not.
    False,
    /// Not known, or a word that is not known here.
    #[default]
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_condition_is_written_as_kubernetes_writes_it() {
        let condition = Condition {
            type_: "Ready".into(),
            status: ConditionStatus::True,
            observed_generation: Some(3),
            last_transition_time: wire_time::parse("2026-01-02T03:04:05.678+01:00").unwrap(),
            reason: "Issued".into(),
            message: "fresh".into(),
        };
        let written = serde_json::to_value(&condition).unwrap();
        let expected = json!({
            "type": "Ready", "status": "True", "observedGeneration": 3,
            "lastTransitionTime": "2026-01-02T02:04:05Z", "reason": "Issued", "message": "fresh"
        });
        assert_eq!(written, expected);
    }

    #[test]
    fn a_condition_of_another_hand_is_read() {
        let read: Condition =
            serde_json::from_value(json!({"type": "Odd", "status": "Perhaps", "lastTransitionTime": "soon"})).unwrap();
        assert_eq!(read, Condition { type_: "Odd".into(), ..Condition::default() });
    }
}
