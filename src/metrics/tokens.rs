//! Metrics of the tokens, read from their source at each scrape.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use std::fmt;
use std::sync::{Arc, OnceLock};
use videotoken_api::key::ObjectKey;
use videotoken_providers::clock;

/// Metrics of one token. Times are Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenGauge {
    /// Expiry of the token; `None` before the first issuance.
    pub expires_at: Option<i64>,
    /// Time at which the renewal is due.
    pub renew_at: Option<i64>,
    /// Ready condition of the VideoAccessToken.
    pub ready: bool,
    /// Stalled condition of the VideoAccessToken: it needs a change by a user or an administrator.
    pub stalled: bool,
    /// True if the last attempt to issue the token failed.
    pub failing: bool,
}

/// Source of all tokens.
pub trait TokenSource: Send + Sync {
    /// Passes each token to `each` once, in any order. Called from a thread that may block.
    fn visit(&self, each: &mut dyn FnMut(&ObjectKey, TokenGauge));
}

/// States of `tokens{state}`. A token counts in the first state that applies, and in `ready` if no other does.
const STATES: [&str; 5] = ["expired", "stalled", "failing", "pending", "ready"];

fn state(token: TokenGauge, now: i64) -> usize {
    let is = [token.expires_at.is_some_and(|expires_at| expires_at <= now), token.stalled, token.failing, !token.ready];
    is.into_iter().position(|is| is).unwrap_or(STATES.len() - 1)
}

#[derive(Clone, Default)]
pub(super) struct Tokens(Arc<OnceLock<(Arc<dyn TokenSource>, bool)>>);

impl Tokens {
    pub(super) fn set_source(&self, source: Arc<dyn TokenSource>, per_token: bool) {
        // A second source would contain the same tokens, so the first one stays.
        let _ = self.0.set((source, per_token));
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("served", &self.0.get().is_some()).finish()
    }
}

impl Collector for Tokens {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some((source, per_token)) = self.0.get() else { return Ok(()) };
        if *per_token {
            let (name, help) = ("token_expiry_timestamp", "When the token in the Secret expires.");
            series(&mut encoder, name, help, Some(&Unit::Seconds), source.as_ref(), |token| token.expires_at)?;
            let (name, help) = ("token_renew_timestamp", "When the token's renewal is due.");
            series(&mut encoder, name, help, Some(&Unit::Seconds), source.as_ref(), |token| token.renew_at)?;
            let (name, help) = ("token_ready", "1 if the Secret contains a valid token, else 0.");
            series(&mut encoder, name, help, None, source.as_ref(), |token| Some(token.ready.into()))?;
        }
        counts(&mut encoder, source.as_ref())
    }
}

/// Encodes one series per token. `OpenMetrics` requires the series of a name to be contiguous, so each name needs a
/// visit.
fn series(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    source: &dyn TokenSource,
    value: impl Fn(TokenGauge) -> Option<i64>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    let mut result = Ok(());
    source.visit(&mut |key, token| {
        if let (Some(value), Ok(())) = (value(token), result) {
            result = gauge(&mut metric, &[("namespace", &*key.namespace), ("name", &*key.name)], value);
        }
    });
    result
}

fn counts(encoder: &mut DescriptorEncoder<'_>, source: &dyn TokenSource) -> fmt::Result {
    let now = clock::now().wall.timestamp();
    let mut counts = [0_i64; STATES.len()];
    source.visit(&mut |_, token| counts[state(token, now)] += 1);
    let help = "Tokens by state: expired, stalled, failing, pending or ready, the first that holds.";
    let mut metric = encoder.encode_descriptor("tokens", help, None, MetricType::Gauge)?;
    for (state, count) in STATES.into_iter().zip(counts) {
        gauge(&mut metric, &[("state", state)], count)?;
    }
    Ok(())
}

