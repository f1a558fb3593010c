//! `describe`: why a token is in its state, what happens next and when, and what there is to do.

use super::fault::Fault;
use super::output::show;
use super::paint::{Paint, Tone, plain, width, wrap};
use super::session::{Session, object_name};
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
use videotoken_core::summary::outlook::outlook;
use videotoken_core::summary::reasons;
use videotoken_core::summary::text::{span, when};
use videotoken_providers::clock::{self, Timestamp};
use videotoken_runtime::yaml;

/// What to describe.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// A VideoAccessToken
    #[arg(value_name = "NAME", value_parser = object_name)]
    name: String,
}

/// As many events as are worth a look.
const EVENTS: usize = 10;

/// Describes it.
pub(super) async fn run(session: &Session, options: &Options, paint: &Paint) -> Result<(), Fault> {
    let namespace = session.one_namespace()?;
    let api: Api<DynamicObject> = Api::namespaced_with(session.client.clone(), namespace, &kind("VideoAccessToken"));
    let object = session.ask("get", RESOURCE, api.get(&options.name)).await?;
    let spec = yaml::to_string(&object.data["spec"]).unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or_default();
    let token = serde_json::to_value(&object).and_then(serde_json::from_value::<Token>);
    let mut token = token.map_err(|error| Fault::unwell(error.to_string()))?;
    let now = clock::now().wall;
    session.tell_waits([&mut token.row], now).await;
    let mut page = Page::new(*paint);
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

/// What is said, line by line.
struct Page {
    paint: Paint,
    columns: usize,
    lines: Vec<String>,
}

/// Where values begin.
const INDENT: usize = 14;

impl Page {
    fn new(paint: Paint) -> Self {
        Self { paint, columns: paint.width().unwrap_or(120).min(120), lines: Vec::new() }
    }

    /// A blank line and a title.
    fn title(&mut self, title: &str) {
        self.lines.extend([String::new(), self.paint.tone(Tone::Bold, title)]);
    }

    /// A name and its value, wrapped.
    fn field(&mut self, name: &str, tone: Tone, value: &str) {
        for (n, line) in wrap(&plain(value), self.columns - INDENT).iter().enumerate() {
            let name = if n == 0 { self.paint.tone(Tone::Bold, name) } else { String::new() };
            let space = INDENT - if n == 0 { width(name_of(&name, self.paint)).min(INDENT - 1) } else { 0 };
            self.lines.push(format!("{name}{}{}", " ".repeat(space), self.paint.tone(tone, line)));
        }
    }

    /// Text below a title, wrapped.
    fn text(&mut self, tone: Tone, text: &str) {
        for (n, line) in wrap(&plain(text), self.columns - 6).iter().enumerate() {
            let indent = if n == 0 { "  " } else { "      " };
            self.lines.push(format!("{indent}{}", self.paint.tone(tone, line)));
        }
    }

    /// A line as it stands, below a title; on a terminal it is broken where it is too long.
    fn raw(&mut self, line: &str) {
        let line = plain(line);
        let indent = 2 + line.len() - line.trim_start().len();
        let columns = if self.paint.terminal { self.columns.saturating_sub(indent + 2) } else { usize::MAX };
        for (n, part) in wrap(&line, columns).iter().enumerate() {
            let more = if n == 0 { 0 } else { 2 };
            self.lines.push(format!("{}{part}", " ".repeat(indent + more)));
        }
    }
}

/// A painted name without its colours.
fn name_of(name: &str, paint: Paint) -> &str {
    let bold = paint.tone(Tone::Bold, "x");
    let [before, after] = [bold.split('x').next(), bold.split('x').nth(1)].map(Option::unwrap_or_default);
    name.strip_prefix(before).and_then(|name| name.strip_suffix(after)).unwrap_or(name)
}

fn state(page: &mut Page, token: &Token, generation: i64, now: Timestamp) {
    let row = &token.row;
    let state = row.state(now);
    let outlook = outlook(row, &token.status, generation, now);
    let tone = match state {
        State::Ready => Tone::Good,
        State::Failing | State::Pending => Tone::Warn,
        State::Expired | State::Stalled => Tone::Bad,
    };
    page.field("Token", Tone::Plain, &format!("{}/{}", row.namespace, row.name));
    let reason = if row.reason.is_empty() { String::new() } else { format!(", {}", row.reason) };
    page.field("State", tone, &format!("{}{reason}", state.as_str()));
    page.field("Why", Tone::Plain, &outlook.why);
    page.field("Next", Tone::Plain, &outlook.next);
    if let Some(hint) = outlook.hint {
        page.field("Hint", Tone::Plain, &format!("{}: {}", hint.means, hint.way_out));
    }
    if let (Some(left), Some(issued_at), Some(expires_at)) = (row.life_left(now), row.issued_at, row.expires_at) {
        let life = span(expires_at - issued_at);
        let bar = page.paint.bar(left, 20);
        page.field(
            "Life",
            tone,
            &format!("{bar} {} of {life} left", span((expires_at - now).max(chrono::TimeDelta::zero()))),
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
        page.field("Asked for", Tone::Plain, &format!("a renewal at {asked}"));
    }
    if let Some(failure) = &token.status.last_failure {
        failed(page, failure, token.status.failed_attempts, now);
    }
}

fn time(at: Timestamp, now: Timestamp) -> String {
    format!("{} ({})", wire_time::text(at), when(at, now))
}

fn failed(page: &mut Page, failure: &LastFailure, attempts: i64, now: Timestamp) {
    page.title("Last failure");
    let mut told = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            page.field(&format!("  {name}"), Tone::Plain, &value);
        }
    };
    told("Time", failure.time.map(|at| time(at, now)));
    told("Reason", Some(format!("{} ({}), {attempts} in a row", failure.reason, failure.class)));
    told("Message", Some(failure.message.clone()));
    told("Request id", failure.request_id.clone());
    told("Next try", failure.next_attempt_at.map(|at| time(at, now)));
}

