//! What stands before the REST calls: who is let in, what is not there, and what can't be read.

use crate::common::{API_KEY, PASSWORD, Running, plain, root};
use serde_json::{Value as Json, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A head without what every test sends alike.
fn head(method: &str, path: &str, more: &str) -> String {
    format!("{method} /v2/vectordb/{path} HTTP/1.1\r\nAuthorization: Bearer root:{PASSWORD}\r\n{more}")
}

const IS_JSON: &str = "Content-Type: application/json\r\n";

async fn told(node: &Running, head: &str, body: &[u8]) -> (u16, Json) {
    let (status, _, text) = node.http(head, body).await;
    (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{head}: {error}: {text}")))
}

#[tokio::test]
async fn nobody_is_let_in_without_a_credential() {
    let node = plain().await;
    for token in [None, Some("root:wrong-password"), Some("nobody:first-password"), Some("root"), Some(":")] {
        for path in ["collections/list", "users/list", "no/such/call"] {
            let (status, answer) = node.post(path, token, "{}").await;
            assert_eq!((status, &answer["code"]), (401, &json!(1800)), "{token:?}: {answer}");
            assert!(!answer["message"].as_str().unwrap().contains(token.unwrap_or("\0")), "{answer}");
        }
    }
}

#[tokio::test]
async fn root_and_api_keys_are_let_in() {
    let node = plain().await;
    for token in [&root(), API_KEY] {
        let answer = node.post("collections/list", Some(token), "{}").await;
        assert_eq!(answer, (200, json!({ "code": 0, "data": [] })));
    }
}

#[tokio::test]
async fn a_stranger_is_answered_before_the_body_is_read() {
    let node = plain().await;
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let head = "POST /v2/vectordb/entities/insert HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Content-Length: 60000000\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 401", "no '100 Continue' comes before");
}

#[tokio::test]
async fn a_call_that_is_not_there_is_named() {
    let node = plain().await;
    for path in ["entities/hybrid_search", "roles/create", "jobs/import/create"] {
        let (status, answer) = node.post(path, Some(&root()), "{}").await;
        assert_eq!(status, 404, "{answer}");
        assert_eq!(answer["message"], format!("{path} is not implemented by Custody"));
    }
    let (status, answer) = node.post("a%0d%0aevil%3Cb%3E", Some(&root()), "{}").await;
    assert_eq!((status, &answer["message"]), (404, &json!("a0d0aevil3Cb3E is not implemented by Custody")));
    for path in ["collections", "collections/list/", "collections//list"] {
        assert_eq!(node.post(path, Some(&root()), "{}").await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn calls_are_made_with_post_alone() {
    let node = plain().await;
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        let (status, head, text) = node.http(&head(method, "collections/list", IS_JSON), b"{}").await;
        assert_eq!(status, 405, "{method}");
        assert!(head.to_lowercase().contains("allow: post"), "{head}");
        assert!(text.contains("POST"), "{text}");
    }
}

#[tokio::test]
async fn what_is_not_json_is_refused_before_its_meaning() {
    let node = plain().await;
    for more in [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
    ] {
        let (status, answer) = told(&node, &head("POST", "collections/list", more), b"{}").await;
        assert_eq!((status, &answer["code"]), (415, &json!(1801)), "{more}: {answer}");
    }
    let deep = format!("{{\"data\": {}", "[".repeat(1_000_000));
    for body in ["[]", "7", "{", "{}{}", "\"text\"", "{\"a\": NaN}", "{\"dbName\": 1, \"DBNAME\": 2}", &deep] {
        let (status, answer) = told(&node, &head("POST", "collections/list", IS_JSON), body.as_bytes()).await;
        assert_eq!((status, &answer["code"]), (400, &json!(1801)), "{answer}");
    }
    let (status, _) = told(&node, &head("POST", "collections/list", IS_JSON), b"{\"dbName\": \"\xff\"}").await;
    assert_eq!(status, 400);
    let with_charset = head("POST", "collections/list", "Content-Type: Application/JSON; charset=utf-8\r\n");
    assert_eq!(told(&node, &with_charset, b"{}").await.0, 200);
    assert_eq!(told(&node, &head("POST", "collections/list", ""), b"").await.0, 200, "no body asks for nothing");
}

#[tokio::test]
async fn a_request_over_64_mib_is_refused_in_plain_words() {
    let node = plain().await;
    let body = vec![b' '; 64 * 1024 * 1024 + 1];
    let (status, answer) = told(&node, &head("POST", "entities/insert", IS_JSON), &body).await;
    assert_eq!(status, 413, "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("64 MiB"), "{answer}");

    // The same without a length that says so beforehand.
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let chunked = head("POST", "entities/insert", IS_JSON);
    stream.write_all(format!("{chunked}Host: x\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
    let piece = [b"100000\r\n".as_slice(), &vec![b' '; 0x10_0000], b"\r\n"].concat();
    for _ in 0..65 {
        drop(stream.write_all(&piece).await);
    }
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn calls_are_counted_by_their_own_name_and_tell_none() {
    let node = plain().await;
    node.rest_fails("collections/describe", json!({ "collectionName": "secret_name" })).await;
    node.post("secret_path", Some(&root()), "{}").await;
    node.post("collections/list", None, "{}").await;
    let metrics = node.get("/metrics", None).await;
    assert!(metrics.contains(r#"custody_call_errors_total{call="collections/describe",error="100"} 1"#), "{metrics}");
    assert!(metrics.contains(r#"custody_calls_total{call="collections/list",code="UNAUTHENTICATED"} 1"#), "{metrics}");
    assert!(metrics.contains(r#"custody_calls_total{call="other",code="UNIMPLEMENTED"} 1"#), "{metrics}");
    assert!(metrics.contains(r#"custody_denied_total{reason="missing"} 1"#), "{metrics}");
    assert!(!metrics.contains("secret_"), "{metrics}");
}

#[tokio::test]
async fn a_header_names_the_database_where_the_body_does_not() {
    let node = plain().await;
    node.rest("databases/create", json!({ "dbName": "other" })).await;
    node.rest("collections/create", json!({ "dbName": "other", "collectionName": "points", "dimension": 2 })).await;
    let list = |database: &str| head("POST", "collections/list", &format!("{IS_JSON}DB-Name: {database}\r\n"));
    assert_eq!(told(&node, &list("other"), b"{}").await.1["data"], json!(["points"]));
    assert_eq!(told(&node, &list("other"), br#"{"dbName": "default"}"#).await.1["data"], json!([]));
    assert_eq!(told(&node, &list("missing"), b"{}").await.1["code"], 800);
    assert_eq!(told(&node, &list("\u{e9}"), b"{}").await.0, 400);
}
