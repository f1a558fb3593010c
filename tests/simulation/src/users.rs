//! The objects of the scenario, and what their users do to them.

use crate::api_server::store::{Key, Store};
use crate::token_api::{LIMIT, NARROW, TokenApi, narrow_limit};
use crate::world::{Strike, World};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const NAMESPACES: u64 = 4;
/// Plural of the objects that ask for tokens.
pub const TOKENS: &str = "videoaccesstokens";
const PROVIDERS: &str = "tokenproviders";

/// Provider whose resolution panics.
const FRAGILE: &str = "fragile";

/// Returns the name of a namespace.
pub fn namespace(n: u64) -> String {
    format!("tenant-{n}")
}

/// Returns the names of all namespaces of users.
pub fn namespaces(tokens: u64) -> Vec<String> {
    (0..NAMESPACES.min(tokens)).map(namespace).collect()
}

fn object(api: &str, kind: &str, meta: &Value) -> Value {
    json!({"apiVersion": api, "kind": kind, "metadata": meta})
}

/// Creates namespaces with a credential, a provider and a Secret of another owner, and the tokens.
pub fn create(store: &mut Store, tokens: u64) {
    for n in 0..NAMESPACES.min(tokens) {
        let namespace = namespace(n);
        let _ = store.create("namespaces", "", object("v1", "Namespace", &json!({"name": namespace})));
        let mut foreign = object("v1", "Secret", &json!({"name": "foreign"}));
        foreign["type"] = "Opaque".into();
        let _ = store.create("secrets", &namespace, foreign);
        create_credential(store, &namespace);
        create_provider(store, n, "indexer", tokens);
    }
    // Nobody uses it, and its every resolution panics (`VIDEO_TOKEN_OPERATOR_PANIC`).
    create_provider(store, 0, FRAGILE, tokens);
    for n in 0..tokens {
        create_token(store, n, "Delete");
    }
}

fn create_credential(store: &mut Store, namespace: &str) {
    let mut key = object("v1", "Secret", &json!({"name": "key", "labels": {"videotoken.dev/credentials": "true"}}));
    key["type"] = "Opaque".into();
    key["data"] = json!({"subscription-key": "MDEyMzQ1Njc4OWFiY2RlZg=="});
    let _ = store.create("secrets", namespace, key);
}

fn create_provider(store: &mut Store, n: u64, name: &str, tokens: u64) {
    let mut provider = object("videotoken.dev/v1alpha1", "TokenProvider", &json!({"name": name}));
    let account = json!({"location": "trial", "accountId": format!("4f1c2d7e-93b4-4a58-8c1b-{n:012}"),
        "subscriptionKeyRef": {"name": "key", "key": "subscription-key"}, "endpoint": "https://api.videoindexer.ai"});
    let (requests, period) = if n == NARROW { (narrow_limit(tokens), "10m") } else { (LIMIT, "1m") };
    let limits = json!({"windows": [{"requests": requests, "period": period}], "concurrency": 8});
    provider["spec"] = json!({"videoIndexerClassic": account, "limits": limits});
    let _ = store.create(PROVIDERS, &namespace(n), provider);
}

/// Returns the key of the object of this number.
pub fn key_of(n: u64) -> Key {
    (namespace(n % NAMESPACES), format!("token-{n:05}"))
}

/// Returns the key of the object that asks for this video.
pub fn key_of_video(video: &str) -> Key {
    key_of(number_of(video).unwrap_or_default())
}

/// Returns the number of the token that asks for this video.
pub fn number_of(video: &str) -> Option<u64> {
    video.strip_prefix('v')?.parse().ok()
}

fn create_token(store: &mut Store, n: u64, policy: &str) {
    let (namespace, name) = key_of(n);
    create_named(store, &namespace, &name, n, policy);
}

fn create_named(store: &mut Store, namespace: &str, name: &str, n: u64, policy: &str) {
    let spec = json!({"providerRef": {"kind": "TokenProvider", "name": "indexer"}, "suspend": false,
        "scope": {"videoIndexerClassic": {"video": {"videoId": format!("v{n}"), "allowEdit": false}}},
        "secret": {"type": "Opaque", "keys": {"token": "token", "expiresAt": "expires-at"}, "deletionPolicy": policy}});
    let mut token = object("videotoken.dev/v1alpha1", "VideoAccessToken", &json!({"name": name}));
    token["spec"] = spec;
    let _ = store.create(TOKENS, namespace, token);
}

/// Returns the name of the Secret of an object.
fn secret_of(store: &Store, key: &Key) -> Key {
    let token = store.get(TOKENS, key);
    let name = token.and_then(|token| token.value["spec"]["secret"]["name"].as_str().map(str::to_owned));
    (key.0.clone(), name.unwrap_or_else(|| key.1.clone()))
}

