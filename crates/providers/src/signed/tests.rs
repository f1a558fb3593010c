//! Vectors that vendors publish, keys in each of their forms, and refusals.

use super::*;
use crate::jwt;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::DateTime;
use serde_json::{Map, json};
use sha2::Digest as _;
use std::sync::LazyLock;
use videotoken_api::video_access_token::VideoAccessTokenSpec;

fn provider(spec: &str) -> ProviderSpec {
    let account: Value = serde_yaml_ng::from_str(spec).unwrap();
    serde_json::from_value(json!({"signed": account})).unwrap()
}

fn signed(spec: &str, key: &str) -> Result<Signed, Wrong> {
    Signed::new(provider(spec).signed.unwrap(), &key.into())
}

/// Issues a token that expires at `expires` (seconds since 1970) after this lifetime.
fn issued(spec: &str, key: &str, parameters: &Value, lifetime: &str, expires: i64) -> Issued {
    let signed = signed(spec, key).unwrap_or_else(|wrong| panic!("{wrong:?} in {spec}"));
    let token =
        json!({"providerRef": {"name": "p"}, "scope": {"signed": {"parameters": parameters}}, "lifetime": lifetime});
    let token: VideoAccessTokenSpec = serde_json::from_value(token).unwrap();
    let request = token.request(&provider(spec)).unwrap();
    let lifetime = TimeDelta::from_std(request.promised_lifetime).unwrap();
    signed.issue_at(DateTime::from_timestamp(expires, 0).unwrap() - lifetime, &request).unwrap()
}

fn token(spec: &str, key: &str, parameters: &Value, lifetime: &str, expires: i64) -> String {
    issued(spec, key, parameters, lifetime, expires).token.expose_secret().to_owned()
}

/// Source: `media_cdn/dualtoken_test.py` of GoogleCloudPlatform/python-docs-samples, at 2022-09-13T12:00:00Z.
#[test]
fn texts_are_signed_as_media_cdn_publishes_them() {
    const SEED: &str = "DJUcnLguVFKmVCFnWGubG1MZg7fWAnxacMjKDhVZMGI=";
    const SHARED: &str = "g_SlMILiIWKqsC6Z2L7gy0sReDOqtSrJrE7CXNr5Nl8=";
    let prefix = "URLPrefix={{ \"http://10.20.30.40/\" | b64urlencode }}~Expires={{ expires_at | unix }}";
    let all =
        "PathGlobs=/*~Starts={{ issued_at | unix }}~Expires={{ expires_at | unix }}~SessionID=test-id~Data=test-data~";
    let headers = "IPRanges={{ \"203.0.113.0/24,2001:db8:4a7f:a732/64\" | b64urlencode }}";
    let signed_all = format!("{all}Headers=Foo=bar,BAZ=quux~{headers}");
    let sent_all = format!("{all}Headers=Foo,BAZ~{headers}");
    for (key, algorithm, text, token_text, expected) in [
        (
            SEED,
            "Ed25519",
            prefix,
            "{{ message }}~Signature={{ signature }}",
            "URLPrefix=aHR0cDovLzEwLjIwLjMwLjQwLw~Expires=1663070400~Signature=OQLXEjnApFGJaGZ_jvp2R7VY5q3ic-HT3igFpi9iPsJRXtQuvPF4cxZUT-rtCqzteXx3vSRhk09FxgDQauO_DA",
        ),
        (
            SEED,
            "Ed25519",
            "FullPath=/example.m3u8~Expires={{ expires_at | unix }}",
            "FullPath~Expires={{ expires_at | unix }}~Signature={{ signature }}",
            "FullPath~Expires=1663070400~Signature=X74OTNjtseIUmsab-YiOTZ8jyX_KG7v4YQWwcFpfFmjhzaX8NdweMc9Wglj8wxEsEW85g3_MBG3T9jzLZFQDCw",
        ),
        (
            SHARED,
            "HmacSha1",
            prefix,
            "{{ message }}~hmac={{ signature }}",
            "URLPrefix=aHR0cDovLzEwLjIwLjMwLjQwLw~Expires=1663070400~hmac=6f5b4bb82536810d5ee111cba3e534d49c6ac3cb",
        ),
        (
            SHARED,
            "HmacSha256",
            &signed_all,
            &format!("{sent_all}~hmac={{{{ signature }}}}"),
            "PathGlobs=/*~Starts=1663027200~Expires=1663070400~SessionID=test-id~Data=test-data~Headers=Foo,BAZ~IPRanges=MjAzLjAuMTEzLjAvMjQsMjAwMTpkYjg6NGE3ZjphNzMyLzY0~hmac=dda9c3d6f3b2e867a09fbb76209ea138dd81f8512210f970d1e92f90927bef4b",
        ),
    ] {
        let encoding = if algorithm == "Ed25519" { "Base64UrlUnpadded" } else { "Hex" };
        let spec = format!(
            "{{key: {{secretRef: {{name: s, key: k}}, encoding: base64url}}, message: {{text: '{text}', algorithm: {algorithm}, \
             encoding: {encoding}, token: '{token_text}'}}}}"
        );
        assert_eq!(token(&spec, key, &json!({}), "12h", 1_663_070_400), expected);
    }
}

