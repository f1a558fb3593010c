//! Converts `OpenMetrics` to the text format of Prometheus, version 0.0.4, for clients that don't request the newer
//! format.
//!
//! The formats differ in the names of counters and infos above their samples, and in comments that only the newer one
//! has.

use std::fmt::Write;

/// Returns the same metrics in the older format.
pub(super) fn from_open_metrics(text: &str) -> String {
    let mut classic = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map(|(_, help)| help);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "unknown"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            let help = help.take().unwrap_or_default();
            // Writing to a String never fails.
            let _ = writeln!(classic, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with('#') {
            classic.push_str(line);
            classic.push('\n');
        }
    }
    classic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_is_named_above_as_its_samples_are() {
        let open = concat!(
            "# HELP calls Calls.\n# TYPE calls counter\ncalls_total{a=\"b\"} 1\n",
            "# HELP build What runs.\n# TYPE build info\nbuild_info{version=\"1\"} 1\n",
            "# HELP wait_seconds Wait.\n# TYPE wait_seconds histogram\n# UNIT wait_seconds seconds\n",
            "wait_seconds_sum 0.5\nwait_seconds_count 1\nwait_seconds_bucket{le=\"+Inf\"} 1\n",
            "# HELP depth Depth.\n# TYPE depth gauge\ndepth 3\n# EOF\n",
        );
        let classic = concat!(
            "# HELP calls_total Calls.\n# TYPE calls_total counter\ncalls_total{a=\"b\"} 1\n",
            "# HELP build_info What runs.\n# TYPE build_info gauge\nbuild_info{version=\"1\"} 1\n",
            "# HELP wait_seconds Wait.\n# TYPE wait_seconds histogram\n",
            "wait_seconds_sum 0.5\nwait_seconds_count 1\nwait_seconds_bucket{le=\"+Inf\"} 1\n",
            "# HELP depth Depth.\n# TYPE depth gauge\ndepth 3\n",
        );
        assert_eq!(from_open_metrics(open), classic);
    }
}
