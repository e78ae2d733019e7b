//! From the listener to the router: who gets in, what is spoken, and when it ends.

use std::{future::Future, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Extension, Router};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use prometheus::IntGauge;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use crate::{
    heard::Counted,
    limits::{LARGEST_HEAD, LAST_CALLS, Limits, MOST_STREAMS, PING_EVERY, PING_PATIENCE, QUEUE, WINDOW},
    strangers::{Standing, Strangers},
};

/// The first bytes of an HTTP/2 connection.
const HTTP2: &[u8; 3] = b"PRI";

/// A server certificate and its key.
#[derive(Clone)]
pub struct Tls(Arc<ServerConfig>);

/// A certificate or key that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate chain can't be read.
    #[error("TLS: the certificate is not PEM: {0}")]
    Certificate(rustls::pki_types::pem::Error),
    /// There is none in the file.
    #[error("TLS: the certificate's PEM holds no certificate")]
    NoCertificate,
    /// The key can't be read.
    #[error("TLS: the private key is not PEM (PKCS #8, PKCS #1 or SEC1)")]
    Key,
    /// They do not fit each other, or are of a kind that is not supported.
    #[error("TLS: the certificate and its key can't be used: {0}")]
    Unusable(#[from] rustls::Error),
}

impl Tls {
    /// Reads a certificate chain and its key from PEM.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(certificates).collect::<Result<_, _>>().map_err(TlsError::Certificate)?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate);
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Key)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls(..)")
    }
}

/// The client at the other end of a connection, for the handlers.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where it comes from.
    pub address: SocketAddr,
    standing: Arc<Standing>,
}

impl Peer {
    /// The client has shown a credential: its connection is not closed to make room for others.
    pub fn is_known(&self) {
        self.standing.leave_strangers();
    }

    /// A client at an address, without a connection: for tests of handlers, which can't connect from there.
    pub fn at(address: SocketAddr) -> Self {
        Self { address, standing: Arc::new(Arc::new(Strangers::default()).admit()) }
    }
}

/// Serves a router until `shutdown`, then gives calls a little time to end. The gauge `connections` shows how many are open.
pub async fn serve(
    listener: std::net::TcpListener,
    tls: Option<Tls>,
    router: Router,
    limits: Limits,
    connections: Option<IntGauge>,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    // What bound it asked for a queue of 128.
    rustix::net::listen(&listener, QUEUE)?;
    let listener = TcpListener::from_std(listener)?;
    let acceptor = tls.map(|tls| TlsAcceptor::from(tls.0));
    let slots = Arc::new(Semaphore::new(limits.connections));
    let strangers = Arc::new(Strangers::default());
    let graceful = Arc::new(GracefulShutdown::new());
    let mut shutdown = pin!(shutdown);
    loop {
        let next = async {
            let accepted = listener.accept().await;
            if accepted.is_ok() && slots.available_permits() == 0 {
                strangers.send_away_the_oldest();
            }
            // A closed semaphore would have no permits; this one is never closed.
            (Arc::clone(&slots).acquire_owned().await.ok(), accepted)
        };
        let (slot, accepted) = tokio::select! {
            () = &mut shutdown => break,
            next = next => next,
        };
        let (Some(slot), Ok((stream, peer))) = (slot, accepted) else {
            // Out of file descriptors, or a client that left: neither is mended by trying at once.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let standing = Arc::new(strangers.admit());
        let connection = Connection {
            standing: Arc::clone(&standing),
            router: router.clone().layer(Extension(Peer { address: peer, standing })),
            limits,
            graceful: Arc::downgrade(&graceful),
            _slot: slot,
            _open: connections.as_ref().map(Open::new),
        };
        tokio::spawn(connection.serve(stream, acceptor.clone()));
    }
    drop(listener);
    if let Ok(graceful) = Arc::try_unwrap(graceful) {
        // What does not end in time is cut off when the runtime or the process ends.
        drop(timeout(LAST_CALLS, graceful.shutdown()).await);
    }
    Ok(())
}

/// Counts an open connection.
struct Open(IntGauge);

impl Open {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

struct Connection {
    standing: Arc<Standing>,
    router: Router,
    limits: Limits,
    graceful: std::sync::Weak<GracefulShutdown>,
    _slot: OwnedSemaphorePermit,
    _open: Option<Open>,
}

impl Connection {
    async fn serve(self, stream: TcpStream, acceptor: Option<TlsAcceptor>) {
        let standing = Arc::clone(&self.standing);
        tokio::select! {
            () = standing.sent_away() => {}
            () = self.talk(stream, acceptor) => {}
        }
        standing.leave_strangers();
    }

    async fn talk(self, stream: TcpStream, acceptor: Option<TlsAcceptor>) {
        // Small answers must not wait for more to send.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        match acceptor {
            None => {
                if let Ok(Some(http2)) = timeout(self.limits.patience, begins_with_http2(&stream)).await {
                    self.speak(stream, http2).await;
                }
            }
            Some(acceptor) => {
                if let Ok(Ok(stream)) = timeout(self.limits.patience, acceptor.accept(stream)).await {
                    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    self.speak(stream, http2).await;
                }
            }
        }
    }

    async fn speak(self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, http2: bool) {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(self.limits.patience).max_buf_size(64 * 1024);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_PATIENCE)
            .max_concurrent_streams(MOST_STREAMS)
            .max_header_list_size(LARGEST_HEAD)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW);
        if self.limits.large_bodies {
            // Begins with the same windows.
            builder.http2().adaptive_window(true);
        }
        let builder = if http2 { builder.http2_only() } else { builder.http1_only() };
        let service = TowerToHyperService::new(self.router.clone());
        let stream = Counted::new(stream);
        // HTTP/1 has a time-out of its own.
        let patience = if http2 { self.limits.patience } else { Duration::MAX };
        let no_greeting = stream.no_greeting(patience);
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let Some(graceful) = self.graceful.upgrade() else { return };
        let watched = graceful.watch(connection);
        drop(graceful);
        tokio::select! {
            () = no_greeting => {}
            // A client that breaks off is everyday business.
            ended = watched => if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended badly");
            }
        }
    }
}

/// Whether the client speaks HTTP/2, told by its first bytes; `None` if it leaves before it sent any.
async fn begins_with_http2(stream: &TcpStream) -> Option<bool> {
    let mut first = [0; HTTP2.len()];
    loop {
        let seen = stream.peek(&mut first).await.ok()?;
        match seen {
            0 => return None,
            _ if first[..seen] != HTTP2[..seen] => return Some(false),
            seen if seen == HTTP2.len() => return Some(true),
            // The rest is on its way; `peek` would return the same at once.
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
