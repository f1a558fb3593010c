//! A `metav1.Condition` with the time format and the name constants of this crate.

use super::wire_time;
use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// A condition of a status. Decoding accepts missing members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// Type of the condition: `Ready`, `Issuing` or `Stalled`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Status of the condition.
    pub status: ConditionStatus,
    /// The `metadata.generation` that the condition is based on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Time at which `status` last changed.
    #[serde(with = "wire_time")]
    pub last_transition_time: Timestamp,
    /// Reason in one CamelCase word.
    pub reason: String,
    /// Explanation for people.
    pub message: String,
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConditionStatus {
    /// The condition is true.
    True,
    /// The condition is false.
    False,
    /// The status is unknown, or a value that this version doesn't know.
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
