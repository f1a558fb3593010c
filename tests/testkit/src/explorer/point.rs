//! Names of requests that are the same in each run of a scenario.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Result};

use crate::stand::Matcher;
use crate::stand::proxy::{Exchange, Request};

/// A request of a run: verb, resource, object and ordinal among its equals. Names that are generated are cut: `*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Point {
    /// Such as `patch videoaccesstokens/status lobby`, `list secrets:metadata -`, `create events *`.
    pub request: String,
    /// Counted from 1.
    pub ordinal: u64,
}

impl Point {
    /// Names the requests of a log in their order. The Lease's and those for no resource have no name.
    pub fn name_all(log: &[Exchange]) -> Vec<(Self, &Exchange)> {
        let mut counts = HashMap::<String, u64>::new();
        let named = log.iter().filter_map(|exchange| Some((name(&exchange.request)?, exchange)));
        let numbered = named.map(|(request, exchange)| {
            let ordinal = counts.entry(request.clone()).or_default();
            *ordinal += 1;
            (Self { request, ordinal: *ordinal }, exchange)
        });
        numbered.collect()
    }

    /// Returns the requests that the point means, for a rule of the proxy's.
    pub fn matcher(&self) -> Matcher {
        let mut words = self.request.split(' ');
        let mut word = || words.next().unwrap_or_default();
        let (verb, resource, object) = (word(), word(), word());
        let (resource, metadata_only) = match resource.strip_suffix(":metadata") {
            Some(resource) => (resource, true),
            None => (resource, false),
        };
        let matcher = Matcher::any().verb(verb).resource(resource).metadata_only(metadata_only).nth(self.ordinal);
        match object {
            "*" => matcher,
            "-" => matcher.name(""),
            name => matcher.name(name),
        }
    }

    /// Returns the verb.
    pub fn verb(&self) -> &str {
        self.request.split(' ').next().unwrap_or_default()
    }
}

fn name(request: &Request) -> Option<String> {
    if request.resource.starts_with('/') || request.resource == "leases" {
        return None;
    }
    let slash = if request.subresource.is_empty() { "" } else { "/" };
    let metadata = if request.metadata_only { ":metadata" } else { "" };
    let object = match request.name.as_str() {
        _ if request.resource == "events" => "*",
        "" => "-",
        name => name,
    };
    Some(format!("{} {}{slash}{}{metadata} {object}", request.verb, request.resource, request.subresource))
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.request, self.ordinal)
    }
}

impl FromStr for Point {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (request, ordinal) = text.rsplit_once('#').with_context(|| format!("{text}: no #ordinal"))?;
        anyhow::ensure!(request.split(' ').count() == 3, "{text}: not a verb, a resource and an object");
        Ok(Self { request: request.to_owned(), ordinal: ordinal.parse().context("the ordinal")? })
    }
}
