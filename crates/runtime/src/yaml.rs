//! YAML output.

use serde::Serialize;
use serde_saphyr::ser::Error;
use serde_saphyr::{ser_options, to_string_with_options};

/// Returns a value as one YAML document. Strings that YAML 1.1 reads as another type are quoted, and lines are never folded,
/// so that kubectl reads the same value.
///
/// # Errors
/// The value has a map key that isn't a scalar.
pub fn to_string(value: &impl Serialize) -> Result<String, Error> {
    let text = to_string_with_options(value, ser_options! { folded_wrap_chars: usize::MAX })?;
    // libyaml, from which kubectl's reader is translated, accepts no block that begins with a tab
    if text.lines().any(|line| line.trim_start_matches(' ').starts_with('\t')) {
        return to_string_with_options(value, ser_options! { prefer_block_scalars: false });
    }
    Ok(text)
}
