//! The table of provider types, and the unions over all of them. The file of a type doesn't import this one: what it needs
//! of the unions is an argument.

use crate::limits::AccountLimits;
use crate::parameters::Parameters;
use crate::request::FieldError;
use schemars::{Schema, transform::Transform};
use std::borrow::Cow;

/// Passes the table to the macro `$expand`. A row has the module, the names of the type in Rust and in YAML; then the
/// account, the scope, and the scopes that a ClusterTokenProvider allows, each with its description in the CRDs; and the
/// part of [`AllowedScopes`] by which the type decides.
macro_rules! provider_types {
    ($expand:ident) => {
        $expand! {
            video_indexer, VideoIndexer, "videoIndexer" {
                /// Azure Video Indexer through Azure Resource Manager.
                account: crate::video_indexer::VideoIndexerAccount;
                /// A token of Azure Video Indexer.
                scope: crate::video_indexer::VideoIndexerScope;
                /// The permissions of Video Indexer tokens.
                #[serde(flatten)]
                allowed: crate::video_indexer::VideoIndexerAllowed;
                decides: |allowed| &allowed.video_indexer;
            }
            video_indexer_classic, VideoIndexerClassic, "videoIndexerClassic" {
                /// Azure Video Indexer's classic Authorization API.
                account: crate::video_indexer_classic::VideoIndexerClassicAccount;
                /// A token of Azure Video Indexer's classic Authorization API.
                scope: crate::video_indexer_classic::VideoIndexerClassicScope;
                /// Further limits in Video Indexer's classic API.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                allowed: Option<crate::video_indexer_classic::VideoIndexerClassicAllowed>;
                decides: |allowed| (allowed.video_indexer_classic.as_ref(), &allowed.video_indexer);
            }
            blend_vision, BlendVision, "blendVision" {
                /// BlendVision One.
                account: crate::blend_vision::BlendVisionAccount;
                /// A token of BlendVision One.
                scope: crate::blend_vision::BlendVisionScope;
                /// Tokens of BlendVision One.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                allowed: Option<crate::blend_vision::BlendVisionAllowed>;
                decides: |allowed| allowed.blend_vision.as_ref();
            }
            cognitive_services, CognitiveServices, "cognitiveServices" {
                /// The token API of Azure Cognitive Services.
                account: crate::cognitive_services::CognitiveServicesAccount;
                /// A token of Azure Cognitive Services.
                scope: crate::cognitive_services::CognitiveServicesScope;
                /// Tokens of Azure Cognitive Services.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                allowed: Option<crate::cognitive_services::CognitiveServicesAllowed>;
                decides: |allowed| allowed.cognitive_services.as_ref();
            }
            arcgis_video_server, ArcgisVideoServer, "arcgisVideoServer" {
                /// ArcGIS Video Server.
                account: crate::arcgis_video_server::ArcgisVideoServerAccount;
                /// A token of ArcGIS Video Server.
                scope: crate::arcgis_video_server::ArcgisVideoServerScope;
                /// Tokens of ArcGIS Video Server.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                allowed: Option<crate::arcgis_video_server::ArcgisVideoServerAllowed>;
                decides: |allowed| allowed.arcgis_video_server.as_ref();
            }
            signed, Signed, "signed" {
                /// Tokens that the operator signs itself, with a key from a Secret and without a call.
                account: crate::signed::SignedAccount;
                /// A token that the operator signs itself.
                scope: crate::parameters::DeclaredScope;
                /// The shared member `parameters` lists what is allowed.
                #[serde(skip)]
                allowed: ();
                decides: |allowed| &allowed.parameters;
            }
            http, Http, "http" {
                /// A token API that this object declares: one request, and the reading of its answer.
                account: crate::http::HttpAccount;
                /// A token of a declared token API.
                scope: crate::parameters::DeclaredScope;
                /// The shared member `parameters` lists what is allowed.
                #[serde(skip)]
                allowed: ();
                decides: |allowed| &allowed.parameters;
            }
        }
    };
}

