//! Requests to the API server, counted twice: by the operator and, independently of it, by the API server.

use std::fmt;
use std::ops::Sub;

use anyhow::Result;
use kube::Client;

use crate::stand::scrape::Metrics;

/// What the operator writes and reads; the API server's own components touch none of it.
const RESOURCES: [&str; 5] = ["secrets", "videoaccesstokens", "tokenproviders", "clustertokenproviders", "events"];

const WRITES: [&str; 7] = ["APPLY", "PATCH", "POST", "PUT", "DELETE", "DELETECOLLECTION", "CONNECT"];

/// Requests up to one moment, or between two. The Lease's are left out, watches too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Requests {
    /// Creates, patches, updates, deletes.
    pub(super) writes: u64,
    /// GETs of single objects.
    pub(super) gets: u64,
    /// Those of Secrets among them.
    pub(super) secret_gets: u64,
    /// Pages of lists.
    pub(super) lists: u64,
}

impl Requests {
    /// As the operator's /metrics tells.
    pub(super) fn of_operator(metrics: &Metrics) -> Self {
        let mut requests = Self::default();
        for sample in metrics.samples.iter().filter(|s| s.name == "videotoken_kubernetes_requests_total") {
            let label = |name: &str| sample.labels.get(name).map_or("", String::as_str);
            let writes = ["create", "update", "patch", "delete", "deletecollection", "other"];
            if label("resource") != "leases" {
                requests.add(label("verb"), label("resource"), whole(sample.value), &writes);
            }
        }
        requests
    }

    /// As the API server's /metrics tells, for the resources that concern the operator.
    pub(super) async fn of_apiserver(client: &Client) -> Result<Self> {
        let text = client.request_text(http::Request::get("/metrics").body(Vec::new())?).await?;
        let lines = text.lines().filter(|line| line.starts_with("apiserver_request_total{"));
        let lines: Vec<_> = lines.collect();
        let mut requests = Self::default();
        for sample in Metrics::parse(&lines.join("\n")).samples {
            let label = |name: &str| sample.labels.get(name).map_or("", String::as_str);
            if RESOURCES.contains(&label("resource")) {
                let verb = match label("verb") {
                    "GET" => "get",
                    "LIST" => "list",
                    other => other,
                };
                requests.add(verb, label("resource"), whole(sample.value), &WRITES);
            }
        }
        Ok(requests)
    }

    fn add(&mut self, verb: &str, resource: &str, count: u64, writes: &[&str]) {
        match verb {
            "get" => {
                self.gets += count;
                self.secret_gets += if resource == "secrets" { count } else { 0 };
            }
            "list" => self.lists += count,
            verb if writes.contains(&verb) => self.writes += count,
            _ => {}
        }
    }

    /// GETs and lists.
    pub(super) fn reads(self) -> u64 {
        self.gets + self.lists
    }
}

impl Sub for Requests {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            writes: self.writes.saturating_sub(before.writes),
            gets: self.gets.saturating_sub(before.gets),
            secret_gets: self.secret_gets.saturating_sub(before.secret_gets),
            lists: self.lists.saturating_sub(before.lists),
        }
    }
}

impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { writes, gets, secret_gets, lists } = self;
        write!(f, "{writes} writes, {gets} GETs ({secret_gets} of Secrets), {lists} lists")
    }
}

/// Counters are whole, though they travel as floats.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(super) fn whole(count: f64) -> u64 {
    count.max(0.0) as u64
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_requests_are_sorted_without_the_lease_and_the_watches() {
        let line = |verb, resource, count| {
            format!(
                "videotoken_kubernetes_requests_total{{verb=\"{verb}\",resource=\"{resource}\",code_class=\"2xx\"}} {count}\n"
            )
        };
        let text: String = [
            line("patch", "secrets", 10),
            line("patch", "videoaccesstokens/status", 11),
            line("create", "events", 1),
            line("update", "leases", 99),
            line("get", "leases", 99),
            line("get", "secrets", 3),
            line("get", "configmaps", 1),
            line("list", "secrets", 2),
            line("watch", "secrets", 5),
        ]
        .concat();
        let requests = Requests::of_operator(&Metrics::parse(&text));
        assert_eq!(requests, Requests { writes: 22, gets: 4, secret_gets: 3, lists: 2 });
        assert_eq!((requests - Requests { writes: 20, ..Requests::default() }).writes, 2);
    }
}
