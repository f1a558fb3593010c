//! Flags and environment, checked once: the settings of the process and of the cluster.
//!
//! Each flag has an environment variable of the same name, with `VTO_` before it: `--lease-name` is `VTO_LEASE_NAME`.

#![allow(clippy::doc_markdown)] // the flags' docs are what --help prints: no backticks

use clap::{ArgAction, Args, ValueEnum};
use ipnet::IpNet;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;
use videotoken_api::duration::flag as duration;

/// Default namespace of the operator, and the name of its Lease.
pub(crate) const NAME: &str = "video-token-operator";

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A JSON object for each line.
    Json,
    /// For people.
    Text,
}

/// Settings of the process.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // flags: each is set by itself
pub struct Config {
    /// Namespaces that the operator serves, separated by commas. Default: all
    #[arg(long, env = "VTO_WATCH_NAMESPACES", value_delimiter = ',', value_name = "NAMES")]
    pub watch_namespaces: Vec<String>,

    /// Serve ClusterTokenProviders. With false, the operator reads nothing outside the served namespaces
    #[arg(long, env = "VTO_CLUSTER_PROVIDERS", value_name = "BOOL", default_value_t = true)]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub cluster_providers: bool,

    /// Write the status of ClusterTokenProviders. With false, the operator writes only login attempts that may lock a
    /// user, and after a restart it doesn't know what a token API asked for
    #[arg(long, env = "VTO_CLUSTER_PROVIDER_STATUS", value_name = "BOOL", default_value_t = true)]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub cluster_provider_status: bool,

    /// Namespace of the Secrets and ConfigMaps that ClusterTokenProviders name
    #[arg(long, env = "VTO_CLUSTER_RESOURCE_NAMESPACE", value_name = "NAMESPACE", default_value_t = own_namespace())]
    pub cluster_resource_namespace: String,

    /// Act only while holding the Lease. Set false only with one replica
    #[arg(long, env = "VTO_LEADER_ELECT", value_name = "BOOL", default_value_t = true)]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub leader_elect: bool,

    /// Namespace of the Lease
    #[arg(long, env = "VTO_LEASE_NAMESPACE", value_name = "NAMESPACE", default_value_t = own_namespace())]
    pub lease_namespace: String,

    /// Name of the Lease
    #[arg(long, env = "VTO_LEASE_NAME", value_name = "NAME", default_value = NAME)]
    pub lease_name: String,

    /// Time after which a standby takes a Lease that was not renewed
    #[arg(long, env = "VTO_LEASE_DURATION", value_name = "DURATION", default_value = "15s", value_parser = duration)]
    pub lease_duration: Duration,

    /// Time after its last renewal at which the leader stops acting; shorter than the Lease's duration
    #[arg(long, env = "VTO_LEASE_RENEW_DEADLINE", value_name = "DURATION", default_value = "10s")]
    #[arg(value_parser = duration)]
    pub lease_renew_deadline: Duration,

    /// Interval between renewals of the Lease; shorter than the renew deadline. A standby reads it four times as often
    #[arg(long, env = "VTO_LEASE_RETRY_PERIOD", value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub lease_retry_period: Duration,

    /// Address of /metrics, /livez and /readyz; [::] is every address of IPv4 and IPv6
    #[arg(long, env = "VTO_METRICS_ADDR", value_name = "ADDRESS", default_value = "[::]:8080")]
    pub metrics_addr: SocketAddr,

    /// Export series of expiry and renewal times for each token
    #[arg(long, env = "VTO_TOKEN_METRICS", value_name = "BOOL", default_value_t = true)]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub token_metrics: bool,

    /// Serve a read-only page of all tokens and providers at / of the metrics address, without a login
    #[arg(long, env = "VTO_STATUS_PAGE", value_name = "BOOL", default_value_t = false)]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub status_page: bool,

    /// Host under which browsers may request the status page, in addition to addresses, localhost and names that end in
    /// .svc or .svc.cluster.local; repeatable
    #[arg(long = "status-page-host", env = "VTO_STATUS_PAGE_HOST", value_delimiter = ',', value_name = "NAME")]
    pub status_page_hosts: Vec<String>,

    /// URL of an OpenTelemetry collector for a trace of each issuance, without /v1/traces. The OTEL_EXPORTER_OTLP_
    /// variables set it, too
    #[arg(long, env = "VTO_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<url::Url>,

    /// Format of log lines. RUST_LOG selects what the operator logs
    #[arg(long, env = "VTO_LOG_FORMAT", value_name = "FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,

    /// Host that a TokenProvider may name in addition to the public hosts of its type; repeatable
    #[arg(long = "allowed-endpoint", env = "VTO_ALLOWED_ENDPOINT", value_delimiter = ',', value_name = "PATTERN")]
    pub allowed_endpoints: Vec<String>,

