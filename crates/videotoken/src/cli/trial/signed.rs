//! Trials of providers that sign: what is signed, and a signature if the key is there.

use super::{Ended, Options, references, request, section, source, success};
use crate::manifest::Object;
use videotoken_api::signed::SignedAccount;
use videotoken_providers::clock;
use videotoken_providers::http::HttpPool;
use videotoken_providers::provider_setup::{self, ProviderObject};
use videotoken_providers::signed;

/// Tries a provider that signs. Without its key, only the content is shown.
pub(super) async fn tried(
    options: &Options,
    objects: &[Object],
    (object, provider): (&Object, &ProviderObject),
    account: &SignedAccount,
    shown: &mut String,
) -> Result<bool, Ended> {
    if options.send || options.answer.is_some() {
        let name = object.name();
        return Err(Ended::Usage(format!(
            "{} {name} signs its tokens itself: there is no call. Leave out --send and --answer.",
            object.kind()
        )));
    }
    let request = request(options, objects, object, provider)?;
    section(shown, "Content", signed::content(account, &request, clock::now().wall)?);
    let source = source(options, objects)?;
    let references = references(options, &source, object);
    let built =
        match provider_setup::issuer(&options.credentials.reach(), &HttpPool::default(), &provider.spec, &references)
            .await
        {
            Ok(built) => built,
            Err(refusal) if refusal.reason == "CredentialsMissing" && !has_secret(objects, account) => {
                section(shown, "Result", vec![not_signed(account)]);
                return Ok(true);
            }
            Err(refusal) => return Err(Ended::Refused(refusal.message)),
        };
    let issued = built.issuer.issue(&request).await.map_err(|error| Ended::Refused(error.to_string()))?;
    section(shown, "Result", success(&issued));
    Ok(true)
}

/// Returns true if the files contain the Secret of the key.
fn has_secret(objects: &[Object], account: &SignedAccount) -> bool {
    objects.iter().any(|object| object.is("v1", "Secret") && object.name() == account.key.secret_ref.name)
}

fn not_signed(account: &SignedAccount) -> String {
    let reference = &account.key.secret_ref;
    format!("not signed: supply the key with --secret-file {}/{}=FILE", reference.name, reference.key)
}
