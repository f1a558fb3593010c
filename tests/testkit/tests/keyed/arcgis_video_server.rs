//! ArcGIS Video Server: what its form takes, and who may use a token.

use super::serve;
use serde_json::{Value, json};
use testkit::emulator::{ArcgisManners, ArcgisVideoServer, Emulator as _, Serving, arcgis_example as example};

/// Names and values of a form.
type Fields<'a> = &'a [(&'a str, &'a str)];

struct Client {
    server: Serving<ArcgisVideoServer>,
    http: reqwest::Client,
}

impl Client {
    async fn start() -> Self {
        let (server, http) = serve(ArcgisVideoServer::furnished()).await;
        Self { server, http }
    }

    fn url(&self) -> String {
        format!("{}{}/generateToken", self.server.url(), example::ADMIN_ROOT)
    }

    /// What is answered to the usual form with these fields over it; an empty value leaves a field out.
    async fn post(&self, fields: Fields<'_>) -> (u16, String) {
        let usual = [("username", example::USERNAME), ("password", example::PASSWORD), ("f", "json")];
        let mut form = form_urlencoded::Serializer::new(String::new());
        let kept = usual.iter().filter(|(name, _)| fields.iter().all(|(other, _)| other != name));
        form.extend_pairs(kept.chain(fields).filter(|(_, value)| !value.is_empty()));
        let request = self.http.post(self.url()).header("content-type", "application/x-www-form-urlencoded");
        let answer = request.body(form.finish()).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn generate(&self, fields: Fields<'_>) -> Value {
        let (status, body) = self.post(fields).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// The code with which a token is refused there, or nothing.
    async fn refused(&self, token: &str, referer: &str) -> Value {
        let url = format!("{}{}?f=json&token={token}", self.server.url(), example::SERVICES);
        let answer: Value = self.http.get(url).header("referer", referer).send().await.unwrap().json().await.unwrap();
        answer["error"]["code"].clone()
    }
}

#[tokio::test]
async fn errors_come_with_200_in_one_of_two_shapes() {
    let client = Client::start().await;
    let cases: [(Fields<'_>, u16, &str); 8] = [
        (&[("username", "")], 400, "'username' must be specified."),
        (&[("password", "")], 400, "'password' must be specified."),
        (&[("password", "wrong")], 400, "Invalid username or password."),
        (&[("username", "nobody")], 400, "Invalid username or password."),
        (&[("client", "referer")], 400, "'referer' must be specified."),
        (&[("client", "ip"), ("ip", "here")], 400, "The value of the parameter 'ip' is no address."),
        (&[("client", "ipAddress")], 400, "'ipAddress' is no value of the parameter 'client'."),
        (&[("expiration", "525601")], 400, "The value of the parameter 'expiration' is out of bounds."),
    ];
    for (fields, code, detail) in cases {
        client.server.speak(ArcgisManners::default());
        let error = json!({"code": code, "message": "Unable to generate token.", "details": [detail]});
        assert_eq!(client.generate(fields).await, json!({"error": error}));
        client.server.speak(ArcgisManners { flat_errors: true, ..ArcgisManners::default() });
        let messages = json!(["Unable to generate token.", detail]);
        assert_eq!(client.generate(fields).await, json!({"status": "error", "messages": messages, "code": code}));
    }
    assert_eq!(client.server.failed_logins(example::USERNAME).len(), 2, "what isn't a login doesn't count");
    assert_eq!(client.server.failed_logins("Nobody").len(), 2);

    client.server.speak(ArcgisManners::default());
    let got: Value = client.http.get(client.url()).send().await.unwrap().json().await.unwrap();
    assert_eq!(got["error"]["code"], 405);
    let (status, page) = client.post(&[("f", "")]).await;
    assert!(status == 200 && page.starts_with("<html>"), "a page, unless JSON is asked for: {page}");
    let elsewhere = client.http.post(format!("{}/arcgis/generateToken", client.server.url()));
    assert_eq!(elsewhere.send().await.unwrap().status().as_u16(), 404);
}

#[tokio::test]
async fn a_token_opens_only_for_whom_it_is_bound_to() {
    let client = Client::start().await;
    let player = "https://lobby.example";
    let bindings: [(Fields<'_>, &str, bool); 6] = [
        (&[("client", "referer"), ("referer", player)], "https://lobby.example/wall?screen=1", true),
        (&[("client", "referer"), ("referer", player)], "https://garage.example", false),
        (&[("client", "ip"), ("ip", "127.0.0.1")], "", true),
        (&[("client", "ip"), ("ip", "10.20.0.7")], "", false),
        (&[("client", "requestip")], "", true),
        (&[], "", true),
    ];
    for (fields, referer, opens) in bindings {
        for texts in [false, true] {
            client.server.speak(ArcgisManners { texts, ..ArcgisManners::default() });
            let answer = client.generate(fields).await;
            assert_eq!((answer["expires"].is_string(), answer["loginAsPSA"].is_string()), (texts, texts), "{answer}");
            let token = answer["token"].as_str().unwrap();
            let code = client.refused(token, referer).await;
            assert_eq!(code, if opens { Value::Null } else { json!(498) }, "{fields:?} {referer}");
        }
    }
    let token = client.generate(&[]).await["token"].as_str().unwrap().to_owned();
    client.server.control().revoke(&token);
    assert_eq!(client.refused(&token, "").await, 498);
    assert_eq!(client.refused("", "").await, 498);
}
