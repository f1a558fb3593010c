//! What an observer makes of its looks.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use chrono::{DateTime, TimeDelta, Utc};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;

const TOKEN_KEY: &str = "videotoken.dev/token-key";
const TIMELINE: usize = 100_000;

/// All that an observer has seen.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Looks that saw something.
    pub looks: u64,
    /// Looks that failed: the API server did not answer.
    pub blind: u64,
    /// Each Secret by `namespace/name`.
    pub secrets: BTreeMap<String, SecretReport>,
    /// What happened, oldest first; 100,000 events at most.
    pub timeline: Vec<Event>,
    /// Each stretch of time in which a Secret held one expired token, in the order in which they began.
    pub stretches: Vec<Stretch>,
}

/// A stretch of time in which a Secret was seen to hold an expired token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// `namespace/name`.
    pub secret: String,
    /// When the token had expired.
    pub expires_at: DateTime<Utc>,
    /// From when it counts: the token's expiry, or the look that saw it first if that was later.
    pub from: DateTime<Utc>,
    /// The last look that saw it.
    pub until: DateTime<Utc>,
}

impl Stretch {
    /// How long it is.
    pub fn length(&self) -> TimeDelta {
        self.until - self.from
    }
}

/// What was seen of one Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretReport {
    /// Whether the last look found it.
    pub present: bool,
    /// How long it held a token that had expired. Never too much; too little by what an expired token was there before
    /// the first look, or after the last look that saw it.
    pub expired: TimeDelta,
    /// Looks that found an expired token.
    pub looks_expired: u64,
    /// Looks that found an expired token beside the current one.
    pub looks_previous_expired: u64,
    /// Looks that found a token that nobody issued.
    pub looks_unknown: u64,
    /// Looks that found no token: no key named, or nothing in it.
    pub looks_malformed: u64,
    /// Different tokens seen.
    pub tokens: u64,
    /// Changes of its resourceVersion seen, its creation included. Several between two looks count as one.
    pub writes: u64,
    /// The least time that a token had left when it was seen; negative once one has expired.
    pub least_left: Option<TimeDelta>,
    /// When the token last seen expires.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Something that happened to a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When the look that saw it began.
    pub at: DateTime<Utc>,
    /// `namespace/name`; empty for the observer itself.
    pub secret: String,
    /// What.
    pub what: What,
}

/// What happens to Secrets, as far as one can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It holds a token not seen before, which expires then.
    Token(Option<DateTime<Utc>>),
    /// It was written, and the token is the same, or one seen before.
    Written,
    /// Its token has expired.
    Expired,
    /// The token beside the current one has expired.
    PreviousExpired,
    /// Nobody issued its token.
    Unknown,
    /// There is no token in it.
    Malformed,
    /// It was deleted.
    Gone,
    /// The observer could not look.
    Blind(String),
}

impl Report {
    /// How long all Secrets together held a token that had expired.
    pub fn expired(&self) -> TimeDelta {
        self.secrets.values().map(|secret| secret.expired).sum()
    }

    /// Different tokens seen, over all Secrets.
    pub fn tokens(&self) -> u64 {
        self.secrets.values().map(|secret| secret.tokens).sum()
    }

    /// Writes seen, over all Secrets.
    pub fn writes(&self) -> u64 {
        self.secrets.values().map(|secret| secret.writes).sum()
    }

    /// The least time that any token had left when it was seen.
    pub fn least_left(&self) -> Option<TimeDelta> {
        self.secrets.values().filter_map(|secret| secret.least_left).min()
    }

    /// Each Secret that held what it should not: a token expired, unknown or missing.
    pub fn faults(&self) -> BTreeMap<&str, &SecretReport> {
        let bad = |s: &SecretReport| s.looks_expired + s.looks_previous_expired + s.looks_unknown + s.looks_malformed;
        self.secrets
            .iter()
            .filter(|(_, secret)| bad(secret) > 0)
            .map(|(name, secret)| (name.as_str(), secret))
            .collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} looks ({} blind), {} Secrets, {} tokens, {} writes, expired for {} s, least time left {} s",
            self.looks,
            self.blind,
            self.secrets.len(),
            self.tokens(),
            self.writes(),
            self.expired().as_seconds_f64(),
            self.least_left().map_or(f64::NAN, TimeDelta::as_seconds_f64),
        )?;
        for (name, secret) in self.faults() {
            writeln!(f, "{name}: {secret:?}")?;
        }
        Ok(())
    }
}

/// A report in the making. It keeps hashes of tokens, no token.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) report: Report,
    traces: BTreeMap<String, Trace>,
}

/// What is compared with the next look.
#[derive(Debug, Default)]
struct Trace {
    looked: Option<DateTime<Utc>>,
    /// The look before that one.
    before: Option<DateTime<Utc>>,
    /// Its last stretch.
    stretch: Option<usize>,
    version: String,
    state: Option<What>,
    previous_expired: bool,
    tokens: HashSet<u64>,
}

