//! Whoever owns the bucket attacks the files of a real stopped cluster. What is opened then is refused with the attack's
//! own error, or is what was written; never anything else. What can go unnoticed is named in docs/threat-model.md.

mod anchor;
mod attacks;
#[path = "../common/mod.rs"]
mod common;
mod contents;
mod files;
mod rollback;
