//! P17: webhooks, events, statuses, writes and lists that hang or fail in one namespace.
