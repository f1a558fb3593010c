//! Checks whether the API server accepts the Secret of a spec, before a token is issued.
//!
//! The validation rules of the CRD check most of this earlier. They can't check rendered templates, and an older CRD
//! may have accepted the object.

use super::value_key_taken;
use crate::plan::template;
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use videotoken_api::parameters::is_name;
use videotoken_api::request::FieldError;
use videotoken_api::secret::SecretSpec;

/// Maximum bytes of the template's annotations: the 256 KiB of Kubernetes, without space for the operator's.
pub const LARGEST_ANNOTATIONS: usize = 252 * 1024;

const DOCKER_CONFIG: &str = ".dockerconfigjson";

/// Renders the template with sample values and checks the result. The error names the field and the action.
pub fn check(spec: &SecretSpec) -> Result<ValueUse, FieldError> {
    let template = spec.template.clone().unwrap_or_default();
    let annotations: usize = template.annotations.iter().map(|(name, value)| name.len() + value.len()).sum();
    if annotations > LARGEST_ANNOTATIONS {
        let message = "all annotations together are longer than 252 KiB. Shorten them.";
        return Err(FieldError::new("spec.secret.template.annotations", message));
    }
    for rendered in template::check(&template.data)? {
        if let Some(key) = spec.plain_keys().find(|key| rendered.contains_key(*key)) {
            let message = format!("the key {key} is also in spec.secret.keys. Rename one of them.");
            return Err(FieldError::new("spec.secret.template.data", message));
        }
        typed(spec, &rendered)?;
    }
    let keys = spec.plain_keys().chain(template.data.keys().map(String::as_str));
    let taken = keys.filter_map(|key| key.strip_prefix("values.")).filter(|name| is_name(name));
    Ok(ValueUse { taken: taken.map(str::to_owned).collect(), read: template::values_read(&template.data)? })
}

/// The names of further values that a spec uses. Only the provider shows whether it has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValueUse {
    /// Names that templates read.
    pub read: Vec<String>,
    /// Names whose keys the spec gives to something else.
    pub taken: Vec<String>,
}

impl ValueUse {
    /// Checks the use against the values that the provider has.
    pub fn check(&self, spec: &SecretSpec, values: &[String]) -> Result<(), FieldError> {
        if let Some(name) = self.taken.iter().find(|name| values.contains(name)) {
            return Err(value_key_taken(spec, name));
        }
        let Some(name) = self.read.iter().find(|name| !values.contains(name)) else { return Ok(()) };
        let has = if values.is_empty() { "none".to_owned() } else { values.join(", ") };
        let message = format!("values.{name} is no value of the provider, which has {has}.");
        Err(FieldError::new("spec.secret.template.data", message))
    }
}

/// Checks the rules of the API server for some types.
fn typed(spec: &SecretSpec, rendered: &BTreeMap<String, SecretString>) -> Result<(), FieldError> {
    let plain = |key: &str| spec.keys.token == key || spec.keys.expires_at == key;
    let has = |key: &str| plain(key) || rendered.contains_key(key);
    let lacks = |what: &str| {
        let message = format!("type {} needs {what}. Add them to template.data.", spec.type_);
        Err(FieldError::new("spec.secret.type", message))
    };
    match spec.type_.as_str() {
        "kubernetes.io/tls" if !(has("tls.crt") && has("tls.key")) => lacks("the keys tls.crt and tls.key"),
        "kubernetes.io/basic-auth" if !(has("username") || has("password")) => lacks("a key username or password"),
        "kubernetes.io/dockerconfigjson" => {
            let json = rendered.get(DOCKER_CONFIG).map(SecretString::expose_secret);
            if json.is_some_and(|text| serde_json::from_str::<serde_json::Map<_, _>>(text).is_ok()) {
                return Ok(());
            }
            let message = format!(
                "type {} needs a JSON object in this key, such as {{\"auths\": {{\"registry.example\": {{\"auth\": \
                 {{{{ (\"user:\" ~ token) | b64encode | tojson }}}}}}}}}}",
                spec.type_
            );
            Err(FieldError::new(format!("spec.secret.template.data[{DOCKER_CONFIG}]"), message))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    #[allow(clippy::unwrap_used)]
    fn what_the_api_server_would_refuse_is_refused_before() {
        let docker = |config: &str| json!({"type": "kubernetes.io/dockerconfigjson", "template": {"data": {DOCKER_CONFIG: config}}});
        let annotated = |value: &str| json!({"template": {"annotations": {"a": value, "b": value, "c": value}}});
        let cases: [(Value, Option<&str>); 14] = [
            (json!({}), None),
            (json!({"type": "example.com/token"}), None),
            (json!({"type": "kubernetes.io/tls"}), Some("spec.secret.type")),
            (
                json!({"type": "kubernetes.io/tls", "keys": {"token": "tls.key"}, "template": {"data": {"tls.crt": "x"}}}),
                None,
            ),
            (json!({"type": "kubernetes.io/basic-auth"}), Some("spec.secret.type")),
            (json!({"type": "kubernetes.io/basic-auth", "keys": {"token": "password"}}), None),
            (docker("{\"auths\": {\"r\": {\"auth\": {{ token | tojson }}}}}"), None),
            (docker("{{ token }}"), Some("spec.secret.template.data[.dockerconfigjson]")),
            (docker("[]"), Some("spec.secret.template.data[.dockerconfigjson]")),
            (
                json!({"type": "kubernetes.io/dockerconfigjson", "keys": {"token": DOCKER_CONFIG}}),
                Some("spec.secret.template.data[.dockerconfigjson]"),
            ),
            (json!({"template": {"data": {"token": "x"}}}), Some("spec.secret.template.data")),
            (json!({"template": {"data": {"url": "{{ tokn }}"}}}), Some("spec.secret.template.data[url]")),
            (annotated("x"), None),
            (annotated(&"字".repeat(30_000)), Some("spec.secret.template.annotations")),
        ];
        for (spec, field) in cases {
            let spec: SecretSpec = serde_json::from_value(spec).unwrap();
            let refused = check(&spec).err().map(|error| error.field);
            assert_eq!(refused.as_deref(), field, "{} {:?}", spec.type_, spec.keys);
        }
    }
}
