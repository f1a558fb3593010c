//! Crashes, failing requests and a lost Lease between a renewal and the restart of its workloads.

use super::{begun, followed, names_player, player, restarts, times};
use crate::OPERATOR;
use crate::two_operators::{LEASE, directly, holder};
use serde_json::Value;
use testkit::scene::{SOON, Scene, condition};
use testkit::stand::{Failure, Held, Matcher, Operator, Traffic, eventually};

/// Where the operator stands when it is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// The Secret is stored; the answer is on the way.
    SecretStored,
    /// It looks at the workload.
    Look,
    /// The workload's patch is on the way, and never arrives.
    PatchSent,
    /// The workload's patch is on the way, and arrives after the restart of the operator.
    PatchLate,
    /// The workload is restarted; the answer is on the way.
    PatchStored,
    /// The status' write is on the way, and never arrives.
    StatusSent,
    /// The status is stored; the answer is on the way.
    StatusStored,
}

const STEPS: [Step; 7] = [
    Step::SecretStored,
    Step::Look,
    Step::PatchSent,
    Step::PatchLate,
    Step::PatchStored,
    Step::StatusSent,
    Step::StatusStored,
];

/// Renews, kills the operator at the step, and returns what is still on its way.
async fn killed_at(scene: &Scene, step: Step, operator: &mut Operator) -> Option<Held> {
    let secret = Matcher::patch("secrets").name("lobby").first(1);
    let look = Matcher::get("deployments").name("player").first(1);
    let patch = Matcher::patch("deployments").name("player").first(1);
    let status = Matcher::patch("videoaccesstokens/status").name("lobby");
    let held = match step {
        Step::SecretStored => scene.proxy.hold_answer(secret),
        Step::Look => scene.proxy.hold(look),
        Step::PatchSent | Step::PatchLate => scene.proxy.hold(patch),
        Step::PatchStored => scene.proxy.hold_answer(patch),
        Step::StatusSent | Step::StatusStored => {
            // the one that speaks of the restart, not one that tells of a wait
            let restarted = scene.proxy.hold_answer(patch);
            scene.force_renewal("lobby").await.unwrap();
            restarted.wait().await;
            let held =
                if step == Step::StatusSent { scene.proxy.hold(status) } else { scene.proxy.hold_answer(status) };
            restarted.release();
            held.wait().await;
            operator.kill9();
            held.drop_all();
            return None;
        }
    };
    scene.force_renewal("lobby").await.unwrap();
    held.wait().await;
    operator.kill9();
    if step == Step::PatchLate {
        return Some(held);
    }
    held.drop_all();
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn p05_a_crash_at_any_step_after_the_secret_s_write_restarts_exactly_once() {
    let scene = Scene::new("crash-restart", OPERATOR).await.unwrap();
    let mut operator = scene.operator().await.unwrap();
    player(&scene).await;
    begun(&scene, "lobby", &names_player()).await;
    let mut fences = 0;
    for (n, step) in STEPS.into_iter().enumerate() {
        let late = killed_at(&scene, step, &mut operator).await;
        operator = scene.operator().await.unwrap();
        let expected = i64::try_from(n).unwrap() + 1;
        eventually(SOON, &format!("{step:?}: restarted"), async || {
            let object = scene.tokens().get("lobby").await.map_err(|error| error.to_string())?;
            let (status, times) = (&object.data["status"], times(&scene, "player").await);
            let told = status["restartedFor"] == status["issuedAt"];
            if told && times == expected { Ok(()) } else { Err(format!("{times} restarts, {status}")) }
        })
        .await;
        if let Some(held) = late {
            held.release();
            eventually(SOON, "the late patch is refused", async || {
                let log = scene.proxy.log();
                let patch = Matcher::patch("deployments");
                let answers: Vec<_> = log.iter().filter(|e| patch.matches(&e.request)).map(|e| e.status).collect();
                if answers.contains(&Some(409)) { Ok(()) } else { Err(format!("{answers:?}")) }
            })
            .await;
        }
        scene.fence().await.unwrap();
        fences += 1;
        scene.settled("lobby").await.unwrap();
        assert_eq!(times(&scene, "player").await, expected, "{step:?}");
        assert_eq!(scene.issued(), 1 + n + 1 + fences, "{step:?}: tokens issued, with the fences'");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p05_a_crash_during_the_first_issue_restarts_nothing() {
    let scene = Scene::new("crash-first", OPERATOR).await.unwrap();
    let mut operator = scene.operator().await.unwrap();
    player(&scene).await;
    let stored = scene.proxy.hold_answer(Matcher::patch("secrets").name("lobby").first(1));
    scene.apply(&scene.token("lobby", &names_player())).await.unwrap();
    stored.wait().await;
    operator.kill9();
    stored.drop_all();
    let _operator = scene.operator().await.unwrap();
    scene.settled("lobby").await.unwrap();
    scene.fence().await.unwrap();
    assert_eq!(restarts(&scene, "Deployment", "player").await, (0, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_fails_is_tried_again_and_delays_no_renewal() {
    let scene = Scene::new("faults-restart", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    player(&scene).await;
    begun(&scene, "lobby", &names_player()).await;
    let (look, patch) = (Matcher::get("deployments"), Matcher::patch("deployments"));
    let (mut issuances, mut restarted) = (1, 0);
    for (at, failure, often) in [
        (&patch, Failure::Status(409), 1),
        (&patch, Failure::Status(429), 1),
        (&patch, Failure::Closed, 1),
        (&patch, Failure::LostAnswer, 2),
        (&look, Failure::Status(500), 1),
        (&look, Failure::Closed, 1),
    ] {
        let rule = scene.proxy.fail(at.clone().first(often), failure);
        // an edit ends the wait that many forced renewals in a row have
        scene.touch("lobby").await.unwrap();
        scene.force_renewal("lobby").await.unwrap();
        issuances += 1;
        restarted += 1;
        followed(&scene, "lobby", issuances).await;
        assert_eq!(rule.hits(), often, "{at} {failure:?}");
        assert_eq!(times(&scene, "player").await, restarted, "{at} {failure:?}");
    }
    assert_eq!(scene.events("lobby").await.unwrap(), [], "a moment's trouble is nothing to tell");

    // as long as it lasts
    let rule = scene.proxy.fail(patch.clone(), Failure::Status(403));
    for _ in 0..2 {
        scene.touch("lobby").await.unwrap();
        scene.force_renewal("lobby").await.unwrap();
        issuances += 1;
        let renewed = |object: &Value| object["status"]["issuances"] == issuances;
        let object = scene.until_that("lobby", "renewed", renewed).await.unwrap();
        assert_eq!(condition(&object, "Ready")["status"], "True");
        let told = [("Warning".to_owned(), "RestartFailed".to_owned(), 1)];
        scene.until_events("lobby", |events| events == told).await;
    }
    assert_eq!(times(&scene, "player").await, restarted);
    drop(rule);
    followed(&scene, "lobby", issuances).await;
    assert_eq!(times(&scene, "player").await, restarted + 1, "two renewals, one restart that waited for both");
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_who_leads_no_more_restarts_nothing() {
    let mut scene = Scene::new("leads", OPERATOR).await.unwrap();
    scene.options.leader_elect = true;
    scene.options.args.extend(LEASE.map(str::to_owned));
    let _leader = scene.operator().await.unwrap();
    let first = holder(&scene).await;
    player(&scene).await;
    begun(&scene, "lobby", &names_player()).await;

    // it looks at the workload, and is cut off before it can restart it
    let look = scene.proxy.hold_answer(Matcher::get("deployments").first(1));
    scene.force_renewal("lobby").await.unwrap();
    look.wait().await;
    scene.proxy.set_traffic(Traffic::Silent);
    let _spare = Operator::start(&directly(&scene).await).await.unwrap();
    eventually(SOON * 2, "the spare leads", async || match holder(&scene).await {
        holder if holder == first => Err(holder),
        _ => Ok(()),
    })
    .await;
    eventually(SOON, "the spare restarts it", async || {
        let object = scene.tokens().get("lobby").await.map_err(|error| error.to_string())?;
        let (status, times) = (&object.data["status"], times(&scene, "player").await);
        let told = status["restartedFor"] == status["issuedAt"];
        if told && times == 1 { Ok(()) } else { Err(format!("{times} restarts, {status}")) }
    })
    .await;
    scene.proxy.set_traffic(Traffic::Open);
    look.release();
    scene.fence().await.unwrap();
    assert_eq!(times(&scene, "player").await, 1);
    assert_eq!(scene.proxy.count(&Matcher::patch("deployments")), 0, "the former leader sends none");
}
