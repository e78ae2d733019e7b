use std::{
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use ::aws_lc_rs::hmac;
use async_trait::async_trait;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer},
};

use super::*;

const BODY: &[u8] = br#"{"id":"evt-1","type":"key.status"}"#;
const OK: &str = "HTTP/1.1 204 No Content\r\n\r\n";

/// What a receiver got.
#[derive(Clone, Debug)]
struct Got {
    head: String,
    body: Vec<u8>,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        let line = |line: &'_ str| line.split_once(": ").is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
        self.head.lines().find(|found| line(found)).and_then(|found| found.split_once(": ")).unwrap().1
    }
}

/// A receiver on loopback that gives every request one answer.
struct Receiver {
    port: u16,
    connections: Arc<AtomicUsize>,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Receiver {
    async fn plain(answer: impl Into<String>) -> Self {
        Self::start(answer.into(), None).await
    }

    async fn start(answer: String, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let receiver = Self { port, connections: Arc::default(), got: Arc::default() };
        let (connections, got) = (receiver.connections.clone(), receiver.got.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(receive(stream, tls.clone(), answer.clone(), got.clone()));
            }
        });
        receiver
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    /// The operator lists this receiver.
    fn listed(&self) -> Allowed {
        Allowed::parse([format!("127.0.0.1:{}", self.port)]).unwrap()
    }

    async fn deliver(&self) -> Result<Delivered, DeliveryError> {
        deliver(&quick(Sender::new(self.listed())), &self.url()).await
    }
}

