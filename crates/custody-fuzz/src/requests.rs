//! What clients send.

use std::sync::LazyLock;

use custody_engine::Schema;
use custody_node::fuzzing;

pub(crate) static SCHEMA: LazyLock<Schema> = LazyLock::new(custody_engine::fuzzing::schema);

/// A protobuf request, whose kind the first byte says.
pub fn request(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let refused = match kind % 4 {
        0 => fuzzing::insert(bytes, &SCHEMA).err(),
        1 => fuzzing::collection_schema(bytes).err(),
        2 => fuzzing::search(bytes).err(),
        _ => match fuzzing::vectors(bytes) {
            Ok(floats) => {
                assert!(floats * 4 <= bytes.len(), "more vectors were read than sent");
                None
            }
            Err(error) => Some(error),
        },
    };
    assert!(refused.is_none_or(|error| !error.is_empty()), "a refusal that says nothing");
}

/// Seeds of [`request`].
pub(crate) fn requests() -> Vec<Vec<u8>> {
    (0_u8..).zip(fuzzing::requests(&SCHEMA)).map(|(kind, bytes)| [&[kind], &bytes[..]].concat()).collect()
}

/// An `authorization` header: it means at most two credentials, itself and what it holds as base64.
pub fn authorization(bytes: &[u8]) {
    let meanings = fuzzing::authorization(bytes);
    assert!(meanings <= 2 && (meanings == 0 || !bytes.is_empty()), "{meanings} meanings");
}
