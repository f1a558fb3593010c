//! Metrics of the provider objects, read from their source at each scrape. Their number doesn't depend on the number of
//! tokens.

use super::tokens::gauge;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// Metrics of one provider object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderGauge {
    /// `TokenProvider` or `ClusterTokenProvider`.
    pub kind: &'static str,
    /// Namespace of the object; empty for a `ClusterTokenProvider`.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Ready condition of the object.
    pub ready: bool,
    /// Number of requests that wait for the budget of its account.
    pub waiting: Option<i64>,
    /// Expiry of the credential in Unix seconds, if known.
    pub credential_expires_at: Option<i64>,
}

/// Source of all provider objects.
pub trait ProviderSource: Send + Sync {
    /// Returns each provider object once, in any order. Called from a thread that may block.
    fn providers(&self) -> Vec<ProviderGauge>;
}

#[derive(Clone, Default)]
pub(super) struct Providers(Arc<OnceLock<Arc<dyn ProviderSource>>>);

impl Providers {
    pub(super) fn set_source(&self, source: Arc<dyn ProviderSource>) {
        // A second source would contain the same objects, so the first one stays.
        let _ = self.0.set(source);
    }
}

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Providers").field("served", &self.0.get().is_some()).finish()
    }
}

impl Collector for Providers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(source) = self.0.get() else { return Ok(()) };
        let providers = source.providers();
        let help = "Whether the provider object is ready to issue.";
        series(&mut encoder, "provider_ready", help, None, &providers, |provider| Some(provider.ready.into()))?;
        let help = "Requests that wait for the budget of the provider's account.";
        series(&mut encoder, "provider_queue_length", help, None, &providers, |provider| provider.waiting)?;
        let (name, help) = ("provider_credential_expiry_timestamp", "When the provider's credential itself ends.");
        series(&mut encoder, name, help, Some(&Unit::Seconds), &providers, |provider| provider.credential_expires_at)
    }
}

fn series(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    providers: &[ProviderGauge],
    value: impl Fn(&ProviderGauge) -> Option<i64>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    for provider in providers {
        if let Some(value) = value(provider) {
            let labels = [("kind", provider.kind), ("namespace", &provider.namespace), ("name", &provider.name)];
            gauge(&mut metric, &labels, value)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    struct Fixed;

    impl ProviderSource for Fixed {
        fn providers(&self) -> Vec<ProviderGauge> {
            let provider = |kind, namespace: &str, name: &str, ready, credential_expires_at| ProviderGauge {
                kind,
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                ready,
                waiting: ready.then_some(7),
                credential_expires_at,
            };
            vec![
                provider("TokenProvider", "a", "one", true, Some(1000)),
                provider("ClusterTokenProvider", "", "two", false, None),
            ]
        }
    }

    #[test]
    fn each_provider_says_whether_it_is_ready_and_when_its_credential_ends_where_it_does() {
        let metrics = Metrics::new();
        assert!(!metrics.encode().contains("videotoken_provider"), "no provider before there is a source");
        metrics.serve_providers(Arc::new(Fixed));
        let scrape = metrics.encode();
        let ours: Vec<_> = scrape.lines().filter(|line| line.starts_with("videotoken_provider")).collect();
        let expected = [
            r#"videotoken_provider_ready{kind="TokenProvider",namespace="a",name="one"} 1"#,
            r#"videotoken_provider_ready{kind="ClusterTokenProvider",namespace="",name="two"} 0"#,
            r#"videotoken_provider_queue_length{kind="TokenProvider",namespace="a",name="one"} 7"#,
            r#"videotoken_provider_credential_expiry_timestamp_seconds{kind="TokenProvider",namespace="a",name="one"} 1000"#,
        ];
        assert_eq!(ours, expected);
    }
}
