//! `describe`: shows the state of a token, its cause, the next step and the action.

use super::error::CliError;
use super::output::show;
use super::session::{Session, object_name};
use super::terminal::{TerminalStyle, Tone, plain, width, wrap};
use super::tokens::{RESOURCE, Token};
use clap::Args;
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, ResourceExt as _};
use videotoken_api::condition::{Condition, ConditionStatus};
use videotoken_api::provider_status::ProviderStatus;
use videotoken_api::video_access_token::LastFailure;
use videotoken_api::{GROUP, VERSION, wire_time};
use videotoken_core::summary::State;
use videotoken_core::summary::explain::explain;
use videotoken_core::summary::reasons;
use videotoken_core::summary::text::{relative_time, span};
use videotoken_providers::clock::{self, Timestamp};
use videotoken_runtime::yaml;

/// VideoAccessToken to describe.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// Name of a VideoAccessToken
    #[arg(value_name = "NAME", value_parser = object_name)]
    name: String,
}

/// Number of events that are shown.
const MAX_EVENTS: usize = 10;

/// Runs the command.
pub(super) async fn run(session: &Session, options: &Options, style: &TerminalStyle) -> Result<(), CliError> {
    let namespace = session.one_namespace()?;
    let api: Api<DynamicObject> = Api::namespaced_with(session.client.clone(), namespace, &kind("VideoAccessToken"));
    let object = session.request("get", RESOURCE, api.get(&options.name)).await?;
    let spec = yaml::to_string(&object.data["spec"]).unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or_default();
    let token = serde_json::to_value(&object).and_then(serde_json::from_value::<Token>);
    let mut token = token.map_err(|error| CliError::not_healthy(error.to_string()))?;
    let now = clock::now().wall;
    session.add_account_waits([&mut token.row], now).await;
    let mut page = Page::new(*style);
    state(&mut page, &token, generation, now);
    conditions(&mut page, "Conditions", &token.status.conditions, false, now);
    provider(&mut page, session, &token.row.provider, now).await;
    page.title("Spec");
    spec.lines().for_each(|line| page.raw(line));
    events(&mut page, session, namespace, &options.name, now).await;
    show(&(page.lines.join("\n") + "\n"))
}

fn kind(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, VERSION, kind))
}

/// Output as lines.
struct Page {
    style: TerminalStyle,
    columns: usize,
    lines: Vec<String>,
}

/// Column at which values begin.
const INDENT: usize = 14;

impl Page {
    fn new(style: TerminalStyle) -> Self {
        Self { style, columns: style.width().unwrap_or(120).min(120), lines: Vec::new() }
    }

    /// Adds a blank line and a title.
    fn title(&mut self, title: &str) {
        self.lines.extend([String::new(), self.style.tone(Tone::Bold, title)]);
    }

    /// Adds a name and its value, wrapped.
    fn field(&mut self, name: &str, tone: Tone, value: &str) {
        for (n, line) in wrap(&plain(value), self.columns - INDENT).iter().enumerate() {
            let name = if n == 0 { self.style.tone(Tone::Bold, name) } else { String::new() };
            let space = INDENT - if n == 0 { width(name_of(&name, self.style)).min(INDENT - 1) } else { 0 };
            self.lines.push(format!("{name}{}{}", " ".repeat(space), self.style.tone(tone, line)));
        }
    }

    /// Adds text below a title, wrapped.
    fn text(&mut self, tone: Tone, text: &str) {
        for (n, line) in wrap(&plain(text), self.columns - 6).iter().enumerate() {
            let indent = if n == 0 { "  " } else { "      " };
            self.lines.push(format!("{indent}{}", self.style.tone(tone, line)));
        }
    }

    /// Adds a line below a title, with its indentation. On a terminal it is wrapped.
    fn raw(&mut self, line: &str) {
        let line = plain(line);
        let indent = 2 + line.len() - line.trim_start().len();
        let columns = if self.style.terminal { self.columns.saturating_sub(indent + 2) } else { usize::MAX };
        for (n, part) in wrap(&line, columns).iter().enumerate() {
            let more = if n == 0 { 0 } else { 2 };
            self.lines.push(format!("{}{part}", " ".repeat(indent + more)));
        }
    }
}

