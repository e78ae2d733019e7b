//! Filters from text to the rows they find.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod columns;
mod common;
mod limits;
mod properties;
mod refusals;
mod semantics;
