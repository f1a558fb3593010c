//! The three kinds of `videotoken.dev/v1alpha1`: one file per kind, one per provider's spec and scope.
//!
//! May not enter: anything but serde, schemars and kube's derive. Wire types can't fail: unions are structs of
//! Options, durations and open enums are strings, parsed once into a [`request::TokenRequest`].

pub mod key;
pub mod request;
