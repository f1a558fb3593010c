//! What holds in fleets of clusters with one account. Each run is decided by its seed. `make fleet` prints the table of
//! all scenarios; `docs/explanation/fleets.md` shows it.

#![allow(clippy::unwrap_used)]

use fleet::report::{Report, table};
use fleet::run;
use fleet::scenario::Scenario;

fn runs(names: &[&str]) -> Vec<Report> {
    let all = Scenario::all();
    let find = |name: &str| all.iter().find(|scenario| scenario.name == name).unwrap();
    names.iter().map(|name| run(find(name))).collect()
}

/// No token is late, at most this part of the calls is throttled, and each cluster gets what it needs within a factor of
/// two.
fn assert_served(names: &[&str], throttled: f64) {
    for report in runs(names) {
        let row = table(std::slice::from_ref(&report));
        assert_eq!(report.late(), 0, "{row}");
        assert!(report.throttled() < throttled, "{row}");
        let (least, most) = report.shares();
        assert!(least > 0.5 && most < 2.1, "{row}");
    }
}

#[test]
fn p06_an_account_of_one_cluster_is_not_throttled() {
    assert_served(&["alone, 90%"], 0.0001);
}

#[test]
fn p06_twenty_clusters_below_the_limit_are_served_with_one_throttle_in_a_hundred_calls() {
    assert_served(&["20 clusters, 80%", "20 clusters, 90%", "20 clusters, 90%, 10 min tokens"], 0.01);
}

/// A throttled call that counts in the windows takes the place of another one, and without Retry-After a cluster must
/// try when the window has space.
#[test]
fn p06_twenty_clusters_below_the_limit_are_served_at_a_token_api_without_manners() {
    let names = ["20 clusters, 90%, no Retry-After", "20 clusters, 90%, 429s count", "20 clusters, 90%, both"];
    assert_served(&names, 0.015);
}

/// 200 clusters make a call in two minutes each, so no rule of one cluster smooths the sum. Random calls at 90% of the
/// window find it full 2.2% of the time (Erlang's B formula with 120 places and an offered load of 108), and at 80% 0.2%.
#[test]
fn p06_two_hundred_clusters_below_the_limit_are_served_with_the_throttles_of_random_calls() {
    assert_served(&["200 clusters, 80%", "200 clusters, 75%, both"], 0.01);
    assert_served(&["200 clusters, 90%"], 0.04);
}

/// A cluster that joins asks for all of its tokens at once, and for their renewals at once 40 minutes later.
#[test]
fn p06_clusters_that_join_leave_and_restart_while_clocks_jump_are_served() {
    assert_served(&["20 clusters, 75%, churn", "200 clusters, 75%, churn", "20 clusters, 80%, from nothing"], 0.025);
}

/// At 120% each renewal can still be made before the expiry, if it is made later than planned.
#[test]
fn p06_above_the_limit_each_cluster_reports_it_and_keeps_its_tokens() {
    for report in runs(&["20 clusters, 120%"]) {
        let row = table(std::slice::from_ref(&report));
        assert_eq!(report.late(), 0, "{row}");
        assert!(report.oversubscribed().0 > 0.5, "{row}");
        let (least, most) = report.shares();
        assert!(least > 0.5 && most < 1.5, "{row}");
    }
}
