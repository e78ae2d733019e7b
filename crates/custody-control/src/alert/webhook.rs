//! One try to deliver an event.
//!
//! The name is resolved once, every address that comes of it is checked, and the client is given exactly those: an answer of
//! the DNS that changes a moment later changes nothing. No proxy and no redirect leads elsewhere either.

use std::{
    error::Error,
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use reqwest::{
    Certificate, Client, Response,
    header::{CONTENT_TYPE, HeaderValue, InvalidHeaderValue},
    redirect, retry,
};
use tokio::time::{Instant, timeout_at};

use super::{
    address::{Allowed, Refusal},
    resolver::{Pinned, Resolver, SystemResolver},
    signature::Secret,
    target::Target,
};

/// How much of an answer is read before the connection is closed. Nobody sees it: what a host in the operator's network
/// answers is not for those who write alert rules.
const ANSWER: usize = 4096;

/// What is to be delivered.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The delivery's id, the same at every try: visible ASCII.
    pub id: &'a str,
    /// Which try it is, from 1.
    pub attempt: u32,
    /// The event as JSON.
    pub body: &'a [u8],
    /// What the receiver verifies the signature with.
    pub secret: &'a Secret,
}

/// The receiver has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The status of its answer, 2xx.
    pub status: u16,
}

/// Why a try failed. No message holds more of the URL than its host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// The name doesn't resolve.
    #[error("the name {name} could not be resolved: {source}")]
    Unresolved {
        /// The name.
        name: String,
        /// What the resolver says.
        source: io::Error,
    },
    /// The name has no address.
    #[error("the name {0} has no address")]
    NoAddress(String),
    /// It leads where no webhook may.
    #[error("nothing was sent: {0}")]
    Refused(#[from] Refusal),
    /// No connection, or none that could be trusted.
    #[error("no connection to {target}: {cause}")]
    Unconnected {
        /// Scheme, host and port.
        target: String,
        /// What happened.
        cause: String,
    },
    /// It took too long.
    #[error("{0} took too long to connect or to answer")]
    Timeout(String),
    /// The exchange broke.
    #[error("{target} gave no answer that can be read: {cause}")]
    Broken {
        /// Scheme, host and port.
        target: String,
        /// What happened.
        cause: String,
    },
    /// A redirect.
    #[error("the receiver answered {0}, a redirect, and redirects are not followed: give the final URL in the rule")]
    Redirect(u16),
    /// It doesn't want it.
    #[error("the receiver answered {0} where only 2xx counts as received")]
    Status(u16),
    /// The id can't be sent in a header.
    #[error("the delivery's id can't be sent in a header")]
    Id(#[from] InvalidHeaderValue),
    /// The client could not be made.
    #[error("no https client could be made, usually for want of root certificates on this machine: {0}")]
    Client(String),
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
struct Limits {
    connect: Duration,
    whole: Duration,
}

const LIMITS: Limits = Limits { connect: Duration::from_secs(3), whole: Duration::from_secs(10) };

/// Delivers to webhooks.
#[derive(Clone)]
pub struct Sender {
    allowed: Allowed,
    resolver: Arc<dyn Resolver>,
    limits: Limits,
    /// Trusted instead of the system's roots, by tests alone.
    roots: Option<Vec<Certificate>>,
}

impl Sender {
    /// One that resolves names with the system's resolver and trusts the system's roots.
    pub fn new(allowed: Allowed) -> Self {
        Self::with_resolver(allowed, Arc::new(SystemResolver))
    }

    /// One with another resolver.
    pub fn with_resolver(allowed: Allowed, resolver: Arc<dyn Resolver>) -> Self {
        Self { allowed, resolver, limits: LIMITS, roots: None }
    }

    /// Tries once, for ten seconds at most.
    pub async fn deliver(&self, target: &Target, delivery: &Delivery<'_>) -> Result<Delivered, DeliveryError> {
        let deadline = Instant::now() + self.limits.whole;
        let answer = timeout_at(deadline, self.post(target, delivery)).await;
        let answer = answer.map_err(|_| DeliveryError::Timeout(target.to_string()))??;
        let status = answer.status();
        // The status is all that counts. What follows it is read so that the receiver isn't cut off amid a short answer.
        let _ = timeout_at(deadline, drain(answer)).await;
        match status.as_u16() {
            status @ 200..=299 => Ok(Delivered { status }),
            status @ 300..=399 => Err(DeliveryError::Redirect(status)),
            status => Err(DeliveryError::Status(status)),
        }
    }

    async fn post(&self, target: &Target, delivery: &Delivery<'_>) -> Result<Response, DeliveryError> {
        let id = HeaderValue::from_str(delivery.id)?;
        let addresses = self.addresses(target).await?;
        let client = self.client(target, addresses).await?;
        let request = client
            .post(target.url().clone())
            .header(CONTENT_TYPE, "application/json")
            .header("Custody-Delivery", id)
            .header("Custody-Attempt", delivery.attempt)
            .header("Custody-Signature", delivery.secret.sign(now(), delivery.body))
            .body(delivery.body.to_vec());
        request.send().await.map_err(|error| failure(target, &error))
    }

    /// The addresses to connect to. One that is refused spoils the others: a name that leads into a private network as well
    /// is either a mistake or an attack.
    async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, DeliveryError> {
        let place = target.place();
        let found = match (target.address(), target.name()) {
            (Some(address), _) => vec![address],
            (None, name) => self.resolve(name.unwrap_or_default()).await?,
        };
        for address in &found {
            self.allowed.check(place, *address)?;
        }
        Ok(found.into_iter().map(|address| SocketAddr::new(address, place.port)).collect())
    }

    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, DeliveryError> {
        let found = self.resolver.addresses(name).await;
        let found = found.map_err(|source| DeliveryError::Unresolved { name: name.to_owned(), source })?;
        if found.is_empty() { Err(DeliveryError::NoAddress(name.to_owned())) } else { Ok(found) }
    }

    /// A client for this try alone: it knows no other addresses than the checked ones, and keeps no connection.
    async fn client(&self, target: &Target, addresses: Vec<SocketAddr>) -> Result<Client, DeliveryError> {
        let secure = target.place().secure;
        let builder = Client::builder()
            .dns_resolver(Pinned(addresses))
            .no_proxy()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .https_only(secure)
            .http1_only()
            .pool_max_idle_per_host(0)
            .user_agent(concat!("custody/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.limits.connect)
            .timeout(self.limits.whole);
        let builder = match &self.roots {
            Some(roots) => builder.tls_certs_only(roots.clone()),
            // Without TLS, a machine without root certificates will do.
            None if !secure => builder.tls_certs_only([]),
            None => builder,
        };
        // The roots are read from files.
        let made = tokio::task::spawn_blocking(|| builder.build()).await;
        made.map_err(|error| error.to_string())
            .and_then(|client| client.map_err(|error| innermost(&error)))
            .map_err(DeliveryError::Client)
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("allowed", &self.allowed).field("limits", &self.limits).finish_non_exhaustive()
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

async fn drain(mut answer: Response) {
    let mut read = 0;
    while read < ANSWER {
        match answer.chunk().await {
            Ok(Some(chunk)) => read += chunk.len(),
            Ok(None) | Err(_) => return,
        }
    }
}

fn failure(target: &Target, error: &reqwest::Error) -> DeliveryError {
    let target = target.to_string();
    if error.is_timeout() {
        DeliveryError::Timeout(target)
    } else if error.is_connect() {
        DeliveryError::Unconnected { target, cause: innermost(error) }
    } else {
        DeliveryError::Broken { target, cause: innermost(error) }
    }
}

/// The outer errors say that something failed, and may show the whole URL; the innermost one says what.
fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    // An error without a source is shown by no more than its kind, for the same reason.
    if std::ptr::eq(cause, error) { "the request could not be made".to_owned() } else { cause.to_string() }
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
