//! What follows from the table of provider types in the crate's root.

/// Declares the module of each type, the unions that have a member for each, and the dispatch over them.
macro_rules! provider_types {
    ($($module:ident, $variant:ident, $name:literal {
        $(#[$account_attr:meta])* account: $account:ty;
        $(#[$scope_attr:meta])* scope: $scope:ty;
        $(#[$allowed_attr:meta])* allowed: $allowed:ty;
    })+) => {
        $(pub mod $module;)+

        /// One account at one provider: exactly one of the types.
        #[derive(schemars::JsonSchema, Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        #[schemars(transform = token_api::one_type)]
        #[schemars(transform = token_api::one_login)]
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
            /// What all tokens of this account may ask for together. Default: what the provider type is known to allow.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub limits: Option<limits::Limits>,
            /// PEM certificates to trust for this provider, besides the system's.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(length(max = provider::LARGEST_CA_BUNDLE))]
            pub ca_bundle: Option<String>,
            /// Where to read such certificates.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub ca_bundle_ref: Option<provider::CaBundleRef>,
        }

        /// What the token may do: exactly one member, named as the provider's type.
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

        /// The scopes that may be asked for. What is absent has its default: read-only access.
        #[derive(schemars::JsonSchema, Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct AllowedScopes {
            $(
                $(#[$allowed_attr])*
                pub $module: $allowed,
            )+
        }

        /// The members of the unions `ProviderSpec` and `Scope`.
        pub const NAMES: &[&str] = &[$($name),+];

        /// The account that a provider's spec names.
        #[derive(Clone, Copy, Debug)]
        pub enum Account<'a> {
            $(#[doc = concat!("`", $name, "`")] $variant(&'a $account),)+
        }

        /// The scope that a token's spec names.
        #[derive(Clone, Copy, Debug)]
        enum TypedScope<'a> {
            $(#[doc = concat!("`", $name, "`")] $variant(&'a $scope),)+
        }

        impl Account<'_> {
            /// The type's name in the API.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)+ }
            }

            fn api(&self) -> &dyn token_api::TokenApi {
                match self { $(Self::$variant(account) => *account,)+ }
            }

            /// The request for one token of `scope`. What is wrong with the account is blamed on `spec.providerRef`.
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
            /// The type's name in the API.
            fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)+ }
            }

            /// Whether `allowed` admits it.
            fn admitted(&self, allowed: &AllowedScopes) -> Result<(), request::FieldError> {
                match self {
                    $(Self::$variant(scope) => <$account as token_api::TypedTokenApi>::admits(allowed, scope),)+
                }
            }
        }

        impl ProviderSpec {
            /// The one account that it names.
            pub fn account(&self) -> Result<Account<'_>, request::FieldError> {
                token_api::one([$(self.$module.as_ref().map(Account::$variant)),+], "spec", "provider type")
            }
        }

        impl Scope {
            /// The one scope that it names.
            fn typed(&self) -> Result<TypedScope<'_>, request::FieldError> {
                token_api::one([$(self.$module.as_ref().map(TypedScope::$variant)),+], "spec.scope", "scope")
            }
        }

        /// The rules of each type about a VideoAccessToken's spec.
        fn type_rules() -> Vec<cel::Cel> {
            [$(<$account as token_api::TypedTokenApi>::rules()),+].concat()
        }

        /// The types whose calls are logins that can lock a user, and what locks it.
        fn lockouts() -> Vec<(&'static str, std::borrow::Cow<'static, str>)> {
            let all: [(&str, Option<_>); NAMES.len()] =
                [$(($name, token_api::TokenApi::lockout(&<$account>::default()))),+];
            all.into_iter().filter_map(|(name, lockout)| Some((name, lockout?))).collect()
        }
    };
}