/// `hints`: below each that isn't as it is to be, what its reason means.
fn conditions(page: &mut Page, title: &str, conditions: &[Condition], hints: bool, now: Timestamp) {
    page.title(title);
    for says in conditions {
        let holds = match says.status {
            ConditionStatus::True => "True",
            ConditionStatus::False => "False",
            ConditionStatus::Unknown => "Unknown",
        };
        let since = span(now - says.last_transition_time);
        page.text(
            condition_tone(says),
            &format!("{}={holds} {} for {since}: {}", says.type_, says.reason, says.message),
        );
        let hint = reasons::of(&says.reason).filter(|_| hints && is_trouble(says));
        if let Some(hint) = hint {
            page.text(Tone::Dim, &format!("  {}: {}", hint.means, hint.way_out));
        }
    }
    if conditions.is_empty() {
        page.raw("none yet");
    }
}

fn is_trouble(says: &Condition) -> bool {
    (says.type_ == "Ready") != (says.status == ConditionStatus::True)
}

/// `Ready` is to hold, `Issuing` may, all others aren't to.
fn condition_tone(says: &Condition) -> Tone {
    match (&*says.type_, says.status == ConditionStatus::True) {
        ("Ready", true) => Tone::Good,
        ("Ready", false) | ("Stalled", true) => Tone::Bad,
        (_, true) => Tone::Warn,
        (_, false) => Tone::Dim,
    }
}

/// The provider's own account of itself. What may not be seen doesn't hide the rest.
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
    match session.ask("get", resource, api.get(name)).await {
        Ok(object) => {
            let status: ProviderStatus = serde_json::from_value(object.data["status"].clone()).unwrap_or_default();
            conditions(page, &title, &status.conditions, true, now);
            if let Some(until) = status.throttled_until.filter(|until| *until > now) {
                page.text(
                    Tone::Warn,
                    &format!("the provider throttles the account; no token is asked for before {}", time(until, now)),
                );
            }
            if let Some(at) = status.credentials_expire_at {
                page.text(Tone::Plain, &format!("its credential expires {}", time(at, now)));
            }
        }
        Err(fault) => {
            page.title(&title);
            page.text(Tone::Dim, &format!("not shown: {fault}"));
        }
    }
}

/// What the operator told when, the newest first.
async fn events(page: &mut Page, session: &Session, namespace: &str, name: &str, now: Timestamp) {
    let api: Api<Event> = Api::namespaced(session.client.clone(), namespace);
    let fields = format!("involvedObject.kind=VideoAccessToken,involvedObject.name={name}");
    page.title("Events");
    match session.ask("list", "events", api.list(&ListParams::default().fields(&fields))).await {
        Ok(list) => {
            let mut events: Vec<_> = list.items.iter().map(|event| (last_seen(event), event)).collect();
            events.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
            for (at, event) in events.iter().take(EVENTS) {
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
        Err(fault) => page.text(Tone::Dim, &format!("not shown: {fault}")),
    }
}

fn last_seen(event: &Event) -> Timestamp {
    let of_series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|at| at.0);
    let told = of_series.or(event.last_timestamp.as_ref().map(|at| at.0)).or(event.event_time.as_ref().map(|at| at.0));
    let told = told.or_else(|| event.creation_timestamp().map(|at| at.0));
    told.and_then(|at| Timestamp::from_timestamp(at.as_second(), 0)).unwrap_or_default()
}
