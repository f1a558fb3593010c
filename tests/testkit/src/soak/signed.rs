//! The type that calls nobody. No emulator records what was issued: the observer asks for each token that it sees in a
//! Secret, and one that verifies with a key of its account is recorded, with the times that it states.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::promise::Life;
use super::stage::LIVES;
use super::types::{ProviderType, Token, key, mark, object_of, reference, tag};
use crate::emulator::{Control, SigningKey, claims};

/// Accounts with their keys, and the tokens that were seen.
#[derive(Default)]
pub(super) struct Signed(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    /// The keys of each account, oldest first.
    keys: HashMap<String, Vec<SigningKey>>,
    tokens: HashMap<String, Token>,
    /// Tokens that name an account and are not what it declares, with the reason.
    wrong: BTreeMap<String, String>,
}

/// What the issuer of every token here begins with; the account follows.
const ISSUER: &str = "https://soak.example/";

/// The seconds that an object's tokens live: spread over what the tokens of other types live.
fn life(object: usize) -> i64 {
    let (least, most) = LIVES;
    let spread = u32::try_from(object * 37 % 1_000_003).unwrap_or_default();
    i64::from(least + spread % (most - least + 1))
}

impl Signed {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// The token with these claims, which are not verified yet, or what is wrong with it.
    fn read(&self, token: &str, account: &str) -> Result<Token, String> {
        let keys = self.keys.get(account).ok_or_else(|| format!("there is no account {account}"))?;
        let verified = keys.iter().zip(0..).find_map(|(key, number)| Some((number, key.verify(token)?)));
        let (key, claims) = verified.ok_or_else(|| format!("no key of {account} has signed it"))?;
        let object = claims.get("sub").and_then(Value::as_str).and_then(object_of);
        let object = object.ok_or_else(|| "sub is no object".to_owned())?;
        let life = times(&claims).ok_or_else(|| "it lacks iat, exp or jti".to_owned())?;
        let (seconds, asked) = (life.length().num_seconds(), self::life(object));
        if seconds != asked {
            return Err(format!("it lives {seconds} s, and its object asks for {asked} s"));
        }
        Ok(Token { object, life, call: None, key })
    }
}

fn times(claims: &Map<String, Value>) -> Option<Life> {
    let time = |name: &str| DateTime::from_timestamp(claims.get(name)?.as_i64()?, 0);
    claims.get("jti")?.as_str()?;
    Some(Life { issued_at: time("iat")?, expires_at: time("exp")? })
}

