//! The token APIs side by side: what each brings, and the one table that lists them.

use super::allowed::AllowedScopes;
use super::arcgis_video_server::ArcgisVideoServerAccount;
use super::blend_vision::BlendVisionAccount;
use super::cel::{Cel, exactly_one};
use super::cognitive_services::CognitiveServicesAccount;
use super::duration::GoDuration;
use super::limits::AccountLimits;
use super::provider::ProviderSpec;
use super::request::{FieldError, TokenRequest};
use super::scope::Scope;
use super::video_indexer::VideoIndexerAccount;
use super::video_indexer_classic::VideoIndexerClassicAccount;
use schemars::{Schema, transform::Transform};

/// One token API, as its account's spec.
pub(super) trait TokenApi {
    /// What a token of it may do.
    type Scope;

    /// Each token is a login, and failed ones lock the user: calls go one at a time.
    const LOGS_IN: bool = false;

    /// What an account may be asked when its spec says nothing.
    fn limits() -> AccountLimits;

    /// Rules of a VideoAccessToken's spec that need more than the scope: lifetimes above all.
    fn rules() -> Vec<Cel>;

    /// The account as its provider identifies it; or what is wrong with the spec, its paths from a provider object's
    /// root.
    fn identity(&self) -> Result<String, FieldError>;

    /// The account in short, for people.
    fn shown(&self) -> String;

    /// The request for one token. `account` is this account's identity.
    fn request(
        &self,
        account: String,
        scope: &Self::Scope,
        lifetime: Option<&GoDuration>,
    ) -> Result<TokenRequest, FieldError>;

    /// Whether a ClusterTokenProvider's `allowedScopes` admit this scope.
    fn admits(allowed: &AllowedScopes, scope: &Self::Scope) -> Result<(), FieldError>;
}

macro_rules! token_apis {
    ($($variant:ident: $member:ident, $name:literal, $account:ty;)+) => {
        /// The members of the unions `ProviderSpec` and `Scope`.
        pub const NAMES: &[&str] = &[$($name),+];

        /// The account that a provider's spec names.
        #[derive(Clone, Copy, Debug)]
        pub enum Account<'a> {
            $(#[doc = concat!("`", $name, "`")] $variant(&'a $account),)+
        }

        /// The scope that a token's spec names.
        #[derive(Clone, Copy, Debug)]
        pub(super) enum TypedScope<'a> {
            $(#[doc = concat!("`", $name, "`")] $variant(&'a <$account as TokenApi>::Scope),)+
        }

        impl Account<'_> {
            /// The type's name in the API.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)+ }
            }

            /// The account as its provider identifies it; or what is wrong with the spec.
            pub fn identity(&self) -> Result<String, FieldError> {
                match self { $(Self::$variant(account) => account.identity(),)+ }
            }

            /// The account in short, for people.
            pub fn shown(&self) -> String {
                match self { $(Self::$variant(account) => account.shown(),)+ }
            }

            /// Each token is a login, and failed ones lock the user: calls go one at a time.
            pub fn logs_in(&self) -> bool {
                match self { $(Self::$variant(_) => <$account>::LOGS_IN,)+ }
            }

            /// The type's default limits.
            pub fn default_limits(&self) -> AccountLimits {
                match self { $(Self::$variant(_) => <$account>::limits(),)+ }
            }

            /// The request for one token of `scope`. What is wrong with the account is blamed on `spec.providerRef`.
            pub(super) fn request(
                &self,
                scope: TypedScope<'_>,
                lifetime: Option<&GoDuration>,
            ) -> Result<TokenRequest, FieldError> {
                match (self, scope) {
                    $((Self::$variant(account), TypedScope::$variant(scope)) => {
                        let identity = account.identity().map_err(|error| blame_provider(&error))?;
                        account.request(identity, scope, lifetime)
                    })+
                    _ => Err(other_type(self.name(), scope.name())),
                }
            }
        }

        impl TypedScope<'_> {
            /// The type's name in the API.
            pub(super) fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)+ }
            }

            /// Whether `allowed` admits it.
            pub(super) fn admitted(&self, allowed: &AllowedScopes) -> Result<(), FieldError> {
                match self { $(Self::$variant(scope) => <$account>::admits(allowed, scope),)+ }
            }
        }

        impl ProviderSpec {
            /// The one account that it names.
            pub fn account(&self) -> Result<Account<'_>, FieldError> {
                one([$(self.$member.as_ref().map(Account::$variant)),+], "spec", "provider type")
            }
        }

        impl Scope {
            /// The one scope that it names.
            pub(super) fn typed(&self) -> Result<TypedScope<'_>, FieldError> {
                one([$(self.$member.as_ref().map(TypedScope::$variant)),+], "spec.scope", "scope")
            }
        }

        /// A transform: the rules of each type.
        pub(super) fn rules(schema: &mut Schema) {
            $(for mut rule in <$account>::rules() { rule.transform(schema); })+
        }
    };
}

token_apis! {
    VideoIndexer: video_indexer, "videoIndexer", VideoIndexerAccount;
    VideoIndexerClassic: video_indexer_classic, "videoIndexerClassic", VideoIndexerClassicAccount;
    BlendVision: blend_vision, "blendVision", BlendVisionAccount;
    CognitiveServices: cognitive_services, "cognitiveServices", CognitiveServicesAccount;
    ArcgisVideoServer: arcgis_video_server, "arcgisVideoServer", ArcgisVideoServerAccount;
}

/// A transform: exactly one of the types is set.
pub(super) fn one_type(schema: &mut Schema) {
    exactly_one(NAMES).transform(schema);
}

/// The only member that is set.
pub(super) fn one<T, const N: usize>(members: [Option<T>; N], field: &str, what: &str) -> Result<T, FieldError> {
    let mut set = members.into_iter().flatten();
    match (set.next(), set.count()) {
        (Some(member), 0) => Ok(member),
        (None, _) => Err(FieldError::new(field, format!("no {what} that is known here: set exactly one"))),
        (Some(_), more) => Err(FieldError::new(field, format!("{} of a {what}: set exactly one", more + 1))),
    }
}

pub(super) fn blame_provider(error: &FieldError) -> FieldError {
    FieldError::new("spec.providerRef", format!("the provider's {error}"))
}

fn other_type(provider: &str, scope: &str) -> FieldError {
    FieldError::new(
        "spec.scope",
        format!(
            "the provider is {provider} but the scope is {scope}: set scope.{provider}, or name a provider of type {scope}"
        ),
    )
}
