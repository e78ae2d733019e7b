//! Keyrings over a scripted KMS and a clock that is set by hand.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
mod creation;
mod leases;
mod lifecycle;
mod outcomes;
mod stored;
