//! Metrics of the operator and their exposition. All names begin with `videotoken_`. docs/reference/metrics.md lists
//! them.
//!
//! Label sets are fixed: the values of labels come from the source text, never from an object or a response. Exceptions
//! are the series per token (`tokens`), which can be disabled, and per provider object (`providers`). They are read
//! from their owner at each scrape, so that they use no memory. `kubernetes` counts every request of the Kubernetes
//! client; `classic` is the older text format of Prometheus, for clients that don't request `OpenMetrics`.

mod classic;
mod kubernetes;
mod providers;
mod tokens;
mod zero_first;

pub(crate) use kubernetes::kind;
pub use kubernetes::{CountRequests, Counted, count_requests};
pub use providers::{ProviderGauge, ProviderSource};
pub use tokens::{TokenGauge, TokenSource};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use videotoken_core::issue::Class;
use videotoken_core::plan::decide::IssueCause;
use videotoken_providers::clock;
use zero_first::ZeroFirstCounter;

/// Histogram bounds in seconds for one call of a token API. The default timeout is 10 s (`--provider-timeout`).
const ISSUE_BOUNDS: [f64; 11] = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0];

/// Histogram bounds in seconds for the time in the queue of a budget: from none to an hour for an account with many
/// tokens.
const WAIT_BOUNDS: [f64; 10] = [0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0];

