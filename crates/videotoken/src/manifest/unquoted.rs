//! Templates without quotes, which YAML reads as mappings or not at all.

use super::{ReadError, SourceLocation};

/// Message for a key that is no text.
pub(super) const NO_KEY: &str = "a key must be a string";

/// Start of the message for a text that the parser rejects.
pub(super) const NOT_YAML: &str = "not YAML";

/// Most characters of a template in a message.
const LONGEST_TEMPLATE: usize = 80;

/// Replaces the message of a fault if a template without quotes is its cause: YAML reads `{{` as two mappings.
pub(super) fn explain(fault: &mut ReadError, text: &str) {
    if fault.message != NO_KEY && !fault.message.starts_with(NOT_YAML) {
        return;
    }
    let template_at = |line: &str| [": {{", "- {{"].into_iter().find_map(|before| Some(line.find(before)? + 2));
    // The parser may report the fault in the line after the template.
    let lines = text.lines().enumerate().skip(fault.place.line.saturating_sub(2)).take(2);
    let found = lines.filter_map(|(number, line)| Some((number, line, template_at(line)?))).last();
    let Some((number, line, at)) = found else { return };
    fault.place = SourceLocation { line: number + 1, column: line[..at].chars().count() + 1 };
    let template: String = line[at..].trim_end().chars().take(LONGEST_TEMPLATE).collect();
    let quote = if template.contains('"') { '\'' } else { '"' };
    fault.message = format!("YAML reads {{{{ as a mapping. Put the template in quotes: {quote}{template}{quote}.");
}
