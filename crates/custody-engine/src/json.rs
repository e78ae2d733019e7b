//! Whether a text is JSON that can be read back: by filters, and where single dynamic fields are asked for.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Reads a text as every later reader will: what nests too deep (128 levels), holds a number beyond Double or half a
/// surrogate pair is refused now, for it could be stored and then not be read.
pub(crate) fn check(text: &str) -> Result<(), serde_json::Error> {
    serde_json::from_str::<Sound>(text).map(drop)
}

/// Any JSON value, looked at and thrown away. `IgnoredAny` will not do: it skips over what it does not need to read.
struct Sound;

impl<'de> Deserialize<'de> for Sound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Sound {
    type Value = Self;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_can_be_read_back() {
        let deepest = format!("{}1{}", "[".repeat(127), "]".repeat(127));
        for text in ["{}", r#"{"a": [1, -2.5e3, null, true, "\u00e9\ud83d\ude00"], "b": {"c": {}}}"#, "1e300", &deepest]
        {
            assert!(check(text).is_ok(), "{text}");
            assert!(serde_json::from_str::<serde_json::Value>(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_could_not_be_read_back_is_refused() {
        let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        for text in ["", "{", "1 2", "1e999", "-1e999", r#""\ud800""#, r#"{"a": "\u12"}"#, &deep] {
            assert!(check(text).is_err());
            assert!(serde_json::from_str::<serde_json::Value>(text).is_err());
        }
    }

    #[test]
    fn the_refusal_says_what_and_where_and_nothing_of_the_text() {
        let error = check(r#"{"secret": 1e999, "more": "canary"}"#).unwrap_err().to_string();
        assert!(error.contains("out of range") && error.contains("column"), "{error}");
        assert!(!error.contains("canary") && !error.contains("secret"), "{error}");
    }
}
