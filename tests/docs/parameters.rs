//! docs/reference/parameters.md: each parameter of the five references has a row there, each row has a field of the CRDs,
//! and each field of a type is named by a row.

use crate::pages::repository;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use videotoken_api::crds;
use videotoken_api::provider_types::NAMES;

/// Names in the references: parameters of path, query, header and body, and properties of responses.
const REFERENCES: [(&str, &[&str]); 5] = [
    (
        "videoIndexer",
        &[
            "subscriptionId",
            "resourceGroupName",
            "accountName",
            "api-version",
            "azure_auth",
            "permissionType",
            "scope",
            "videoId",
            "projectId",
            "extensionId",
            "tokenLifetimeInSeconds",
            "x-ms-client-request-id",
            "error.target",
            "error.additionalInfo",
        ],
    ),
    (
        "videoIndexerClassic",
        &["location", "accountId", "allowEdit", "x-ms-client-request-id", "Ocp-Apim-Subscription-Key", "ErrorType"],
    ),
    (
        "blendVision",
        &[
            "x-bv-org-id",
            "authorization",
            "resource_id",
            "resource_type",
            "customer_id",
            "customer_name",
            "expired_at",
            "expires_in",
            "details",
        ],
    ),
    (
        "cognitiveServices",
        &["expiredTime", "Ocp-Apim-Subscription-Key", "targetAzureResourceId", "featureFlags", "issueToken"],
    ),
    (
        "arcgisVideoServer",
        &["username", "password", "client", "referer", "ip", "expiration", "f", "token", "loginAsPSA"],
    ),
];

/// A table: its type, the names of the reference, and the fields as `provider x` or `scope x`.
struct Table {
    type_: String,
    names: BTreeSet<String>,
    fields: BTreeSet<String>,
}

fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn tables() -> Vec<Table> {
    let page = fs::read_to_string(repository().join("docs/reference/parameters.md")).unwrap();
    let mut tables = Vec::new();
    for section in page.split("\n## ").skip(1) {
        let (type_, rows) = section.split_once('\n').unwrap();
        let mut table = Table { type_: type_.trim().to_owned(), names: BTreeSet::new(), fields: BTreeSet::new() };
        for row in rows.lines().filter(|line| line.starts_with('|')).skip(2) {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            table.names.extend(quoted(cells[1]).map(str::to_owned));
            for cell in &cells[2..4] {
                let mut place = "";
                for (at, part) in cell.split('`').enumerate() {
                    if at % 2 == 0 {
                        place = ["provider", "scope"]
                            .into_iter()
                            .find(|place| part.trim_end().ends_with(place))
                            .unwrap_or(place);
                    } else if !place.is_empty() && !part.starts_with("spec.") {
                        table.fields.insert(format!("{place} {part}"));
                    }
                }
            }
        }
        tables.push(table);
    }
    tables
}

/// Returns the schema of a type's member in the spec of the provider kinds or in `spec.scope`.
fn schema(place: &str, type_: &str) -> Value {
    let (kind, path) = match place {
        "provider" => ("TokenProvider", "/properties/spec/properties"),
        _ => ("VideoAccessToken", "/properties/spec/properties/scope/properties"),
    };
    let crd = crds::all().into_iter().find(|crd| crd.spec.names.kind == kind).unwrap();
    let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
    schema["openAPIV3Schema"].pointer(&format!("{path}/{type_}")).cloned().unwrap()
}

fn has(schema: &Value, field: &str) -> bool {
    let path = format!("/properties/{}", field.replace('.', "/properties/"));
    schema.pointer(&path).is_some()
}

/// Collects the paths of the fields of a schema that have no fields of their own.
fn leaves(schema: &Value, path: &str, found: &mut Vec<String>) {
    match schema.get("properties").and_then(Value::as_object) {
        Some(members) if !members.is_empty() => {
            for (name, member) in members {
                leaves(member, &if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

#[test]
fn each_parameter_of_the_references_has_a_row_and_each_row_a_field() {
    let tables = tables();
    assert_eq!(tables.len(), REFERENCES.len());
    // the others declare their parameters themselves
    let fixed = NAMES.iter().filter(|type_| !has(&schema("provider", type_), "parameters"));
    assert_eq!(fixed.copied().collect::<Vec<_>>(), REFERENCES.map(|(type_, _)| type_));
    for ((type_, parameters), table) in REFERENCES.iter().zip(&tables) {
        assert_eq!(*type_, table.type_);
        for parameter in *parameters {
            assert!(
                table.names.contains(*parameter),
                "{type_}: docs/reference/parameters.md has no row for {parameter}"
            );
        }
        for field in &table.fields {
            let (place, field) = field.split_once(' ').unwrap();
            assert!(has(&schema(place, type_), field), "{type_}: the CRD has no field {field} in the {place}");
        }
    }
}

#[test]
fn each_type_has_a_row_on_the_page_of_providers() {
    let page = fs::read_to_string(repository().join("docs/providers/README.md")).unwrap();
    let rows: BTreeSet<&str> = page.lines().filter_map(|line| line.strip_prefix("| [`")?.split('`').next()).collect();
    assert_eq!(rows, NAMES.iter().copied().collect());
}

#[test]
fn each_field_of_a_type_is_named_by_a_row() {
    for table in tables() {
        for place in ["provider", "scope"] {
            let mut fields = Vec::new();
            leaves(&schema(place, &table.type_), "", &mut fields);
            for field in fields {
                let named = table.fields.iter().filter_map(|named| named.strip_prefix(place)?.strip_prefix(' '));
                let named = named.into_iter().any(|named| field == named || field.starts_with(&format!("{named}.")));
                assert!(named, "{}: no row of docs/reference/parameters.md names {place} {field}", table.type_);
            }
        }
    }
}