/// Source: `e2e/vectors.json` of BunnyWay/BunnyCDN.TokenAuthentication, case `path_only`; Wowza's formula.
#[test]
fn texts_are_signed_as_bunny_publishes_them_and_by_wowzas_formula() {
    let bunny = "{key: {secretRef: {name: s, key: k}}, parameters: {path: {}}, message: {
        text: '{{ path }}{{ expires_at | unix }}token_path={{ path }}', algorithm: HmacSha256,
        encoding: Base64UrlUnpadded, token: 'HS256-{{ signature }}'}}";
    let expected = "HS256-uVZvT3SbEoVKYJyDJgbcsDmSFf73cv-uNUVaJiKWpbQ";
    assert_eq!(token(bunny, "SecurityKey", &json!({"path": "/abc"}), "1h", 1_598_024_587), expected);

    let wowza = "{key: {secretRef: {name: s, key: k}}, parameters: {stream: {}, ip: {}}, message: {
        text: '{{ stream }}?{{ ip }}&{{ key }}&wowzatokenendtime={{ expires_at | unix }}&wowzatokenstarttime={{ issued_at | unix }}',
        algorithm: Sha384, encoding: Base64Url, token: '{{ signature }}'}}";
    let parameters = json!({"stream": "vod/_definst_/mp4:sample.mp4", "ip": "192.168.1.4"});
    let text =
        "vod/_definst_/mp4:sample.mp4?192.168.1.4&abcde&wowzatokenendtime=1459767008&wowzatokenstarttime=1459765208";
    let digest = sha2::Sha384::digest(text);
    let expected = STANDARD.encode(digest).replace('+', "-").replace('/', "_");
    assert_eq!(token(wowza, "abcde", &parameters, "30m", 1_459_767_008), expected);
}

/// Source: `feature/cloudfront/sign/policy_test.go` of aws/aws-sdk-go-v2.
#[test]
fn a_policy_of_cloudfront_has_the_bytes_that_aws_publishes() {
    let spec = "{key: {secretRef: {name: s, key: k}}, message: {
        text: '{\"Statement\":[{\"Resource\":\"https://example.com/a\",\"Condition\":{\"DateLessThan\":{\"AWS:EpochTime\":{{ expires_at | unix }}}}}]}',
        algorithm: RsaSha256, encoding: CloudFront, token: '{{ message | cloudfront }}', values: {signature: '{{ signature }}'}}}";
    let keys = &*KEYS;
    let issued = issued(spec, &keys.rsa_pkcs1, &json!({}), "1h", 1_257_894_000);
    let policy = "eyJTdGF0ZW1lbnQiOlt7IlJlc291cmNlIjoiaHR0cHM6Ly9leGFtcGxlLmNvbS9hIiwiQ29uZGl0aW9uIjp7IkRhdGVMZXNzVGhhbiI6eyJBV1M6RXBvY2hUaW1lIjoxMjU3ODk0MDAwfX19XX0_";
    assert_eq!(issued.token.expose_secret(), policy);
    let signature = issued.values["signature"].expose_secret().replace('-', "+").replace('_', "=").replace('~', "/");
    let text = STANDARD.decode(policy.replace('_', "=")).unwrap();
    let verified = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &keys.rsa_public);
    verified.verify(&text, &STANDARD.decode(signature).unwrap()).unwrap();
}

