//! The four operations.

use super::{Client, json_of, simplest};
use chrono::Utc;
use serde_json::{Value, json};
use testkit::emulator::{OPERATIONS, Operations, claims, example};

#[tokio::test]
async fn each_operation_issues_a_token_whose_life_is_what_the_reference_says() {
    let client = Client::start().await;
    let extension = example::EXTENSION_ID.to_uppercase();
    let [plain, restricted, extension_plain, extension_restricted] = OPERATIONS;
    let cases = [
        (plain, json!({"permissionType": "Contributor", "scope": "Account"}), "Contributor", 3_600),
        (plain, json!({"permissionType": "Reader", "scope": "Project", "projectId": "p1"}), "Reader", 3_600),
        (
            plain,
            json!({"permissionType": "Reader", "scope": "Video", "videoId": "v1", "tokenLifetimeInSeconds": 60}),
            "Reader",
            3_600,
        ),
        (restricted, json!({"scope": "Video", "videoId": "v1"}), "RestrictedViewer", 3_600),
        (
            extension_plain,
            json!({"permissionType": "Reader", "scope": "Account", "extensionId": extension,
                "tokenLifetimeInSeconds": 60}),
            "Reader",
            3_600,
        ),
        (
            extension_restricted,
            json!({"scope": "Video", "videoId": "v1", "extensionId": extension, "tokenLifetimeInSeconds": 43_200}),
            "RestrictedViewer",
            43_200,
        ),
        (
            extension_restricted,
            json!({"scope": "Video", "videoId": "v1", "extensionId": example::EXTENSION_ID}),
            "RestrictedViewer",
            3_600,
        ),
    ];
    for (operation, body, permission, life) in cases {
        let before = Utc::now().timestamp();
        let (status, answer) = client.generate(operation, body.clone()).await;
        let after = Utc::now().timestamp();
        assert_eq!(status, 200, "{operation} {body}: {answer}");
        let token = answer["accessToken"].as_str().unwrap();
        assert!((1_258..=1_260).contains(&token.len()), "{}", token.len());
        let claims = claims(token).unwrap();
        let exp = claims["exp"].as_i64().unwrap();
        assert!((before + life..=after + life).contains(&exp), "{operation} {body}");
        assert_eq!(claims["nbf"].as_i64().unwrap(), exp - life - 300);
        assert_eq!(claims["Permission"], permission);
        let known = client.azure.video_indexer.control().knows(token).unwrap();
        assert_eq!(known.expires_at.timestamp(), exp);
        assert_eq!(&*known.account, example::account_id().to_lowercase());
        assert!(known.request.starts_with(&format!("{operation} {permission} ")), "{}", known.request);
    }
    assert!(client.azure.video_indexer.control().knows("another").is_none());
}

#[tokio::test]
async fn what_is_missing_or_wrong_in_a_body_is_refused_by_name() {
    let client = Client::start().await;
    let [plain, restricted, extension_plain, extension_restricted] = OPERATIONS;
    let id = example::EXTENSION_ID;
    let cases = [
        (plain, json!({"scope": "Account"}), "permissionType"),
        (plain, json!({"permissionType": "RestrictedViewer", "scope": "Account"}), "permissionType"),
        (plain, json!({"permissionType": 1, "scope": "Account"}), "permissionType"),
        (plain, json!({"permissionType": "Reader"}), "scope"),
        (plain, json!({"permissionType": "Reader", "scope": "Video"}), "videoId"),
        (restricted, json!({"scope": "Project"}), "projectId"),
        (extension_plain, json!({"permissionType": "Reader", "scope": "Account"}), "extensionId"),
        (extension_restricted, json!({"scope": "Account", "extensionId": format!("{id}2")}), "extensionId"),
        (
            extension_restricted,
            json!({"scope": "Video", "videoId": "v", "extensionId": id, "tokenLifetimeInSeconds": 43_201}),
            "tokenLifetimeInSeconds",
        ),
        (
            extension_restricted,
            json!({"scope": "Video", "videoId": "v", "extensionId": id, "tokenLifetimeInSeconds": "60"}),
            "tokenLifetimeInSeconds",
        ),
    ];
    for (operation, body, field) in cases {
        let (status, answer) = client.generate(operation, body.clone()).await;
        assert_eq!(status, 400, "{operation} {body}");
        assert_eq!(answer["error"]["target"], field, "{operation} {body}: {answer}");
        assert!(answer["error"]["code"].is_string() && answer["error"]["message"].is_string());
    }
    assert_eq!(client.azure.video_indexer.control().counters().issued, 0);
}

