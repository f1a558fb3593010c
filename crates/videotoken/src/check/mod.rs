//! Validation of manifests without a cluster: what the API server and the operator would reject.
//!
//! | File | Content |
//! |---|---|
//! | `kinds` | the schemas of the three kinds, from the CRDs in this program |
//! | `structure` | unknown fields, defaults, types and limits: the structural schema |
//! | `metadata` | names, labels and annotations |
//! | `rules` | the CEL rules |
//! | `url` | the rule for URLs, for which the CEL library and the API server differ |
//! | `operator` | what the operator rejects later, and conflicts between objects |
//! | `secrets` | Secrets that providers refer to, if they are among the objects |
//! | `hints` | what is allowed and probably a mistake |
//!
//! Pure over the objects. May not enter: files, clusters.

mod hints;
mod kinds;
mod metadata;
mod operator;
mod rules;
pub(crate) mod secrets;
mod structure;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
mod url;

pub use kinds::Kinds;

use crate::manifest::{Object, Path, SourceLocation, Step};
use serde_json::Value;
use videotoken_api::{GROUP, VERSION};

/// Component that would reject an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectedBy {
    /// The API server, which does not store the object.
    ApiServer,
    /// The operator, which reports the stored object as `Stalled`.
    Operator,
    /// Nobody. The finding is a hint.
    Nobody,
}

/// Reason why an object would be rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Index of the object.
    pub object: usize,
    /// Location in the file.
    pub place: SourceLocation,
    /// Path of the field from the root of the object; empty for the object itself.
    pub field: String,
    /// Message of the component that would reject the object.
    pub message: String,
    /// Component that would reject the object.
    pub rejected_by: RejectedBy,
}

/// Result for one object.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The object has a kind of another group.
    Skipped,
    /// The object would be rejected.
    Refused,
    /// The object as the API server would store it, with defaults.
    Good(Value),
}

/// Results for all objects.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Result for each object.
    pub verdicts: Vec<Verdict>,
    /// Findings in the order of the objects and their fields.
    pub findings: Vec<Finding>,
    /// Findings that are allowed and probably a mistake, in the same order.
    pub hints: Vec<Finding>,
}

/// Finding before its location in the file is known.
#[derive(Debug)]
struct Violation {
    path: Path,
    message: String,
    /// The key is invalid, not its value.
    key: bool,
    /// The API server does not evaluate the CEL rules.
    blocks: bool,
}

impl Violation {
    fn new(path: &Path, message: impl Into<String>) -> Self {
        Self { path: path.clone(), message: message.into(), key: false, blocks: false }
    }

    fn of_key(path: &Path, message: impl Into<String>) -> Self {
        Self { key: true, ..Self::new(path, message) }
    }

    fn blocking(path: &Path, message: impl Into<String>) -> Self {
        Self { blocks: true, ..Self::new(path, message) }
    }

    fn finding(self, number: usize, object: &Object, rejected_by: RejectedBy) -> Finding {
        let place = if self.key { object.key_place(&self.path) } else { object.place(&self.path) };
        Finding { object: number, place, field: self.path.to_string(), message: self.message, rejected_by }
    }
}

/// Checks each object by itself, and then all together.
pub fn check(kinds: &Kinds, objects: &[Object]) -> Report {
    let mut report = Report::default();
    for (number, object) in objects.iter().enumerate() {
        let (verdict, violations) = admit(kinds, object);
        report.verdicts.push(verdict);
        let findings = violations.into_iter().map(|violation| violation.finding(number, object, RejectedBy::ApiServer));
        report.findings.extend(findings);
    }
    for (number, violation) in operator::hints(objects, &report.verdicts) {
        report.hints.push(violation.finding(number, &objects[number], RejectedBy::Nobody));
    }
    let refusals = operator::refusals(objects, &report.verdicts);
    report.refuse(objects, refusals.into_iter().map(|(number, violation)| (number, RejectedBy::Operator, violation)));
    report
}

