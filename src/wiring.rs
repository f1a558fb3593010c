//! Conversion of the flags to the settings of each module. Only this module depends on all of them.

use crate::config::Config;
use crate::http_server::{Exposition, Scrape};
use crate::metrics::Metrics;
use crate::{controller, lease};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;
use videotoken_providers::hosts::{HostPattern, NetworkGuard};
use videotoken_providers::provider_setup::OutboundPolicy;

/// Returns the settings of the lease of this process.
pub fn lease(config: &Config, identity: String) -> lease::Settings {
    lease::Settings {
        namespace: config.lease_namespace.clone(),
        name: config.lease_name.clone(),
        identity,
        duration: config.lease_duration,
        renew_deadline: config.lease_renew_deadline,
        retry_period: config.lease_retry_period,
    }
}

/// Returns the function that answers requests for `/metrics`.
pub fn scrape(metrics: Metrics) -> Scrape {
    Arc::new(move |exposition| match exposition {
        Exposition::OpenMetrics => metrics.encode(),
        Exposition::Classic => metrics.encode_classic(),
    })
}

/// Returns the settings of the controller. `api_server` is the URL of the API server. The error names the flag.
pub fn controller(config: &Config, api_server: &http::Uri) -> Result<controller::Settings, String> {
    let least = controller::MIN_LEASE_TIME + config.lease_retry_period;
    if config.leader_elect && config.lease_renew_deadline < least {
        return Err(format!(
            "--lease-renew-deadline ({:?}) must be {least:?} at least: a call of a provider begins only when the lease \
             lasts for {:?} more",
            config.lease_renew_deadline,
            controller::MIN_LEASE_TIME
        ));
    }
    let patterns = config.allowed_endpoints.iter().map(|pattern| pattern.parse::<HostPattern>());
    let allowed = patterns.collect::<Result<_, _>>().map_err(|error| format!("--allowed-endpoint: {error}"))?;
    let kinds = config.restart_kinds.iter().map(|kind| kind.parse::<controller::RestartKind>());
    let kinds = kinds.collect::<Result<Vec<_>, _>>().map_err(|error| format!("--restart-kind: {error}"))?;
    let network = NetworkGuard { allowed, api_server: addresses(api_server), services: config.service_cidrs.clone() };
    Ok(controller::Settings {
        watch_namespaces: config.watch_namespaces.clone(),
        cluster_providers: config.cluster_providers,
        cluster_provider_status: config.cluster_provider_status,
        cluster_resource_namespace: config.cluster_resource_namespace.clone(),
        reach: OutboundPolicy {
            network: Arc::new(network),
            allow_insecure: config.allow_insecure_endpoints,
            timeout: config.provider_timeout,
            metadata_endpoint: config.metadata_endpoint.clone(),
            transport: None,
        },
        max_in_flight: config.max_in_flight.get(),
        token_metrics: config.token_metrics,
        restart_kinds: controller::RestartKinds::with(kinds),
    })
}

/// Adds the addresses that the API server reports for itself to the guarded addresses. Behind a Service or a load
/// balancer these are the addresses of its nodes. If the API server doesn't respond within 2 seconds, they stay
/// unguarded.
pub async fn guard(settings: &mut controller::Settings, client: &kube::Client) {
    const MOMENT: Duration = Duration::from_secs(2);
    let Ok(Ok(versions)) = tokio::time::timeout(MOMENT, client.list_core_api_versions()).await else { return };
    let reported = versions.server_address_by_client_cidrs;
    let addresses = reported.iter().filter_map(|address| address_of(&address.server_address));
    Arc::make_mut(&mut settings.reach.network).api_server.extend(addresses);
}

/// Parses the address in `address` or `address:port`.
fn address_of(text: &str) -> Option<IpAddr> {
    let with_port = text.parse::<SocketAddr>().map(|address| address.ip());
    with_port.ok().or_else(|| text.trim_matches(['[', ']']).parse().ok())
}

/// Returns the addresses of the API server, or none if its name doesn't resolve now.
fn addresses(url: &http::Uri) -> Vec<IpAddr> {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    (host, url.port_u16().unwrap_or(443)).to_socket_addrs().map(|all| all.map(|a| a.ip()).collect()).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cli::Command;

    #[test]
    fn an_api_servers_own_address_is_read_with_and_without_a_port() {
        for (text, address) in [
            ("192.0.2.7:6443", Some("192.0.2.7")),
            ("192.0.2.7", Some("192.0.2.7")),
            ("[2001:db8::1]:6443", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("", None),
            ("api.example:6443", None),
        ] {
            assert_eq!(address_of(text), address.map(|address| address.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn a_lease_that_leaves_no_time_for_a_call_is_refused_by_the_name_of_its_flag() {
        let api_server = http::Uri::from_static("https://127.0.0.1:6443");
        for (renew_deadline, elect, taken) in
            [("10s", "true", true), ("3s", "true", true), ("2s", "true", false), ("2s", "false", true)]
        {
            let deadline = format!("--lease-renew-deadline={renew_deadline}");
            let elect = format!("--leader-elect={elect}");
            let args = ["video-token-operator", &deadline, "--lease-retry-period=1s", &elect];
            let Command::Run(config) = Command::from_args(args).unwrap() else { panic!("{args:?} doesn't run") };
            match controller(&config, &api_server) {
                Ok(_) => assert!(taken, "{args:?}"),
                Err(refusal) => {
                    assert!(!taken && refusal.contains("--lease-renew-deadline (2s) must be 3s"), "{refusal}");
                }
            }
        }
    }
}
