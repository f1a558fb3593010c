//! Templates without quotes, which YAML reads as mappings or not at all.

use super::{ReadError, SourceLocation};

/// Says what to write where a template without quotes is the cause of a fault: YAML reads `{{` as two mappings.
pub(super) fn explain(fault: &mut ReadError, text: &str) {
    let is_template = |line: &str| [": {{", "- {{"].into_iter().find_map(|before| Some(line.find(before)? + 2));
    if !(fault.message == NO_KEY || fault.message.starts_with(NOT_YAML)) {
        return;
    }
    // the parser may notice it in the next line
    let lines = text.lines().enumerate().skip(fault.place.line.saturating_sub(2)).take(2);
    let found = lines.filter_map(|(number, line)| Some((number, line, is_template(line)?))).last();
    if let Some((number, line, at)) = found {
        fault.place = SourceLocation { line: number + 1, column: line[..at].chars().count() + 1 };
        let template: String = line[at..].trim_end().chars().take(LONGEST_TEMPLATE).collect();
        let quote = if template.contains('"') { '\'' } else { '"' };
        fault.message = format!("YAML reads {{{{ as a mapping. Put the template in quotes: {quote}{template}{quote}.");
    }
}

/// Message for a key that is no text.
pub(super) const NO_KEY: &str = "a key must be a string";

/// Start of the message for a text that the parser rejects.
pub(super) const NOT_YAML: &str = "not YAML";

/// Most characters of a template in a message.
const LONGEST_TEMPLATE: usize = 80;
