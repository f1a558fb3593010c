//! The list of attacks: their names, how heavy they are, and what the operator may spend on the attacker.

use std::time::Duration;

/// What a row does to the operator, from the attacker's namespace or at the attacker's provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // `about` says it
pub enum Attack {
    WebhookHangs,
    WebhookBreaks,
    WebhookDenies,
    SecretsUnwritable,
    EventsHang,
    StatusesHang,
    ListStalls,
    NoRole,
    ProviderHangs,
    ProviderThrottles,
    FightToken,
    FightApply,
    FightLabels,
    FightDelete,
    PolicyRelabels,
    ProviderEdits,
    Churn,
    ForcedRenewals,
    Templates,
    Scrapers,
    OneSecret,
    Specs,
    CaBundles,
    StrangerSecrets,
    Crowd,
}

/// How an attack is to be run.
struct Facts {
    name: &'static str,
    about: &'static str,
    /// It takes the machine's processors: nothing runs beside it.
    heavy: bool,
    /// It is part of the short form.
    short: bool,
}

/// What the operator may spend on the attacker while the attack lasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Calls of the attacker's provider.
    pub calls: Option<u64>,
    /// Writes of the attacker's Secrets.
    pub writes: Option<u64>,
}

/// How much of an attack is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// The short form.
    pub short: bool,
}

impl Size {
    /// One number or the other.
    pub(super) fn of(self, full: usize, short: usize) -> usize {
        if self.short { short } else { full }
    }
}

/// Secrets that somebody fights over.
pub(super) const FOUGHT_OVER: usize = 5;

/// Objects whose renewal is forced in a loop.
pub(super) const FORCED: usize = 10;

/// Calls that the account of the churned objects has.
pub(super) const CHURNED_CALLS: usize = 6;

/// P18: repairs of one Secret in a minute before they are slowed, and calls in ten minutes beyond the first.
const REPAIRS: u64 = 3;

impl Attack {
    /// All of them, the light ones first.
    pub const ALL: [Self; 25] = [
        Self::WebhookHangs,
        Self::WebhookBreaks,
        Self::WebhookDenies,
        Self::SecretsUnwritable,
        Self::EventsHang,
        Self::StatusesHang,
        Self::ListStalls,
        Self::NoRole,
        Self::ProviderHangs,
        Self::ProviderThrottles,
        Self::FightToken,
        Self::FightApply,
        Self::FightLabels,
        Self::FightDelete,
        Self::PolicyRelabels,
        Self::ProviderEdits,
        Self::Churn,
        Self::ForcedRenewals,
        Self::Templates,
        Self::Scrapers,
        Self::OneSecret,
        Self::Specs,
        Self::CaBundles,
        Self::StrangerSecrets,
        Self::Crowd,
    ];

