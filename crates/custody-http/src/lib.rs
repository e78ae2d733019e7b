//! Connections: TCP and TLS, HTTP/1 and HTTP/2 on one port, and limits on all of them.
//!
//! [`serve`] puts any router behind a bound listener. Its handlers find the client as an extension, a [`Peer`]: once a
//! client has shown a credential they call [`Peer::is_known`], and its connection is not closed to make room for others.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod heard;
mod limits;
mod server;
mod strangers;

pub use limits::{Limits, MAX_CONNECTIONS, connections};
pub use server::{Peer, Tls, TlsError, serve};
