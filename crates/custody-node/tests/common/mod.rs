//! A node in this process, and clients for it.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::{net::SocketAddr, sync::Arc};

use base64::Engine as _;
use custody_engine::Engine;
use custody_node::{Node, NodeOptions};
use custody_store::PlainZones;
use milvus::{
    proto::milvus::milvus_service_client::MilvusServiceClient,
    v2::prelude::{ClientV2, ConnectConfig},
};
use object_store::memory::InMemory;
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
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let options = NodeOptions {
        root_password: Some(PASSWORD.to_owned().into()),
        api_keys: vec![API_KEY.to_owned().into()],
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