    fn facts(self) -> Facts {
        let of = |name, about, heavy, short| Facts { name, about, heavy, short };
        match self {
            Self::WebhookHangs => {
                of("webhook-hangs", "a webhook on Secrets that hangs 8 s and is ignored", false, true)
            }
            Self::WebhookBreaks => of("webhook-breaks", "a webhook on Secrets that answers 500", false, true),
            Self::WebhookDenies => of("webhook-denies", "a webhook that denies each Secret", false, false),
            Self::SecretsUnwritable => {
                of("secrets-unwritable", "300 Secrets that can't be written in one namespace", false, true)
            }
            Self::EventsHang => of("events-hang", "events that hang, and 150 tokens that fail", false, true),
            Self::StatusesHang => of("statuses-hang", "30 providers with news, whose statuses take 6 s", false, true),
            Self::ListStalls => of("list-stalls", "a list whose body stops half-way, at the start", false, true),
            Self::NoRole => of("no-role", "a namespace without its Role, at the start", false, true),
            Self::ProviderHangs => of("provider-hangs", "a provider that doesn't answer, 100 tokens", false, true),
            Self::ProviderThrottles => of("provider-throttles", "a provider that answers 429, 100 tokens", false, true),
            Self::FightToken => of("fight-token", "another writer alters the token, twice a second", false, true),
            Self::FightApply => of("fight-apply", "another writer applies the Secret with force", false, true),
            Self::FightLabels => of("fight-labels", "another writer takes the label, twice a second", false, true),
            Self::FightDelete => of("fight-delete", "another writer deletes the Secret, twice a second", false, false),
            Self::PolicyRelabels => of("policy-relabels", "a policy that puts its label on each Secret", false, false),
            Self::ProviderEdits => of("provider-edits", "1,000 edits of providers a minute", true, false),
            Self::Churn => of("churn", "objects made, and deleted during their call", false, true),
            Self::ForcedRenewals => of("forced-renewals", "renewals asked for three times a second", false, true),
            Self::Templates => of("templates", "templates that cost time and memory", true, true),
            Self::Scrapers => of("scrapers", "300 scrapers that don't read, and many tokens", true, false),
            Self::OneSecret => of("one-secret", "1,000 objects that name one Secret", true, false),
            Self::Specs => of("specs", "200 objects with 512 KB of templates, or as much as is taken", true, false),
            Self::CaBundles => of("ca-bundles", "200 providers with 120 KB of certificates, or as much", true, false),
            Self::StrangerSecrets => of("stranger-secrets", "450 Secrets with our label and 250 KB each", true, false),
            Self::Crowd => of("crowd", "10,000 new objects", true, false),
        }
    }

    /// As `--only` has it.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// What it is, in a few words.
    pub fn about(self) -> &'static str {
        self.facts().about
    }

    /// The attack of this name.
    pub fn named(name: &str) -> Result<Self, String> {
        let all = || Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|one| one.name() == name).ok_or_else(|| format!("no attack {name:?}: {}", all()))
    }

    pub(super) fn is_heavy(self) -> bool {
        self.facts().heavy
    }

    pub(super) fn is_in_short_form(self) -> bool {
        self.facts().short
    }

    /// How long the operator is looked at.
    pub(super) fn window(self, size: Size) -> Duration {
        Duration::from_secs(match (self, size.short) {
            (_, true) => 24,
            (Self::Crowd, false) => 120,
            // the tokens come first
            (Self::Scrapers, false) => 80,
            // what it begins is felt later
            (Self::StatusesHang | Self::SecretsUnwritable | Self::EventsHang | Self::OneSecret, false) => 60,
            (_, false) => 40,
        })
    }

    /// What P18 and P06 leave the operator to spend on the attacker.
    pub(super) fn bounds(self, size: Size) -> Bounds {
        let (fought, forced) = (FOUGHT_OVER as u64, FORCED as u64);
        // the first issue, three repairs, and one write in each five minutes
        let writes = Some(fought * (1 + REPAIRS + 1));
        match self {
            Self::FightToken | Self::FightApply | Self::FightDelete => {
                Bounds { calls: Some(fought * (1 + REPAIRS)), writes }
            }
            // no token is lost
            Self::FightLabels | Self::PolicyRelabels => Bounds { calls: Some(fought), writes },
            Self::Churn => Bounds { calls: Some(CHURNED_CALLS as u64), writes: None },
            Self::ForcedRenewals => {
                // the first issue, a handful at once, a few ever further apart, then as close as scheduled ones at most
                let calls = forced * (1 + 5 + 3 + self.window(size).as_secs() / 10);
                Bounds { calls: Some(calls), writes: Some(calls) }
            }
            // each is asked for once, whatever becomes of its write
            Self::WebhookDenies => Bounds { calls: Some(super::attacks::DENIED as u64), writes: None },
            _ => Bounds::default(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_attack_is_found_by_its_name() {
        for attack in Attack::ALL {
            assert_eq!(Attack::named(attack.name()).unwrap(), attack);
        }
        assert!(Attack::named("none").unwrap_err().contains("webhook-hangs"));
    }
}
