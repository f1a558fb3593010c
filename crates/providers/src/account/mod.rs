//! From a provider object's spec to who issues for it: which credential each type needs, where it may be sent, and the
//! issuer made from both.
//!
//! | File | What lives there |
//! |---|---|
//! | `spec` | a provider object's spec, and whom it admits |
//! | `references` | credentials and CA bundles: whether they are meant for us and for that host |
//! | `text` | the text of a credential, and what is none |
//! | `encrypted` | values that a tool has encrypted: no credentials |
//! | `allowed_hosts` | what `videotoken.dev/allowed-hosts` admits |
//! | `azure` | the identity that asks Microsoft Entra |
//! | `build` | what the issuers of all types are built with |
//! | `destinations` | where an issuer goes, for whoever looks from outside |
//!
//! What a spec refers to is read through [`Source`]: the API server for the operator, files for a command without a
//! cluster. May not enter: a Kubernetes client, files, calls of a provider.

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
pub use build::{Built, Reach, Via, issuer};
pub use encrypted::encrypted_value;
pub use references::{References, Source, Unreadable, not_allowed};
pub use spec::{Admission, Owner, ProviderObject};
