//! Kinds of workload that the operator may restart.

use kube::core::{ApiResource, GroupVersionKind};
use std::collections::BTreeMap;
use std::str::FromStr;
use videotoken_api::workload::{BUILT_IN, Workload, is_kind_with_group};

/// Kinds of workload that the operator may restart: those of `apps/v1`, and those that a flag names.
#[derive(Clone, Debug)]
pub struct RestartKinds(BTreeMap<String, RestartKind>);

/// A kind of workload.
#[derive(Clone, Debug)]
pub struct RestartKind {
    /// The kind as a spec names it: `Deployment`, or `Rollout.argoproj.io`.
    name: String,
    /// Where the API server serves the kind.
    pub(crate) resource: ApiResource,
    /// True if each object of the kind has a Pod template at `spec.template`.
    pub(crate) has_template: bool,
}

impl RestartKinds {
    /// Returns the kinds of `apps/v1` and these.
    pub fn with(named: impl IntoIterator<Item = RestartKind>) -> Self {
        let built_in = BUILT_IN.map(|kind| RestartKind {
            name: kind.to_owned(),
            resource: ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", kind)),
            has_template: true,
        });
        Self(built_in.into_iter().chain(named).map(|kind| (kind.name.clone(), kind)).collect())
    }

    /// Returns the kind of the workload, or `None` if the operator may not restart it.
    pub(crate) fn get(&self, workload: &Workload) -> Option<&RestartKind> {
        self.0.get(&*workload.kind)
    }
}

impl Default for RestartKinds {
    fn default() -> Self {
        Self::with([])
    }
}

/// Parses `GROUP/VERSION/RESOURCE=KIND`, such as `argoproj.io/v1alpha1/rollouts=Rollout`.
impl FromStr for RestartKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refusal = || format!("{text}: write it like argoproj.io/v1alpha1/rollouts=Rollout");
        let (path, kind) = text.split_once('=').ok_or_else(refusal)?;
        let parts: Vec<&str> = path.split('/').collect();
        let [group, version, plural] = parts[..] else { return Err(refusal()) };
        let name = format!("{kind}.{group}");
        let is_word =
            |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        if !is_word(version) || !is_word(plural) || kind.contains('.') || !is_kind_with_group(&name) {
            return Err(refusal());
        }
        let kind = GroupVersionKind::gvk(group, version, kind);
        Ok(Self { name, resource: ApiResource::from_gvk_with_plural(&kind, plural), has_template: false })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_from_its_flag() {
        let kind: RestartKind = "argoproj.io/v1alpha1/rollouts=Rollout".parse().unwrap();
        assert_eq!((&*kind.name, &*kind.resource.api_version), ("Rollout.argoproj.io", "argoproj.io/v1alpha1"));
        assert_eq!((&*kind.resource.plural, &*kind.resource.kind), ("rollouts", "Rollout"));
        for wrong in [
            "",
            "Rollout",
            "argoproj.io/v1alpha1/rollouts",
            "argoproj.io/v1alpha1=Rollout",
            "apps/v1/deployments=Deployment",
            "/v1/pods=Pod",
            "argoproj.io/v1alpha1/roll/outs=Rollout",
            "argoproj.io/v1alpha1/Rollouts=Rollout",
            "argoproj.io/v1alpha1/rollouts=rollout",
            "argoproj.io/v1alpha1/rollouts=Rollout.x",
            "argoproj.io/../rollouts=Rollout",
        ] {
            let refusal = wrong.parse::<RestartKind>().unwrap_err();
            assert!(refusal.ends_with("write it like argoproj.io/v1alpha1/rollouts=Rollout"), "{refusal}");
        }
    }

    #[test]
    fn a_kind_that_no_flag_names_is_not_restarted() {
        let kinds = RestartKinds::with(["argoproj.io/v1alpha1/rollouts=Rollout".parse().unwrap()]);
        for (kind, expected) in [
            ("StatefulSet", Some("apps/v1")),
            ("Rollout.argoproj.io", Some("argoproj.io/v1alpha1")),
            ("StatefulSet.apps.kruise.io", None),
        ] {
            let workload = Workload { kind: kind.into(), name: "player".into() };
            assert_eq!(kinds.get(&workload).map(|kind| &*kind.resource.api_version), expected, "{kind}");
        }
    }
}
