//! The parameters of a REST call: one JSON object, read by name.
//!
//! Nothing is passed over: what is left when a call has taken what it knows is refused by name. An error names the parameter
//! and never what was given for it. Values stay text until their type is known, so that no number loses a digit.

use std::{collections::BTreeMap, fmt};

use milvus::proto::common::KeyValuePair;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::convert::{ConvertError, params::param};

type Result<T> = std::result::Result<T, ConvertError>;

/// Values that ask for nothing.
const NOTHING: [&str; 5] = ["null", "false", "[]", "{}", "\"\""];

/// The entries of a JSON object, in order, as they were written.
pub(super) struct Entries<'a>(pub(super) Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Entries<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// The parameters of a call, or of a part of it. Their names count whatever their case, as in Milvus.
pub(crate) struct Body<'a> {
    /// Where this part stands in the whole, for errors.
    place: String,
    /// By name in lower case; with the name as it was given.
    given: BTreeMap<String, (String, &'a RawValue)>,
}

impl<'a> Body<'a> {
    /// Reads a request's body; an empty one is an empty object.
    pub(super) fn read(bytes: &'a [u8]) -> std::result::Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "the body is not UTF-8".to_owned())?;
        let text = if text.trim_ascii().is_empty() { "{}" } else { text };
        let entries: Entries<'a> = serde_json::from_str(text).map_err(|error| {
            format!("the body is not one JSON object: line {}, column {}", error.line(), error.column())
        })?;
        Self::of(String::new(), entries).map_err(|error| error.to_string())
    }

    fn of(place: String, entries: Entries<'a>) -> Result<Self> {
        let mut given = BTreeMap::new();
        for (name, value) in entries.0 {
            let whole = format!("{place}{name}");
            if given.insert(name.to_ascii_lowercase(), (name, value)).is_some() {
                return Err(param(&whole, "it is given twice"));
            }
        }
        Ok(Self { place, given })
    }

    fn part(place: String, value: &'a RawValue) -> Result<Self> {
        let entries = serde_json::from_str(value.get()).map_err(|_| param(&place, "it must be an object"))?;
        Self::of(format!("{place}."), entries)
    }

    /// The name of a parameter in errors.
    pub(super) fn name(&self, name: &str) -> String {
        format!("{}{name}", self.place)
    }

    fn fail(&self, name: &str, why: &str) -> ConvertError {
        param(&self.name(name), why)
    }

    /// A value as it was written; a null is none.
    pub(super) fn raw(&mut self, name: &str) -> Option<&'a RawValue> {
        let (_, value) = self.given.remove(&name.to_ascii_lowercase())?;
        (value.get() != "null").then_some(value)
    }

    fn value<T: DeserializeOwned>(&mut self, name: &str, why: &str) -> Result<Option<T>> {
        let Some(value) = self.raw(name) else { return Ok(None) };
        serde_json::from_str(value.get()).map(Some).map_err(|_| self.fail(name, why))
    }

    /// A text; empty if it is not given.
    pub(super) fn text(&mut self, name: &str) -> Result<String> {
        Ok(self.value(name, "it must be a string")?.unwrap_or_default())
    }

    /// A text that must be there.
    pub(super) fn required(&mut self, name: &str) -> Result<String> {
        Some(self.text(name)?).filter(|text| !text.is_empty()).ok_or_else(|| self.missing(name))
    }

    /// What is said of a parameter that must be there and is not.
    pub(super) fn missing(&self, name: &str) -> ConvertError {
        ConvertError::Required(self.name(name))
    }

    /// A flag; JSON's, or its text.
    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>> {
        let Some(value) = self.raw(name) else { return Ok(None) };
        match scalar(value.get()).as_deref() {
            Some("true" | "True") => Ok(Some(true)),
            Some("false" | "False") => Ok(Some(false)),
            _ => Err(self.fail(name, "it must be true or false")),
        }
    }

    /// A whole number; JSON's, or its text.
    pub(super) fn integer(&mut self, name: &str) -> Result<Option<i64>> {
        let Some(value) = self.raw(name) else { return Ok(None) };
        integer(value.get()).map(Some).ok_or_else(|| self.fail(name, "it must be a whole number"))
    }

    /// A list of texts, or one alone.
    pub(super) fn texts(&mut self, name: &str) -> Result<Vec<String>> {
        let texts = self.list(name)?.into_iter().map(|value| serde_json::from_str(value.get()));
        texts.collect::<std::result::Result<_, _>>().map_err(|_| self.fail(name, "it must be a list of strings"))
    }

    /// A list, or one value alone.
    pub(super) fn list(&mut self, name: &str) -> Result<Vec<&'a RawValue>> {
        let Some(value) = self.raw(name) else { return Ok(Vec::new()) };
        if !value.get().starts_with('[') {
            return Ok(vec![value]);
        }
        serde_json::from_str(value.get()).map_err(|_| self.fail(name, "it must be a list"))
    }

    /// A part with parameters of its own.
    pub(super) fn object(&mut self, name: &str) -> Result<Option<Self>> {
        let place = self.name(name);
        self.raw(name).map(|value| Self::part(place, value)).transpose()
    }

    /// A list of parts.
    pub(super) fn objects(&mut self, name: &str) -> Result<Vec<Self>> {
        let place = self.name(name);
        let parts = self.list(name)?.into_iter().enumerate();
        parts.map(|(number, value)| Self::part(format!("{place}[{number}]"), value)).collect()
    }

    /// An object of names and values, the values as text: of numbers, lists and objects their JSON.
    pub(super) fn pairs(&mut self, name: &str) -> Result<Vec<KeyValuePair>> {
        let place = self.name(name);
        let Some(value) = self.raw(name) else { return Ok(Vec::new()) };
        let part = Self::part(place, value)?;
        let pair = |(key, value): &(String, &RawValue)| {
            let value = scalar(value.get()).ok_or_else(|| part.fail(key, "it can't be read"))?;
            Ok(KeyValuePair { key: key.clone(), value })
        };
        part.given.values().map(pair).collect()
    }

    /// Refuses what no one has taken, and what asks for something.
    pub(super) fn finish(self) -> Result<()> {
        match self.given.values().find(|(_, value)| !NOTHING.contains(&value.get())) {
            Some((name, _)) => Err(self.fail(name, "this call does not know it, or Custody does not support it")),
            None => Ok(()),
        }
    }
}

