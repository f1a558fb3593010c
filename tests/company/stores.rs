//! P17 and P18: restored etcd, stalled lists, silent watches, stale views, namespaces without a Role.
