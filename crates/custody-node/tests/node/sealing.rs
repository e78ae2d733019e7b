//! A zone that goes dark: what clients, and strangers, are told.

use std::{sync::Arc, time::Duration};

use crate::common::{API_KEY, PASSWORD, Running, as_root, root, start_under, with_token};
use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use custody_engine::Engine;
use custody_keyring::{Keyring, LeasePolicy, SystemClock};
use custody_kms::{KeyState, RootKeyRef, scripted::ScriptedKms};
use custody_node::{Access, ApiKeys, CannotAsk, Level};
use custody_store::SealedZones;
use milvus::proto::{
    common::KeyValuePair,
    milvus::{
        CheckHealthRequest, CreateCredentialRequest, CreateDatabaseRequest, ListDatabasesRequest,
        ShowCollectionsRequest, milvus_service_client::MilvusServiceClient,
    },
};
use object_store::{ObjectStore, memory::InMemory};
use serde_json::json;
use tonic::{Code, Request, transport::Channel};

/// API keys of somebody who says what each may do.
struct Issuer;

const WRITER: &str = "custody_writer";
const MANAGER: &str = "custody_manager";

#[async_trait]
impl ApiKeys for Issuer {
    async fn access(&self, asked: &str) -> Result<Option<Access>, CannotAsk> {
        let is = |key: &str| {
            let digits = digest(&SHA256, key.as_bytes());
            digits.as_ref().iter().enumerate().all(|(at, byte)| asked[2 * at..2 * at + 2] == format!("{byte:02x}"))
        };
        Ok(match () {
            () if is(WRITER) => Some(Access { level: Level::Write, uses_keys: false }),
            () if is(MANAGER) => Some(Access { level: Level::Admin, uses_keys: true }),
            () => None,
        })
    }
}

struct Cluster {
    node: Running,
    kms: Arc<ScriptedKms>,
    keyring: Arc<Keyring>,
    own: RootKeyRef,
    tenants: RootKeyRef,
}

/// An encrypted cluster with a database `tenant` under a key of its own.
async fn cluster() -> Cluster {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let kms = Arc::new(ScriptedKms::new());
    let (own, tenants) = (kms.create_key(), kms.create_key());
    let policy = LeasePolicy { deny_confirm_delay: Duration::from_millis(10), ..LeasePolicy::default() };
    let id: custody_store::ClusterId = "c-test".parse().unwrap();
    let keyring = Keyring::new(
        Arc::clone(&store),
        id.clone(),
        Arc::clone(&kms) as _,
        own.clone(),
        vec![tenants.clone()],
        policy,
        Arc::new(SystemClock),
    );
    let keyring = Arc::new(keyring.unwrap());
    let engine = Engine::create(Arc::new(SealedZones::new(store, Arc::clone(&keyring), id))).await.unwrap();
    let node = start_under(engine, Some(Arc::new(Issuer)));
    let key = KeyValuePair { key: "cipher.key".into(), value: tenants.key_arn().to_string() };
    let request = CreateDatabaseRequest { db_name: "tenant".into(), properties: vec![key], ..Default::default() };
    let status = node.raw().await.create_database(as_root(request)).await.unwrap().into_inner();
    assert_eq!(status.code, 0, "{}", status.reason);
    Cluster { node, kms, keyring, own, tenants }
}

fn collections_of(database: &str) -> Request<ShowCollectionsRequest> {
    as_root(ShowCollectionsRequest { db_name: database.into(), ..ShowCollectionsRequest::default() })
}

async fn databases(raw: &mut MilvusServiceClient<Channel>) -> Vec<String> {
    raw.list_databases(as_root(ListDatabasesRequest::default())).await.unwrap().into_inner().db_names
}