/// Source label of [`Metrics::set_clock_skew`] for the API server.
pub const API_SERVER: &str = "apiserver";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProviderLabels {
    provider_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    provider_type: &'static str,
    class: &'static str,
    reason: Cow<'static, str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: &'static str,
    resource: &'static str,
    code_class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabels {
    provider_type: &'static str,
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabels {
    source: &'static str,
}

type ByProvider = Family<ProviderLabels, Histogram, fn() -> Histogram>;

/// Counter of seconds.
type Time = Counter<f64, AtomicU64>;

/// Metrics of the process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    issuances: Family<ProviderLabels, Counter>,
    issuances_by_cause: ZeroFirstCounter<CauseLabels>,
    issue_failures: ZeroFirstCounter<FailureLabels>,
    issue_duration: ByProvider,
    budget_wait: Histogram,
    throttled: Family<ProviderLabels, Time>,
    expired: Time,
    requests: Family<RequestLabels, Counter>,
    queued: Gauge,
    in_flight: Gauge,
    leader: Gauge,
    unlisted: Gauge,
    clock_skew: Family<SourceLabels, Gauge>,
    tokens: tokens::Tokens,
    providers: providers::Providers,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Returns all metrics at zero. The process counts as started now.
    pub fn new() -> Self {
        let mut inner = Inner {
            registry: Registry::default(),
            issuances: Family::default(),
            issuances_by_cause: ZeroFirstCounter::default(),
            issue_failures: ZeroFirstCounter::default(),
            issue_duration: Family::new_with_constructor(|| Histogram::new(ISSUE_BOUNDS)),
            budget_wait: Histogram::new(WAIT_BOUNDS),
            throttled: Family::default(),
            expired: Time::default(),
            requests: Family::default(),
            queued: Gauge::default(),
            in_flight: Gauge::default(),
            leader: Gauge::default(),
            unlisted: Gauge::default(),
            clock_skew: Family::default(),
            tokens: tokens::Tokens::default(),
            providers: providers::Providers::default(),
        };
        inner.register();
        Self(Arc::new(inner))
    }

    /// Records that a call for a token of `provider_type` succeeded after `took`. A call that returned the token in use
    /// is no issuance.
    pub fn issued(&self, provider_type: &'static str, cause: Option<IssueCause>, took: Duration, is_new: bool) {
        let labels = ProviderLabels { provider_type };
        self.0.issue_duration.get_or_create(&labels).observe(took.as_secs_f64());
        self.0.issuances.get_or_create(&labels).inc_by(u64::from(is_new));
        if let Some(cause) = cause.filter(|_| is_new) {
            self.0.issuances_by_cause.inc(&CauseLabels { provider_type, cause: cause.name() });
        }
    }

    /// Records that a call for a token of `provider_type` failed after `took`.
    pub fn issue_failed(&self, provider_type: &'static str, class: Class, reason: Cow<'static, str>, took: Duration) {
        self.0.issue_duration.get_or_create(&ProviderLabels { provider_type }).observe(took.as_secs_f64());
        self.0.issue_failures.inc(&FailureLabels { provider_type, class: name(class), reason });
    }

    /// Records that a call was granted after `waited` in the queue of its budget.
    pub fn budget_granted(&self, waited: Duration) {
        self.0.budget_wait.observe(waited.as_secs_f64());
    }

    /// Adds the time for which an account of `provider_type` was throttled.
    pub fn throttled(&self, provider_type: &'static str, time: Duration) {
        self.0.throttled.get_or_create(&ProviderLabels { provider_type }).inc_by(time.as_secs_f64());
    }

    /// Adds the time for which Secrets contained expired tokens, as the sum over all Secrets.
    pub fn expired(&self, seconds: f64) {
        self.0.expired.inc_by(seconds);
    }

    /// Sets the number of calls that wait in the queues of the budgets.
    pub fn set_queued(&self, calls: usize) {
        self.0.queued.set(i64::try_from(calls).unwrap_or(i64::MAX));
    }

    /// Sets the number of tokens in flight, from the grant until the token is stored in its Secret.
    pub fn set_in_flight(&self, tokens: usize) {
        self.0.in_flight.set(i64::try_from(tokens).unwrap_or(i64::MAX));
    }

    /// Sets whether this process is the leader.
    pub fn set_leader(&self, leader: bool) {
        self.0.leader.set(leader.into());
    }

    /// Sets the number of namespaces of `--watch-namespaces` (and the cluster) with objects that can't be listed or
    /// watched.
    pub fn set_unlisted(&self, namespaces: usize) {
        self.0.unlisted.set(i64::try_from(namespaces).unwrap_or(i64::MAX));
    }

    /// Sets how many seconds the clock of `source` is ahead of the local clock. `source` is [`API_SERVER`] or a
    /// provider type.
    pub fn set_clock_skew(&self, source: &'static str, seconds: i64) {
        self.0.clock_skew.get_or_create(&SourceLabels { source }).set(seconds);
    }

    /// Returns how many seconds the clock of `source` was ahead of the local clock at the last measurement.
    pub fn clock_skew(&self, source: &'static str) -> Option<i64> {
        self.0.clock_skew.get(&SourceLabels { source }).map(|gauge| gauge.get())
    }

    /// Sets the source of the tokens for scrapes. `per_token` adds series for each token. Only the first call has an
    /// effect.
    pub fn serve_tokens(&self, source: Arc<dyn TokenSource>, per_token: bool) {
        self.0.tokens.set_source(source, per_token);
    }

    /// Sets the source of the provider objects for scrapes. Only the first call has an effect.
    pub fn serve_providers(&self, source: Arc<dyn ProviderSource>) {
        self.0.providers.set_source(source);
    }

    /// Returns all metrics in the text format of Prometheus, version 0.0.4.
    pub fn encode_classic(&self) -> String {
        classic::from_open_metrics(&self.encode())
    }

    /// Returns all metrics as `OpenMetrics` text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        self.0.issue_failures.around_scrape(|| {
            self.0.issuances_by_cause.around_scrape(|| {
                // Writing to a String never fails.
                let _ = text::encode(&mut text, &self.0.registry);
            });
        });
        text
    }

    fn requested(&self, labels: &RequestLabels) {
        self.0.requests.get_or_create(labels).inc();
    }
}

