//! Names that the templates of a declaration read, in any branch: a rule about what a declaration must contain can't
//! depend on the branch that the sample values take.

use super::super::Engine;
use super::{LARGEST_DECLARED, UUID};
use serde_json::Value;
use std::collections::BTreeSet;
use videotoken_api::parameters::Parameters;
use videotoken_api::request::FieldError;

/// Names that templates read.
pub struct Reads {
    engine: Engine,
    names: BTreeSet<String>,
}

impl Default for Reads {
    fn default() -> Self {
        let mut engine = Engine::new();
        engine.functions.push(UUID);
        Self { engine, names: BTreeSet::new() }
    }
}

impl Reads {
    /// Returns the names that one template reads.
    pub fn parse(source: &str) -> Self {
        let mut reads = Self::default();
        reads.text(source);
        reads
    }

    /// Adds the names of a template. A template that can't be parsed adds none: its render reports it.
    pub fn text(&mut self, source: &str) {
        if source.len() > LARGEST_DECLARED {
            return;
        }
        if let Ok(template) = self.engine.parsed(source) {
            self.names.extend(template.undeclared_variables(false));
        }
    }

    /// Adds the names of each text of a tree. Names of members are no templates.
    pub fn tree(&mut self, tree: &Value) {
        match tree {
            Value::String(source) => self.text(source),
            Value::Array(items) => items.iter().for_each(|item| self.tree(item)),
            Value::Object(members) => members.values().for_each(|member| self.tree(member)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Returns true if a template reads this name.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Returns true if a template reads the expiry or the lifetime that is requested.
    pub fn has_expiry(&self) -> bool {
        self.has("expires_at") || self.has("lifetime")
    }

    /// Returns an error for a parameter that no template reads. `field` is the path of the parameters.
    pub fn all_of(&self, field: &str, parameters: &Parameters) -> Result<(), FieldError> {
        let Some(name) = parameters.keys().find(|name| !self.has(name)) else { return Ok(()) };
        let message = format!(
            "is declared, and no template uses it: write {{{{ {name} }}}} where its value belongs, or remove it"
        );
        Err(FieldError::new(format!("{field}.{name}"), message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_count_in_each_branch_and_only_in_templates() {
        let mut reads = Reads::default();
        reads.tree(&json!({"a": ["{% if a == 'x' %}{{ b }}{% else %}{{ c | unix }}{% endif %}", 1], "{{ d }}": "{e}"}));
        reads.text("{% raw %}{{ f }}{% endraw %}{# g #} ${h} {{ [uuid(), {'x': i}] }}");
        for (name, expected) in [
            ("a", true),
            ("b", true),
            ("c", true),
            ("d", false),
            ("e", false),
            ("f", false),
            ("g", false),
            ("h", false),
            ("i", true),
        ] {
            assert_eq!(reads.has(name), expected, "{name}");
        }
        assert!(!Reads::parse("{{ broken").has("broken"));
    }

    #[test]
    fn a_parameter_that_no_template_reads_is_named() {
        let parameters = Parameters::from_iter([("video".to_owned(), <_>::default())]);
        assert_eq!(Reads::parse("/videos/{{ video }}/otp").all_of("spec.f", &parameters), Ok(()));
        for source in ["/videos/{video}/otp", "${video}", "video", "{{ other }}"] {
            let error = Reads::parse(source).all_of("spec.f", &parameters).err();
            let message =
                "is declared, and no template uses it: write {{ video }} where its value belongs, or remove it";
            assert_eq!(error, Some(FieldError::new("spec.f.video", message)), "{source}");
        }
    }
}