/// An action of a user on one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Deletes the object and creates it again.
    Recreate,
    /// Forces a renewal.
    Force,
    /// Deletes the Secret.
    DeleteSecret,
    /// Overwrites the token in the Secret.
    AlterSecret,
    /// Edits the keys of the Secret.
    RenameKeys,
    /// Edits the name of the Secret.
    Rename,
    /// Edits the template.
    Template,
    /// Writes the credential without changing it.
    TouchCredential,
    /// Edits the limits of the provider.
    EditProvider,
    /// Deletes the credential and creates it again, while the operator reads it.
    ReplaceCredential,
    /// Deletes the object and creates it again, several times, at any point of its calls.
    Churn,
    /// Deletes an object whose Secret stays, then the Secret. The object comes back a minute later.
    Abandon,
    /// Renames the Secret three times within moments.
    RenameOften,
    /// Deletes the provider, and applies it again with its credential.
    Join,
    /// Restarts the operators one after the other, during a call if one begins within some minutes.
    Rollout,
}

/// Each action, by its name.
pub const ACTIONS: [(&str, Action); 15] = [
    ("recreate", Action::Recreate),
    ("force", Action::Force),
    ("delete-secret", Action::DeleteSecret),
    ("alter-secret", Action::AlterSecret),
    ("rename-keys", Action::RenameKeys),
    ("rename", Action::Rename),
    ("template", Action::Template),
    ("touch-credential", Action::TouchCredential),
    ("edit-provider", Action::EditProvider),
    ("replace-credential", Action::ReplaceCredential),
    ("churn", Action::Churn),
    ("abandon", Action::Abandon),
    ("rename-often", Action::RenameOften),
    ("join", Action::Join),
    ("rollout", Action::Rollout),
];

/// The users of a run.
#[derive(Clone, Debug)]
pub struct Users {
    /// The world that they act in.
    pub world: Arc<World>,
    /// The token API, which learns how many tokens the actions may cause.
    pub api: Arc<TokenApi>,
    /// Number of tokens.
    pub tokens: u64,
}

impl Users {
    fn any(&self) -> u64 {
        self.world.below(self.tokens)
    }

    fn allow(&self, n: u64) {
        *self.api.calls.lock().caused.entry(format!("v{n}")).or_default() += 1;
    }

    /// Acts as a random user, on the token of this number or on a random one.
    pub async fn act(&self, n: Option<u64>) {
        let action = self.world.below(ACTIONS.len() as u64);
        self.tell(n.unwrap_or_else(|| self.any()), ACTIONS[usize::try_from(action).unwrap_or_default()].1).await;
    }

    /// Does this to the token of this number.
    pub async fn tell(&self, n: u64, action: Action) {
        self.world.note(&format!("{action:?} of token {n}"));
        match action {
            Action::ReplaceCredential => self.replace_credential(n).await,
            Action::Churn => self.churn(n).await,
            Action::Abandon => self.abandon(n).await,
            Action::RenameOften => self.rename_often(n).await,
            Action::Join => self.join(n).await,
            Action::Rollout => self.roll_out().await,
            action => self.one(n, action),
        }
    }

    /// Does what a sweep asks for to the token of this number.
    pub fn strike(&self, n: u64, strike: Strike) {
        match strike {
            Strike::Recreated => self.one(n, Action::Recreate),
            Strike::Renamed => self.one(n, Action::Rename),
            Strike::Forced => self.one(n, Action::Force),
            Strike::Deleted => {
                self.world.change(|store| drop(store.delete(TOKENS, &key_of(n), &Value::Null)));
            }
            _ => {}
        }
    }