/// Returns a name without its colours.
fn name_of(name: &str, style: TerminalStyle) -> &str {
    let bold = style.tone(Tone::Bold, "x");
    let [before, after] = [bold.split('x').next(), bold.split('x').nth(1)].map(Option::unwrap_or_default);
    name.strip_prefix(before).and_then(|name| name.strip_suffix(after)).unwrap_or(name)
}

fn state(page: &mut Page, token: &Token, generation: i64, now: Timestamp) {
    let row = &token.row;
    let state = row.state(now);
    let explain = explain(row, &token.status, generation, now);
    let tone = match state {
        State::Ready => Tone::Good,
        State::Failing | State::Pending => Tone::Warn,
        State::Expired | State::Stalled => Tone::Bad,
    };
    page.field("Token", Tone::Plain, &format!("{}/{}", row.namespace, row.name));
    let reason = if row.reason.is_empty() { String::new() } else { format!(", {}", row.reason) };
    page.field("State", tone, &format!("{}{reason}", state.as_str()));
    page.field("Why", Tone::Plain, &explain.why);
    page.field("Next", Tone::Plain, &explain.next);
    if let Some(hint) = explain.hint {
        page.field("Hint", Tone::Plain, &format!("{}: {}", hint.meaning, hint.action));
    }
    if let (Some(left), Some(issued_at), Some(expires_at)) = (row.lifetime_left(now), row.issued_at, row.expires_at) {
        let lifetime = span(expires_at - issued_at);
        let bar = page.style.bar(left, 20);
        page.field(
            "Life",
            tone,
            &format!("{bar} {} of {lifetime} left", span((expires_at - now).max(chrono::TimeDelta::zero()))),
        );
        page.field("Issued", Tone::Plain, &time(issued_at, now));
        page.field("Expires", Tone::Plain, &time(expires_at, now));
    }
    if let Some(renew_at) = row.renew_at {
        page.field("Renews", Tone::Plain, &time(renew_at, now));
    }
    page.field("Secret", Tone::Plain, &row.secret_name);
    page.field("Issuances", Tone::Plain, &token.status.issuances.to_string());
    if let Some(asked) = &token.renew_requested_at {
        page.field("Requested", Tone::Plain, &format!("renewal at {asked}"));
    }
    if let Some(failure) = &token.status.last_failure {
        failed(page, failure, token.status.failed_attempts, now);
    }
}

fn time(at: Timestamp, now: Timestamp) -> String {
    format!("{} ({})", wire_time::text(at), relative_time(at, now))
}

fn failed(page: &mut Page, failure: &LastFailure, attempts: i64, now: Timestamp) {
    page.title("Last failure");
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            page.field(&format!("  {name}"), Tone::Plain, &value);
        }
    };
    add("Time", failure.time.map(|at| time(at, now)));
    add("Reason", Some(format!("{} ({}), {attempts} in a row", failure.reason, failure.class)));
    add("Message", Some(failure.message.clone()));
    add("Request ID", failure.request_id.clone());
    add("Next try", failure.next_attempt_at.map(|at| time(at, now)));
}

/// Adds conditions. `hints`: each unhealthy one is followed by the meaning of its reason.
fn conditions(page: &mut Page, title: &str, conditions: &[Condition], hints: bool, now: Timestamp) {
    page.title(title);
    for condition in conditions {
        let holds = match condition.status {
            ConditionStatus::True => "True",
            ConditionStatus::False => "False",
            ConditionStatus::Unknown => "Unknown",
        };
        let since = span(now - condition.last_transition_time);
        page.text(
            condition_tone(condition),
            &format!("{}={holds} {} for {since}: {}", condition.type_, condition.reason, condition.message),
        );
        let hint = reasons::find(&condition.reason).filter(|_| hints && is_trouble(condition));
        if let Some(hint) = hint {
            page.text(Tone::Dim, &format!("  {}: {}", hint.meaning, hint.action));
        }
    }
    if conditions.is_empty() {
        page.raw("none yet");
    }
}

