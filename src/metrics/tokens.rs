//! The tokens' own metrics, read from whoever knows them at each scrape.

use crate::api::key::ObjectKey;
use crate::clock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// What a scrape asks about one token. Times are Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenGauge {
    /// When it stops to be honoured; none before the first issue.
    pub expires_at: Option<i64>,
    /// When the next is due.
    pub renew_at: Option<i64>,
    /// Its object's Ready condition.
    pub ready: bool,
}

/// Who knows every token.
pub trait TokenSource: Send + Sync {
    /// Shows `each` every token once, in any order. Called from a thread that may wait.
    fn visit(&self, each: &mut dyn FnMut(&ObjectKey, TokenGauge));
}

/// What a token counts as in `tokens{state}`.
const STATES: [&str; 4] = ["ready", "pending", "expired", "failing"];

fn state(token: TokenGauge, now: i64) -> usize {
    match token {
        TokenGauge { ready: true, .. } => 0,
        TokenGauge { expires_at: None, .. } => 1,
        TokenGauge { expires_at: Some(expires_at), .. } if expires_at <= now => 2,
        TokenGauge { .. } => 3,
    }
}

#[derive(Clone, Default)]
pub(super) struct Tokens(Arc<OnceLock<(Arc<dyn TokenSource>, bool)>>);

impl Tokens {
    pub(super) fn serve(&self, source: Arc<dyn TokenSource>, per_token: bool) {
        // a second source would be a second owner of the same tokens: the first stays
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
            let (name, help) = ("token_expiry_timestamp", "When the token in the Secret expires");
            series(&mut encoder, name, help, source.as_ref(), |token| token.expires_at)?;
            let (name, help) = ("token_renew_timestamp", "When the token's renewal is due");
            series(&mut encoder, name, help, source.as_ref(), |token| token.renew_at)?;
        }
        counts(&mut encoder, source.as_ref())
    }
}

/// One series of one time per token. `OpenMetrics` wants each name's series together: hence a visit for each.
fn series(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    source: &dyn TokenSource,
    time: impl Fn(TokenGauge) -> Option<i64>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?;
    let mut result = Ok(());
    source.visit(&mut |key, token| {
        if let (Some(time), Ok(())) = (time(token), result) {
            result = gauge(&mut metric, &[("namespace", &*key.namespace), ("name", &*key.name)], time);
        }
    });
    result
}

fn counts(encoder: &mut DescriptorEncoder<'_>, source: &dyn TokenSource) -> fmt::Result {
    let now = clock::now().wall.timestamp();
    let mut counts = [0_i64; STATES.len()];
    source.visit(&mut |_, token| counts[state(token, now)] += 1);
    let help = "Tokens by state: ready, not issued yet, expired, or live with a failure";
    let mut metric = encoder.encode_descriptor("tokens", help, None, MetricType::Gauge)?;
    for (state, count) in STATES.into_iter().zip(counts) {
        gauge(&mut metric, &[("state", state)], count)?;
    }
    Ok(())
}

fn gauge<const N: usize>(metric: &mut MetricEncoder<'_>, labels: &[(&str, &str); N], value: i64) -> fmt::Result {
    metric.encode_family(labels)?.encode_gauge(&value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    struct Fixed(Vec<(ObjectKey, TokenGauge)>);

    impl TokenSource for Fixed {
        fn visit(&self, each: &mut dyn FnMut(&ObjectKey, TokenGauge)) {
            self.0.iter().for_each(|(key, token)| each(key, *token));
        }
    }

    fn tokens() -> Arc<Fixed> {
        let later = clock::now().wall.timestamp() + 3600;
        let token = |name, expires_at, ready| {
            (ObjectKey::new("a", name), TokenGauge { expires_at, renew_at: expires_at.map(|at| at - 10), ready })
        };
        Arc::new(Fixed(vec![
            token("one", Some(later), true),
            token("two", None, false),
            token("three", Some(1000), false),
            token("four", Some(later), false),
            token("five", Some(later), true),
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
            r#"videotoken_tokens{state="ready"} 2"#,
            r#"videotoken_tokens{state="pending"} 1"#,
            r#"videotoken_tokens{state="expired"} 1"#,
            r#"videotoken_tokens{state="failing"} 1"#,
        ] {
            assert!(scrape.lines().any(|found| found == line), "{line} is not in\n{scrape}");
        }
        assert!(!scrape.contains(r#"name="two""#), "a token without times has no series:\n{scrape}");
    }

    #[test]
    fn the_series_per_token_can_be_switched_off() {
        let metrics = Metrics::new();
        metrics.serve_tokens(tokens(), false);
        let scrape = metrics.encode();
        assert!(!scrape.contains("timestamp"), "{scrape}");
        assert!(scrape.contains(r#"videotoken_tokens{state="ready"} 2"#), "{scrape}");
    }

    #[test]
    fn a_scrape_of_ten_thousand_tokens_takes_less_than_a_tenth_of_a_second() {
        let token = TokenGauge { expires_at: Some(1_790_000_000), renew_at: Some(1_789_990_000), ready: true };
        let tokens = (0..10_000).map(|n| (ObjectKey::new("a-namespace", &format!("a-token-{n}")), token)).collect();
        let metrics = Metrics::new();
        metrics.serve_tokens(Arc::new(Fixed(tokens)), true);
        let best = (0..5)
            .map(|_| {
                let start = std::time::Instant::now();
                let scrape = metrics.encode();
                assert_eq!(scrape.matches("a-token-").count(), 20_000);
                start.elapsed()
            })
            .min()
            .unwrap();
        assert!(best < std::time::Duration::from_millis(100), "{best:?}");
    }
}
