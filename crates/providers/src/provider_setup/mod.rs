//! Builds the issuer of a provider object from its spec: the credential that each type needs, the hosts that may
//! receive it, and the issuer that uses both.
//!
//! | File | Content |
//! |---|---|
//! | `spec` | spec of a provider object, and the VideoAccessTokens that it admits |
//! | `references` | credentials and CA bundles: whether they are for the operator and for that host |
//! | `text` | text of a credential, and checks of it |
//! | `encrypted` | values that a tool has encrypted, which are not credentials |
//! | `allowed_hosts` | hosts that `videotoken.dev/allowed-hosts` admits |
//! | `azure` | identity for calls of Microsoft Entra |
//! | `build` | parts that the issuers of all types share |
//! | `destinations` | destinations of an issuer, for checks from outside |
//!
//! References of a spec are read through [`ReferenceSource`]: from the API server by the operator, from files by a
//! command without a cluster. Not allowed here: a Kubernetes client, files, calls of a provider.

mod allowed_hosts;
mod azure;
pub(crate) mod build;
pub mod destinations;
mod encrypted;
mod references;
mod spec;
mod text;

pub use allowed_hosts::{Guarded, Missing, shown};
pub use azure::{azure_credential, tenant};
pub use build::{BuiltIssuer, HttpContext, OutboundPolicy, issuer};
pub use encrypted::encrypted_value;
pub use references::{ReferenceSource, References, Unreadable, not_allowed};
pub use spec::{AllowedUse, Owner, ProviderObject};
