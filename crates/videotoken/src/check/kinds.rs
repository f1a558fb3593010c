//! Schemas of the three kinds, from the CRDs in this program.

use super::{Violation, rules, url};
use kube_cel::{CompiledSchema, Validator, compile_schema};
use serde_json::Value;
use std::rc::Rc;
use videotoken_api::crds;

/// Kinds with their compiled rules.
pub struct Kinds(pub(super) Vec<Kind>);

/// A kind with its compiled rules.
pub struct Kind {
    pub(super) name: String,
    pub(super) schema: Value,
    pub(super) rules: CompiledSchema,
    validator: Rc<Validator>,
}

impl Default for Kinds {
    fn default() -> Self {
        let validator = Rc::new(Validator::new());
        let kind =
            |crd: k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition| {
                let version = crd.spec.versions.into_iter().next()?;
                let schema = serde_json::to_value(version.schema?.open_api_v3_schema?).ok()?;
                let rules = compile_schema(&url::without_rule(schema.clone()));
                Some(Kind { name: crd.spec.names.kind, schema, rules, validator: validator.clone() })
            };
        Self(crds::all().into_iter().filter_map(kind).collect())
    }
}

impl Kinds {
    /// Returns the kind with this name.
    pub fn get(&self, name: &str) -> Option<&Kind> {
        self.0.iter().find(|kind| kind.name == name)
    }

    /// Returns true if a rule other than the one in [`url`] calls CEL's functions for URLs.
    #[cfg(test)]
    pub(super) fn use_urls(&self) -> bool {
        self.0.iter().any(|kind| {
            let rest = url::without_rule(kind.schema.clone()).to_string();
            rest.contains("isURL(") || rest.contains("url(self")
        })
    }

    /// Returns the names of the kinds that have this member of this field.
    pub(super) fn with_member(&self, field: &str, name: &str) -> Vec<&str> {
        let has = |kind: &&Kind| !kind.schema["properties"][field]["properties"][name].is_null();
        self.0.iter().filter(has).map(|kind| kind.name.as_str()).collect()
    }

    /// Returns the names of all kinds, separated by commas.
    pub(super) fn names(&self) -> String {
        self.0.iter().map(|kind| kind.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

impl Kind {
    /// Evaluates the CEL rules for an object that matches the schema.
    pub(super) fn check_rules(&self, value: &Value) -> Vec<Violation> {
        let mut violations = rules::check(&self.validator, &self.rules, value);
        violations.append(&mut url::check(value, &self.schema));
        violations
    }
}