/// What one look finds in a Secret.
struct Content<'a> {
    token: Option<&'a str>,
    others: Vec<&'a str>,
}

impl<'a> Content<'a> {
    fn of(secret: &'a Secret) -> Self {
        let key = secret.annotations().get(TOKEN_KEY);
        let data = secret.data.iter().flatten().filter_map(|(k, v)| Some((k, std::str::from_utf8(&v.0).ok()?)));
        let (token, others): (Vec<_>, Vec<_>) = data.partition(|(name, _)| Some(*name) == key);
        let token = token.first().map(|(_, token)| *token).filter(|token| !token.is_empty());
        Self { token, others: others.into_iter().map(|(_, value)| value).filter(|v| Some(*v) != token).collect() }
    }
}

impl Record {
    /// A look that failed.
    pub(super) fn blind(&mut self, at: DateTime<Utc>, why: &str) {
        self.report.blind += 1;
        self.note(at, "", What::Blind(why.to_owned()));
    }

    /// A look that found these Secrets. `at` is when it began.
    pub(super) fn look(&mut self, at: DateTime<Utc>, found: &[Secret], truth: &impl Fn(&str) -> Option<DateTime<Utc>>) {
        self.report.looks += 1;
        let mut seen = BTreeSet::new();
        for secret in found {
            let name = format!("{}/{}", secret.namespace().unwrap_or_default(), secret.name_any());
            let mut trace = self.traces.remove(&name).unwrap_or_default();
            let mut report = self.report.secrets.remove(&name).unwrap_or_default();
            for what in judge(at, secret, truth, &mut trace, &mut report) {
                self.note(at, &name, what);
            }
            if let (Some(What::Expired), Some(expires_at)) = (&trace.state, report.expires_at) {
                self.stretch(at, &name, expires_at, &mut trace);
            } else {
                trace.stretch = None;
            }
            self.traces.insert(name.clone(), trace);
            self.report.secrets.insert(name.clone(), report);
            seen.insert(name);
        }
        let mut gone = Vec::new();
        for (name, report) in &mut self.report.secrets {
            if report.present && !seen.contains(name) {
                report.present = false;
                gone.push(name.clone());
            }
        }
        for name in gone {
            if let Some(trace) = self.traces.get_mut(&name) {
                *trace = Trace { tokens: std::mem::take(&mut trace.tokens), ..Trace::default() };
            }
            self.note(at, &name, What::Gone);
        }
    }

    /// A look at `at` saw a token that had expired.
    fn stretch(&mut self, at: DateTime<Utc>, secret: &str, expires_at: DateTime<Utc>, trace: &mut Trace) {
        let stretches = &mut self.report.stretches;
        let known = trace.stretch.filter(|index| stretches[*index].expires_at == expires_at);
        let index = known.unwrap_or_else(|| {
            let from = trace.before.map_or(at, |looked| looked.max(expires_at));
            stretches.push(Stretch { secret: secret.to_owned(), expires_at, from, until: at });
            stretches.len() - 1
        });
        stretches[index].until = at;
        trace.stretch = Some(index);
    }

    fn note(&mut self, at: DateTime<Utc>, secret: &str, what: What) {
        if self.report.timeline.len() < TIMELINE {
            self.report.timeline.push(Event { at, secret: secret.to_owned(), what });
        }
    }
}

/// Judges what a look found in one Secret, and returns what is new about it.
fn judge(
    at: DateTime<Utc>,
    secret: &Secret,
    truth: &impl Fn(&str) -> Option<DateTime<Utc>>,
    trace: &mut Trace,
    report: &mut SecretReport,
) -> Vec<What> {
    let content = Content::of(secret);
    let mut news = Vec::new();
    report.present = true;
    report.expires_at = content.token.and_then(truth);

    let written = secret.resource_version().is_some_and(|version| version != trace.version);
    report.writes += u64::from(written);
    if content.token.is_some_and(|token| trace.tokens.insert(hash(token))) {
        report.tokens += 1;
        news.push(What::Token(report.expires_at));
    } else if written {
        news.push(What::Written);
    }

    let state = match (content.token, report.expires_at) {
        (None, _) => {
            report.looks_malformed += 1;
            Some(What::Malformed)
        }
        (Some(_), None) => {
            report.looks_unknown += 1;
            Some(What::Unknown)
        }
        (Some(_), Some(expires_at)) => {
            let left = expires_at - at;
            report.least_left = Some(report.least_left.map_or(left, |least| least.min(left)));
            (left <= TimeDelta::zero()).then(|| {
                report.looks_expired += 1;
                report.expired += at - trace.looked.map_or(at, |looked| looked.max(expires_at));
                What::Expired
            })
        }
    };
    if trace.state != state {
        news.extend(state.clone());
    }
    let previous_expired = content.others.iter().filter_map(|other| truth(other)).any(|expires_at| expires_at <= at);
    report.looks_previous_expired += u64::from(previous_expired);
    if previous_expired && !trace.previous_expired {
        news.push(What::PreviousExpired);
    }
    trace.before = trace.looked.replace(at);
    trace.version = secret.resource_version().unwrap_or_default();
    trace.state = state;
    trace.previous_expired = previous_expired;
    news
}

