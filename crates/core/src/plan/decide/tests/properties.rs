//! Properties of every decision.

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
        (0i64..5000).prop_map(|t| waiting(at(t)))
    ];
    let unsaved = proptest::option::of((prop_oneof![Just(hash("request")), Just(hash("other"))], 0i64..5000));
    (secret, data, any::<bool>(), any::<bool>(), unsaved, queue, 0i64..8000, any::<bool>()).prop_map(
        |(secret, data, owner_gone, suspend, unsaved, queue, now, fails)| Case {
            secret,
            data,
            owner_gone,
            unsaved,
            queue,
            now,
            probed: true,
            desired: Some(Ok(DesiredToken { suspend, ..desired() })),
            failure: fails.then(|| failure(Class::Transient, now + 10)),
            ..Case::default()
        },
    )
}

proptest! {
    /// The operator calls and writes nothing while suspended, over a Secret that it doesn't own, or without a grant.
    /// Every step is allowed in the state of the VideoAccessToken. A VideoAccessToken with a valid token is reconciled
    /// before the token expires.
    #[test]
    fn p03_no_decision_calls_or_overwrites_what_it_must_not(case in arbitrary()) {
        let decision = case.decide();
        let suspended = matches!(&case.desired, Some(Ok(desired)) if desired.suspend);
        let foreign = case.secret.as_ref().is_some_and(|s| s.owner != Some(UID) && !(case.owner_gone && s.owner.is_some()));
        let writes = matches!(decision.step, TokenStep::Store | TokenStep::Render | TokenStep::CopyToken);
        prop_assert!(decision.step != TokenStep::Issue || case.queue == QueueState::Granted);
        prop_assert!(!(suspended && (decision.step == TokenStep::Issue || writes)));
        prop_assert!(!(foreign && (decision.step == TokenStep::Issue || writes)));
        prop_assert!(decision.step != TokenStep::Issue || case.unsaved.is_none());
        prop_assert!(decision.step != TokenStep::Wait || !matches!(case.queue, QueueState::Granted | QueueState::OtherAccount));
    }
}