/// Adds what is wrong with the Secrets among the objects to which the providers refer. A command that takes credentials
/// from elsewhere doesn't need them.
pub fn check_secrets(objects: &[Object], report: &mut Report) {
    let refusals = operator::about_secrets(objects, &report.verdicts);
    report.refuse(objects, refusals.into_iter());
}

impl Report {
    fn refuse(&mut self, objects: &[Object], refusals: impl Iterator<Item = (usize, RejectedBy, Violation)>) {
        for (number, rejected_by, violation) in refusals {
            self.findings.push(violation.finding(number, &objects[number], rejected_by));
            self.verdicts[number] = Verdict::Refused;
        }
        self.findings.sort_by(|a, b| order(a).cmp(&order(b)));
    }
}

/// Returns the sort key. Findings for the whole object come last.
fn order(finding: &Finding) -> (usize, bool, SourceLocation, &str) {
    (finding.object, finding.field.is_empty(), finding.place, &finding.field)
}

/// Checks an object of another group. If it has a kind of videotoken.dev, its `apiVersion` is wrong.
fn of_no_group(kinds: &Kinds, object: &Object) -> (Verdict, Vec<Violation>) {
    let given = object.api_version();
    let is_known = match object.kind() {
        // other groups, whose names are domains, have a kind with this name
        "TokenProvider" => !given.split_once('/').is_some_and(|(group, _)| group.contains('.')),
        kind => kinds.get(kind).is_some(),
    };
    if !is_known {
        return (Verdict::Skipped, Vec::new());
    }
    let found = if given.is_empty() { "Required value".to_owned() } else { format!("no such kind: {given}") };
    let message = format!("{found}: a {} has apiVersion: {GROUP}/{VERSION}", object.kind());
    (Verdict::Refused, vec![Violation::new(&Path::default().field("apiVersion"), message)])
}

/// Adds to an unknown member of a spec which other kinds have it.
fn of_other_kinds(unknown: &mut Violation, kinds: &Kinds) {
    let [Step::Field(spec), Step::Field(name)] = unknown.path.steps() else { return };
    let others = kinds.with_member(spec, name);
    if !others.is_empty() {
        unknown.message = format!("{}: only a {} has it", unknown.message, others.join(" or a "));
    }
}

/// Checks the creation of an object as the API server does.
fn admit(kinds: &Kinds, object: &Object) -> (Verdict, Vec<Violation>) {
    let Some((group, version)) = object.api_version().split_once('/').filter(|(group, _)| *group == GROUP) else {
        return of_no_group(kinds, object);
    };
    let Some(kind) = kinds.get(object.kind()).filter(|_| version == VERSION) else {
        let field = if version == VERSION { "kind" } else { "apiVersion" };
        let message = format!("no such kind: {group}/{version} {}; there are {}", object.kind(), kinds.names());
        return (Verdict::Refused, vec![Violation::new(&Path::default().field(field), message)]);
    };
    let mut violations = metadata::check(&object.value);
    let mut value = object.value.clone();
    let mut unknown = structure::prune(&mut value, &kind.schema);
    for violation in &mut unknown {
        of_other_kinds(violation, kinds);
    }
    violations.append(&mut unknown);
    structure::apply_defaults(&mut value, &kind.schema);
    // on a creation there is no status yet
    if let Some(members) = value.as_object_mut() {
        members.remove("status");
    }
    violations.append(&mut structure::validate(&value, &kind.schema));
    if violations.iter().any(|violation| violation.blocks) {
        let message =
            "some rules were not evaluated because the object is invalid. Correct the other findings and check again.";
        violations.push(Violation::new(&Path::default(), message));
    } else {
        violations.append(&mut kind.check_rules(&value));
    }
    if violations.is_empty() { (Verdict::Good(value), violations) } else { (Verdict::Refused, violations) }
}