/// A value as text: a string without its quotes, anything else as JSON.
fn scalar(value: &str) -> Option<String> {
    if value.starts_with('"') { serde_json::from_str(value).ok() } else { Some(value.to_owned()) }
}

/// A whole number of 64 bits, written as a number or as its text: clients whose numbers are doubles need the latter.
pub(super) fn integer(value: &str) -> Option<i64> {
    scalar(value)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> Body<'_> {
        Body::read(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_no_object_is_refused_with_its_place_and_without_its_text() {
        for text in ["[]", "7", "{\"secret-key\": secret-value}", "{\"a\": 1", "{} {}", "null", "{\"a\": \"\u{1}\"}"] {
            let reason = Body::read(text.as_bytes()).err().unwrap();
            assert!(reason.contains("line 1"), "{reason}");
            assert!(!reason.contains("secret"), "{reason}");
        }
        assert!(Body::read(b"{\"a\": \"\xff\"}").is_err());
        assert!(Body::read(b"").is_ok() && Body::read(b" \n").is_ok());
    }

    #[test]
    fn every_digit_of_a_number_counts_and_its_text_is_a_number_too() {
        let mut given = body(r#"{"a": 9223372036854775807, "b": "-9223372036854775808", "c": null}"#);
        assert_eq!(given.integer("a"), Ok(Some(i64::MAX)));
        assert_eq!(given.integer("b"), Ok(Some(i64::MIN)));
        assert_eq!(given.integer("c"), Ok(None));
        for text in ["9223372036854775808", "1.0", "1e3", "true", "[1]", "\"\"", "\"x\""] {
            assert!(body(&format!("{{\"a\": {text}}}")).integer("a").is_err(), "{text}");
        }
    }

    #[test]
    fn names_count_whatever_their_case_and_only_once() {
        assert_eq!(body(r#"{"autoID": true}"#).flag("autoId"), Ok(Some(true)));
        assert!(Body::read(br#"{"limit": 1, "Limit": 2}"#).err().unwrap().contains("twice"));
    }

    #[test]
    fn what_is_left_over_is_refused_by_name_unless_it_asks_for_nothing() {
        let mut left = body(r#"{"limit": 3, "groupingField": "colour"}"#);
        left.integer("limit").unwrap();
        let reason = left.finish().unwrap_err().to_string();
        assert!(reason.contains("groupingField") && !reason.contains("colour"), "{reason}");
        assert_eq!(body(r#"{"a": "", "b": [], "c": null, "d": false, "e": {}}"#).finish(), Ok(()));
    }

    #[test]
    fn an_error_says_where_in_the_body_it_is() {
        let mut given = body(r#"{"schema": {"fields": [{"fieldName": "a"}, {"fieldName": 7}]}}"#);
        let mut schema = given.object("schema").unwrap().unwrap();
        let mut fields = schema.objects("fields").unwrap();
        assert_eq!(fields[0].required("fieldName"), Ok("a".to_owned()));
        let reason = fields[1].required("fieldName").unwrap_err().to_string();
        assert!(reason.contains("schema.fields[1].fieldName"), "{reason}");
        assert!(fields[0].required("dataType").unwrap_err().to_string().contains("schema.fields[0].dataType"));
    }

    #[test]
    fn nesting_beyond_any_stack_is_an_error_or_is_left_alone() {
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        let mut given = body(&deep);
        assert_eq!(given.list("a").unwrap().len(), 1);
        let cut = format!("{{\"a\": {}", "{\"a\":".repeat(100_000));
        assert!(Body::read(cut.as_bytes()).is_err());
    }
}
