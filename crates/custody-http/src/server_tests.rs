use std::{io::ErrorKind, net::SocketAddr, sync::Arc, time::Instant};

use axum::{
    body::Body,
    extract::Request,
    routing::{get, post},
};
use futures::StreamExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Notify, oneshot},
    task::JoinHandle,
};

use super::*;

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
    open: IntGauge,
    /// Told once for each call of `/slow` that is under way.
    slow: Arc<Notify>,
}

impl Running {
    /// Waits until so many connections are open.
    async fn has_open(&self, connections: i64) {
        let there = async {
            while self.open.get() != connections {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, there).await.unwrap();
    }
}

fn start(limits: Limits) -> Running {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let slow = Arc::new(Notify::new());
    let begun = Arc::clone(&slow);
    let router = Router::new().route("/", get(|| async { "hello" })).route(
        "/slow",
        get(|| async move {
            begun.notify_one();
            tokio::time::sleep(Duration::from_millis(300)).await;
            "done"
        }),
    );
    let router = router.route(
        "/known",
        get(|Extension(peer): Extension<Peer>| async move {
            peer.is_known();
            "welcome"
        }),
    );
    let router = router
        .route("/waits", post(keep))
        .route("/reads", post(async |request: Request<Body>| drain(request.into_body()).await.to_string()));
    let open = IntGauge::new("open", "open").unwrap();
    let (stop, stopped) = oneshot::channel();
    let connections = Some(open.clone());
    let served = tokio::spawn(serve(listener, None, router, limits, connections, async {
        drop(stopped.await);
    }));
    Running { address, stop, served, open, slow }
}

const SHORT: Duration = Duration::from_millis(200);
/// Longer than any test takes.
const LONG: Duration = Duration::from_hours(1);
/// How long anything may take that takes a moment on a machine of its own. Only a hang reaches it.
const SOON: Duration = Duration::from_secs(60);

/// Reads a body, and says how long it was.
async fn drain(body: Body) -> usize {
    body.into_data_stream().map(|part| part.unwrap().len()).fold(0, async |sum, length| sum + length).await
}

/// Keeps a request whose body it never reads.
async fn keep(request: Request<Body>) -> String {
    std::future::pending::<()>().await;
    request.uri().to_string()
}

fn impatient() -> Limits {
    Limits { patience: SHORT, ..Limits::default() }
}

fn patient() -> Limits {
    Limits { patience: LONG, ..Limits::default() }
}

async fn get_path(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Reads until the server closes.
async fn closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest).await {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

/// Who says no more than this is closed for want of patience: one with more of it, to whom the same was said before, waits on.
async fn is_closed_by_the_impatient_alone(said: &[u8]) {
    let (patient, impatient) = (start(patient()), start(impatient()));
    let mut kept = TcpStream::connect(patient.address).await.unwrap();
    kept.write_all(said).await.unwrap();
    let mut stream = TcpStream::connect(impatient.address).await.unwrap();
    stream.write_all(said).await.unwrap();
    timeout(SOON, closed(&mut stream)).await.unwrap();
    assert!(
        timeout(Duration::from_millis(50), closed(&mut kept)).await.is_err(),
        "the patience is not the one that was set"
    );
}

#[tokio::test]
async fn http1_is_served() {
    let running = start(Limits::default());
    assert!(get_path(running.address, "/").await.ends_with("hello"));
}

/// On the one thread that would let them in: until it does, they wait in the system's queue. One that is full drops them.
#[tokio::test]
async fn a_crowd_that_comes_at_once_is_not_left_to_try_again() {
    let running = start(Limits::default());
    assert!(get_path(running.address, "/").await.ends_with("hello"));
    let allowed: usize = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap().trim().parse().unwrap();
    let crowd: Vec<_> = (0..allowed.min(400))
        .map(|_| std::net::TcpStream::connect_timeout(&running.address, Duration::from_millis(900)).unwrap())
        .collect();
    assert!(get_path(running.address, "/").await.ends_with("hello"));
    drop(crowd);
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    is_closed_by_the_impatient_alone(b"").await;
}

#[tokio::test]
async fn a_head_that_never_ends_is_closed() {
    is_closed_by_the_impatient_alone(b"GET / HTTP/1.1\r\nHost: x\r\n").await;
}

#[tokio::test]
async fn half_a_greeting_of_http2_is_closed() {
    for half in [&b"PR"[..], b"PRI * H"] {
        is_closed_by_the_impatient_alone(half).await;
    }
}

#[tokio::test]
async fn a_greeting_in_pieces_is_still_http2() {
    let running = start(impatient());
    let mut head = [0; 9];
    let mut stream = loop {
        let began = Instant::now();
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(b"P").await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let sent = stream.write_all(b"RI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        let late = began.elapsed() >= SHORT;
        match sent {
            Ok(()) if stream.read_exact(&mut head).await.is_ok() => break stream,
            // The machine stood still between the pieces: it was closed for that.
            _ => assert!(late, "a greeting in two pieces is not taken"),
        }
    };
    assert_eq!(head[3], 4, "a SETTINGS frame");
    let longer_than_patience = timeout(3 * SHORT, closed(&mut stream)).await;
    assert!(longer_than_patience.is_err(), "a client that has greeted is closed");
}

#[tokio::test]
async fn beyond_the_limit_the_oldest_stranger_makes_room() {
    // None of them is closed for being silent.
    let running = start(Limits { connections: 2, ..patient() });
    let mut oldest = TcpStream::connect(running.address).await.unwrap();
    running.has_open(1).await;
    let _second = TcpStream::connect(running.address).await.unwrap();
    running.has_open(2).await;
    let third = timeout(SOON, get_path(running.address, "/")).await;
    assert!(third.is_ok_and(|answer| answer.ends_with("hello")));
    timeout(SOON, closed(&mut oldest)).await.unwrap();
    assert!(running.open.get() <= 2);
}

#[tokio::test]
async fn beyond_the_limit_a_connection_waits_while_all_others_are_known() {
    let running = start(Limits { connections: 1, ..Limits::default() });
    let mut first = TcpStream::connect(running.address).await.unwrap();
    first.write_all(b"GET /known HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    first.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    let second = tokio::spawn(get_path(running.address, "/"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!second.is_finished());
    assert_eq!(running.open.get(), 1);
    drop(first);
    assert!(second.await.unwrap().ends_with("hello"));
}

#[tokio::test]
async fn calls_under_way_end_before_the_server_does() {
    let running = start(Limits::default());
    let slow = tokio::spawn(get_path(running.address, "/slow"));
    running.slow.notified().await;
    running.stop.send(()).unwrap();
    running.served.await.unwrap().unwrap();
    assert!(slow.await.unwrap().ends_with("done"));
    assert!(TcpStream::connect(running.address).await.is_err());
    assert_eq!(running.open.get(), 0);
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// The largest payload of a frame, unless the other side says otherwise.
const PART: usize = 16_384;
/// The setting that says how much may be sent on a new stream.
const INITIAL_WINDOW_SIZE: u16 = 4;

/// HTTP/2 by hand, for a client that sends more than it may.
struct Frames(TcpStream);

impl Frames {
    /// A connection with one call under way, of whose body nothing is sent yet.
    async fn post(address: SocketAddr, path: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut frames = Self(stream);
        frames.send(SETTINGS, 0, 0, b"").await;
        let length = u8::try_from(path.len()).unwrap();
        // POST and http stand in HPACK's table, authority and path are written out.
        let head = [&[0x83, 0x86, 0x01, 1, b'x', 0x04, length], path.as_bytes()].concat();
        frames.send(HEADERS, END_HEADERS, 1, &head).await;
        frames
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let frame = [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat();
        self.0.write_all(&frame).await.unwrap();
    }

    /// The next frame: its kind, flags, stream and payload.
    async fn next(&mut self) -> (u8, u8, u32, Vec<u8>) {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]])).unwrap()];
        self.0.read_exact(&mut payload).await.unwrap();
        (head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload)
    }

    /// The payload of the next frame of a kind.
    async fn wait_for(&mut self, kind: u8, flags: u8) -> Vec<u8> {
        let wanted = async {
            loop {
                let (got, with, _, payload) = self.next().await;
                assert!(got != GOAWAY || kind == GOAWAY, "the connection is ended: {payload:?}");
                if (got, with) == (kind, flags) {
                    return payload;
                }
            }
        };
        timeout(Duration::from_secs(10), wanted).await.unwrap()
    }
}

#[tokio::test]
async fn of_what_nobody_reads_64_kib_are_taken_and_no_more() {
    for large_bodies in [false, true] {
        let running = start(Limits { large_bodies, ..Limits::default() });
        let mut frames = Frames::post(running.address, "/waits").await;
        for part in vec![0; 65_535].chunks(PART) {
            frames.send(DATA, 0, 1, part).await;
        }
        frames.send(PING, 0, 0, &[7; 8]).await;
        assert_eq!(frames.wait_for(PING, ACK).await, [7; 8], "all of it may be sent");
        frames.send(DATA, 0, 1, b"x").await;
        let end = frames.wait_for(GOAWAY, 0).await;
        assert_eq!(end[7], 3, "an error of flow control: {end:?}");
    }
}

/// Sends a body as fast as the windows let it, until `enough` or 256 MiB; a ping is answered late, as from far away. Gives the
/// largest window that it was given.
async fn upload(frames: &mut Frames, enough: i64) -> i64 {
    let (mut connection, mut stream, mut initial) = (i64::from(WINDOW), i64::from(WINDOW), i64::from(WINDOW));
    let mut sent = 0;
    let part = vec![0; PART];
    while initial < enough && sent < 256 << 20 {
        let may_send = usize::try_from(connection.min(stream)).unwrap_or_default().min(PART);
        if may_send > 0 {
            frames.send(DATA, 0, 1, &part[..may_send]).await;
            let length = i64::try_from(may_send).unwrap();
            (connection, stream, sent) = (connection - length, stream - length, sent + length);
            continue;
        }
        let (kind, flags, on, payload) = frames.next().await;
        let number = |at: usize| i64::from(u32::from_be_bytes(payload[at..at + 4].try_into().unwrap()));
        match kind {
            WINDOW_UPDATE if on == 0 => connection += number(0),
            WINDOW_UPDATE => stream += number(0),
            SETTINGS if flags == 0 => {
                for at in (0..payload.len()).step_by(6) {
                    if payload[at..at + 2] == INITIAL_WINDOW_SIZE.to_be_bytes() {
                        stream += number(at + 2) - initial;
                        initial = number(at + 2);
                    }
                }
                frames.send(SETTINGS, ACK, 0, b"").await;
            }
            PING if flags == 0 => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                frames.send(PING, ACK, 0, &payload).await;
            }
            GOAWAY => panic!("the connection is ended: {payload:?}"),
            _ => {}
        }
    }
    initial
}

#[tokio::test]
async fn windows_grow_with_what_is_read_where_bodies_are_large() {
    let running = start(Limits { large_bodies: true, ..Limits::default() });
    let mut frames = Frames::post(running.address, "/reads").await;
    let largest = timeout(Duration::from_secs(60), upload(&mut frames, 256 << 10)).await.unwrap();
    assert!(largest >= 256 << 10, "the window never grew beyond {largest} bytes");
}

#[test]
fn certificates_and_keys_that_are_none_are_refused() {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    assert!(Tls::from_pem(certificate.as_bytes(), key.as_bytes()).is_ok());
    assert!(matches!(Tls::from_pem(b"", key.as_bytes()), Err(TlsError::NoCertificate)));
    assert!(matches!(Tls::from_pem(certificate.as_bytes(), b"not a key"), Err(TlsError::Key)));
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = other.signing_key.serialize_pem();
    assert!(matches!(Tls::from_pem(certificate.as_bytes(), other.as_bytes()), Err(TlsError::Unusable(_))));
}
