//! The sealed format from outside.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "tests")]

mod properties;
mod tamper;
mod vectors;