/// Source: `DynamicKey/AgoraDynamicKey/nodejs/test/AccessToken2Test.js` of AgoraIO/Tools: salt 1, issued at 1111111, 600 s.
/// The vendor's compression differs in its bytes, so the content is compared.
#[test]
fn agoras_tokens_have_the_content_that_agora_publishes() {
    let inflated = |token: &str| {
        let zlib = STANDARD.decode(token.strip_prefix("007").unwrap()).unwrap();
        miniz_oxide::inflate::decompress_to_vec_zlib(&zlib).unwrap()
    };
    let rtc = "rtc: {channel: 7d72365eb983485397e3e3f9d460bdda";
    for (services, expected) in [
        (
            format!("{rtc}, uid: '2882341273'}}"),
            "007eJxTYBBbsMMnKq7p9Hf/HcIX5kce9b518kCiQgSr5Zrp4X1Tu6UUGCzNDZwdjU1TUs0Mkk1MzExMk5ISUy0SjQxNDcwMk4yN3b8IMEQwMTAwMoAwBIL4CgzmKeZGxmamqUmWFsYmFqbGluapxqnGaZYpJmYGSSkpiVwMRhYWRsYmhkbmxgDCaiTj",
        ),
        (
            format!("{rtc}}}"),
            "007eJxTYLhzZP08Lxa1Pg57+TcXb/3cZ3wi4V6kbpbOog0G2dOYk20UGCzNDZwdjU1TUs0Mkk1MzExMk5ISUy0SjQxNDcwMk4yN3b8IMEQwMTAwMoAwBIL4CgzmKeZGxmamqUmWFsYmFqbGluapxqnGaZYpJmYGSSkpiQwMADacImo=",
        ),
        (
            format!(
                "{rtc}, uid: '2882341273', privileges: [Join, PublishAudio, PublishVideo, PublishData]}}, rtm: {{user: test_user}}"
            ),
            "007eJxTYOAQsrQ5s3TfH+1tvy8zZZ46EpCc0V43JXdGd2jS8porKo4KDJbmBs6OxqYpqWYGySYmZiamSUmJqRaJRoamBmaGScbG7l8EGCKYGBgYGRgYmBgYGVgYGMF8JjDJDCZZwKQCg3mKuZGxmWlqkqWFsYmFqbGleapxqnGaZYqJmUFSSkoiF4ORhYWRsYmhkbkxyCyISZwMJanFJfGlxalFACKnKng=",
        ),
    ] {
        let spec = format!(
            "{{key: {{secretRef: {{name: s, key: k}}}}, agora: {{appId: 970CA35de60c44645bbae8a215061b33, {services}}}}}"
        );
        let signed = signed(&spec, "5CFd2fd1755d40ecb72977518be15d3b").unwrap();
        let issued_at = DateTime::from_timestamp(1_111_111, 0).unwrap();
        let variables = RequestVariables {
            parameters: Map::new(),
            issued_at,
            expires_at: issued_at + TimeDelta::seconds(600),
            lifetime: std::time::Duration::from_mins(10),
            // the salt is the rest of a division, plus one
            uuid: Uuid::from_u128(0).to_string(),
        };
        let Signature { token, .. } = sign(&signed.account, &signed.signer, &variables, &mut String::new).unwrap();
        assert_eq!(inflated(token.expose_secret()), inflated(expected), "{services}");
    }
}

