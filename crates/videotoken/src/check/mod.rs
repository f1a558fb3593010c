//! What the API server and the operator would refuse of a manifest, told without either.
//!
//! | File | What lives there |
//! |---|---|
//! | `kinds` | the schemas of the three kinds, from the CRDs in this program |
//! | `structure` | unknown fields, defaults, types and limits: what a structural schema asks |
//! | `metadata` | names, labels and annotations |
//! | `rules` | the CEL rules |
//! | `url` | the one rule that CEL's library judges otherwise than the API server |
//! | `operator` | what the operator refuses later, and what only two objects together show |
//!
//! Pure over the objects. May not enter: files, clusters.

mod kinds;
mod metadata;
mod operator;
mod rules;
mod structure;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
mod url;

pub use kinds::Kinds;

use crate::manifest::{Object, Path, Place};
use serde_json::Value;
use videotoken_api::{GROUP, VERSION};

/// Who would refuse it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refuser {
    /// The API server: it isn't stored.
    ApiServer,
    /// The operator: it is stored, and `Stalled`.
    Operator,
}

/// One thing that would be refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which of the objects, by its number.
    pub object: usize,
    /// Where in its file.
    pub place: Place,
    /// The field, from the object's root; empty for the object itself.
    pub field: String,
    /// What is wrong, in the words of who would refuse it.
    pub message: String,
    /// Who would.
    pub refuser: Refuser,
}

/// What became of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It is of a kind that isn't ours.
    Skipped,
    /// Something of it would be refused.
    Refused,
    /// All is well; this is the object as the API server would store it, its defaults in place.
    Good(Value),
}

/// What was found in all objects.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// One for each object.
    pub verdicts: Vec<Verdict>,
    /// In the order of the objects, and of the places in each.
    pub findings: Vec<Finding>,
}

/// What a part of the check says of one object.
#[derive(Debug)]
struct Complaint {
    path: Path,
    message: String,
    /// The key is at fault, not what it holds.
    key: bool,
    /// With such a one the API server doesn't ask the CEL rules.
    blocks: bool,
}

impl Complaint {
    fn new(path: &Path, message: impl Into<String>) -> Self {
        Self { path: path.clone(), message: message.into(), key: false, blocks: false }
    }

    fn of_key(path: &Path, message: impl Into<String>) -> Self {
        Self { key: true, ..Self::new(path, message) }
    }

    fn blocking(path: &Path, message: impl Into<String>) -> Self {
        Self { blocks: true, ..Self::new(path, message) }
    }

    fn finding(self, number: usize, object: &Object, refuser: Refuser) -> Finding {
        let place = if self.key { object.key_place(&self.path) } else { object.place(&self.path) };
        Finding { object: number, place, field: self.path.to_string(), message: self.message, refuser }
    }
}

/// Checks each object by itself, and then all together.
pub fn check(kinds: &Kinds, objects: &[Object]) -> Report {
    let mut report = Report::default();
    for (number, object) in objects.iter().enumerate() {
        let (verdict, complaints) = admit(kinds, object);
        report.verdicts.push(verdict);
        let findings = complaints.into_iter().map(|complaint| complaint.finding(number, object, Refuser::ApiServer));
        report.findings.extend(findings);
    }
    for (number, complaint) in operator::refusals(objects, &report.verdicts) {
        report.findings.push(complaint.finding(number, &objects[number], Refuser::Operator));
        report.verdicts[number] = Verdict::Refused;
    }
    report.findings.sort_by(|a, b| order(a).cmp(&order(b)));
    report
}

/// What is said of the whole object comes last.
fn order(finding: &Finding) -> (usize, bool, Place, &str) {
    (finding.object, finding.field.is_empty(), finding.place, &finding.field)
}

/// An object that isn't of the group. One that is of a kind of ours all the same is meant for it: no API server takes it.
fn of_no_group(kinds: &Kinds, object: &Object) -> (Verdict, Vec<Complaint>) {
    let given = object.api_version();
    let is_ours = match object.kind() {
        // others have a kind of this name, too: in a group of their own, which is a domain
        "TokenProvider" => !given.split_once('/').is_some_and(|(group, _)| group.contains('.')),
        kind => kinds.get(kind).is_some(),
    };
    if !is_ours {
        return (Verdict::Skipped, Vec::new());
    }
    let found = if given.is_empty() { "Required value".to_owned() } else { format!("no such kind: {given}") };
    let message = format!("{found}: a {} has apiVersion: {GROUP}/{VERSION}", object.kind());
    (Verdict::Refused, vec![Complaint::new(&Path::default().field("apiVersion"), message)])
}

/// What the API server would say to the creation of this object.
fn admit(kinds: &Kinds, object: &Object) -> (Verdict, Vec<Complaint>) {
    let Some((group, version)) = object.api_version().split_once('/').filter(|(group, _)| *group == GROUP) else {
        return of_no_group(kinds, object);
    };
    let Some(kind) = kinds.get(object.kind()).filter(|_| version == VERSION) else {
        let field = if version == VERSION { "kind" } else { "apiVersion" };
        let message = format!("no such kind: {group}/{version} {}; there are {}", object.kind(), kinds.names());
        return (Verdict::Refused, vec![Complaint::new(&Path::default().field(field), message)]);
    };
    let mut complaints = metadata::check(&object.value);
    let mut value = object.value.clone();
    complaints.append(&mut structure::prune(&mut value, &kind.schema));
    structure::apply_defaults(&mut value, &kind.schema);
    // on a creation there is no status yet
    if let Some(members) = value.as_object_mut() {
        members.remove("status");
    }
    complaints.append(&mut structure::validate(&value, &kind.schema));
    if complaints.iter().any(|complaint| complaint.blocks) {
        let message = "some rules were not asked, since the object is invalid: mend the rest and check again";
        complaints.push(Complaint::new(&Path::default(), message));
    } else {
        complaints.append(&mut kind.ask_rules(&value));
    }
    if complaints.is_empty() { (Verdict::Good(value), complaints) } else { (Verdict::Refused, complaints) }
}
