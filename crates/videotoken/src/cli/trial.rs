//! `videotoken try -f FILE`: shows the request that a declared provider makes and how it reads an answer, or what it
//! signs.

mod signed;

use super::issue::{CredentialFlags, Manifests};
use super::print;
use crate::check::{Kinds, Report, Verdict, check};
use crate::cli::check::{fault_line, line};
use crate::manifest::{Manifest, Object, read, read_files};
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use videotoken_api::http::HttpAccount;
use videotoken_api::parameters::{self, Parameters};
use videotoken_api::provider_types::Account;
use videotoken_api::request::{FieldError, TokenRequest};
use videotoken_api::video_access_token::VideoAccessTokenSpec;
use videotoken_api::wire_time;
use videotoken_core::plan::issue_failure;
use videotoken_core::plan::status::class_name;
use videotoken_providers::clock;
use videotoken_providers::declared_http::{self, Declared};
use videotoken_providers::http::ProviderResponse;
use videotoken_providers::provider::Provider as _;
use videotoken_providers::provider_setup::{Owner, ProviderObject, References};
use videotoken_providers::{Class, IssueError, Issued};

/// Provider to try.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Providers of the types http and signed can be tried. Without --answer and --send nothing is sent. A provider of type signed makes no call: its token is signed if the files or --secret-file supply its key, and is not shown.\n\nExit codes: 0: the request is valid, and the answer, if any, contains a token; 1: it doesn't, or the provider is invalid; 2: invalid arguments or files."
)]
pub struct Options {
    /// File or directory with manifests, or - for standard input; repeatable
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true, num_args = 1..)]
    pub files: Vec<PathBuf>,

    /// Provider to try, if the files contain several
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,

    /// Value of a parameter; repeatable. Default: from a VideoAccessToken in the files, else a sample
    #[arg(short, long = "parameter", value_name = "NAME=VALUE", value_parser = pair)]
    pub parameters: Vec<(String, String)>,

    /// Lifetime to request
    #[arg(long, value_name = "DURATION")]
    pub lifetime: Option<String>,

    /// Read this saved answer, as curl -i prints it, or a body alone
    #[arg(long, value_name = "FILE", conflicts_with = "send")]
    pub answer: Option<PathBuf>,

    /// Send the request once, and read the answer. The token is not shown
    #[arg(long)]
    pub send: bool,

    /// Where credentials come from, and what they may be sent to.
    #[command(flatten)]
    pub credentials: CredentialFlags,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Why the command can't try the provider.
enum Ended {
    /// Arguments or files are invalid: exit code 2.
    Usage(String),
    /// The provider or the answer is invalid: exit code 1.
    Refused(String),
}

/// Tries a provider. The exit code is 0 if the request is valid and an answer contains a token, 1 if not, and 2 if
/// arguments or files are invalid.
#[tokio::main]
pub(super) async fn run(options: &Options) -> ExitCode {
    let mut shown = String::new();
    let ended = tried(options, &mut shown).await;
    let printed = print(&shown).map_err(|error| Ended::Usage(error.to_string()));
    let (code, message) = match printed.and(ended) {
        Ok(true) => return ExitCode::SUCCESS,
        Ok(false) => return ExitCode::FAILURE,
        Err(Ended::Usage(message)) => (2, message),
        Err(Ended::Refused(message)) => (1, message),
    };
    let _ = writeln!(io::stderr(), "error: {message}");
    ExitCode::from(code)
}

/// Writes the trial into `shown`. Returns false if the answer contains no token.
async fn tried(options: &Options, shown: &mut String) -> Result<bool, Ended> {
    let objects = objects(options)?;
    let report = check(&Kinds::default(), &objects);
    let (kind, object, provider) = provider(options, &objects, &report)?;
    token_fits(options, &objects, object, &report)?;
    flags_are_used(options, &provider)?;
    match provider.spec.account()? {
        Account::Http(account) => {
            let hints = hints(&objects, object, &report);
            call(options, &objects, (object, &provider), account, hints, shown).await
        }
        Account::Signed(account) => signed::tried(options, &objects, (object, &provider), account, shown).await,
        other => {
            let (type_, name) = (other.name(), object.name());
            Err(Ended::Usage(format!(
                "{kind} {name} is of type {type_}, whose request is not declared: there is nothing to try. Get a token \
                 with videotoken issue, or try a provider of type http or signed."
            )))
        }
    }
}