impl ProviderType for Signed {
    fn name(&self) -> &'static str {
        "signed"
    }

    fn control(&self) -> Option<&Arc<Control>> {
        None
    }

    fn knows(&self, token: &str) -> Option<DateTime<Utc>> {
        let mut seen = self.seen();
        if let Some(known) = seen.tokens.get(token) {
            return Some(known.life.expires_at);
        }
        let claims = claims(token)?;
        let account = claims.get("iss")?.as_str()?.strip_prefix(ISSUER)?;
        match seen.read(token, account) {
            Ok(known) => {
                seen.tokens.insert(token.to_owned(), known);
                Some(known.life.expires_at)
            }
            Err(why) => {
                seen.wrong.insert(token.to_owned(), format!("a signed token of {account} is wrong: {why}"));
                None
            }
        }
    }

    fn tokens(&self) -> Vec<Token> {
        let mut tokens: Vec<_> = self.seen().tokens.values().copied().collect();
        tokens.sort_by_key(|token| (token.life.issued_at, token.key));
        tokens
    }

    fn wrong(&self) -> Vec<String> {
        self.seen().wrong.values().cloned().collect()
    }

    fn hosts(&self) -> Vec<String> {
        Vec::new()
    }

    fn account(&self, account: usize) -> String {
        tag(account)
    }

    fn open(&self, _account: usize) {}

    fn allows(&self) -> Value {
        json!({"videotoken.dev/signing-key": "true"})
    }

    fn admit(&self, account: usize, generation: u32) -> Value {
        let mut seen = self.seen();
        let keys = seen.keys.entry(tag(account)).or_default();
        for new in u32::try_from(keys.len()).unwrap_or(u32::MAX)..=generation {
            keys.push(SigningKey::shared(key(account, new).as_bytes(), &tag(account)));
        }
        json!({"key": key(account, generation)})
    }

    /// Nobody is asked: the key signs until the Secret has another.
    fn revoke(&self, _account: usize, _generation: u32) {}

    fn provider(&self, account: usize, login: &str) -> Value {
        json!({
            "key": {"secretRef": reference(login, "key")},
            "parameters": {"room": {}},
            "lifetime": {"min": "10s", "max": "5m"},
            "jwt": {
                "algorithm": "HS256",
                "claims": {
                    "iss": format!("{ISSUER}{}", tag(account)),
                    "sub": "{{ room }}",
                    "iat": "{{ issued_at | unix }}",
                    "jti": "{{ uuid() }}",
                },
            },
        })
    }

    fn scope(&self, _account: usize, object: usize) -> Value {
        json!({"parameters": {"room": mark(object)}})
    }

    fn lifetime(&self, object: usize) -> Option<String> {
        Some(format!("{}s", life(object)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A token of the account, signed with this generation of its key.
    fn signed(generation: u32, changes: &Value) -> String {
        let mut claims = json!({"iss": format!("{ISSUER}{}", tag(3)), "sub": mark(7), "iat": 1_800_000_000, "jti": "j",
            "exp": 1_800_000_000 + life(7)});
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        SigningKey::shared(key(3, generation).as_bytes(), "").sign(claims.as_object().unwrap())
    }

    #[test]
    fn a_token_is_known_by_the_key_that_signed_it() {
        let type_ = Signed::default();
        type_.admit(3, 0);
        type_.admit(3, 1);
        let (old, new) = (signed(0, &json!({})), signed(1, &json!({"jti": "k"})));
        let ends = DateTime::from_timestamp(1_800_000_000 + life(7), 0);
        assert_eq!([&new, &old, &old].map(|token| type_.knows(token)), [ends; 3]);
        let known: Vec<_> = type_.tokens().iter().map(|token| (token.object, token.key)).collect();
        assert_eq!((known, type_.wrong()), (vec![(7, 0), (7, 1)], vec![]));
    }

    #[test]
    fn a_token_that_is_not_what_was_declared_is_wrong() {
        let type_ = Signed::default();
        type_.admit(3, 0);
        for (token, wrong) in [
            (signed(1, &json!({})), "no key of account0003 has signed it"),
            (signed(0, &json!({"iss": format!("{ISSUER}{}", tag(4))})), "there is no account account0004"),
            (signed(0, &json!({"sub": "lobby"})), "sub is no object"),
            (signed(0, &json!({"exp": null})), "it lacks iat, exp or jti"),
            (signed(0, &json!({"exp": 4_000_000_000_i64})), "its object asks for"),
        ] {
            assert_eq!(type_.knows(&token), None, "{wrong}");
            assert!(type_.wrong().iter().any(|told| told.contains(wrong)), "{wrong}: {:?}", type_.wrong());
        }
        // another type's, or another hand's
        let other = signed(0, &json!({"iss": "https://api.videoindexer.ai/"}));
        for token in ["written by another hand", "a.b.c", &SigningKey::shared(b"k", "").sign(&Map::new()), &other] {
            assert_eq!(type_.knows(token), None);
        }
        assert_eq!((type_.wrong().len(), type_.tokens().len()), (5, 0));
    }

    #[test]
    fn lives_are_spread() {
        let lives: std::collections::BTreeSet<_> = (0..200).map(life).collect();
        assert!(lives.len() > 60 && lives.iter().all(|life| (30..=120).contains(life)), "{lives:?}");
    }
}
