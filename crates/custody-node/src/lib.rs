//! The Milvus surface of one cluster: gRPC and REST adapters over the engine, with authentication, TLS, health and metrics.
//!
//! [`Node::serve`] serves an open engine. [`serve_sealed`] needs neither engine nor key: it holds the place of a node
//! whose cluster is dark.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod auth;
mod convert;
mod cors;
mod envelope;
mod errors;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod gate;
mod limits;
mod metrics;
mod node;
mod sealed;
mod service;
mod tally;

pub use auth::{Access, ApiKeys, AuthError, CannotAsk, Level};
pub use custody_http::{MAX_CONNECTIONS, Tls, TlsError, connections};
pub use metrics::MetricsError;
pub use node::{Node, NodeError, NodeOptions};
pub use sealed::serve_sealed;
pub use tally::{Counted, Tally};