    /// Permit calls over http
    #[arg(long, env = "VTO_ALLOW_INSECURE_ENDPOINTS", value_name = "BOOL", default_value_t = false)]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub allow_insecure_endpoints: bool,

    /// Range of the cluster's Service addresses, which no TokenProvider may reach; repeatable
    #[arg(long = "service-cidr", env = "VTO_SERVICE_CIDR", value_delimiter = ',', value_name = "CIDR")]
    pub service_cidrs: Vec<IpNet>,

    /// Timeout of one call of a token API; 20s at most
    #[arg(long, env = "VTO_PROVIDER_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub provider_timeout: Duration,

    /// Where the instance metadata service is, if not where Azure has it; for tests
    #[arg(long, env = "VTO_METADATA_ENDPOINT", value_name = "URL", hide = true)]
    pub metadata_endpoint: Option<url::Url>,

    /// Kind with a Pod template that spec.rolloutRestart may name as KIND.GROUP, in addition to Deployment, StatefulSet and
    /// DaemonSet, such as argoproj.io/v1alpha1/rollouts=Rollout; repeatable
    #[arg(long = "restart-kind", env = "VTO_RESTART_KIND", value_delimiter = ',')]
    #[arg(value_name = "GROUP/VERSION/RESOURCE=KIND")]
    pub restart_kinds: Vec<String>,

    /// Maximum number of tokens in flight, from the grant until the token is stored
    #[arg(long, env = "VTO_MAX_IN_FLIGHT", value_name = "TOKENS", default_value = "64")]
    pub max_in_flight: NonZeroUsize,
}

impl Config {
    /// Drops the empty entries that an empty list leaves, and checks what spans several flags.
    pub(crate) fn complete(&mut self) -> Result<(), String> {
        if let Some(url) = self.otlp_endpoint.as_ref().filter(|url| !matches!(url.scheme(), "http" | "https")) {
            return Err(format!(
                "--otlp-endpoint ({url}): write it like http://HOST:PORT; the protocol is http/protobuf"
            ));
        }
        for list in [
            &mut self.watch_namespaces,
            &mut self.allowed_endpoints,
            &mut self.status_page_hosts,
            &mut self.restart_kinds,
        ] {
            *list = list.iter().map(|entry| entry.trim().to_owned()).filter(|entry| !entry.is_empty()).collect();
        }
        if self.provider_timeout > MAX_PROVIDER_TIMEOUT {
            return Err(format!(
                "--provider-timeout ({:?}) must be {MAX_PROVIDER_TIMEOUT:?} at most: a longer call would be cut off when the \
                 Pod stops, and its token lost",
                self.provider_timeout
            ));
        }
        ordered("--lease-retry-period", self.lease_retry_period, "--lease-renew-deadline", self.lease_renew_deadline)?;
        ordered("--lease-renew-deadline", self.lease_renew_deadline, "--lease-duration", self.lease_duration)
    }
}

/// Longest timeout of a call whose token is stored before the process is killed. The default
/// `terminationGracePeriodSeconds` of the chart, 30, leaves time for the last writes and the release of the Lease.
const MAX_PROVIDER_TIMEOUT: Duration = Duration::from_secs(20);

fn ordered(short: &str, short_value: Duration, long: &str, long_value: Duration) -> Result<(), String> {
    if short_value < long_value {
        return Ok(());
    }
    Err(format!("{short} ({short_value:?}) must be shorter than {long} ({long_value:?})"))
}

/// Returns the identity of this process in the Lease: the name of its Pod or host, and a suffix that no restart
/// repeats.
pub fn identity() -> String {
    let process = ["POD_NAME", "HOSTNAME"].into_iter().find_map(environment).unwrap_or_else(|| NAME.to_owned());
    let suffix = uuid::Uuid::new_v4().simple().to_string();
    format!("{process}_{}", &suffix[..8])
}

