//! The observer on a real API server.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use kube::api::{Api, Patch, PatchParams};
use testkit::stand::observer::What;
use testkit::stand::{Observer, ObserverOptions, eventually, shared};

const SOON: Duration = Duration::from_secs(10);

fn secret(token: &str, label: &str) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": label,
            "labels": {"app.kubernetes.io/managed-by": label},
            "annotations": {"videotoken.dev/token-key": "token"},
        },
        "stringData": {"token": token},
    })
}

#[tokio::test]
async fn the_observer_tells_an_expired_token_from_a_fresh_one() {
    let plane = shared().await.unwrap();
    let namespace = plane.namespace("observer").await.unwrap();
    let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::namespaced(plane.client().unwrap(), &namespace);
    let apply = async |name: &str, object: serde_json::Value| {
        secrets.patch(name, &PatchParams::apply("test"), &Patch::Apply(&object)).await.unwrap();
    };
    let (ours, theirs) = ("video-token-operator", "somebody-else");
    let short = Utc::now() + TimeDelta::milliseconds(1500);
    let truth = move |token: &str| -> Option<DateTime<Utc>> {
        match token {
            "short" => Some(short),
            "long" => Some(short + TimeDelta::hours(1)),
            _ => None,
        }
    };
    let options = ObserverOptions { every: Duration::from_millis(200), ..ObserverOptions::new(&namespace) };
    let observer = Observer::start(plane.admin(), options, truth).unwrap();
    apply(theirs, secret("forged", theirs)).await;
    apply(ours, secret("short", ours)).await;
    eventually(SOON, "an expired token is seen for a while", async || {
        let expired = observer.report().expired();
        if expired > TimeDelta::milliseconds(500) { Ok(()) } else { Err(expired) }
    })
    .await;
    apply(ours, secret("long", ours)).await;
    let report = observer.finish().await.unwrap();
    println!("{report}");
    assert_eq!(report.secrets.len(), 1);
    assert_eq!((report.tokens(), report.writes(), report.blind), (2, 2, 0));
    assert!(report.expired() < Utc::now() - short);
    let what: Vec<_> = report.timeline.iter().map(|event| event.what.clone()).collect();
    let (first, second) = (truth("short"), truth("long"));
    assert_eq!(what, [What::Token(first), What::Expired, What::Token(second)]);
}