#[tokio::test]
async fn a_tenants_revoked_key_darkens_that_database_alone_and_recovers() {
    let cluster = cluster().await;
    let mut raw = cluster.node.raw().await;
    assert_eq!(databases(&mut raw).await, ["default", "tenant"]);

    cluster.kms.set_state(cluster.tenants.key_arn(), KeyState::Disabled);
    cluster.keyring.check_now().await;
    let status = raw.show_collections(collections_of("tenant")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("sealed"), "{}", status.message());
    let (status, answer) = cluster.node.post("collections/list", Some(&root()), r#"{"dbName": "tenant"}"#).await;
    assert_eq!((status, &answer["code"]), (503, &2.into()));
    assert!(answer["message"].as_str().unwrap().contains("sealed"), "{answer}");
    assert_eq!(cluster.node.rest("databases/list", json!({})).await, json!(["default"]));
    raw.show_collections(collections_of("default")).await.unwrap();
    assert_eq!(databases(&mut raw).await, ["default"], "the name of a dark database is dark too");
    let health = raw.check_health(as_root(CheckHealthRequest {})).await.unwrap().into_inner();
    assert!(health.is_healthy && health.reasons.len() == 1, "{health:?}");
    assert!(cluster.node.get("/readyz", None).await.starts_with("HTTP/1.1 200"));
    let metrics = cluster.node.get("/metrics", None).await;
    assert_eq!(metrics.lines().filter(|line| line.starts_with("custody_zone_open") && line.ends_with(" 0")).count(), 1);

    cluster.kms.set_state(cluster.tenants.key_arn(), KeyState::Enabled);
    cluster.keyring.check_now().await;
    raw.show_collections(collections_of("tenant")).await.unwrap();
    assert_eq!(databases(&mut raw).await, ["default", "tenant"]);
}

#[tokio::test]
async fn a_dark_cluster_tells_strangers_that_it_is_sealed_and_nothing_else() {
    let cluster = cluster().await;
    let mut raw = cluster.node.raw().await;
    raw.show_collections(collections_of("")).await.unwrap();
    cluster.kms.set_state(cluster.own.key_arn(), KeyState::Disabled);
    cluster.keyring.check_now().await;

    let strangers = [
        Request::new(ShowCollectionsRequest::default()),
        with_token("root:wrong-password", ShowCollectionsRequest::default()),
        with_token("key-0123456789abcdef0124", ShowCollectionsRequest::default()),
    ];
    for request in strangers {
        let status = raw.show_collections(request).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unavailable, "sealed"));
    }
    let status = raw.show_collections(collections_of("")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().len() > "sealed".len(), "who is known learns why: {}", status.message());
    for token in [None, Some("root:wrong-password")] {
        let told = cluster.node.post("collections/list", token, "{}").await;
        assert_eq!(told, (503, json!({ "code": 2, "message": "sealed" })));
    }
    let (code, answer) = cluster.node.post("collections/list", Some(&root()), "{}").await;
    assert_eq!((code, answer["message"].as_str()), (503, Some(status.message())));

    let answer = cluster.node.get("/readyz", None).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("\r\n\r\nsealed\n"), "{answer}");
    let answer = cluster.node.get("/readyz", Some(&format!("Bearer root:{PASSWORD}"))).await;
    assert!(answer.starts_with("HTTP/1.1 503") && !answer.ends_with("\r\n\r\nsealed\n"), "{answer}");
    assert!(cluster.node.get("/healthz", None).await.starts_with("HTTP/1.1 200"));

    cluster.kms.set_state(cluster.own.key_arn(), KeyState::Enabled);
    cluster.keyring.check_now().await;
    raw.show_collections(collections_of("")).await.unwrap();
    assert!(cluster.node.get("/readyz", None).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn contradictions_about_a_databases_key_are_refused_and_leave_nothing() {
    let cluster = cluster().await;
    let mut raw = cluster.node.raw().await;
    let pair = |key: &str, value: &str| KeyValuePair { key: key.into(), value: value.into() };
    let arn = cluster.tenants.key_arn().to_string();
    let foreign = "arn:aws:kms:us-east-1:111122223333:key/00000000-0000-4000-8000-ffffffffffff";
    for properties in [
        vec![pair("cipher.enabled", "false")],
        vec![pair("cipher.enabled", "false"), pair("cipher.key", &arn)],
        vec![pair("cipher.enabled", "perhaps")],
        vec![pair("cipher.key", foreign)],
    ] {
        let request = CreateDatabaseRequest { db_name: "odd".into(), properties, ..Default::default() };
        let status = raw.create_database(as_root(request)).await.unwrap().into_inner();
        assert_ne!(status.code, 0);
        assert_eq!(databases(&mut raw).await, ["default", "tenant"]);
    }
}

#[tokio::test]
async fn a_database_is_put_under_a_key_of_its_own_by_who_may_use_keys_alone() {
    let cluster = cluster().await;
    let mut raw = cluster.node.raw().await;
    let password = base64::engine::general_purpose::STANDARD.encode("password-of-ann");
    let ann = CreateCredentialRequest { username: "ann".into(), password, ..Default::default() };
    raw.create_credential(as_root(ann)).await.unwrap();
    let arn = cluster.tenants.key_arn().to_string();
    let properties = vec![KeyValuePair { key: "cipher.key".into(), value: arn.clone() }];
    for token in [WRITER, "ann:password-of-ann"] {
        let request =
            CreateDatabaseRequest { db_name: "mine".into(), properties: properties.clone(), ..Default::default() };
        let status = raw.create_database(with_token(token, request)).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{token}");
        assert!(status.message().contains("cipher.key") && status.message().contains("ProjectAdmin"), "{status}");
        let body = json!({ "dbName": "mine", "properties": { "cipher.key": arn } }).to_string();
        let (status, answer) = cluster.node.post("databases/create", Some(token), &body).await;
        assert_eq!((status, &answer["code"]), (403, &1401.into()), "{token}: {answer}");
        assert!(!databases(&mut raw).await.contains(&"mine".to_owned()), "{token}");
        // One under the cluster's key is anybody's who may write.
        let body = json!({ "dbName": format!("of_{}", token.len()) }).to_string();
        assert_eq!(cluster.node.post("databases/create", Some(token), &body).await.1["code"], 0, "{token}");
    }
    let root = root();
    for (number, token) in [MANAGER, API_KEY, &root].into_iter().enumerate() {
        let body = json!({ "dbName": format!("t{number}"), "properties": { "cipher.key": arn } }).to_string();
        assert_eq!(cluster.node.post("databases/create", Some(token), &body).await.1["code"], 0, "{token}");
        let name = format!("g{number}");
        let request = CreateDatabaseRequest { db_name: name, properties: properties.clone(), ..Default::default() };
        let status = raw.create_database(with_token(token, request)).await.unwrap().into_inner();
        assert_eq!(status.code, 0, "{token}: {}", status.reason);
    }
}