async fn receive(stream: TcpStream, tls: Option<TlsAcceptor>, answer: String, got: Arc<Mutex<Vec<Got>>>) {
    match tls {
        Some(acceptor) => {
            if let Ok(stream) = acceptor.accept(stream).await {
                exchange(stream, answer, got).await;
            }
        }
        None => exchange(stream, answer, got).await,
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: String, got: Arc<Mutex<Vec<Got>>>) {
    let mut bytes = Vec::new();
    while !bytes.ends_with(BODY) {
        if stream.read_buf(&mut bytes).await.unwrap() == 0 {
            return;
        }
    }
    let body = bytes.split_off(bytes.len() - BODY.len());
    got.lock().unwrap().push(Got { head: String::from_utf8(bytes).unwrap(), body });
    if answer.is_empty() {
        // Silent, until the other side goes.
        let _ = stream.read_u8().await;
        return;
    }
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// Answers with the next of a list, and with the last one from then on.
struct Scripted {
    answers: Vec<Vec<IpAddr>>,
    asked: AtomicUsize,
}

impl Scripted {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let read = |answer: &&[&str]| answer.iter().map(|address| address.parse().unwrap()).collect();
        Arc::new(Self { answers: answers.iter().map(read).collect(), asked: AtomicUsize::new(0) })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Resolver for Scripted {
    async fn addresses(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let index = self.asked.fetch_add(1, Ordering::SeqCst).min(self.answers.len() - 1);
        Ok(self.answers[index].clone())
    }
}

/// Never answers.
struct Mute;

#[async_trait]
impl Resolver for Mute {
    async fn addresses(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        std::future::pending().await
    }
}

/// Not to wait ten seconds in a test.
fn quick(mut sender: Sender) -> Sender {
    sender.limits = Limits { connect: Duration::from_millis(500), whole: Duration::from_secs(2) };
    sender
}

fn secret() -> Secret {
    Secret::parse(&format!("whsec_{}", "5".repeat(64))).unwrap()
}

async fn deliver(sender: &Sender, url: &str) -> Result<Delivered, DeliveryError> {
    let target = Target::parse(url, &sender.allowed).unwrap();
    let delivery = Delivery { id: "dlv-1", attempt: 3, body: BODY, secret: &secret() };
    sender.deliver(&target, &delivery).await
}

/// As a receiver does it.
fn verifies(secret: &Secret, header: &str, body: &[u8]) -> bool {
    let (time, digits) = header.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let tag: Vec<u8> = (0..digits.len()).step_by(2).map(|at| digits[at..at + 2].parse_hex()).collect();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.reveal().as_bytes());
    hmac::verify(&key, &[time.as_bytes(), b".", body].concat(), &tag).is_ok()
}

trait ParseHex {
    fn parse_hex(&self) -> u8;
}

impl ParseHex for str {
    fn parse_hex(&self) -> u8 {
        u8::from_str_radix(self, 16).unwrap()
    }
}

#[tokio::test]
async fn a_delivery_arrives_signed_with_its_id_and_the_number_of_the_try() {
    let receiver = Receiver::plain(OK).await;
    let before = now();
    assert_eq!(receiver.deliver().await.unwrap(), Delivered { status: 204 });
    let [got] = &receiver.got()[..] else { panic!("not one request") };
    assert!(got.head.starts_with("POST /hook HTTP/1.1\r\n"), "{}", got.head);
    assert_eq!(got.body, BODY);
    assert_eq!(got.header("content-type"), "application/json");
    assert_eq!(got.header("custody-delivery"), "dlv-1");
    assert_eq!(got.header("custody-attempt"), "3");
    let signature = got.header("custody-signature");
    assert!(verifies(&secret(), signature, &got.body), "{signature}");
    assert!(!verifies(&secret(), signature, b"another body"));
    assert!(!verifies(&Secret::generate().unwrap(), signature, &got.body));
    let time: u64 = signature[2..].split(',').next().unwrap().parse().unwrap();
    assert!((before..=now()).contains(&time), "{time}");
    assert!(!got.head.contains(&"5".repeat(64)), "the secret itself was sent");
}

#[tokio::test]
async fn over_tls_the_certificate_has_to_be_that_of_the_name() {
    let pair = rcgen::generate_simple_self_signed(["hooks.example.com".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = config.with_single_cert(vec![pair.cert.der().clone()], key).unwrap();
    let receiver = Receiver::start(OK.to_owned(), Some(TlsAcceptor::from(Arc::new(config)))).await;

    let resolver = Scripted::new(&[&["127.0.0.1"]]);
    let mut sender = quick(Sender::with_resolver(receiver.listed(), resolver.clone()));
    sender.roots = Some(vec![Certificate::from_der(pair.cert.der()).unwrap()]);
    let url = |name: &str| format!("https://{name}:{}/t0ken", receiver.port);
    assert_eq!(deliver(&sender, &url("hooks.example.com")).await.unwrap().status, 204);
    assert_eq!(receiver.got().len(), 1);
    assert_eq!(resolver.asked(), 1);

    let other_name = deliver(&sender, &url("other.example.com")).await.unwrap_err();
    assert!(matches!(other_name, DeliveryError::Unconnected { .. }), "{other_name:?}");
    sender.roots = Some(vec![]);
    let untrusted = deliver(&sender, &url("hooks.example.com")).await.unwrap_err();
    assert!(matches!(untrusted, DeliveryError::Unconnected { .. }), "{untrusted:?}");
    assert!(!format!("{untrusted} {untrusted:?}").contains("t0ken"), "{untrusted:?}");
    sender.roots = None;
    let unknown = deliver(&sender, &url("hooks.example.com")).await.unwrap_err();
    // The latter on a machine without any root.
    assert!(matches!(unknown, DeliveryError::Unconnected { .. } | DeliveryError::Client(_)), "{unknown:?}");
    assert_eq!(receiver.got().len(), 1);
}

#[tokio::test]
async fn a_redirect_is_a_failed_delivery_and_leads_nowhere() {
    let second = Receiver::plain(OK).await;
    for status in [301, 302, 303, 307, 308] {
        let url = second.url();
        let first =
            Receiver::plain(format!("HTTP/1.1 {status} Elsewhere\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n"));
        let first = first.await;
        // The second one could be reached, were redirects followed.
        let allowed = Allowed::parse([first.port, second.port].map(|port| format!("127.0.0.1:{port}"))).unwrap();
        let failed = deliver(&quick(Sender::new(allowed)), &first.url()).await.unwrap_err();
        assert!(matches!(failed, DeliveryError::Redirect(found) if found == status), "{failed:?}");
        assert!(failed.to_string().contains("redirects are not followed"), "{failed}");
        assert_eq!(first.got().len(), 1);
    }
    assert_eq!(second.connections(), 0);
}

#[tokio::test]
async fn a_receiver_that_does_not_want_it_has_not_got_it() {
    for status in [100_u16, 400, 404, 410, 429, 500, 503] {
        let receiver = Receiver::plain(format!("HTTP/1.1 {status} No\r\nContent-Length: 2\r\n\r\nno")).await;
        let failed = receiver.deliver().await.unwrap_err();
        if status == 100 {
            // No final answer follows it.
            assert!(matches!(failed, DeliveryError::Broken { .. }), "{failed:?}");
        } else {
            assert!(matches!(failed, DeliveryError::Status(found) if found == status), "{failed:?}");
        }
        // One try is one request.
        assert_eq!(receiver.connections(), 1);
    }
}

#[tokio::test]
async fn an_address_in_the_url_is_checked_again_at_the_delivery() {
    let receiver = Receiver::plain(OK).await;
    let target = Target::parse(&receiver.url(), &receiver.listed()).unwrap();
    let delivery = Delivery { id: "dlv-1", attempt: 1, body: BODY, secret: &secret() };
    // The operator has taken it off the list since the rule was saved.
    let failed = quick(Sender::new(Allowed::default())).deliver(&target, &delivery).await.unwrap_err();
    assert!(matches!(failed, DeliveryError::Refused(Refusal::Address { .. })), "{failed:?}");
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn a_name_that_leads_to_loopback_is_refused_also_with_the_systems_resolver() {
    for url in ["https://localhost/hook", "https://localhost./hook"] {
        let failed = deliver(&quick(Sender::new(Allowed::default())), url).await.unwrap_err();
        // Some systems don't know the name with its dot.
        let unresolved = url.contains("./") && matches!(failed, DeliveryError::Unresolved { .. });
        assert!(unresolved || matches!(failed, DeliveryError::Refused(Refusal::Address { .. })), "{failed:?}");
    }
}

#[tokio::test]
async fn an_answer_of_the_dns_that_changes_never_leads_to_loopback() {
    let receiver = Receiver::plain(OK).await;
    // Not given to anybody, so that nobody is called: the port is open there, and not on loopback.
    let allowed = Allowed::parse([format!("[2000::/16]:{}", receiver.port)]).unwrap();
    let resolver = Scripted::new(&[&["2000::1"], &["127.0.0.1"]]);
    let sender = quick(Sender::with_resolver(allowed, resolver.clone()));
    let url = format!("http://rebind.example.com:{}/hook", receiver.port);

    let first = deliver(&sender, &url).await.unwrap_err();
    assert!(matches!(first, DeliveryError::Unconnected { .. } | DeliveryError::Timeout(_)), "{first:?}");
    assert_eq!(resolver.asked(), 1, "one try asks once");
    let second = deliver(&sender, &url).await.unwrap_err();
    assert!(matches!(second, DeliveryError::Refused(Refusal::Address { .. })), "{second:?}");
    assert_eq!(resolver.asked(), 2);
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn the_address_that_was_checked_is_the_one_connected_to() {
    let receiver = Receiver::plain(OK).await;
    // The first answer is the receiver, every later one nothing.
    let resolver = Scripted::new(&[&["127.0.0.1"], &[]]);
    let sender = quick(Sender::with_resolver(receiver.listed(), resolver.clone()));
    let url = format!("http://once.example.com:{}/hook", receiver.port);
    assert_eq!(deliver(&sender, &url).await.unwrap().status, 204);
    assert_eq!(receiver.got()[0].header("host"), format!("once.example.com:{}", receiver.port));
    let failed = deliver(&sender, &url).await.unwrap_err();
    assert!(matches!(failed, DeliveryError::NoAddress(_)), "{failed:?}");
    assert_eq!(receiver.connections(), 1, "no connection is kept for a later try");
}

#[tokio::test]
async fn one_private_address_among_public_ones_spoils_the_name() {
    for addresses in [["1.1.1.1", "127.0.0.1"], ["127.0.0.1", "1.1.1.1"], ["1.1.1.1", "::ffff:10.0.0.1"]] {
        let resolver = Scripted::new(&[&addresses]);
        let sender = quick(Sender::with_resolver(Allowed::default(), resolver));
        let failed = deliver(&sender, "https://both.example.com/hook").await.unwrap_err();
        assert!(matches!(failed, DeliveryError::Refused(Refusal::Address { .. })), "{failed:?}");
    }
}

#[tokio::test]
async fn a_listed_port_does_not_open_the_rest_of_a_network() {
    let receiver = Receiver::plain(OK).await;
    let allowed = Allowed::parse([format!("10.0.0.0/8:{}", receiver.port)]).unwrap();
    let sender = quick(Sender::with_resolver(allowed, Scripted::new(&[&["127.0.0.1"]])));
    let failed = deliver(&sender, &format!("http://some.corp:{}/hook", receiver.port)).await.unwrap_err();
    assert!(matches!(failed, DeliveryError::Refused(Refusal::Address { .. })), "{failed:?}");
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn who_is_silent_is_not_waited_for() {
    let silent = Receiver::plain("").await;
    let failed = silent.deliver().await.unwrap_err();
    assert!(matches!(failed, DeliveryError::Timeout(_)), "{failed:?}");
    assert_eq!(silent.got().len(), 1);

    let sender = quick(Sender::with_resolver(Allowed::default(), Arc::new(Mute)));
    let failed = deliver(&sender, "https://mute.example.com/hook").await.unwrap_err();
    assert!(matches!(failed, DeliveryError::Timeout(_)), "{failed:?}");
}

#[tokio::test]
async fn a_long_or_unfinished_answer_does_not_make_a_delivery_fail() {
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n{}", "x".repeat(1_000_000));
    let receiver = Receiver::plain(long).await;
    assert_eq!(receiver.deliver().await.unwrap().status, 200);
    let unfinished = Receiver::plain("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx").await;
    assert_eq!(unfinished.deliver().await.unwrap().status, 200);
}

#[tokio::test]
async fn what_is_no_http_is_no_answer() {
    let receiver = Receiver::plain("SSH-2.0-OpenSSH_9.9\r\n").await;
    let failed = receiver.deliver().await.unwrap_err();
    assert!(matches!(failed, DeliveryError::Broken { .. }), "{failed:?}");
    assert!(!failed.to_string().contains("SSH"), "{failed}");
}

#[tokio::test]
async fn an_id_that_would_add_a_header_is_refused() {
    let receiver = Receiver::plain(OK).await;
    let target = Target::parse(&receiver.url(), &receiver.listed()).unwrap();
    let delivery = Delivery { id: "dlv-1\r\nX: y", attempt: 1, body: BODY, secret: &secret() };
    let failed = Sender::new(receiver.listed()).deliver(&target, &delivery).await.unwrap_err();
    assert!(matches!(failed, DeliveryError::Id(_)), "{failed:?}");
    assert_eq!(receiver.connections(), 0);
}

/// The environment of a running test can't be changed: another process runs one of them.
#[test]
fn a_proxy_in_the_environment_is_passed_by() {
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "alert::webhook::tests::a_delivery_arrives_signed_with_its_id_and_the_number_of_the_try"]);
    for variable in ["http_proxy", "https_proxy", "all_proxy", "ALL_PROXY", "HTTPS_PROXY"] {
        // Nothing listens there.
        again.env(variable, "http://127.0.0.1:9");
    }
    let output = again.env_remove("NO_PROXY").env_remove("no_proxy").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
