//! The objects of the scenario, and what their users do to them.

use crate::api_server::store::{Key, Store};
use crate::token_api::LIMIT;
use crate::world::World;
use serde_json::{Value, json};

const NAMESPACES: u64 = 4;
const TOKENS: &str = "videoaccesstokens";

/// Creates namespaces with a credential, a provider and a Secret of another owner, and the tokens.
pub fn create(store: &mut Store, tokens: u64) {
    for n in 0..NAMESPACES.min(tokens) {
        let namespace = format!("tenant-{n}");
        let object = |api: &str, kind: &str, meta: Value| json!({"apiVersion": api, "kind": kind, "metadata": meta});
        let _ = store.create("namespaces", "", object("v1", "Namespace", json!({"name": namespace})));
        let mut foreign = object("v1", "Secret", json!({"name": "foreign"}));
        foreign["type"] = "Opaque".into();
        let _ = store.create("secrets", &namespace, foreign);
        let mut key = object("v1", "Secret", json!({"name": "key", "labels": {"videotoken.dev/credentials": "true"}}));
        key["type"] = "Opaque".into();
        key["data"] = json!({"subscription-key": "MDEyMzQ1Njc4OWFiY2RlZg=="});
        let _ = store.create("secrets", &namespace, key);
        let mut provider = object("videotoken.dev/v1alpha1", "TokenProvider", json!({"name": "indexer"}));
        let account = json!({"location": "trial", "accountId": format!("4f1c2d7e-93b4-4a58-8c1b-6a0e2d9f7b3{n}"),
            "subscriptionKeyRef": {"name": "key", "key": "subscription-key"},
            "endpoint": "https://api.videoindexer.ai"});
        let limits = json!({"windows": [{"requests": LIMIT, "period": "1m"}], "concurrency": 8});
        provider["spec"] = json!({"videoIndexerClassic": account, "limits": limits});
        let _ = store.create("tokenproviders", &namespace, provider);
    }
    for n in 0..tokens {
        create_token(store, n);
    }
}

fn key_of(n: u64) -> Key {
    (format!("tenant-{}", n % NAMESPACES), format!("token-{n:05}"))
}

fn create_token(store: &mut Store, n: u64) {
    let (namespace, name) = key_of(n);
    let spec = json!({"providerRef": {"kind": "TokenProvider", "name": "indexer"}, "suspend": false,
        "scope": {"videoIndexerClassic": {"video": {"videoId": format!("v{n}"), "allowEdit": false}}},
        "secret": {"type": "Opaque", "keys": {"token": "token", "expiresAt": "expires-at"}, "deletionPolicy": "Delete"}});
    let token = json!({"apiVersion": "videotoken.dev/v1alpha1", "kind": "VideoAccessToken",
        "metadata": {"name": name}, "spec": spec});
    let _ = store.create(TOKENS, &namespace, token);
}

/// Acts as a random user, and returns how many tokens the action may cause.
pub fn act(world: &World, tokens: u64) -> u64 {
    let (n, action) = (world.below(tokens), world.below(6));
    let key = key_of(n);
    world.change(|store| match action {
        // The object is deleted and created again at once.
        0 => {
            let _ = store.delete(TOKENS, &key, &Value::Null);
            create_token(store, n);
            1
        }
        // A forced renewal.
        1 => {
            let at = store.now.to_rfc3339();
            let patch = json!({"metadata": {"annotations": {"videotoken.dev/renew-requested-at": at}}});
            let _ = store.merge(TOKENS, &key, false, &patch);
            1
        }
        // The Secret is deleted.
        2 => {
            let _ = store.delete("secrets", &key, &Value::Null);
            1
        }
        // The token in the Secret is altered.
        3 => {
            let _ = store.merge("secrets", &key, false, &json!({"data": {"token": "YWx0ZXJlZA=="}}));
            1
        }
        // The Secret's keys are renamed and back: no token.
        4 => {
            let keys = [json!({"token": "token"}), json!({"token": "video-token"})];
            let keys = &keys[usize::from(store.now.timestamp() % 2 == 0)];
            let _ = store.merge(TOKENS, &key, false, &json!({"spec": {"secret": {"keys": keys}}}));
            0
        }
        // The credential is touched: a label of somebody's, no token.
        _ => {
            let patch = json!({"metadata": {"labels": {"touched": store.version.to_string()}}});
            let _ = store.merge("secrets", &(key.0.clone(), "key".to_owned()), false, &patch);
            0
        }
    })
}

/// Returns the tokens that aren't Ready.
pub fn not_ready(store: &Store) -> Vec<String> {
    let is_ready = |value: &Value| {
        let all = value["status"]["conditions"].as_array();
        all.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
    };
    let waiting = store.list(TOKENS, None, None).filter(|(_, object)| !is_ready(&object.value));
    waiting.map(|(key, object)| format!("{}/{}: {}", key.0, key.1, object.value["status"]["conditions"])).collect()
}