    /// Edits random tokens four times a second, which issues none.
    pub async fn edit(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.one(self.any(), Action::RenameKeys);
            self.world.pause(200, 300).await;
        }
    }

    fn one(&self, n: u64, action: Action) {
        let key = key_of(n);
        if matches!(action, Action::Recreate | Action::Force | Action::DeleteSecret | Action::AlterSecret) {
            self.allow(n);
        }
        if action == Action::AlterSecret {
            // It alters the values of both names of the key, so a later rename of the key finds an altered one.
            self.allow(n);
        }
        self.world.change(|store| {
            let secret = secret_of(store, &key);
            let even = store.version % 2 == 0;
            match action {
                Action::Recreate => {
                    let _ = store.delete(TOKENS, &key, &Value::Null);
                    create_token(store, n, "Delete");
                }
                Action::Force => {
                    let at = store.now.to_rfc3339();
                    let patch = json!({"metadata": {"annotations": {"videotoken.dev/renew-requested-at": at}}});
                    let _ = store.merge(TOKENS, &key, false, &patch);
                }
                Action::DeleteSecret => drop(store.delete("secrets", &secret, &Value::Null)),
                Action::AlterSecret => {
                    let data = json!({"data": {"token": "YWx0ZXJlZA==", "video-token": "YWx0ZXJlZA=="}});
                    let _ = store.merge("secrets", &secret, false, &data);
                }
                Action::RenameKeys => {
                    let token = store.get(TOKENS, &key);
                    let is_plain = token.is_some_and(|it| it.value["spec"]["secret"]["keys"]["token"] == "token");
                    let name = if is_plain { "video-token" } else { "token" };
                    let _ = store.merge(TOKENS, &key, false, &json!({"spec": {"secret": {"keys": {"token": name}}}}));
                }
                Action::Rename => rename(store, &key),
                Action::Template => {
                    let data = json!({"url": format!("{}={{{{ token }}}}", store.version)});
                    let patch = json!({"spec": {"secret": {"template": {"data": data}}}});
                    let _ = store.merge(TOKENS, &key, false, &patch);
                }
                Action::TouchCredential => {
                    let patch = json!({"metadata": {"labels": {"touched": store.version.to_string()}}});
                    let _ = store.merge("secrets", &(key.0.clone(), "key".to_owned()), false, &patch);
                }
                Action::EditProvider => {
                    let patch = json!({"spec": {"limits": {"concurrency": if even { 7 } else { 8 }}}});
                    let _ = store.merge(PROVIDERS, &(key.0.clone(), "indexer".to_owned()), false, &patch);
                }
                _ => {}
            }
        });
    }

    async fn replace_credential(&self, n: u64) {
        let (namespace, _) = key_of(n);
        self.world.change(|store| drop(store.delete("secrets", &(namespace.clone(), "key".to_owned()), &Value::Null)));
        self.world.pause(1, 30).await;
        self.world.change(|store| create_credential(store, &namespace));
    }

    async fn churn(&self, n: u64) {
        for _ in 0..8 {
            self.one(n, Action::Recreate);
            self.world.pause(5, 250).await;
        }
    }

    async fn abandon(&self, n: u64) {
        let key = key_of(n);
        let policy = json!({"spec": {"secret": {"deletionPolicy": "Retain"}}});
        self.world.change(|store| drop(store.merge(TOKENS, &key, false, &policy)));
        self.world.pause(20_000, 40_000).await;
        let secret = self.world.change(|store| {
            let secret = secret_of(store, &key);
            let _ = store.delete(TOKENS, &key, &Value::Null);
            secret
        });
        self.world.pause(3000, 10_000).await;
        // Behind a stale watch the operator may issue a token to repair it, before it sees that the object is gone.
        self.allow(n);
        self.world.change(|store| drop(store.delete("secrets", &secret, &Value::Null)));
        self.world.pause(10_000, 60_000).await;
        self.allow(n);
        self.world.change(|store| create_token(store, n, "Delete"));
    }

    async fn rename_often(&self, n: u64) {
        let key = key_of(n);
        for _ in 0..3 {
            self.world.change(|store| rename(store, &key));
            self.world.pause(5, 200).await;
        }
    }

    async fn roll_out(&self) {
        let mut calls = self.api.begun.subscribe();
        let _ = tokio::time::timeout(Duration::from_mins(4), calls.changed()).await;
        self.world.pause(0, 1000).await;
        self.world.bring_on(Strike::Stopped, "").await;
    }

    async fn join(&self, n: u64) {
        let (key, provider) = (n % NAMESPACES, "indexer");
        let name = (namespace(key), provider.to_owned());
        self.world.change(|store| {
            let _ = store.delete(PROVIDERS, &name, &Value::Null);
            let _ = store.delete("secrets", &(name.0.clone(), "key".to_owned()), &Value::Null);
        });
        self.world.pause(500, 3000).await;
        self.world.change(|store| create_provider(store, key, provider, self.tokens));
        self.world.pause(1, 40).await;
        self.world.change(|store| create_credential(store, &name.0));
    }
}

fn rename(store: &mut Store, key: &Key) {
    let name = match store.version % 3 {
        0 => Value::Null,
        1 => format!("{}-b", key.1).into(),
        _ => format!("{}-c", key.1).into(),
    };
    let _ = store.merge(TOKENS, key, false, &json!({"spec": {"secret": {"name": name}}}));
}

/// Returns the tokens and providers that aren't Ready. The provider whose resolution panics never is.
pub fn not_ready(store: &Store) -> Vec<String> {
    let is_ready = |value: &Value| {
        let all = value["status"]["conditions"].as_array();
        all.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
    };
    let providers = store.list(PROVIDERS, None, None).filter(|(key, _)| key.1 != FRAGILE);
    let all = store.list(TOKENS, None, None).chain(providers);
    let waiting = all.filter(|(_, object)| !is_ready(&object.value));
    waiting.map(|(key, object)| format!("{}/{}: {}", key.0, key.1, object.value["status"]["conditions"])).collect()
}
