//! How a row is stored: its key, and its value.
//!
//! A value is a version byte, the row's number and its partition (64 bits each, little-endian), and the row's values in
//! schema order in postcard's encoding. Row numbers grow with every row written and are never used twice, so that an
//! index snapshot can say which rows it covers.

use serde::de::DeserializeOwned;

use crate::{EngineError, Value};

const VERSION: u8 = 1;
/// The first byte of a row's key in a collection's map.
pub(crate) const ROW_PREFIX: u8 = b'r';
/// The key of the next row number.
pub(crate) const NEXT_ROW: &[u8] = b"m/next";

/// A primary key.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Key {
    Int(i64),
    Text(Box<str>),
}

impl Key {
    /// The key of the row in the collection's map: in the order of the primary keys.
    pub(crate) fn stored(&self) -> Vec<u8> {
        let mut bytes = vec![ROW_PREFIX];
        match self {
            // Flipping the sign bit makes the order of the bytes the order of the numbers.
            Self::Int(key) => bytes.extend_from_slice(&(key.cast_unsigned() ^ (1 << 63)).to_be_bytes()),
            Self::Text(key) => bytes.extend_from_slice(key.as_bytes()),
        }
        bytes
    }

    pub(crate) fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Int(key) => Some(Self::Int(*key)),
            Value::Text(key) => Some(Self::Text(key.as_str().into())),
            _ => None,
        }
    }
}

/// The values of a row, encoded but for what only the writer knows.
pub(crate) fn encode_values(values: &[Value]) -> Result<Vec<u8>, EngineError> {
    postcard::to_extend(values, vec![0; HEAD]).map_err(|_| EngineError::Record("row"))
}

/// Completes encoded values to a row's stored form.
pub(crate) fn complete(encoded: &mut [u8], number: u64, partition: i64) {
    encoded[0] = VERSION;
    encoded[1..9].copy_from_slice(&number.to_le_bytes());
    encoded[9..HEAD].copy_from_slice(&partition.to_le_bytes());
}

/// What stands before the encoded values.
const HEAD: usize = 17;

/// A row as it is stored.
#[derive(Debug, PartialEq)]
pub(crate) struct StoredRow {
    pub(crate) number: u64,
    pub(crate) partition: i64,
    pub(crate) values: Vec<Value>,
}

impl StoredRow {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, EngineError> {
        let damaged = || EngineError::Record("row");
        let (head, values) = bytes.split_at_checked(HEAD).ok_or_else(damaged)?;
        if head[0] != VERSION {
            return Err(damaged());
        }
        let number = u64::from_le_bytes(head[1..9].try_into().map_err(|_| damaged())?);
        let partition = i64::from_le_bytes(head[9..].try_into().map_err(|_| damaged())?);
        Ok(Self { number, partition, values: decode(values, "row")? })
    }
}

/// Encodes a catalog record: a version byte, then postcard.
pub(crate) fn encode<T: serde::Serialize>(record: &T, what: &'static str) -> Result<Vec<u8>, EngineError> {
    postcard::to_extend(record, vec![VERSION]).map_err(|_| EngineError::Record(what))
}

/// Decodes what [`encode`] made; trailing bytes are an error.
pub(crate) fn decode_record<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T, EngineError> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => decode(rest, what),
        _ => Err(EngineError::Record(what)),
    }
}

/// Decodes what [`encode`] made where more follows: the record, and the rest.
pub(crate) fn decode_head<'a, T: DeserializeOwned>(
    bytes: &'a [u8],
    what: &'static str,
) -> Result<(T, &'a [u8]), EngineError> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => postcard::take_from_bytes(rest).map_err(|_| EngineError::Record(what)),
        _ => Err(EngineError::Record(what)),
    }
}

fn decode<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T, EngineError> {
    match postcard::take_from_bytes(bytes) {
        Ok((record, [])) => Ok(record),
        _ => Err(EngineError::Record(what)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_comes_back_as_it_was_stored() {
        let values = vec![Value::Int(-7), Value::Text("a".into()), Value::Null, Value::Vector(vec![0.5, -1.0])];
        let mut bytes = encode_values(&values).unwrap();
        complete(&mut bytes, 9, 2);
        assert_eq!(StoredRow::decode(&bytes).unwrap(), StoredRow { number: 9, partition: 2, values });
    }

    #[test]
    fn a_row_cut_anywhere_is_refused() {
        let mut bytes = encode_values(&[Value::Int(300), Value::Text("abc".into())]).unwrap();
        complete(&mut bytes, 1, 1);
        for end in 0..bytes.len() {
            assert!(StoredRow::decode(&bytes[..end]).is_err(), "cut to {end} bytes");
        }
        bytes.push(0);
        assert!(StoredRow::decode(&bytes).is_err(), "a byte too many");
    }

    #[test]
    fn a_row_of_another_version_is_refused() {
        let mut bytes = encode_values(&[Value::Int(1)]).unwrap();
        complete(&mut bytes, 1, 1);
        bytes[0] = VERSION + 1;
        assert!(StoredRow::decode(&bytes).is_err());
    }

    #[test]
    fn stored_keys_sort_as_numbers_do() {
        let mut keys: Vec<i64> = vec![i64::MIN, -5, -1, 0, 1, 256, i64::MAX];
        keys.sort_by_key(|key| Key::Int(*key).stored());
        assert_eq!(keys, [i64::MIN, -5, -1, 0, 1, 256, i64::MAX]);
    }
}