/// Encodes one sample.
pub(super) fn gauge<const N: usize>(
    metric: &mut MetricEncoder<'_>,
    labels: &[(&str, &str); N],
    value: i64,
) -> fmt::Result {
    metric.encode_family(labels)?.encode_gauge(&value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Fixed(Vec<(ObjectKey, TokenGauge)>);

    impl TokenSource for Fixed {
        fn visit(&self, each: &mut dyn FnMut(&ObjectKey, TokenGauge)) {
            self.0.iter().for_each(|(key, token)| each(key, *token));
        }
    }

    fn tokens() -> Arc<Fixed> {
        let later = clock::now().wall.timestamp() + 3600;
        let token = |name, expires_at: Option<i64>, stalled, failing| {
            let renew_at = expires_at.map(|at| at - 10);
            let ready = expires_at == Some(later);
            (ObjectKey::new("a", name), TokenGauge { expires_at, renew_at, ready, stalled, failing })
        };
        Arc::new(Fixed(vec![
            token("one", Some(later), false, false),
            token("two", None, false, false),
            token("three", Some(1000), true, true),
            token("four", Some(later), false, true),
            token("five", Some(later), false, false),
            token("six", Some(later), true, true),
            token("seven", None, true, false),
            token("eight", None, false, true),
        ]))
    }

    #[test]
    fn each_token_has_its_times_and_counts_once() {
        let metrics = Metrics::new();
        assert!(!metrics.encode().contains("videotoken_token"), "no token before there is a source");
        metrics.serve_tokens(tokens(), true);
        let scrape = metrics.encode();
        for line in [
            r#"videotoken_token_expiry_timestamp_seconds{namespace="a",name="three"} 1000"#,
            r#"videotoken_token_renew_timestamp_seconds{namespace="a",name="three"} 990"#,
            r#"videotoken_token_ready{namespace="a",name="four"} 1"#,
            r#"videotoken_token_ready{namespace="a",name="two"} 0"#,
            r#"videotoken_tokens{state="ready"} 2"#,
            r#"videotoken_tokens{state="pending"} 1"#,
            r#"videotoken_tokens{state="expired"} 1"#,
            r#"videotoken_tokens{state="failing"} 2"#,
            r#"videotoken_tokens{state="stalled"} 2"#,
        ] {
            assert!(scrape.lines().any(|found| found == line), "{line} is not in\n{scrape}");
        }
        let untimed =
            scrape.lines().filter(|line| line.contains("timestamp") && line.contains(r#"name="two""#)).count();
        assert_eq!(untimed, 0, "a token without times has no series of them:\n{scrape}");
    }

    #[test]
    fn the_series_per_token_can_be_switched_off() {
        let metrics = Metrics::new();
        metrics.serve_tokens(tokens(), false);
        let scrape = metrics.encode();
        assert!(!scrape.contains("name="), "{scrape}");
        assert!(scrape.contains(r#"videotoken_tokens{state="ready"} 2"#), "{scrape}");
    }

    #[test]
    fn a_scrape_visits_each_of_ten_thousand_tokens_once_for_each_metric() {
        struct Counted(Fixed, AtomicUsize);

        impl TokenSource for Counted {
            fn visit(&self, each: &mut dyn FnMut(&ObjectKey, TokenGauge)) {
                self.0.visit(&mut |key, token| {
                    self.1.fetch_add(1, Ordering::Relaxed);
                    each(key, token);
                });
            }
        }

        let token = TokenGauge {
            expires_at: Some(1_790_000_000),
            renew_at: Some(1_789_990_000),
            ready: true,
            stalled: false,
            failing: false,
        };
        let tokens = (0..10_000).map(|n| (ObjectKey::new("a-namespace", &format!("a-token-{n}")), token)).collect();
        let metrics = Metrics::new();
        let source = Arc::new(Counted(Fixed(tokens), AtomicUsize::new(0)));
        metrics.serve_tokens(source.clone(), true);
        assert_eq!(metrics.encode().matches("a-token-").count(), 30_000);
        // three series for each token, and the states
        assert_eq!(source.1.load(Ordering::Relaxed), 40_000);
    }
}
