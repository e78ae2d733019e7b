//! A node in this process, and clients for it.

use std::{net::SocketAddr, sync::Arc};

use base64::Engine as _;
use custody_engine::Engine;
use custody_node::{ApiKeys, Node, NodeOptions};
use custody_store::PlainZones;
use milvus::{
    proto::milvus::milvus_service_client::MilvusServiceClient,
    v2::prelude::{ClientV2, ConnectConfig},
};
use object_store::memory::InMemory;
use serde_json::{Value as Json, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
};
use tonic::{
    Request,
    transport::{Channel, Endpoint},
};

pub(crate) const PASSWORD: &str = "first-password";
pub(crate) const API_KEY: &str = "key-0123456789abcdef0123";

/// A node that serves until it is dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

pub(crate) fn start(engine: Arc<Engine>) -> Running {
    start_under(engine, None)
}

/// A node to whose API keys somebody else gives their rights.
pub(crate) fn start_under(engine: Arc<Engine>, issued_keys: Option<Arc<dyn ApiKeys>>) -> Running {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let options = NodeOptions {
        root_password: Some(PASSWORD.to_owned().into()),
        api_keys: vec![API_KEY.to_owned().into()],
        issued_keys,
        ..NodeOptions::default()
    };
    tokio::spawn(Node::serve(engine, options, listener, async {
        drop(stopped.await);
    }));
    Running { address, _stop: stop }
}

/// A node over an empty engine in memory.
pub(crate) async fn plain() -> Running {
    start(Engine::create(Arc::new(PlainZones::new(Arc::new(InMemory::new())))).await.unwrap())
}

impl Running {
    /// The official client, as root.
    pub(crate) async fn client(&self) -> ClientV2 {
        self.client_as(&format!("root:{PASSWORD}"), "default").await
    }

    pub(crate) async fn client_as(&self, token: &str, database: &str) -> ClientV2 {
        let config = ConnectConfig::new().uri(format!("http://{}", self.address)).token(token).database(database);
        ClientV2::new(&config).await.unwrap()
    }

    /// The generated client, which says just what it is told.
    pub(crate) async fn raw(&self) -> MilvusServiceClient<Channel> {
        MilvusServiceClient::new(self.channel().await)
    }

    pub(crate) async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    /// The answer to an HTTP GET.
    pub(crate) async fn get(&self, path: &str, authorization: Option<&str>) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let authorization = authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{authorization}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

impl Running {
    /// Sends a request as HTTP/1.1 and gives its status, its head and its body.
    pub(crate) async fn http(&self, head: &str, body: &[u8]) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{head}Host: x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        stream.write_all(request.as_bytes()).await.unwrap();
        // A server that refuses by the head alone may close before the body is written.
        drop(stream.write_all(body).await);
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer.as_str(), ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        (status, head.to_owned(), body.to_owned())
    }

    /// A REST call with a token, or with none.
    pub(crate) async fn post(&self, path: &str, token: Option<&str>, body: &str) -> (u16, Json) {
        let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let kind = "Content-Type: application/json\r\n";
        let head = format!("POST /v2/vectordb/{path} HTTP/1.1\r\n{authorization}{kind}");
        let (status, _, text) = self.http(&head, body.as_bytes()).await;
        (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}")))
    }

    /// The data of a REST call that succeeds, made by root.
    pub(crate) async fn rest(&self, path: &str, body: Json) -> Json {
        let (status, mut answer) = self.post(path, Some(&root()), &body.to_string()).await;
        assert_eq!((status, &answer["code"]), (200, &Json::from(0)), "{path} {body}: {answer}");
        answer["data"].take()
    }

    /// The number and the words of a REST call that fails by its meaning.
    pub(crate) async fn rest_fails(&self, path: &str, body: Json) -> (i64, String) {
        self.rest_text_fails(path, &body.to_string()).await
    }

    /// As [`Running::rest_fails`], with the body as text.
    pub(crate) async fn rest_text_fails(&self, path: &str, body: &str) -> (i64, String) {
        let (status, answer) = self.post(path, Some(&root()), body).await;
        assert_eq!(status, 200, "{path} {body}: {answer}");
        let code = answer["code"].as_i64().unwrap();
        assert_ne!(code, 0, "{path} {body}: {answer}");
        (code, answer["message"].as_str().unwrap().to_owned())
    }
}

/// A node with a collection of five points on a line: the key is the place.
pub(crate) async fn points() -> Running {
    let node = plain().await;
    let quick = json!({ "collectionName": "points", "dimension": 2, "metricType": "L2" });
    node.rest("collections/create", quick).await;
    let rows: Vec<Json> = (0..5).map(|n| json!({ "id": n, "vector": [n, 0], "colour": format!("c{n}") })).collect();
    let written = node.rest("entities/insert", json!({ "collectionName": "points", "data": rows })).await;
    assert_eq!(written, json!({ "insertCount": 5, "insertIds": [0, 1, 2, 3, 4] }));
    node
}

/// Every row of a collection.
pub(crate) async fn all(node: &Running, collection: &str) -> Vec<Json> {
    let found = node.rest("entities/query", json!({ "collectionName": collection, "outputFields": ["*"] })).await;
    found.as_array().unwrap().clone()
}

/// Root's token.
pub(crate) fn root() -> String {
    format!("root:{PASSWORD}")
}

/// A request with a credential, as Milvus' clients send it.
pub(crate) fn with_token<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let encoded = base64::engine::general_purpose::STANDARD.encode(token);
    request.metadata_mut().insert("authorization", encoded.parse().unwrap());
    request
}

pub(crate) fn as_root<T>(message: T) -> Request<T> {
    with_token(&format!("root:{PASSWORD}"), message)
}
