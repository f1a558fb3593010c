//! Checks of the templates of a declared call: their required content.

use super::build::RESPONSE;
use super::request::FIELD;
use serde_json::{Map, Value};
use videotoken_api::http::{HttpAccount, HttpRequest};
use videotoken_api::request::FieldError;
use videotoken_core::plan::template::declared::Reads;

/// Checks what the templates of an account's request contain. They were rendered with sample values.
pub(super) fn check(account: &HttpAccount) -> Result<(), FieldError> {
    let reads = reads(&account.request);
    reads.all_of("spec.http.parameters", &account.parameters)?;
    if account.response.expires.asked.is_some() && !reads.has_expiry() && !has_one_lifetime(account) {
        let message = format!(
            "no template of {FIELD} reads lifetime or expires_at, so the API isn't asked for a lifetime: write \
             {{{{ lifetime }}}} or {{{{ expires_at | unix }}}} where the API takes it, or the documented lifetime of each \
             token into {RESPONSE}.expires.after"
        );
        return Err(FieldError::new(format!("{RESPONSE}.expires.asked"), message));
    }
    Ok(())
}

/// Returns true if only one lifetime can be asked for, so that the request may state it as a constant.
fn has_one_lifetime(account: &HttpAccount) -> bool {
    let ends = account.lifetime.as_ref().and_then(|lifetime| lifetime.min.as_ref().zip(lifetime.max.as_ref()));
    ends.is_some_and(|(min, max)| min.parse() == max.parse())
}

/// Returns the names that the templates of a request read.
fn reads(request: &HttpRequest) -> Reads {
    let HttpRequest { path, query, headers, json, form, text, method: _ } = request;
    let mut reads = Reads::default();
    reads.text(path);
    let headers = headers.iter().filter_map(|header| header.value.as_ref());
    query.values().chain(headers).chain(text).for_each(|source| reads.text(source));
    let bodies = [json, form].into_iter().flatten().flat_map(Map::values);
    bodies.for_each(|tree: &Value| reads.tree(tree));
    reads
}