impl From<FieldError> for Ended {
    fn from(error: FieldError) -> Self {
        Self::Refused(error.to_string())
    }
}

/// Tries a provider that calls a token API.
async fn call(
    options: &Options,
    objects: &[Object],
    (object, provider): (&Object, &ProviderObject),
    account: &HttpAccount,
    hints: Vec<String>,
    shown: &mut String,
) -> Result<bool, Ended> {
    let request = request(options, objects, object, provider)?;
    let declared = Declared::new(account)?;
    section(shown, "Request", declared.request(&request, clock::now().wall)?);
    section(shown, "Hints", hints);
    if !options.send {
        secrets_fit(options, objects, object, account).await?;
    }
    let mut assumed = "";
    let answer = match &options.answer {
        Some(path) => {
            let text = std::fs::read(path).map_err(|error| Ended::Usage(format!("{}: {error}", path.display())))?;
            if !text.starts_with(b"HTTP/") {
                assumed = " (assumed: the file has no status line)";
            }
            declared_http::saved_answer(&text, clock::now().wall)
        }
        None if options.send => sent(options, objects, (object, provider), account, &request).await?,
        None => return Ok(true),
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            section(shown, "Result", failure(&error));
            return Ok(false);
        }
    };
    let media = answer.content_type.as_deref().map(|media| format!(", {media}")).unwrap_or_default();
    let mut lines = vec![format!("HTTP {}{assumed}{media}, {} bytes", answer.status, answer.body.len())];
    lines.extend(declared.outline(&answer));
    section(shown, "Answer", lines);
    let mut steps = Vec::new();
    let read = declared.read(&answer, &request, clock::now().wall, &mut |step| steps.push(step));
    section(shown, "Reading", steps);
    let lines = read.as_ref().map_or_else(failure, success);
    section(shown, "Result", lines);
    Ok(read.is_ok())
}

/// Appends lines under a title, if there are any.
fn section(shown: &mut String, title: &str, lines: Vec<String>) {
    if lines.is_empty() {
        return;
    }
    let gap = if shown.is_empty() { "" } else { "\n" };
    let _ = writeln!(shown, "{gap}{title}");
    for line in lines {
        let _ = writeln!(shown, "{}", format!("  {line}").trim_end());
    }
}

fn success(issued: &Issued) -> Vec<String> {
    let mut lines = vec![format!("a token that expires at {}", wire_time::text(issued.expires_at))];
    lines.extend(issued.values.keys().map(|name| format!("values.{name}")));
    lines
}

/// Returns the failure, its class and what the operator does about it.
fn failure(error: &IssueError) -> Vec<String> {
    let class = issue_failure::class_of_single_token(error, false);
    let then = match class {
        Class::Credential => {
            "all calls of the account stop until the credential changes, and it is tried again every 15 minutes"
        }
        Class::Denied | Class::Configuration => "the token is Stalled, and is tried again after 1 to 30 minutes",
        Class::Throttled => "all calls of the account wait",
        Class::Transient => "the call is repeated with back-off",
    };
    let wait = error
        .retry_after
        .map(|wait| format!(", for {} s by the answer or cooldown", wait.as_secs()))
        .unwrap_or_default();
    vec![error.to_string(), format!("class {}: {then}{wait}", class_name(class))]
}

fn objects(options: &Options) -> Result<Vec<Object>, Ended> {
    let texts = read_files(&options.files).map_err(|unread| Ended::Usage(unread.to_string()))?;
    let (mut all, mut faults) = (Manifest::default(), Vec::new());
    for text in &texts {
        let mut manifest = read(text);
        faults.extend(manifest.faults.iter().map(|fault| fault_line(&text.name, fault)));
        all.objects.append(&mut manifest.objects);
    }
    if faults.is_empty() { Ok(all.objects) } else { Err(Ended::Refused(faults.join("\n"))) }
}

