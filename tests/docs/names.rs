//! Checks that docs/reference/labels-annotations.md lists exactly the labels and annotations of the operator.

use crate::pages::repository;
use std::collections::BTreeSet;
use std::fs;
use videotoken_api::names;

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
