//! The control plane: so far, what a customer sets up in AWS for a key of his own, and what is proven of it before the key may
//! protect anything.
//!
//! It never holds a zone key or a row of data. What a node is to trust comes from here, never from the bucket.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cmek;
mod random;
mod region;

pub use random::NoRandomness;
pub use region::{Region, UnknownRegion};