/// Keys of each kind, and what verifies their signatures.
struct Keys {
    rsa_pkcs1: String,
    rsa_pkcs8: String,
    rsa_public: Vec<u8>,
    p256: String,
    p256_public: Vec<u8>,
    p384: String,
    p384_sec1: String,
    p384_public: Vec<u8>,
    ed25519: String,
    ed25519_public: Vec<u8>,
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let pkcs8 = AsDer::<Pkcs8V1Der<'_>>::as_der(&rsa).unwrap().as_ref().to_vec();
    // PKCS#8 of an RSA key has PKCS#1 after 26 bytes: version, algorithm, and the heads of sequence and octet string.
    let pkcs1 = pkcs8[26..].to_vec();
    let [p256, p384] = [
        &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING,
        &aws_lc_rs::signature::ECDSA_P384_SHA384_FIXED_SIGNING,
    ]
    .map(|curve| EcdsaKeyPair::generate(curve).unwrap());
    let ec_pkcs8 = |pair: &EcdsaKeyPair| pem("PRIVATE KEY", pair.to_pkcs8v1().unwrap().as_ref());
    let sec1 =
        aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::EcPrivateKeyRfc5915Der<'_>>::as_der(&p384.private_key());
    let ed = Ed25519KeyPair::generate().unwrap();
    Keys {
        rsa_pkcs1: pem("RSA PRIVATE KEY", &pkcs1),
        rsa_pkcs8: pem("PRIVATE KEY", &pkcs8),
        rsa_public: rsa.public_key().as_ref().to_vec(),
        p256: ec_pkcs8(&p256),
        p256_public: p256.public_key().as_ref().to_vec(),
        p384: ec_pkcs8(&p384),
        p384_sec1: pem("EC PRIVATE KEY", sec1.unwrap().as_ref()),
        p384_public: p384.public_key().as_ref().to_vec(),
        ed25519: pem("PRIVATE KEY", ed.to_pkcs8v1().unwrap().as_ref()),
        ed25519_public: ed.public_key().as_ref().to_vec(),
    }
});

fn jwt_spec(algorithm: &str, encoding: &str) -> String {
    format!(
        "{{key: {{secretRef: {{name: s, key: k}}, encoding: {encoding}}}, parameters: {{room: {{}}, \
         role: {{type: integer, default: '1'}}, publish: {{type: boolean, default: 'false'}}}}, jwt: {{algorithm: {algorithm}, \
         header: {{kid: k1}}, claims: {{sub: '{{{{ room }}}}', role: '{{{{ role }}}}', video: {{publish: '{{{{ publish }}}}'}}}}}}}}"
    )
}

/// Returns the parts of a compact JWS: header, claims, signed text, signature.
fn parts(token: &str) -> (Value, Value, String, Vec<u8>) {
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let json = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    (json(header), json(claims), format!("{header}.{claims}"), URL_SAFE_NO_PAD.decode(signature).unwrap())
}

#[test]
fn jwts_of_each_algorithm_are_verified_by_the_public_key() {
    let keys = &*KEYS;
    let rsa = || keys.rsa_public.clone();
    let cases: [(&str, &str, Vec<u8>, &dyn VerificationAlgorithm); 9] = [
        ("RS256", &keys.rsa_pkcs1, rsa(), &RSA_PKCS1_2048_8192_SHA256),
        ("RS256", &keys.rsa_pkcs8, rsa(), &RSA_PKCS1_2048_8192_SHA256),
        ("RS384", &keys.rsa_pkcs8, rsa(), &RSA_PKCS1_2048_8192_SHA384),
        ("RS512", &keys.rsa_pkcs8, rsa(), &RSA_PKCS1_2048_8192_SHA512),
        ("PS256", &keys.rsa_pkcs8, rsa(), &RSA_PSS_2048_8192_SHA256),
        ("ES256", &keys.p256, keys.p256_public.clone(), &ECDSA_P256_SHA256_FIXED),
        ("ES384", &keys.p384, keys.p384_public.clone(), &ECDSA_P384_SHA384_FIXED),
        ("ES384", &keys.p384_sec1, keys.p384_public.clone(), &ECDSA_P384_SHA384_FIXED),
        ("EdDSA", &keys.ed25519, keys.ed25519_public.clone(), &ED25519),
    ];
    for (algorithm, key, public, verification) in cases {
        for (encoding, key) in [("none", key.to_owned()), ("base64", STANDARD.encode(key))] {
            let token = token(&jwt_spec(algorithm, encoding), &key, &json!({"room": "lobby"}), "2h", 1_790_007_200);
            let (header, claims, text, signature) = parts(&token);
            assert_eq!(header, json!({"alg": algorithm, "typ": "JWT", "kid": "k1"}));
            let expected = json!({"sub": "lobby", "role": 1, "video": {"publish": false}, "exp": 1_790_007_200});
            assert_eq!(claims, expected, "{algorithm}");
            let verified = UnparsedPublicKey::new(verification, &public).verify(text.as_bytes(), &signature);
            assert!(verified.is_ok(), "{algorithm} {encoding}");
            assert_eq!(jwt::exp(&token).map(|at| at.timestamp()), Some(1_790_007_200));
        }
    }
}