fn is_trouble(condition: &Condition) -> bool {
    (condition.type_ == "Ready") != (condition.status == ConditionStatus::True)
}

/// Returns the tone of a condition: `Ready` should be True, `Issuing` may be, and all others should be False.
fn condition_tone(condition: &Condition) -> Tone {
    match (&*condition.type_, condition.status == ConditionStatus::True) {
        ("Ready", true) => Tone::Good,
        ("Ready", false) | ("Stalled", true) => Tone::Bad,
        (_, true) => Tone::Warn,
        (_, false) => Tone::Dim,
    }
}

/// Adds the conditions of the provider. Missing permissions don't hide the rest of the output.
async fn provider(page: &mut Page, session: &Session, provider: &str, now: Timestamp) {
    let title = format!("Provider {provider}");
    let Some((kind_name, name)) = provider.split_once('/') else { return };
    let (api, resource) = if kind_name == "ClusterTokenProvider" {
        (Api::all_with(session.client.clone(), &kind(kind_name)), "clustertokenproviders.videotoken.dev")
    } else {
        let namespace = session.namespace.as_deref().unwrap_or_default();
        (Api::namespaced_with(session.client.clone(), namespace, &kind(kind_name)), "tokenproviders.videotoken.dev")
    };
    let api: Api<DynamicObject> = api;
    match session.request("get", resource, api.get(name)).await {
        Ok(object) => {
            let status: ProviderStatus = serde_json::from_value(object.data["status"].clone()).unwrap_or_default();
            conditions(page, &title, &status.conditions, true, now);
            if let Some(until) = status.throttled_until.filter(|until| *until > now) {
                page.text(
                    Tone::Warn,
                    &format!("the token API throttles the account. The next call is after {}.", time(until, now)),
                );
            }
            if let Some(at) = status.credentials_expire_at {
                page.text(Tone::Plain, &format!("The credential expires {}.", time(at, now)));
            }
        }
        Err(error) => {
            page.title(&title);
            page.text(Tone::Dim, &format!("not shown: {error}"));
        }
    }
}

/// Adds the events of the operator, the newest first.
async fn events(page: &mut Page, session: &Session, namespace: &str, name: &str, now: Timestamp) {
    let api: Api<Event> = Api::namespaced(session.client.clone(), namespace);
    let fields = format!("involvedObject.kind=VideoAccessToken,involvedObject.name={name}");
    page.title("Events");
    match session.request("list", "events", api.list(&ListParams::default().fields(&fields))).await {
        Ok(list) => {
            let mut events: Vec<_> = list.items.iter().map(|event| (last_seen(event), event)).collect();
            events.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
            for (at, event) in events.iter().take(MAX_EVENTS) {
                let times = event.series.as_ref().and_then(|series| series.count).or(event.count).unwrap_or(1);
                let times = if times > 1 { format!(" ({times} times)") } else { String::new() };
                let warns = event.type_.as_deref() == Some("Warning");
                let reason = event.reason.as_deref().unwrap_or_default();
                let note = event.message.as_deref().unwrap_or_default();
                let tone = if warns { Tone::Warn } else { Tone::Plain };
                page.text(tone, &format!("{} ago {reason}{times}: {note}", span(now - *at)));
            }
            if events.is_empty() {
                page.raw("none");
            }
        }
        Err(error) => page.text(Tone::Dim, &format!("not shown: {error}")),
    }
}

fn last_seen(event: &Event) -> Timestamp {
    let of_series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|at| at.0);
    let time = of_series.or(event.last_timestamp.as_ref().map(|at| at.0)).or(event.event_time.as_ref().map(|at| at.0));
    let time = time.or_else(|| event.creation_timestamp().map(|at| at.0));
    time.and_then(|at| Timestamp::from_timestamp(at.as_second(), 0)).unwrap_or_default()
}
