//! What the fuzz targets do: one function for each, over bytes that anybody may have made.
//!
//! Each panics where a property does not hold: whatever is not exactly what was written is an error, what is taken
//! encodes to itself again, and what opens is what was sealed. `fuzz/` wraps the functions for libFuzzer; the tests of
//! this crate run each over its seeds and over deterministic changes of them.

#![allow(clippy::unwrap_used, reason = "a fuzz target fails by a panic")]

mod filters;
mod keys;
mod requests;
mod seal;
mod seeds;
mod stored;

pub use filters::filter;
pub use keys::{keyring, kms_envelope, kms_file, name};
pub use requests::{authorization, request, rest};
pub use seal::{body, header};
pub use seeds::seeds;
pub use stored::{record, row};

/// A target's name and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 12] = [
    ("header", header),
    ("body", body),
    ("keyring", keyring),
    ("kms_file", kms_file),
    ("kms_envelope", kms_envelope),
    ("record", record),
    ("row", row),
    ("filter", filter),
    ("request", request),
    ("rest", rest),
    ("authorization", authorization),
    ("name", name),
];
