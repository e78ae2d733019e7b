//! What is stored inside sealed files. Only this engine's own bytes open, so that what is read here was damaged before
//! it was sealed, or written by another version.

use custody_engine::fuzzing;

/// A catalog record, whose kind the first byte says, or the head of an index snapshot: what is taken has one encoding.
pub fn record(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    if let Ok(encoded) = fuzzing::record(*kind, bytes) {
        assert!(fuzzing::record(*kind, &encoded).is_ok_and(|again| again == encoded), "a record changed");
    }
    if let Ok((_, graph)) = fuzzing::snapshot_head(bytes) {
        assert!(graph < bytes.len(), "a snapshot's graph is longer than the snapshot");
    }
}

/// A row.
pub fn row(bytes: &[u8]) {
    if let Ok(encoded) = fuzzing::row(bytes) {
        assert!(fuzzing::row(&encoded).is_ok_and(|again| again == encoded), "a row changed");
    }
}
