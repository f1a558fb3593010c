//! The schemas of the three kinds, from the CRDs in this program.

use super::{Complaint, rules, url};
use kube_cel::{CompiledSchema, Validator, compile_schema};
use serde_json::Value;
use std::rc::Rc;
use videotoken_api::crds;

/// All kinds. Made once: their rules are compiled.
pub struct Kinds(pub(super) Vec<Kind>);

/// One kind.
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
    /// The kind of this name.
    pub fn get(&self, name: &str) -> Option<&Kind> {
        self.0.iter().find(|kind| kind.name == name)
    }

    /// Whether CEL's URL functions are used but in the one rule that [`url`] asks.
    #[cfg(test)]
    pub(super) fn use_urls(&self) -> bool {
        self.0.iter().any(|kind| {
            let rest = url::without_rule(kind.schema.clone()).to_string();
            rest.contains("isURL(") || rest.contains("url(self")
        })
    }

    /// Their names, for people.
    pub(super) fn names(&self) -> String {
        self.0.iter().map(|kind| kind.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

impl Kind {
    /// What the CEL rules say of an object that fits the schema.
    pub(super) fn ask_rules(&self, value: &Value) -> Vec<Complaint> {
        let mut complaints = rules::ask(&self.validator, &self.rules, value);
        complaints.append(&mut url::ask(value, &self.schema));
        complaints
    }
}
