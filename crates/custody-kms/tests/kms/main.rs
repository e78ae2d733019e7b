//! Every provider against what all of them promise, and against what goes wrong on the wire.
#![allow(clippy::unwrap_used, reason = "tests")]

mod aws;
mod common;
mod gate;
mod local;
mod wire;