#[tokio::test]
async fn resource_manager_refuses_in_its_own_form() {
    let client = Client::start().await;
    let arm = client.azure.resource_manager_url();
    let account = example::account_id();
    let group = example::resource_group_id();
    let version = "api-version=2025-04-01";
    let good = format!("{account}/generateAccessToken?{version}");
    let upper = format!("{}/GENERATEACCESSTOKEN?{version}", account.to_uppercase());
    let escaped = good.replace("contoso-videoanalyzer", "contoso%2Dvideoanalyzer");
    let missing = format!("{group}/providers/Microsoft.VideoIndexer/accounts/other/generateAccessToken?{version}");
    let foreign = good.replace(example::RESOURCE_GROUP, "contoso-rg2");
    let old = format!("{account}/generateExtensionAccessToken?api-version=2024-01-01");
    let bearer = client.bearer.as_str();
    let cases = [
        (good.as_str(), bearer, 200, Value::Null),
        (&upper, bearer, 200, Value::Null),
        (&escaped, bearer, 200, Value::Null),
        (&good, "", 401, json!("AuthenticationFailed")),
        (&good, "x.y.z", 401, json!("InvalidAuthenticationToken")),
        (&foreign, bearer, 403, json!("AuthorizationFailed")),
        (&missing, bearer, 400, json!("AccountNotFound")),
        (&format!("{account}/generateAccessToken"), bearer, 400, json!("MissingApiVersionParameter")),
        (&good.replace("2025", "2019"), bearer, 400, json!("NoRegisteredProviderFound")),
        (&old, bearer, 400, json!("NoRegisteredProviderFound")),
        (&format!("{account}/start?{version}"), bearer, 404, json!("InvalidResourceType")),
    ];
    for (path, bearer, status, code) in cases {
        let mut request = client.http.post(format!("{arm}{path}")).json(&simplest());
        if !bearer.is_empty() {
            request = request.bearer_auth(bearer);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
        for header in ["x-ms-request-id", "x-ms-correlation-request-id", "date"] {
            assert!(answer.headers().contains_key(header), "{path}: {header}");
        }
        assert_eq!(json_of(answer).await["error"]["code"], code, "{path}");
    }
}

#[tokio::test]
async fn a_role_allows_its_operations_at_its_scope_and_an_audience_must_fit() {
    let client = Client::start().await;
    let indexer = &client.azure.video_indexer;
    let ask = async || client.generate("generateAccessToken", simplest()).await.0.as_u16();
    indexer.remove_roles(example::CLIENT_ID);
    assert_eq!(ask().await, 403);
    indexer.assign_role(example::CLIENT_ID, &example::account_id(), Operations::Only(vec!["generateX".into()]));
    assert_eq!(ask().await, 403);
    indexer.assign_role(example::CLIENT_ID, &example::account_id().to_uppercase(), Operations::All);
    assert_eq!(ask().await, 200);

    client.azure.entra.add_resource("https://vault.azure.net");
    let fields = [("client_secret", example::CLIENT_SECRET), ("scope", "https://vault.azure.net/.default")];
    let answer = json_of(client.entra(example::TENANT_ID, &fields).await).await;
    let request = client.request("generateAccessToken", &simplest());
    let mut request = request.build().unwrap();
    let bearer = format!("Bearer {}", answer["access_token"].as_str().unwrap());
    request.headers_mut().insert("authorization", bearer.parse().unwrap());
    assert_eq!(client.http.execute(request).await.unwrap().status(), 401);
}
