//! Who may have what sent where: CA bundles, hosts, assertions, reserved labels and types, and texts of others (P22).
