//! Checks that docs/reference/labels-annotations.md lists exactly the labels and annotations of the operator, and that
//! two pages list its causes.

use crate::pages::repository;
use std::collections::BTreeSet;
use std::fs;
use videotoken_api::names;
use videotoken_core::plan::decide::CAUSES;

#[test]
fn each_label_and_annotation_has_a_row() {
    let page = fs::read_to_string(repository().join("docs/reference/labels-annotations.md")).unwrap();
    let rows: BTreeSet<&str> = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let known = [
        names::MANAGED_BY,
        names::OWNER_UID,
        names::ISSUED_AT,
        names::EXPIRES_AT,
        names::TOKEN_KEY,
        names::REQUEST_HASH,
        names::RENDER_HASH,
        names::CONTENT_HASH,
        names::RENEW_REQUEST,
        names::PREVIOUS_EXPIRES_AT,
        names::RETURNED_AGAIN,
        names::RENEW_REQUESTED_AT,
        names::RESTART_ON_RENEWAL,
        names::RESTARTED_AT,
        names::CREDENTIALS,
        names::ALLOWED_HOSTS,
        names::KEEP_WHITESPACE,
        names::SIGNING_KEY,
        names::VALUE_NAMES,
    ];
    assert_eq!(rows, BTreeSet::from(known));
}

#[test]
fn the_causes_of_an_issuance_are_listed_in_their_order() {
    let read = |page: &str| fs::read_to_string(repository().join(page)).unwrap();
    let renewal = read("docs/explanation/renewal.md");
    let table = renewal.lines().skip_while(|line| !line.starts_with("| Cause |")).skip(2);
    let rows: Vec<_> = table.map_while(|line| line.strip_prefix("| ")?.split(" |").next()).collect();
    let causes = CAUSES.map(|(cause, _)| cause.name());
    assert_eq!(rows, causes);
    let traces = read("docs/reference/traces.md");
    let row = traces.lines().find(|line| line.starts_with("| `videotoken.cause` |")).unwrap();
    assert_eq!(row.split('`').skip(3).step_by(2).collect::<Vec<_>>(), causes);
}
