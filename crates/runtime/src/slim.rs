//! Slim copies of Kubernetes objects: types that keep only some fields of an object.

/// Implements [`kube::Resource`] for a slim copy of a kind. `$meta` is the field with the metadata; with `$metadata_only`,
/// requests of this type ask for metadata only.
#[macro_export]
macro_rules! slim_resource {
    ($slim:ty, $whole:ty, $meta:tt, metadata_only: $metadata_only:expr) => {
        impl ::kube::Resource for $slim {
            type DynamicType = ();
            type Scope = <$whole as ::kube::Resource>::Scope;

            fn kind((): &()) -> ::std::borrow::Cow<'_, str> {
                <$whole as ::kube::Resource>::kind(&())
            }
            fn group((): &()) -> ::std::borrow::Cow<'_, str> {
                <$whole as ::kube::Resource>::group(&())
            }
            fn version((): &()) -> ::std::borrow::Cow<'_, str> {
                <$whole as ::kube::Resource>::version(&())
            }
            fn plural((): &()) -> ::std::borrow::Cow<'_, str> {
                <$whole as ::kube::Resource>::plural(&())
            }
            fn meta(&self) -> &::kube::core::ObjectMeta {
                &self.$meta
            }
            fn meta_mut(&mut self) -> &mut ::kube::core::ObjectMeta {
                &mut self.$meta
            }
            fn metadata_api() -> bool {
                $metadata_only
            }
        }
    };
}