/// Returns the provider that `--provider` selects, or the only one, as the API server would store it.
fn provider<'a>(
    options: &Options,
    objects: &'a [Object],
    report: &Report,
) -> Result<(&'a str, &'a Object, ProviderObject), Ended> {
    let is_provider = |object: &&Object| object.kind().ends_with("TokenProvider");
    let chosen: Vec<_> = objects
        .iter()
        .filter(is_provider)
        .filter(|object| options.provider.as_deref().is_none_or(|name| name == object.name()))
        .collect();
    let [object] = chosen.as_slice() else {
        let all: Vec<_> = objects.iter().filter(is_provider).map(Object::name).collect();
        let message = if all.is_empty() {
            "these files contain no provider".to_owned()
        } else {
            format!("select one provider with --provider NAME: {}", all.join(", "))
        };
        return Err(Ended::Usage(message));
    };
    let number = number_of(objects, object);
    let found = report.findings.iter().filter(|found| found.object == number);
    let found: Vec<_> = found.map(|finding| line(object, finding)).collect();
    let (true, Verdict::Good(value)) = (found.is_empty(), &report.verdicts[number]) else {
        return Err(Ended::Refused(found.join("\n")));
    };
    let provider = ProviderObject::parse(Owner::from_kind(object.kind()), value["spec"].clone());
    Ok((object.kind(), object, provider.map_err(|refusal| Ended::Refused(refusal.message))?))
}

fn number_of(objects: &[Object], object: &Object) -> usize {
    objects.iter().position(|other| std::ptr::eq(other, object)).unwrap_or_default()
}

/// Returns the hints for an object.
fn hints(objects: &[Object], object: &Object, report: &Report) -> Vec<String> {
    let number = number_of(objects, object);
    let hints = report.hints.iter().filter(|hint| hint.object == number);
    hints.map(|hint| format!("{}: {}", hint.field, hint.message)).collect()
}

/// Returns the VideoAccessToken of the files that names this provider.
fn token_of<'a>(objects: &'a [Object], provider: &Object) -> Option<&'a Object> {
    objects.iter().find(|object| {
        object.kind() == "VideoAccessToken" && object.value["spec"]["providerRef"]["name"] == provider.name()
    })
}

/// Checks the VideoAccessToken that the request is made of, apart from what the flags replace.
fn token_fits(options: &Options, objects: &[Object], provider: &Object, report: &Report) -> Result<(), Ended> {
    let Some(token) = token_of(objects, provider) else { return Ok(()) };
    let number = number_of(objects, token);
    let is_replaced = |field: &str| {
        (options.lifetime.is_some() && field == "spec.lifetime")
            || (!options.parameters.is_empty() && field.contains(".parameters"))
    };
    // a finding without a field says only that rules weren't evaluated because of the others
    let found = report.findings.iter().filter(|found| found.object == number);
    let found = found.filter(|found| !found.field.is_empty() && !is_replaced(&found.field));
    let found: Vec<_> = found.map(|finding| line(token, finding)).collect();
    if found.is_empty() { Ok(()) } else { Err(Ended::Refused(found.join("\n"))) }
}

/// Checks that the provider reads each key that a flag supplies.
fn flags_are_used(options: &Options, provider: &ProviderObject) -> Result<(), Ended> {
    let mut keys: Vec<(String, String)> = match provider.spec.account()? {
        Account::Http(account) => {
            let refs = declared_http::secret_refs(account)?.into_iter();
            refs.map(|(_, reference)| (reference.name, reference.key)).collect()
        }
        Account::Signed(account) => vec![(account.key.secret_ref.name.clone(), account.key.secret_ref.key.clone())],
        _ => return Ok(()),
    };
    keys.extend(provider.spec.ca_bundle_ref.iter().map(|reference| (reference.name.clone(), reference.key.clone())));
    let known: Vec<_> = keys.iter().map(|(name, key)| (name.as_str(), key.as_str())).collect();
    let Some(unused) = options.credentials.unused(&known) else { return Ok(()) };
    let needed: Vec<_> = keys.iter().map(|(name, key)| format!("{name}/{key}")).collect();
    let needed = if needed.is_empty() { "no key".to_owned() } else { needed.join(", ") };
    Err(Ended::Usage(format!("{unused} is not used: the provider needs {needed}")))
}

