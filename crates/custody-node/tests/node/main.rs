//! A node over the wire: gRPC and REST, its gate, and what a sealed one says.
#![allow(clippy::unwrap_used, reason = "tests")]

mod calls;
mod common;
mod life;
mod rest;
mod rest_gate;
mod rest_rows;
mod sealed;
mod sealing;