fn hash(token: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    token.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    /// `t10` expires at second 10.
    fn truth(token: &str) -> Option<DateTime<Utc>> {
        Some(at(token.strip_prefix('t')?.parse().ok()?))
    }

    fn secret(version: u32, data: &[(&str, &str)]) -> Secret {
        let data: serde_json::Map<_, _> = data.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
        let mut secret: Secret = serde_json::from_value(serde_json::json!({
            "metadata": {"namespace": "n", "name": "s", "resourceVersion": version.to_string(),
                         "annotations": {TOKEN_KEY: "token"}},
            "stringData": data,
        }))
        .unwrap();
        let strings = secret.string_data.take().unwrap_or_default();
        let bytes = |value: String| k8s_openapi::ByteString(value.into_bytes());
        secret.data = Some(strings.into_iter().map(|(key, value)| (key, bytes(value))).collect());
        secret
    }

    fn after(looks: Vec<(i64, Vec<Secret>)>) -> Record {
        let mut record = Record::default();
        for (second, found) in looks {
            record.look(at(second), &found, &truth);
        }
        record
    }

    #[test]
    fn a_token_is_expired_from_its_expiry_until_another_is_seen() {
        let record = after(vec![
            (0, vec![secret(1, &[("token", "t10")])]),
            (9, vec![secret(1, &[("token", "t10")])]),
            (12, vec![secret(1, &[("token", "t10")])]),
            (13, vec![secret(1, &[("token", "t10")])]),
            (14, vec![secret(2, &[("token", "t99")])]),
        ]);
        let seen = &record.report.secrets["n/s"];
        assert_eq!((seen.expired, seen.looks_expired), (TimeDelta::seconds(3), 2));
        assert_eq!((seen.tokens, seen.writes), (2, 2));
        let stretch = Stretch { secret: "n/s".to_owned(), expires_at: at(10), from: at(10), until: at(13) };
        assert_eq!(record.report.stretches, [stretch]);
        assert_eq!(seen.least_left, Some(TimeDelta::seconds(-3)));
        let what: Vec<_> = record.report.timeline.iter().map(|event| (event.at, event.what.clone())).collect();
        let expected =
            vec![(at(0), What::Token(Some(at(10)))), (at(12), What::Expired), (at(14), What::Token(Some(at(99))))];
        assert_eq!(what, expected);
    }

    #[test]
    fn time_without_a_secret_is_no_time_with_an_expired_token() {
        let record = after(vec![
            (0, vec![secret(1, &[("token", "t10")])]),
            (5, vec![]),
            (50, vec![secret(2, &[("token", "t10")])]),
            (51, vec![secret(2, &[("token", "t10")])]),
        ]);
        let seen = &record.report.secrets["n/s"];
        assert_eq!((seen.expired, seen.tokens, seen.writes), (TimeDelta::seconds(1), 1, 2));
        let lengths: Vec<_> = record.report.stretches.iter().map(Stretch::length).collect();
        assert_eq!(lengths, [TimeDelta::seconds(1)]);
        assert!(record.report.timeline.iter().any(|event| event.what == What::Gone));
    }

    #[test]
    fn every_fault_is_named_and_nothing_else() {
        let cases = [
            (vec![("token", "t10"), ("copy", "t10"), ("config", "{t10}")], None),
            (vec![("token", "t10"), ("previous", "t5")], None),
            (vec![("token", "t10"), ("previous", "t1")], Some(What::PreviousExpired)),
            (vec![("token", "t1")], Some(What::Expired)),
            (vec![("token", "forged")], Some(What::Unknown)),
            (vec![("token", "")], Some(What::Malformed)),
            (vec![("other", "t10")], Some(What::Malformed)),
        ];
        for (data, fault) in cases {
            let record = after(vec![(2, vec![secret(1, &data)])]);
            let named = record.report.timeline.iter().map(|event| &event.what);
            let named: Vec<_> = named.filter(|what| !matches!(what, What::Token(_) | What::Written)).collect();
            assert_eq!(named, fault.iter().collect::<Vec<_>>(), "{data:?}");
            assert_eq!(record.report.faults().is_empty(), fault.is_none(), "{data:?}");
        }
    }
}
