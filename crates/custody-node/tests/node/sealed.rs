//! The keyless stub, from outside: it says "sealed" to every call and nothing else.

use std::{net::SocketAddr, sync::Arc};

use custody_node::{Tls, serve_sealed};
use hyper_util::rt::TokioIo;
use milvus::proto::milvus::{GetVersionRequest, InsertRequest, milvus_service_client::MilvusServiceClient};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::{oneshot, watch},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, pki_types::ServerName},
};
use tonic::{
    Code,
    transport::{Channel, Endpoint, Uri},
};
use zeroize::Zeroizing;

/// The credential that is told the reason.
const KNOWN: &str = "root:pass-word";

/// A request with a credential.
fn signed<T>(message: T, credential: &str) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", credential.parse().unwrap());
    request
}

struct Stub {
    address: SocketAddr,
    reason: watch::Sender<String>,
    _stop: oneshot::Sender<()>,
}

fn start(reason: &str, tls: Option<Tls>) -> Stub {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (reason, told) = watch::channel(reason.to_owned());
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let known = [Zeroizing::new(KNOWN.to_owned())];
        serve_sealed(listener, told, &known, tls, custody_node::MAX_CONNECTIONS, async { drop(stopped.await) })
            .await
            .unwrap();
    });
    Stub { address, reason, _stop: stop }
}

async fn client(address: SocketAddr) -> MilvusServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    MilvusServiceClient::new(endpoint.connect().await.unwrap())
}

async fn get(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn every_grpc_call_is_unavailable_with_the_reason_of_the_moment() {
    let stub = start("sealed: the key was revoked", None);
    let mut client = client(stub.address).await;
    let status = client.get_version(signed(GetVersionRequest {}, KNOWN)).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "sealed: the key was revoked"));
    let status = client.insert(InsertRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    stub.reason.send("sealed: sealed by its owner".to_owned()).unwrap();
    let status = client.get_version(signed(GetVersionRequest {}, KNOWN)).await.unwrap_err();
    assert_eq!(status.message(), "sealed: sealed by its owner");
}

#[tokio::test]
async fn strangers_are_told_only_that_it_is_sealed() {
    let stub = start("sealed: the key was revoked", None);
    let mut client = client(stub.address).await;
    for request in [tonic::Request::new(GetVersionRequest {}), signed(GetVersionRequest {}, "root:guess")] {
        let status = client.get_version(request).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unavailable, "sealed"));
    }
}

#[tokio::test]
async fn http_is_alive_but_not_ready_and_serves_no_data() {
    let stub = start("sealed: the key was revoked", None);
    let fetch = async |path: &str| get(TcpStream::connect(stub.address).await.unwrap(), path).await;
    assert!(fetch("/healthz").await.starts_with("HTTP/1.1 200"));
    for path in ["/readyz", "/metrics", "/"] {
        let answer = fetch(path).await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{path}: {answer}");
        assert!(answer.ends_with("sealed\n"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_rest_call_is_told_so_in_its_envelope_and_why_only_to_who_is_known() {
    let stub = start("sealed: the key was revoked", None);
    let call = async |authorization: &str| {
        let head = format!("POST /v2/vectordb/entities/search HTTP/1.1\r\nHost: x\r\n{authorization}");
        let mut stream = TcpStream::connect(stub.address).await.unwrap();
        stream.write_all(format!("{head}Content-Length: 2\r\nConnection: close\r\n\r\n{{}}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("application/json"), "{answer}");
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    };
    assert_eq!(call("").await, r#"{"code":2,"message":"sealed"}"#);
    assert_eq!(call("Authorization: Bearer root:guess\r\n").await, r#"{"code":2,"message":"sealed"}"#);
    let known = call(&format!("Authorization: Bearer {KNOWN}\r\n")).await;
    assert_eq!(known, r#"{"code":2,"message":"sealed: the key was revoked"}"#);
}

/// A certificate for the server, and a connector that trusts it.
fn tls() -> (Tls, RootCertStore) {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let tls = Tls::from_pem(pair.cert.pem().as_bytes(), pair.signing_key.serialize_pem().as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(pair.cert.der().clone()).unwrap();
    (tls, roots)
}

fn connector(roots: RootCertStore, protocol: &[u8]) -> TlsConnector {
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    TlsConnector::from(Arc::new(config))
}

#[tokio::test]
async fn both_protocols_are_spoken_over_tls() {
    let (tls, roots) = tls();
    let stub = start("sealed: the key was revoked", Some(tls));
    let address = stub.address;
    let name = ServerName::try_from("localhost").unwrap();

    let http1 = connector(roots.clone(), b"http/1.1");
    let stream = http1.connect(name.clone(), TcpStream::connect(address).await.unwrap()).await.unwrap();
    assert!(get(stream, "/healthz").await.starts_with("HTTP/1.1 200"));

    let http2 = connector(roots, b"h2");
    let dial = tower::service_fn(move |_: Uri| {
        let (http2, name) = (http2.clone(), name.clone());
        async move {
            let stream = http2.connect(name, TcpStream::connect(address).await?).await?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    let channel = Endpoint::from_static("http://localhost").connect_with_connector(dial).await.unwrap();
    let request = signed(GetVersionRequest {}, KNOWN);
    let status = MilvusServiceClient::new(channel).get_version(request).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "sealed: the key was revoked"));
}

#[tokio::test]
async fn a_plain_client_gets_nothing_from_a_tls_listener() {
    let (tls, _) = tls();
    let stub = start("", Some(tls));
    let mut stream = TcpStream::connect(stub.address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    assert!(!answer.windows(4).any(|window| window == b"HTTP"));
}
