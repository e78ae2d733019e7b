//! Backups from the engine down, over a scripted KMS.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
mod cut_short;
mod forged;
mod restore;
