//! P18: other writers of the same Secret, policies that change it, labels that come and go.
