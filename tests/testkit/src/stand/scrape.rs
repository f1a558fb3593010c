//! What a scrape of /metrics says, in Prometheus's text format or `OpenMetrics`.

use std::collections::{BTreeMap, BTreeSet};

/// One line of a scrape.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// As on the line, with `_total`, `_bucket` and the like.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Sample {
    fn is(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.name == name
            && labels.iter().all(|(label, value)| self.labels.get(*label).is_some_and(|found| found == value))
    }
}

/// A scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Every line, in order.
    pub samples: Vec<Sample>,
}

impl Metrics {
    /// Reads a scrape; a line that is none is left out.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self { samples: lines.filter_map(sample).collect() }
    }

    /// The sum over every series of this name that has these labels, whatever others it has; none if there is no series.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self.samples.iter().filter(|sample| sample.is(name, labels)).peekable();
        found.peek()?;
        Some(found.map(|sample| sample.value).sum())
    }

    /// As [`Self::sum`], with 0 for a series that is not there: counters begin with their first event.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.sum(name, labels).unwrap_or_default()
    }
}

/// What stands above the samples of one metric, and the labels that they bear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Family {
    /// As TYPE says.
    pub kind: String,
    /// As HELP says.
    pub help: String,
    /// Of all its samples; a histogram's `le` isn't counted.
    pub labels: BTreeSet<String>,
}

/// The metrics of a scrape in Prometheus's text format, by name. Samples that no TYPE names stand under their own.
pub fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::<String, Family>::new();
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        let (Some("#"), Some(what), Some(name), Some(rest)) = (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        let family = families.entry(name.to_owned()).or_default();
        match what {
            "HELP" => rest.clone_into(&mut family.help),
            _ => rest.clone_into(&mut family.kind),
        }
    }
    for sample in Metrics::parse(text).samples {
        let parts = ["_bucket", "_sum", "_count"].iter().filter_map(|part| sample.name.strip_suffix(part));
        let of = parts.into_iter().find(|name| families.get(*name).is_some_and(|of| of.kind == "histogram"));
        let family = families.entry(of.unwrap_or(&sample.name).to_owned()).or_default();
        family.labels.extend(sample.labels.into_keys().filter(|label| label != "le"));
    }
    families
}

/// `name{label="value",…} value [timestamp] [# exemplar]`
fn sample(line: &str) -> Option<Sample> {
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (BTreeMap::new(), rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// Reads up to the closing brace, and returns what follows it.
fn labels(text: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        rest = loop {
            match chars.next()? {
                (at, '"') => break &quoted[at + 1..],
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        };
        labels.insert(name.trim().to_owned(), value);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_what_stands_above_its_samples() {
        let text = concat!(
            "# HELP wait_seconds How long.\n# TYPE wait_seconds histogram\nwait_seconds_sum{of=\"a\"} 1\n",
            "wait_seconds_count{of=\"a\"} 1\nwait_seconds_bucket{le=\"+Inf\",of=\"a\"} 1\n",
            "# HELP calls_total Calls.\n# TYPE calls_total counter\ncalls_total 1\nstray_count{x=\"y\"} 1\n",
        );
        let family = |kind: &str, help: &str, labels: &[&str]| Family {
            kind: kind.to_owned(),
            help: help.to_owned(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        };
        let expected = [
            ("wait_seconds", family("histogram", "How long.", &["of"])),
            ("calls_total", family("counter", "Calls.", &[])),
            ("stray_count", family("", "", &["x"])),
        ];
        let expected = expected.into_iter().map(|(name, family)| (name.to_owned(), family)).collect();
        assert_eq!(families(text), expected);
    }

    #[test]
    fn a_scrape_is_read_line_by_line() {
        let text = concat!(
            "# HELP calls Calls.\n# TYPE calls counter\n",
            "calls_total{account=\"a,b\",code=\"200\"} 3.0\n",
            "calls_total{account=\"a \\\"}\\\\\\n\",code=\"200\"} 4 1700000000 # {trace=\"x\"} 1\n",
            "up 1\nodd{} +Inf\nbroken\n# EOF\n",
        );
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.samples.len(), 4);
        let cases = [
            ("calls_total", vec![], Some(7.0)),
            ("calls_total", vec![("account", "a,b")], Some(3.0)),
            ("calls_total", vec![("account", "a \"}\\\n"), ("code", "200")], Some(4.0)),
            ("calls_total", vec![("code", "500")], None),
            ("up", vec![], Some(1.0)),
            ("odd", vec![], Some(f64::INFINITY)),
            ("calls", vec![], None),
        ];
        for (name, labels, sum) in cases {
            assert_eq!(metrics.sum(name, &labels), sum, "{name} {labels:?}");
        }
    }
}