/// Checks the Secrets that the files and flags supply, without sending anything.
async fn secrets_fit(
    options: &Options,
    objects: &[Object],
    provider: &Object,
    account: &HttpAccount,
) -> Result<(), Ended> {
    let source = source(options, objects)?;
    let references = references(options, &source, provider);
    let is_supplied =
        |name: &String| objects.iter().any(|object| object.is("v1", "Secret") && object.name() == name.as_str());
    match videotoken_providers::provider(&Account::Http(account)).check_secrets(&references).await {
        Err(refusal) if refusal.reason != "CredentialsMissing" || account.secrets()?.iter().all(is_supplied) => {
            Err(Ended::Refused(refusal.message))
        }
        _ => Ok(()),
    }
}

/// Returns the token request: of a VideoAccessToken in the files that names this provider, with the values of the flags
/// over its own, or of sample values.
fn request(
    options: &Options,
    objects: &[Object],
    provider_object: &Object,
    provider: &ProviderObject,
) -> Result<TokenRequest, Ended> {
    let account = provider.spec.account()?;
    let (type_, none) = (account.name(), Parameters::default());
    let token = token_of(objects, provider_object).map(|object| &object.value["spec"]);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut given: BTreeMap<String, String> = if let Some(spec) = token {
        serde_json::from_value(spec["scope"][type_]["parameters"].clone()).unwrap_or_default()
    } else {
        let samples = parameters::samples(account.parameters().unwrap_or(&none));
        samples.iter().map(|(name, value)| (name.clone(), text(value))).collect()
    };
    given.extend(options.parameters.iter().cloned());
    let lifetime = options.lifetime.clone().map(Value::from);
    let lifetime = lifetime.or_else(|| token.map(|spec| spec["lifetime"].clone())).unwrap_or_default();
    let spec = json!({"providerRef": {"name": provider_object.name()}, "scope": {type_: {"parameters": given}},
        "lifetime": lifetime});
    let spec: VideoAccessTokenSpec = serde_json::from_value(spec).map_err(|error| Ended::Usage(error.to_string()))?;
    if let Some(admission) = &provider.admission {
        admission.scopes.admits(&spec.scope)?;
    }
    Ok(spec.request(&provider.spec)?)
}

/// Sends the request once.
async fn sent(
    options: &Options,
    objects: &[Object],
    (object, provider): (&Object, &ProviderObject),
    account: &HttpAccount,
    request: &TokenRequest,
) -> Result<Result<ProviderResponse, IssueError>, Ended> {
    let source = source(options, objects)?;
    let references = references(options, &source, object);
    let answer = declared_http::send(&options.credentials.reach(), &provider.spec, account, &references, request).await;
    answer.map_err(|refusal| Ended::Refused(refusal.message))
}

/// Returns the Secrets and `ConfigMap`s of the files and the flags.
fn source(options: &Options, objects: &[Object]) -> Result<Manifests, Ended> {
    options.credentials.manifests(objects).map_err(Ended::Refused)
}

/// Returns the references of a provider. Those of a `TokenProvider` are in its namespace.
fn references<'a>(options: &'a Options, source: &'a Manifests, provider: &'a Object) -> References<'a> {
    let namespace = provider.namespace().unwrap_or(&options.credentials.namespace);
    let owner = Owner::from_kind(provider.kind());
    References::new(source, owner, options.credentials.home(owner, namespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_says_what_follows() {
        for (class, name) in [
            (Class::Credential, "Credential"),
            (Class::Denied, "Denied"),
            (Class::Throttled, "Throttled"),
            (Class::Configuration, "Configuration"),
            (Class::Transient, "Transient"),
        ] {
            let lines = failure(&IssueError::new(class, "Test", "failed"));
            assert!(lines.len() == 2 && lines[1].starts_with(&format!("class {name}: ")), "{lines:?}");
        }
    }
}
