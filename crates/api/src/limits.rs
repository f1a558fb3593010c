//! Limits of the calls that one account may receive.

use super::cel::cel;
use super::duration::{GoDuration, is_duration};
use super::request::FieldError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// `spec.limits` on the wire. Absent members have the default of the provider type.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsSpec {
    /// Numbers of calls per period. All windows apply at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), extend("x-kubernetes-list-type" = "atomic"))]
    pub windows: Vec<WindowSpec>,
    /// Maximum number of calls in flight at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub concurrency: Option<i32>,
}

/// A number of calls in a period.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSpec {
    /// Number of calls.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests: i32,
    /// Length of the period: 1s to 24h.
    #[schemars(transform = period)]
    pub period: GoDuration,
}

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_hours(24);

fn period(schema: &mut schemars::Schema) {
    use schemars::transform::Transform;
    let rule =
        format!("!{} || (duration(self) >= duration('1s') && duration(self) <= duration('24h'))", is_duration("self"));
    cel(rule, "must be 1s to 24h").transform(schema);
}

/// [`LimitsSpec`], parsed and complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountLimits {
    /// Windows, which all apply at once.
    pub windows: Vec<RequestWindow>,
    /// Number of calls that may be in flight at once.
    pub concurrency: u32,
}

/// A number of calls in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestWindow {
    /// Number of calls.
    pub requests: u32,
    /// Length of the period.
    pub period: Duration,
}

impl AccountLimits {
    /// Returns limits with one window per second and one per minute.
    pub(super) fn new(per_second: u32, per_minute: u32, concurrency: u32) -> Self {
        let window = |requests, seconds| RequestWindow { requests, period: Duration::from_secs(seconds) };
        Self { windows: vec![window(per_second, 1), window(per_minute, 60)], concurrency }
    }

    /// Returns these limits with the members of `limits` in place of the defaults.
    pub(super) fn overridden(self, limits: &LimitsSpec) -> Result<Self, FieldError> {
        let windows: Vec<_> =
            limits.windows.iter().enumerate().map(|(n, window)| window.parse(n)).collect::<Result<_, _>>()?;
        let concurrency = match limits.concurrency {
            None => self.concurrency,
            Some(n) => u32::try_from(n)
                .ok()
                .filter(|n| *n > 0)
                .ok_or_else(|| FieldError::new("spec.limits.concurrency", "must be at least 1"))?,
        };
        Ok(Self { windows: if windows.is_empty() { self.windows } else { windows }, concurrency })
    }
}

impl WindowSpec {
    fn parse(&self, n: usize) -> Result<RequestWindow, FieldError> {
        let refused = |member, message| FieldError::new(format!("spec.limits.windows[{n}].{member}"), message);
        Ok(RequestWindow {
            requests: u32::try_from(self.requests)
                .ok()
                .filter(|n| *n > 0)
                .ok_or_else(|| refused("requests", "must be at least 1"))?,
            period: self
                .period
                .parse()
                .filter(|period| (SHORTEST..=LONGEST).contains(period))
                .ok_or_else(|| refused("period", "must be 1s to 24h"))?,
        })
    }
}
