//! Throttles and quotas of the two APIs behind Azure API Management, in each form that the gateway uses.

use super::keyed::Tested;
use super::{cognitive_services, video_indexer_classic};
use std::time::Duration;
use testkit::emulator::{Fault, Gateway, Telling};
use videotoken_providers::Class;

#[tokio::test]
async fn a_throttle_and_a_quota_last_as_long_as_the_gateway_says() {
    let classic = video_indexer_classic::start().await;
    wait_as_told(&classic, classic.serving.gateway(), video_indexer_classic::ACCOUNT).await;
    let services = cognitive_services::start().await;
    for flat in [false, true] {
        services.serving.set_flat_errors(flat);
        wait_as_told(&services, services.serving.gateway(), cognitive_services::SERVICE).await;
    }
}

async fn wait_as_told(tested: &Tested, gateway: &Gateway, scope: &str) {
    for telling in [Telling::HeaderAndWords, Telling::Words, Telling::Header] {
        gateway.set_telling(telling);
        let fault = Fault::Throttle { retry_after: Some(26) };
        tested.control.play_once(fault.clone());
        let error = tested.fail(scope).await;
        let expected = (Class::Throttled, "Throttled", Some(Duration::from_secs(26)));
        assert_eq!((error.class, &*error.reason, error.retry_after), expected, "{telling:?}");
        let is_in_words = error.message.ends_with("Rate limit is exceeded. Try again in 26 seconds.");
        assert!(is_in_words || matches!(telling, Telling::Header), "{error}");
        assert_eq!(tested.last().fault(), Some(&fault));
    }
    for (telling, left, wait, in_words) in [
        (Telling::HeaderAndWords, 90, 90, "00:01:30."),
        (Telling::Words, 422, 422, "00:07:02."),
        // a day and more: looked at again after an hour
        (Telling::Words, 90_061, 3600, "1.01:01:01."),
    ] {
        gateway.set_telling(telling);
        gateway.use_up_quota(Some(Duration::from_secs(left)));
        let error = tested.fail(scope).await;
        let expected = (Class::Throttled, "QuotaExceeded", Some(Duration::from_secs(wait)));
        assert_eq!((error.class, &*error.reason, error.retry_after), expected, "{telling:?}");
        let words = format!("HTTP 403: Out of call volume quota. Quota will be replenished in {in_words}");
        assert_eq!(error.message, words);
    }
    gateway.use_up_quota(None);
    tested.issue(scope, "").await.unwrap();
}