/// The secret and the token are those of RFC 7515, appendix A.1, with its claims in the order of this writer.
#[test]
fn a_shared_secret_signs_in_each_of_its_forms() {
    let jwk =
        r#"{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}"#;
    let raw = URL_SAFE_NO_PAD
        .decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow");
    let raw = raw.unwrap();
    let hex = raw.iter().fold(String::new(), |text, byte| format!("{text}{byte:02X}"));
    let one = |encoding: &str, key: &str| {
        token(&jwt_spec("HS256", encoding), key, &json!({"room": "a"}), "1h", 1_790_000_000)
    };
    let expected = one("none", jwk);
    for (encoding, key) in [
        ("base64", STANDARD.encode(&raw)),
        ("base64url", URL_SAFE_NO_PAD.encode(&raw)),
        ("hex", hex),
        ("base64", STANDARD.encode(jwk)),
    ] {
        assert_eq!(one(encoding, &key), expected, "{encoding}");
    }
    let (.., text, signature) = parts(&expected);
    assert_eq!(key::hmac_sha256(&raw, text.as_bytes()), signature);
    // keys of platforms may be short
    assert_ne!(one("none", "abababa"), expected);
}

#[test]
fn keys_as_jwk_sign_as_their_pem_does() {
    let keys = &*KEYS;
    let spec = jwt_spec("RS256", "none");
    let parameters = json!({"room": "a"});
    // RFC 7517, appendix A.2: the published RSA key
    let jwk = json!({"kty": "RSA", "kid": "2011-04-29", "e": "AQAB", "alg": "RS256",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        "d": "X4cTteJY_gn4FYPsXB8rdXix5vwsg1FLN5E3EaG6RJoVH-HLLKD9M7dx5oo7GURknchnrRweUkC7hT5fJLM0WbFAKNLWY2vv7B6NqXSzUvxT0_YSfqijwp3RTzlBaCxWp4doFk5N2o8Gy_nHNKroADIkJ46pRUohsXywbReAdYaMwFs9tv8d_cPVY3i07a3t8MN6TNwm0dSawm9v47UiCl3Sk5ZiG7xojPLu4sbg1U2jx4IBTNBznbJSzFHK66jT8bgkuqsk0GjskDJk19Z4qwjwbsnn4j2WBii3RL-Us2lGVkY8fkFzme1z0HbIkfz0Y6mqnOYtqc0X4jfcKoAC8Q",
        "p": "83i-7IvMGXoMXCskv73TKr8637FiO7Z27zv8oj6pbWUQyLPQBQxtPVnwD20R-60eTDmD2ujnMt5PoqMrm8RfmNhVWDtjjMmCMjOpSXicFHj7XOuVIYQyqVWlWEh6dN36GVZYk93N8Bc9vY41xy8B9RzzOGVQzXvNEvn7O0nVbfs",
        "q": "3dfOR9cuYq-0S-mkFLzgItgMEfFzB2q3hWehMuG0oCuqnb3vobLyumqjVZQO1dIrdwgTnCdpYzBcOfW5r370AFXjiWft_NGEiovonizhKpo9VVS78TzFgxkIdrecRezsZ-1kYd_s1qDbxtkDEgfAITAG9LUnADun4vIcb6yelxk",
        "dp": "G4sPXkc6Ya9y8oJW9_ILj4xuppu0lzi_H7VTkS8xj5SdX3coE0oimYwxIi2emTAue0UOa5dpgFGyBJ4c8tQ2VF402XRugKDTP8akYhFo5tAA77Qe_NmtuYZc3C3m3I24G2GvR5sSDxUyAN2zq8Lfn9EUms6rY3Ob8YeiKkTiBj0",
        "dq": "s9lAH9fggBsoFR8Oac2R_E2gw282rT2kGOAhvIllETE1efrA6huUUvMfBcMpn8lqeW6vzznYY5SSQF7pMdC_agI3nG8Ibp1BUb0JUiraRNqUfLhcQb_d9GF4Dh7e74WbRsobRonujTYN1xCaP6TO61jvWrX-L18txXw494Q_cgk",
        "qi": "GyM_p6JrXySiz1toFgKbWV-JdI3jQ4ypu9rbMWx3rQJBfmt0FoYzgUIZEVFEcOqwemRN81zoDAaa-Bk0KWNGDjJHZDdDmFhW3AN7lI-puxk_mHZGJ11rxyR8O55XLSe3SPmRfKwZI6yU24ZxvQKFYItdldUKGzO6Ia6zTKhAVRU"});
    let (header, ..) = parts(&token(&spec, &jwk.to_string(), &parameters, "1h", 1_790_000_000));
    assert_eq!(header["alg"], "RS256");
    // RFC 7515, appendix A.3, and RFC 8037, appendix A
    let ec = json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0", "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"});
    let _ = token(&jwt_spec("ES256", "none"), &ec.to_string(), &parameters, "1h", 1_790_000_000);
    let ed = json!({"kty": "OKP", "crv": "Ed25519", "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let signed = signed(&jwt_spec("EdDSA", "none"), &ed.to_string()).unwrap();
    let text = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let published = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert_eq!(URL_SAFE_NO_PAD.encode(signed.signer.sign(text.as_bytes()).unwrap()), published);
    // SEC1 of P-256 signs a text in DER
    let spec = "{key: {secretRef: {name: s, key: k}}, message: {text: 'abc{{ expires_at | unix }}', algorithm: EcdsaSha256, encoding: Base64,
        token: '{{ signature }}'}}";
    let signature = STANDARD.decode(token(spec, &keys.p256, &json!({}), "1h", 1_790_000_000)).unwrap();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &keys.p256_public).verify(b"abc1790000000", &signature).unwrap();
}

