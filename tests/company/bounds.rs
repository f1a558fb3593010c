//! P21: hostile templates, objects at the bounds of the schema, crowds of scrapers.
