//! P05: the operator is killed between any two steps; the one token in flight is lost at most.

use crate::OPERATOR;
use serde_json::json;
use testkit::emulator::HoldPoint;
use testkit::scene::{SOON, Scene};
use testkit::stand::{Failure, Held, Matcher, Operator, eventually};
use tokio::time::timeout;

/// Where the operator stands when it is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// The provider has issued the token; its answer is on the way.
    Issued,
    /// The Secret's write is on the way, and never arrives.
    SecretSent,
    /// The Secret's write is on the way, and arrives after the restart.
    SecretLate,
    /// The Secret is stored; the answer is on the way.
    SecretStored,
    /// The status' write is on the way, and never arrives.
    StatusSent,
    /// The status is stored; the answer is on the way.
    StatusStored,
}

const STEPS: [(Step, usize); 6] = [
    (Step::Issued, 1),
    (Step::SecretSent, 1),
    (Step::SecretLate, 1),
    (Step::SecretStored, 0),
    (Step::StatusSent, 0),
    (Step::StatusStored, 0),
];

/// Lets `begin` cause one issue, kills the operator at the step, and returns what is still on its way.
async fn killed_at(scene: &Scene, step: Step, operator: &mut Operator, begin: impl Future<Output = ()>) -> Late {
    let secret = Matcher::patch("secrets").name("lobby").first(1);
    let status = Matcher::patch("videoaccesstokens/status").name("lobby");
    match step {
        Step::Issued => {
            let hold = scene.azure.video_indexer.control().hold(HoldPoint::Answer, None);
            begin.await;
            timeout(SOON, hold.reached()).await.unwrap();
            operator.kill9();
            hold.release();
            Late(None)
        }
        Step::SecretSent | Step::SecretLate | Step::SecretStored => {
            let held =
                if step == Step::SecretStored { scene.proxy.hold_answer(secret) } else { scene.proxy.hold(secret) };
            begin.await;
            held.wait().await;
            operator.kill9();
            if step == Step::SecretLate {
                return Late(Some(held));
            }
            held.drop_all();
            Late(None)
        }
        Step::StatusSent | Step::StatusStored => {
            // the one that speaks of the new Secret, not one that tells of the wait
            let stored = scene.proxy.hold_answer(secret);
            begin.await;
            stored.wait().await;
            let held =
                if step == Step::StatusSent { scene.proxy.hold(status) } else { scene.proxy.hold_answer(status) };
            stored.release();
            held.wait().await;
            operator.kill9();
            held.drop_all();
            Late(None)
        }
    }
}

/// A write of a dead operator's that hasn't arrived yet.
struct Late(Option<Held>);

impl Late {
    /// Lets it arrive: the API server refuses it, since the Secret isn't as that operator saw it.
    async fn arrive(self, scene: &Scene) {
        let Some(held) = self.0 else { return };
        held.release();
        eventually(SOON, "the late write is refused", async || {
            let log = scene.proxy.log();
            let secret = Matcher::patch("secrets").name("lobby");
            let answers: Vec<_> = log.iter().filter(|e| secret.matches(&e.request)).map(|e| e.status).collect();
            if answers.contains(&Some(409)) { Ok(()) } else { Err(format!("{answers:?}")) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p05_a_crash_during_the_first_issue_loses_the_token_in_flight_at_most() {
    for (step, lost) in STEPS {
        let scene = Scene::new("crash-first", OPERATOR).await.unwrap();
        let mut operator = scene.operator().await.unwrap();
        let begin = async || scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
        let late = killed_at(&scene, step, &mut operator, begin()).await;
        assert_eq!(scene.issued(), 1, "{step:?}: one token before the crash");
        let stored = scene.key_of("lobby", "token").await.unwrap();
        assert_eq!(stored.is_some(), lost == 0, "{step:?}: the Secret after the crash");

        let _operator = scene.operator().await.unwrap();
        let token = scene.settled("lobby").await;
        late.arrive(&scene).await;
        scene.fence().await.unwrap();
        assert_eq!(scene.issued(), 1 + lost + 1, "{step:?}: tokens issued, with the fence's");
        assert_eq!(scene.settled("lobby").await.unwrap(), token.unwrap(), "{step:?}: the Secret stays as it is");
        if let Some(stored) = stored {
            assert_eq!(scene.held("lobby").await.unwrap(), stored, "{step:?}: the stored token is kept");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p05_a_crash_during_a_renewal_keeps_the_old_token_until_the_new_one_is_stored() {
    for (step, lost) in STEPS {
        let scene = Scene::new("crash-renewal", OPERATOR).await.unwrap();
        let mut operator = scene.operator().await.unwrap();
        scene.ready_token("lobby", &json!({})).await.unwrap();
        let old = scene.settled("lobby").await.unwrap();
        let begin = async || drop(scene.force_renewal("lobby").await.unwrap());
        let late = killed_at(&scene, step, &mut operator, begin()).await;
        assert_eq!(scene.issued(), 2, "{step:?}: one more token before the crash");
        let stored = scene.held("lobby").await.unwrap();
        assert_eq!(stored != old, lost == 0, "{step:?}: the old token is there until the new one is");

        let _operator = scene.operator().await.unwrap();
        let renewed = eventually(SOON, "renewed", async || {
            let token = scene.held("lobby").await.map_err(|error| error.to_string())?;
            if token == old { Err("the old token".to_owned()) } else { Ok(token) }
        })
        .await;
        late.arrive(&scene).await;
        assert_eq!(scene.settled("lobby").await.unwrap(), renewed, "{step:?}");
        scene.fence().await.unwrap();
        assert_eq!(scene.issued(), 2 + lost + 1, "{step:?}: tokens issued, with the fence's");
        assert_eq!(scene.settled("lobby").await.unwrap(), renewed, "{step:?}: the Secret stays as it is");
        if lost == 0 {
            assert_eq!(renewed, stored, "{step:?}: the stored token is kept");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p05_an_answer_lost_on_its_way_costs_no_second_token() {
    for what in ["secrets", "videoaccesstokens/status"] {
        let scene = Scene::new("lost-answer", OPERATOR).await.unwrap();
        let _operator = scene.operator().await.unwrap();
        let lost = scene.proxy.fail(Matcher::patch(what).name("lobby").first(1), Failure::LostAnswer);
        scene.ready_token("lobby", &json!({})).await.unwrap();
        scene.settled("lobby").await.unwrap();
        assert_eq!((lost.hits(), scene.issued()), (1, 1), "{what}");
    }
}