/// Declares the unions that have a member for each type, and the dispatch over the types.
macro_rules! unions {
    ($($module:ident, $variant:ident, $name:literal {
        $(#[$account_attr:meta])* account: $account:ty;
        $(#[$scope_attr:meta])* scope: $scope:ty;
        $(#[$allowed_attr:meta])* allowed: $allowed:ty;
        decides: $part:expr;
    })+) => {
        /// An account at a token API: exactly one of the types.
        #[derive(schemars::JsonSchema, Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        #[schemars(transform = crate::cel::exactly_one(NAMES))]
        #[schemars(transform = crate::token_api::one_login(lockouts()))]
        #[schemars(transform = crate::token_api::no_network(local_types()))]
        #[schemars(transform = crate::cel::cel(
            "!(has(self.caBundle) && has(self.caBundleRef))",
            "set caBundle or caBundleRef, not both"
        ).at(".caBundleRef"))]
        pub struct ProviderSpec {
            $(
                $(#[$account_attr])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $module: Option<$account>,
            )+
            /// Limits of the calls for all tokens of this account. Default: the known limits of the provider type.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub limits: Option<crate::limits::LimitsSpec>,
            /// PEM certificates to trust for this provider, in addition to the system's.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(length(max = crate::references::LARGEST_CA_BUNDLE))]
            pub ca_bundle: Option<String>,
            /// ConfigMap or Secret that contains such certificates.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub ca_bundle_ref: Option<crate::references::CaBundleRef>,
        }

        /// Scope of the token: exactly one member, named like the type of the provider.
        #[derive(schemars::JsonSchema, Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        #[schemars(transform = crate::cel::union)]
        pub struct Scope {
            $(
                $(#[$scope_attr])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $module: Option<$scope>,
            )+
        }

        /// The scopes that may be requested. Absent members have their default: read-only access.
        #[derive(schemars::JsonSchema, Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct AllowedScopes {
            $(
                $(#[$allowed_attr])*
                pub $module: $allowed,
            )+
            /// Values of the parameters that the provider declares, by name. Default: each value that fits the
            /// parameter's pattern.
            #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
            #[schemars(schema_with = "crate::parameters::allowed_values")]
            pub parameters: crate::parameters::AllowedValues,
        }

        /// Members of the unions `ProviderSpec` and `Scope`.
        pub const NAMES: &[&str] = &[$($name),+];

        /// The account that the spec of a provider selects.
        #[derive(Clone, Copy, Debug)]
        pub enum Account<'a> {
            $(#[doc = concat!("`", $name, "`")] $variant(&'a $account),)+
        }

        /// The scope that the spec of a VideoAccessToken selects.
        #[derive(Clone, Copy, Debug)]
        pub(super) enum TypedScope<'a> {
            $(#[doc = concat!("`", $name, "`")] $variant(&'a $scope),)+
        }

        impl Account<'_> {
            /// Returns the name of the type in the API.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)+ }
            }

            fn api(&self) -> &dyn crate::token_api::TokenApi {
                match self { $(Self::$variant(account) => *account,)+ }
            }

            /// Builds the request for one token of `scope`. An error in the account is reported at `spec.providerRef`.
            pub(super) fn request(
                &self,
                scope: TypedScope<'_>,
                lifetime: Option<&crate::duration::GoDuration>,
            ) -> Result<crate::request::TokenRequest, crate::request::FieldError> {
                match (self, scope) {
                    $((Self::$variant(account), TypedScope::$variant(scope)) => {
                        let identity = self.identity().map_err(|error| crate::token_api::blame_provider(&error))?;
                        crate::token_api::TypedTokenApi::request(*account, identity, scope, lifetime)
                    })+
                    _ => Err(crate::token_api::other_type(self.name(), scope.name())),
                }
            }
        }

        impl TypedScope<'_> {
            /// Returns the name of the type in the API.
            fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)+ }
            }

            /// Checks that `allowed` allows this scope.
            pub(super) fn admitted(&self, allowed: &AllowedScopes) -> Result<(), crate::request::FieldError> {
                match self {
                    $(Self::$variant(scope) => <$account as crate::token_api::TypedTokenApi>::admits(part(allowed, $part), scope),)+
                }
            }
        }

        impl ProviderSpec {
            /// Returns the account that the spec selects.
            pub fn account(&self) -> Result<Account<'_>, crate::request::FieldError> {
                crate::token_api::one([$(self.$module.as_ref().map(Account::$variant)),+], "spec", "provider type")
            }
        }

        impl Scope {
            /// Returns the typed scope that the spec selects.
            pub(super) fn typed(&self) -> Result<TypedScope<'_>, crate::request::FieldError> {
                crate::token_api::one([$(self.$module.as_ref().map(TypedScope::$variant)),+], "spec.scope", "scope")
            }
        }

        /// Returns the rules of each type about the spec of a VideoAccessToken.
        fn type_rules() -> Vec<crate::cel::Cel> {
            [$(<$account as crate::token_api::TypedTokenApi>::rules()),+].concat()
        }

        /// Returns the types with logins that can lock a user, each with its explanation.
        fn lockouts() -> Vec<(&'static str, std::borrow::Cow<'static, str>)> {
            let all: [(&str, Option<_>); NAMES.len()] =
                [$(($name, crate::token_api::TokenApi::lockout(&<$account>::default()))),+];
            all.into_iter().filter_map(|(name, lockout)| Some((name, lockout?))).collect()
        }

        /// Returns the types that make no calls.
        fn local_types() -> Vec<&'static str> {
            let all = [$(($name, crate::token_api::TokenApi::is_local(&<$account>::default()))),+];
            all.into_iter().filter(|(_, is_local)| *is_local).map(|(name, _)| name).collect()
        }
    };
}

provider_types!(unions);

/// Returns the part of `allowed` that `of` selects.
fn part<'a, T>(allowed: &'a AllowedScopes, of: impl FnOnce(&'a AllowedScopes) -> T) -> T {
    of(allowed)
}

/// Schema transform: adds the rules of each type.
pub(super) fn rules(schema: &mut Schema) {
    for mut rule in type_rules() {
        rule.transform(schema);
    }
}

impl Account<'_> {
    /// Returns the account as the token API identifies it, or an error in the spec.
    pub fn identity(&self) -> Result<String, FieldError> {
        self.api().identity()
    }

    /// Returns the account in short form, for people.
    pub fn display_name(&self) -> String {
        self.api().display_name()
    }

    /// If each token is a login and failed logins lock the user, returns a clause that says so.
    pub fn lockout(&self) -> Option<Cow<'static, str>> {
        self.api().lockout()
    }

    /// Returns true if the type makes no calls.
    pub fn is_local(&self) -> bool {
        self.api().is_local()
    }

    /// Returns the parameters that the spec declares. `None` for types without declared parameters.
    pub fn parameters(&self) -> Option<&Parameters> {
        self.api().parameters()
    }

    /// Returns the names of the further values that come with each token.
    pub fn values(&self) -> Vec<String> {
        self.api().values()
    }

    /// Returns true if each new token ends the validity of the one before.
    pub fn invalidates_previous(&self) -> bool {
        self.api().invalidates_previous()
    }

    /// Checks what only a ClusterTokenProvider must declare.
    pub(super) fn check_cluster(&self) -> Result<(), FieldError> {
        self.api().check_cluster()
    }

    /// Returns the default limits of the type.
    pub fn default_limits(&self) -> AccountLimits {
        self.api().limits()
    }
}
