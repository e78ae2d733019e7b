//! Sealed stores: what the trait promises, and what an attacker on the storage below achieves.
#![allow(clippy::unwrap_used, reason = "tests")]

mod attack;
mod common;
mod conformance;
mod reads;
mod writes;
mod zones;
