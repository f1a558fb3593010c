//! The macro that expands the table of provider types in the root of the crate.

/// Declares the module of each type, the unions that have a member for each type, and the dispatch over the types.
macro_rules! provider_types {
    ($($module:ident, $variant:ident, $name:literal {
        $(#[$account_attr:meta])* account: $account:ty;
        $(#[$scope_attr:meta])* scope: $scope:ty;
        $(#[$allowed_attr:meta])* allowed: $allowed:ty;
    })+) => {
        $(pub mod $module;)+

        /// An account at a token API: exactly one of the types.
        #[derive(schemars::JsonSchema, Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        #[schemars(transform = token_api::one_type)]
        #[schemars(transform = token_api::one_login)]
        #[schemars(transform = token_api::no_network)]
        #[schemars(transform = cel::cel(
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
            pub limits: Option<limits::LimitsSpec>,
            /// PEM certificates to trust for this provider, in addition to the system's.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(length(max = provider::LARGEST_CA_BUNDLE))]
            pub ca_bundle: Option<String>,
            /// ConfigMap or Secret that contains such certificates.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub ca_bundle_ref: Option<provider::CaBundleRef>,
        }

        /// Scope of the token: exactly one member, named like the type of the provider.
        #[derive(schemars::JsonSchema, Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        #[schemars(transform = cel::union)]
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
            #[schemars(schema_with = "parameters::allowed_values")]
            pub parameters: std::collections::BTreeMap<String, Vec<String>>,
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
        enum TypedScope<'a> {
            $(#[doc = concat!("`", $name, "`")] $variant(&'a $scope),)+
        }

        impl Account<'_> {
            /// Returns the name of the type in the API.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)+ }
            }

            fn api(&self) -> &dyn token_api::TokenApi {
                match self { $(Self::$variant(account) => *account,)+ }
            }

            /// Builds the request for one token of `scope`. An error in the account is reported at `spec.providerRef`.
            fn request(
                &self,
                scope: TypedScope<'_>,
                lifetime: Option<&duration::GoDuration>,
            ) -> Result<request::TokenRequest, request::FieldError> {
                match (self, scope) {
                    $((Self::$variant(account), TypedScope::$variant(scope)) => {
                        let identity = self.identity().map_err(|error| token_api::blame_provider(&error))?;
                        token_api::TypedTokenApi::request(*account, identity, scope, lifetime)
                    })+
                    _ => Err(token_api::other_type(self.name(), scope.name())),
                }
            }
        }

        impl TypedScope<'_> {
            /// Returns the name of the type in the API.
            fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)+ }
            }

            /// Checks that `allowed` allows this scope.
            fn admitted(&self, allowed: &AllowedScopes) -> Result<(), request::FieldError> {
                match self {
                    $(Self::$variant(scope) => <$account as token_api::TypedTokenApi>::admits(allowed, scope),)+
                }
            }
        }

        impl ProviderSpec {
            /// Returns the account that the spec selects.
            pub fn account(&self) -> Result<Account<'_>, request::FieldError> {
                token_api::one([$(self.$module.as_ref().map(Account::$variant)),+], "spec", "provider type")
            }
        }

        impl Scope {
            /// Returns the typed scope that the spec selects.
            fn typed(&self) -> Result<TypedScope<'_>, request::FieldError> {
                token_api::one([$(self.$module.as_ref().map(TypedScope::$variant)),+], "spec.scope", "scope")
            }
        }

        /// Returns the rules of each type about the spec of a VideoAccessToken.
        fn type_rules() -> Vec<cel::Cel> {
            [$(<$account as token_api::TypedTokenApi>::rules()),+].concat()
        }

        /// Returns the types with logins that can lock a user, each with its explanation.
        fn lockouts() -> Vec<(&'static str, std::borrow::Cow<'static, str>)> {
            let all: [(&str, Option<_>); NAMES.len()] =
                [$(($name, token_api::TokenApi::lockout(&<$account>::default()))),+];
            all.into_iter().filter_map(|(name, lockout)| Some((name, lockout?))).collect()
        }

        /// Returns the types that make no calls.
        fn local_types() -> Vec<&'static str> {
            let all = [$(($name, token_api::TokenApi::is_local(&<$account>::default()))),+];
            all.into_iter().filter(|(_, is_local)| *is_local).map(|(name, _)| name).collect()
        }
    };
}
