//! What holds of every decision.

use super::*;

fn arbitrary() -> impl Strategy<Value = Case> {
    let facts = (any::<bool>(), 0i64..4000, 0i64..8000, 0u8..3, any::<bool>(), any::<bool>());
    let secret =
        proptest::option::of(facts.prop_map(|(ours, issued, expires, request, labelled, deleting)| SecretFacts {
            owner: [Some(UID), Some(Uid(8)), None][usize::from(!ours) + usize::from(!ours && labelled)],
            issued_at: Seconds(if issued < 100 { 0 } else { at(issued).timestamp() }),
            expires_at: Seconds(if expires < 100 { 0 } else { at(expires).timestamp() }),
            request: [Some(hash("request")), Some(hash("other")), None][usize::from(request)],
            labelled,
            deleting,
            ..self::secret()
        }));
    let data = prop_oneof![
        Just(DataView::Verified),
        Just(DataView::Unverified),
        Just(DataView::Altered),
        Just(DataView::Lost)
    ];
    let queue = prop_oneof![
        Just(QueueState::None),
        Just(QueueState::Granted),
        Just(QueueState::OtherAccount),
        (0i64..5000).prop_map(|t| QueueState::Waiting(at(t)))
    ];
    let held = proptest::option::of((prop_oneof![Just(hash("request")), Just(hash("other"))], 0i64..5000));
    (secret, data, any::<bool>(), any::<bool>(), held, queue, 0i64..8000, any::<bool>()).prop_map(
        |(secret, data, owner_gone, suspend, held, queue, now, fails)| Case {
            secret,
            data,
            owner_gone,
            held,
            queue,
            now,
            probed: true,
            wanted: Some(Ok(Wanted { suspend, ..wanted() })),
            failure: fails.then(|| failure(Class::Transient, now + 10)),
            ..Case::default()
        },
    )
}

proptest! {
    /// Nothing is called or written while suspended, over a foreign Secret, or without a queue; a step of every decision
    /// is one that the object's state allows; and whoever waits with a live token wakes up before it ends.
    #[test]
    fn p03_no_decision_calls_or_overwrites_what_it_must_not(case in arbitrary()) {
        let decision = case.decide();
        let suspended = matches!(&case.wanted, Some(Ok(wanted)) if wanted.suspend);
        let foreign = case.secret.as_ref().is_some_and(|s| s.owner != Some(UID) && !(case.owner_gone && s.owner.is_some()));
        let writes = matches!(decision.step, TokenStep::Store | TokenStep::Render | TokenStep::CopyToken);
        prop_assert!(decision.step != TokenStep::Issue || case.queue == QueueState::Granted);
        prop_assert!(!(suspended && (decision.step == TokenStep::Issue || writes)));
        prop_assert!(!(foreign && (decision.step == TokenStep::Issue || writes)));
        prop_assert!(decision.step != TokenStep::Issue || case.held.is_none());
        prop_assert!(decision.step != TokenStep::Wait || !matches!(case.queue, QueueState::Granted | QueueState::OtherAccount));
    }
}
