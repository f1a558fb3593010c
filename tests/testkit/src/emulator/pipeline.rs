//! The way of every request through an emulator: recorded, slowed, held, limited, failed, answered.

use super::{Call, Control, Fault, HoldPoint, Target, fault, locked};
use crate::tls::Connection;
use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use chrono::{TimeDelta, Utc};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::Instant;

/// No API here takes more.
const BODY_LIMIT: usize = 1024 * 1024;

/// Counts a request in hand, also when its client goes away.
struct InFlight(Arc<Control>);

impl Drop for InFlight {
    fn drop(&mut self) {
        locked(&self.0.counters).in_flight -= 1;
    }
}

/// The middleware around an API.
pub(super) async fn around(State(control): State<Arc<Control>>, request: Request, next: Next) -> Response {
    let _in_flight = control.enter();
    let (mut parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_LIMIT).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let call = control.log.arrive(&parts, body.clone(), |call| lower_case(&control.dialect.target(call)));
    parts.extensions.insert(call.clone());
    let request = Request::from_parts(parts, Body::from(body));
    let Some(mut response) = control.answer(&call, request, next).await else {
        return std::future::pending().await;
    };
    control.stamp(&call, response.headers_mut());
    control.leave_with(call.number, response.status());
    response
}

fn lower_case(target: &Target) -> Target {
    Target { account: target.account.to_lowercase(), operation: target.operation.to_lowercase() }
}

/// Retry-After knows whole seconds only.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// Headers and body of a request as one text with JSON escapes in it.
fn everything_in(call: &Call) -> String {
    let headers: BTreeMap<_, _> =
        call.headers.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()))).collect();
    let body = String::from_utf8_lossy(&call.body);
    let form: Vec<_> = form_urlencoded::parse(&call.body).collect();
    json!({"path": call.uri.to_string(), "headers": headers, "body": body, "form": form}).to_string()
}

impl Control {
    /// Latency, holds, limits and faults, around the API's own answer. `None`: the connection is gone.
    async fn answer(&self, call: &Call, request: Request, next: Next) -> Option<Response> {
        let latency = locked(&self.knobs).latency;
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        self.gate.pass(HoldPoint::Request, &call.target).await;
        if let Err(wait) = self.limits.admit(&call.target.account, Instant::now()) {
            locked(&self.counters).throttled += 1;
            return Some(self.dialect.throttle(call, Some(whole_seconds(wait))));
        }
        let Some(fault) = self.rules.take(&call.target) else {
            let response = next.run(request).await;
            self.gate.pass(HoldPoint::Answer, &call.target).await;
            return Some(response);
        };
        locked(&self.counters).faults += 1;
        let fault = call.fault.get_or_init(|| fault);
        self.fail(call, fault, request, next).await
    }

    /// Plays one fault.
    async fn fail(&self, call: &Call, fault: &Fault, request: Request, next: Next) -> Option<Response> {
        let instead = match fault {
            Fault::Status { code, body, headers } => fault::status(*code, body.clone(), headers),
            Fault::Throttle { retry_after } => self.dialect.throttle(call, *retry_after),
            Fault::HugeBody => fault::huge_body(),
            Fault::Html => fault::html(),
            Fault::EchoRequest => self.dialect.refuse(call, StatusCode::BAD_REQUEST, &everything_in(call)),
            Fault::ConnectionReset => {
                // Without a connection (a router called directly) it is a request that never ends.
                if let Some(connection) = request.extensions().get::<Connection>() {
                    connection.reset();
                }
                return None;
            }
            Fault::ConnectionHang => {
                if let Some(connection) = request.extensions().get::<Connection>() {
                    connection.hang();
                }
                return None;
            }
            _ => {
                if let Fault::Stall(duration) = fault {
                    tokio::time::sleep(*duration).await;
                }
                let response = next.run(request).await;
                self.gate.pass(HoldPoint::Answer, &call.target).await;
                match fault {
                    Fault::CutBody => fault::cut(response).await,
                    Fault::HalfJson => fault::halve(response).await,
                    Fault::ByteOrderMark => fault::marked(response).await,
                    _ => response,
                }
            }
        };
        Some(instead)
    }

    /// What all answers carry: the API's own headers, and the date by the provider's clock.
    fn stamp(&self, call: &Call, headers: &mut HeaderMap) {
        self.dialect.stamp(call, headers);
        let ahead = match call.fault() {
            Some(Fault::DateAhead(seconds)) => TimeDelta::try_seconds(*seconds).unwrap_or_default(),
            _ => self.ahead(call),
        };
        let date = (Utc::now() + ahead).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        if let Ok(date) = HeaderValue::try_from(date) {
            headers.insert(header::DATE, date);
        }
    }

    /// How far the provider's clock is ahead as it answers this call.
    pub(super) fn ahead(&self, call: &Call) -> TimeDelta {
        match call.fault() {
            Some(Fault::ClockAhead(seconds)) => TimeDelta::try_seconds(*seconds).unwrap_or_default(),
            _ => self.clock_ahead(),
        }
    }

    fn enter(self: &Arc<Self>) -> InFlight {
        let mut counters = locked(&self.counters);
        counters.requests += 1;
        counters.in_flight += 1;
        counters.most_in_flight = counters.most_in_flight.max(counters.in_flight);
        InFlight(self.clone())
    }

    fn leave_with(&self, number: u64, status: StatusCode) {
        self.log.answered(number, status.as_u16());
        *locked(&self.counters).statuses.entry(status.as_u16()).or_default() += 1;
        self.answered.send_modify(|count| *count += 1);
    }
}