impl Inner {
    fn register(&mut self) {
        let start: Gauge = Gauge::default();
        start.set(clock::now().wall.timestamp());
        self.registry.register_with_unit("process_start_time", "When the process started", Unit::Seconds, start);

        let ours = self.registry.sub_registry_with_prefix("videotoken");
        ours.register("build", "What runs", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
        ours.register("issuances", "Tokens issued", self.issuances.clone());
        ours.register("issuances_by_cause", "Tokens issued, by cause", self.issuances_by_cause.family());
        ours.register("issue_failures", "Calls for a token that failed", self.issue_failures.family());
        let help = "How long calls for a token took";
        ours.register_with_unit("issue_duration", help, Unit::Seconds, self.issue_duration.clone());
        let help = "How long calls waited for their account's budget";
        ours.register_with_unit("budget_wait", help, Unit::Seconds, self.budget_wait.clone());
        let help = "How long accounts were throttled by their providers, all together";
        ours.register_with_unit("throttled", help, Unit::Seconds, self.throttled.clone());
        let help = "How long Secrets held expired tokens, all together";
        ours.register_with_unit("expired_token", help, Unit::Seconds, self.expired.clone());
        ours.register("budget_queue_depth", "Calls that wait for their account's budget", self.queued.clone());
        ours.register("in_flight", "Tokens between their grant and their Secret", self.in_flight.clone());
        ours.register("kubernetes_requests", "Requests to the API server", self.requests.clone());
        ours.register("leader", "1 while this process holds the lease", self.leader.clone());
        let help = "Namespaces whose objects can't be listed or watched now; the cluster counts as one";
        ours.register("unlisted_namespaces", help, self.unlisted.clone());
        let help = "How far another clock is ahead of ours";
        ours.register_with_unit("clock_skew", help, Unit::Seconds, self.clock_skew.clone());
        ours.register_collector(Box::new(self.tokens.clone()));
        ours.register_collector(Box::new(self.providers.clone()));
    }
}

fn name(class: Class) -> &'static str {
    match class {
        Class::Transient => "transient",
        Class::Throttled => "throttled",
        Class::Configuration => "configuration",
        Class::Denied => "denied",
        Class::Credential => "credential",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_is_in_the_scrape_by_its_documented_name() {
        let metrics = Metrics::new();
        metrics.issued("videoIndexer", Some(IssueCause::Due), Duration::from_millis(300), true);
        metrics.issued("videoIndexer", Some(IssueCause::Forced), Duration::from_secs(2), false);
        metrics.issue_failed("arcgisVideoServer", Class::Throttled, "Throttled".into(), Duration::from_secs(40));
        metrics.budget_granted(Duration::from_secs(4));
        metrics.throttled("blendVision", Duration::from_millis(1500));
        metrics.expired(2.5);
        metrics.set_queued(3);
        metrics.set_in_flight(2);
        metrics.set_leader(true);
        metrics.set_unlisted(1);
        metrics.set_clock_skew("blendVision", -301);
        metrics.requested(&RequestLabels { verb: "get", resource: "secrets", code_class: "4xx" });

        let first = metrics.encode();
        let failures = r#"videotoken_issue_failures_total{provider_type="arcgisVideoServer",class="throttled",reason="Throttled"}"#;
        assert!(first.lines().any(|found| found == format!("{failures} 0")), "a step to be seen: {first}");
        let scrape = metrics.encode();
        for line in [
            r#"videotoken_issuances_total{provider_type="videoIndexer"} 1"#,
            r#"videotoken_issuances_by_cause_total{provider_type="videoIndexer",cause="Due"} 1"#,
            r#"videotoken_issue_failures_total{provider_type="arcgisVideoServer",class="throttled",reason="Throttled"} 1"#,
            r#"videotoken_issue_duration_seconds_bucket{le="0.5",provider_type="videoIndexer"} 1"#,
            r#"videotoken_issue_duration_seconds_count{provider_type="videoIndexer"} 2"#,
            r#"videotoken_issue_duration_seconds_count{provider_type="arcgisVideoServer"} 1"#,
            r#"videotoken_budget_wait_seconds_bucket{le="5.0"} 1"#,
            r#"videotoken_throttled_seconds_total{provider_type="blendVision"} 1.5"#,
            "videotoken_expired_token_seconds_total 2.5",
            "videotoken_budget_queue_depth 3",
            "videotoken_in_flight 2",
            "videotoken_leader 1",
            "videotoken_unlisted_namespaces 1",
            r#"videotoken_clock_skew_seconds{source="blendVision"} -301"#,
            r#"videotoken_kubernetes_requests_total{verb="get",resource="secrets",code_class="4xx"} 1"#,
            concat!(r#"videotoken_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#),
        ] {
            assert!(scrape.lines().any(|found| found == line), "{line} is not in\n{scrape}");
        }
        assert!(scrape.lines().any(|line| line.starts_with("process_start_time_seconds 1")), "{scrape}");
        assert!(scrape.ends_with("# EOF\n"));
        assert_eq!(metrics.clock_skew("blendVision"), Some(-301));
        assert_eq!(metrics.clock_skew(API_SERVER), None);
    }
}