#[test]
fn a_key_that_does_not_fit_is_refused_with_what_to_write() {
    let keys = &*KEYS;
    let message = |algorithm: &str| {
        format!(
            "{{key: {{secretRef: {{name: s, key: k}}}}, message: {{text: a, algorithm: {algorithm}, encoding: Hex, token: '{{{{ signature }}}}'}}}}"
        )
    };
    let agora =
        "{key: {secretRef: {name: s, key: k}}, agora: {appId: 970ca35de60c44645bbae8a215061b33, rtm: {user: u}}}";
    let public = pem("PUBLIC KEY", &keys.rsa_public);
    for (spec, key, part) in [
        (jwt_spec("HS256", "none"), keys.rsa_pkcs8.as_str(), "is an RSA key, but HS256 needs a shared secret"),
        (jwt_spec("RS256", "none"), "abababa", "is neither PEM nor a JWK, but RS256 needs an RSA private key"),
        (jwt_spec("RS256", "none"), &STANDARD.encode(&keys.rsa_pkcs1), "set spec.signed.key.encoding to base64"),
        (jwt_spec("RS256", "none"), &keys.p256, "is an EC key, but RS256 needs an RSA private key"),
        (jwt_spec("RS256", "none"), &public, "is the public key, which can't sign: write the private key"),
        (jwt_spec("RS256", "base64"), &STANDARD.encode(&public), "is the public key"),
        (
            jwt_spec("RS256", "none"),
            &pem("CERTIFICATE", b"abc"),
            "is a certificate, which contains the public key only",
        ),
        (jwt_spec("RS256", "none"), &pem("ENCRYPTED PRIVATE KEY", b"abc"), "is a private key with a password"),
        (jwt_spec("RS256", "none"), &pem("OPENSSH PRIVATE KEY", b"abc"), "ssh-keygen -p -m PKCS8"),
        (jwt_spec("RS256", "none"), &pem("DH PARAMETERS", b"abc"), "is a PEM text without a private key"),
        (
            jwt_spec("RS256", "none"),
            &keys.rsa_pkcs8.trim().replace('\n', "\\n"),
            "is a private key without its line breaks",
        ),
        (
            jwt_spec("RS256", "none"),
            &keys.rsa_pkcs8.trim().replace('\n', " "),
            "is a private key without its line breaks",
        ),
        (jwt_spec("RS256", "none"), &keys.rsa_pkcs8.trim().replace('\n', "\n  "), "is a private key whose lines begin"),
        (
            jwt_spec("ES256", "base64"),
            &keys.p256,
            "is a PEM text itself, and no base64: remove spec.signed.key.encoding",
        ),
        (jwt_spec("ES256", "base64url"), &keys.p256, "is a PEM text itself, and no base64url"),
        (jwt_spec("RS256", "base64"), &keys.rsa_pkcs8, "is a PEM text itself"),
        (
            jwt_spec("RS256", "base64"),
            &STANDARD.encode(STANDARD.encode(&keys.rsa_pkcs8)),
            "is the base64 of a base64 text: decode it once",
        ),
        (jwt_spec("RS256", "base64"), &format!("\"{}\"", STANDARD.encode(&keys.rsa_pkcs8)), "is in quotation marks"),
        (jwt_spec("RS256", "none"), SHORT_RSA, "needs one of 2048 to 8192 bits"),
        (jwt_spec("ES256", "none"), &keys.p384, "is an EC key, but ES256 needs an EC private key of curve P-256"),
        (jwt_spec("ES384", "none"), &keys.rsa_pkcs1, "is an RSA key, but ES384"),
        (jwt_spec("EdDSA", "none"), &keys.p256, "needs an Ed25519 private key"),
        (
            jwt_spec("EdDSA", "none"),
            r#"{"kty":"EC","crv":"P-256"}"#,
            "is a JWK of type EC and curve P-256, and a public key, but EdDSA",
        ),
        (jwt_spec("RS256", "none"), r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#, "is a JWK without one of n, e, d"),
        (jwt_spec("HS256", "hex"), "xyz", "is no hexadecimal text"),
        (jwt_spec("HS256", "base64"), "!!!!", "is no base64"),
        (message("Ed25519"), "short", "needs an Ed25519 private key"),
        (message("Sha1"), &keys.p256, "Sha1 needs a shared secret"),
        (agora.to_owned(), "short", "is no app certificate"),
    ] {
        let Err(Wrong::Key(why)) = signed(&spec, key) else { panic!("{spec} takes {part}") };
        assert!(why.contains(part), "{why}");
        assert!(!key.lines().any(|line| line.len() > 8 && why.contains(line) && !line.starts_with("-----")), "{why}");
    }
}

/// An RSA key of 1024 bits, made for this test.
const SHORT_RSA: &str = "-----BEGIN RSA PRIVATE KEY-----\n\
    MIICXQIBAAKBgQCxrWdpI7cuj2WM66oJDnpnuzGilgy86qbp9RPVVUJYFUYvkjBM\n\
    6nci6bN1HGYPp5HrEoLR88XVpGydSmpL6opKdXn5Fq6dHeE4y/hb/EgYtKapSHa4\n\
    hsHD4GE59uo85LEfBWkQV3mWbmw/KA57zmpOdcnWPC63jhrXXISqL55xJQIDAQAB\n\
    AoGAPYR/cHzIONu3WmJiHf6gTPgYSGXRhTttjUWol02Myfibs27XQFpR44ms89hg\n\
    Uf0/3XcsSksv7Tefz5nrUdukA21HTp1J7OgnrFaQk2rbwLXh17ec0awemtcLCgwP\n\
    1KiNYpDm44cMdNk+52mOD2YLdMKVOHPsEPUjJZ9XqC0WOSECQQDs3nUDoMIp0FuT\n\
    WA2SoXS9fW6Xk9PCunTU50i9XaTmn4FYtNmzEowVKJw9R4tTSSIKyhWqmwqcvZrv\n\
    Fswc01mdAkEAwAcXTyW0B5DgIRfIbxklfK1nCQ93MhHyume7a3ZQnkAQBprqEmnc\n\
    sZroFPdrLtHaF7zwlVEOgd/OL3n9YkVDKQJAYhhas27vGiv80M+Fh3UwCI2asFF7\n\
    QEjBu64w9KOEeDIUei0jf0KuGtEfq00myQ4feAJq6KWexnzLXjq9uy5YDQJBAL2i\n\
    QxKWWUNffvcvVXDhlHObirUX4M5Bi0MqTZvCK7sb6LedJKsqgBeksqyB6gdCle37\n\
    WFscwQbgze10uxXg8IECQQDnz1/iTHOiw+nm1CiGA6Z/657ImBlE96JjnODX1sbR\n\
    uB5UMFszZRz0K4pOT+sSy++BO5vlC41Re7YbBb3Q8Dqe\n\
    -----END RSA PRIVATE KEY-----";

#[test]
fn a_mistake_in_a_template_shows_before_anything_is_signed() {
    let jwt = |claims: &str| {
        format!(
            "{{key: {{secretRef: {{name: s, key: k}}}}, parameters: {{room: {{}}}}, jwt: {{algorithm: HS256, claims: {claims}}}}}"
        )
    };
    for (spec, field) in [
        (jwt("{sub: '{{ rom }}'}"), "spec.signed.jwt.claims.sub"),
        (jwt("{a: [{b: '{{ room | unix }}'}]}"), "spec.signed.jwt.claims.a[0].b"),
        (jwt("{sub: '{{ key }}'}"), "spec.signed.jwt.claims.sub"),
        (
            "{key: {secretRef: {name: s, key: k}}, message: {text: '{{ key }}', algorithm: HmacSha256, encoding: Hex, token: x}}".to_owned(),
            "spec.signed.message.text",
        ),
        (
            "{key: {secretRef: {name: s, key: k}}, message: {text: '{{ key }}', algorithm: Sha256, encoding: Hex, token: '{{ message }}'}}".to_owned(),
            "spec.signed.message.token",
        ),
        (
            "{key: {secretRef: {name: s, key: k}}, message: {text: a, algorithm: Sha256, encoding: Hex, token: a, values: {v: '{{ key }}'}}}".to_owned(),
            "spec.signed.message.values.v",
        ),
        (jwt("{sub: '{{ uuid }}'}"), "spec.signed.jwt.claims.sub"),
        (jwt("{sub: x}"), "spec.signed.parameters.room"),
    ] {
        let Err(Wrong::Spec(error)) = signed(&spec, "hunter2-hunter2") else { panic!("{spec}") };
        assert_eq!(error.field, field, "{error}");
        let without_key = provider(&spec).signed.unwrap().check(Owner::Cluster);
        assert_eq!(without_key, Err(error.clone()));
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[test]
fn variants_replace_claims_and_have_a_uuid_of_their_own() {
    let spec = "{key: {secretRef: {name: s, key: k}}, parameters: {playback: {}}, jwt: {algorithm: HS256,
        header: {typ: ''}, claims: {sub: '{{ playback }}', aud: v, jti: '{{ uuid() }}', again: '{{ uuid() }}', x: '{{ none }}'},
        variants: {thumbnail: {aud: t}, storyboard: {aud: s, time: 2}}}}";
    let issued = issued(spec, "secret", &json!({"playback": "p"}), "1h", 1_790_000_000);
    let (header, main, ..) = parts(issued.token.expose_secret());
    let (_, thumbnail, ..) = parts(issued.values["thumbnail"].expose_secret());
    let (_, storyboard, ..) = parts(issued.values["storyboard"].expose_secret());
    assert_eq!(header, json!({"alg": "HS256"}));
    assert_eq!((&main["aud"], &thumbnail["aud"], &storyboard["aud"]), (&json!("v"), &json!("t"), &json!("s")));
    assert_eq!((&thumbnail["sub"], &thumbnail["exp"], &storyboard["time"]), (&json!("p"), &main["exp"], &json!(2)));
    assert_eq!(main["jti"], main["again"]);
    assert!(main["jti"] != thumbnail["jti"] && thumbnail["jti"] != storyboard["jti"]);
    assert_eq!((main["jti"].as_str().unwrap().len(), &main["x"]), (36, &Value::Null));
}

/// A parameter can be what its template can't take, although the sample was fine.
#[test]
fn a_token_that_cannot_be_made_is_a_fault_of_the_configuration() {
    let spec = "{key: {secretRef: {name: s, key: k}}, parameters: {id: {pattern: '[^!]*', default: YQ==}}, message: {
        text: '{{ id | b64decode }}{{ expires_at | unix }}', algorithm: HmacSha256, encoding: Hex,
        token: '{{ message }}{{ signature }}'}}";
    for (id, part) in [("%", "`b64decode` is not base64"), ("ZQ", ""), ("w6Q=", "visible ASCII")] {
        let signed = signed(spec, "secret").unwrap();
        let token = json!({"providerRef": {"name": "p"}, "scope": {"signed": {"parameters": {"id": id}}}});
        let token: VideoAccessTokenSpec = serde_json::from_value(token).unwrap();
        let request = token.request(&provider(spec)).unwrap();
        let error = signed.issue_at(DateTime::from_timestamp(0, 0).unwrap(), &request).err();
        assert_eq!(error.is_some(), !part.is_empty(), "{id}");
        assert!(error.map_or_else(String::new, |error| error.to_string()).contains(part), "{id}");
    }
}