fn own_namespace() -> String {
    environment("POD_NAMESPACE").unwrap_or_else(|| NAME.to_owned())
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    /// The flags as any program takes them.
    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        config: Config,
    }

    fn parse(args: &[&str]) -> Result<Config, String> {
        let all = std::iter::once("video-token-operator").chain(args.iter().copied());
        let mut config = Flags::try_parse_from(all).map_err(|error| error.to_string())?.config;
        config.complete().map(|()| config)
    }

    fn config(args: &[&str]) -> Config {
        parse(args).unwrap()
    }

    #[test]
    fn defaults_hold_for_one_cluster_with_nothing_set() {
        let config = config(&[]);
        assert!(config.watch_namespaces.is_empty());
        assert_eq!(config.cluster_resource_namespace, "video-token-operator");
        assert_eq!(config.lease_namespace, "video-token-operator");
        assert_eq!(config.lease_name, "video-token-operator");
        assert!(config.leader_elect && config.token_metrics && !config.allow_insecure_endpoints);
        assert!(config.cluster_providers && config.cluster_provider_status && !config.status_page);
        assert_eq!(
            [config.lease_duration, config.lease_renew_deadline, config.lease_retry_period, config.provider_timeout],
            [15, 10, 2, 10].map(Duration::from_secs)
        );
        assert_eq!(config.metrics_addr.to_string(), "[::]:8080");
        assert_eq!(config.log_format, LogFormat::Json);
        assert_eq!(config.otlp_endpoint, None);
        assert_eq!(config.max_in_flight.get(), 64);
    }

    #[test]
    fn every_flag_has_its_environment_variable() {
        for argument in Flags::command().get_arguments().filter(|argument| argument.get_env().is_some()) {
            let flag = argument.get_long().unwrap();
            let name = format!("VTO_{}", flag.to_uppercase().replace('-', "_"));
            assert_eq!(argument.get_env().unwrap(), name.as_str());
        }
        let without: Vec<_> = Flags::command()
            .get_arguments()
            .filter(|a| a.get_env().is_none())
            .map(|a| a.get_id().to_string())
            .collect();
        assert!(without.iter().all(|id| id == "help"), "no variable: {without:?}");
        Flags::command().debug_assert();
    }

    #[test]
    fn switches_take_a_value_or_none() {
        for (args, expected) in [
            (&[][..], (true, false)),
            (&["--leader-elect", "--allow-insecure-endpoints"], (true, true)),
            (&["--leader-elect=false", "--allow-insecure-endpoints=true"], (false, true)),
        ] {
            let config = config(args);
            assert_eq!((config.leader_elect, config.allow_insecure_endpoints), expected, "{args:?}");
        }
    }

    #[test]
    fn lists_are_separated_by_commas_or_repeated_and_may_be_empty() {
        assert_eq!(config(&["--watch-namespaces=a, b,"]).watch_namespaces, ["a", "b"]);
        assert_eq!(config(&["--watch-namespaces="]).watch_namespaces, Vec::<String>::new());
        let config = config(&["--allowed-endpoint=a.example", "--allowed-endpoint=*.b.example,c.example"]);
        assert_eq!(config.allowed_endpoints, ["a.example", "*.b.example", "c.example"]);
        let cidrs = ["--service-cidr=10.0.0.0/24", "--service-cidr", "fd00::/108"];
        assert_eq!(super::tests::config(&cidrs).service_cidrs.len(), 2);
    }

    #[test]
    fn wrong_values_are_refused_by_the_name_of_their_flag() {
        for (args, named) in [
            (&["--lease-retry-period=10s"][..], &["--lease-retry-period (10s)", "--lease-renew-deadline (10s)"][..]),
            (&["--lease-duration=10s"], &["--lease-renew-deadline (10s)", "--lease-duration (10s)"]),
            (&["--lease-duration=soon"], &["--lease-duration", "15s, 500ms or 1m30s"]),
            (&["--provider-timeout=21s"], &["--provider-timeout (21s) must be 20s at most"]),
            (&["--metrics-addr=8080"], &["--metrics-addr"]),
            (&["--service-cidr=10.0.0.0/33"], &["--service-cidr"]),
            (&["--max-in-flight=0"], &["--max-in-flight"]),
            (&["--otlp-endpoint=collector:4318/"], &["--otlp-endpoint", "http://HOST:PORT"]),
            (&["--log-format=xml"], &["--log-format", "json", "text"]),
            (&["--leader-elect=perhaps"], &["--leader-elect"]),
        ] {
            let message = parse(args).expect_err("refused");
            for name in named {
                assert!(message.contains(name), "{args:?} is refused by {message}");
            }
        }
    }

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, milliseconds) in [
            ("500ms", Some(500)),
            ("15s", Some(15_000)),
            ("1m30s", Some(90_000)),
            ("2h", Some(7_200_000)),
            ("", None),
            ("0s", None),
            ("15", None),
            ("s", None),
            ("-1s", None),
            ("1.5s", None),
            ("1 s", None),
            ("1d", None),
            ("99999999999999999999s", None),
            ("18446744073709551615h", None),
        ] {
            assert_eq!(duration(text).ok(), milliseconds.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn identities_of_two_processes_differ() {
        let (first, second) = (identity(), identity());
        assert_ne!(first, second);
        assert_eq!(first.rsplit_once('_').unwrap().1.len(), 8);
    }
}
