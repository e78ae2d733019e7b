use milvus::proto::schema::{BoolArray, DoubleArray, JsonArray, LongArray, StringArray, TemplateArrayValueArray};
use serde_json::json;

use super::*;

fn params(given: &[(&str, &str)]) -> Result<Params> {
    let given: Vec<KeyValuePair> =
        given.iter().map(|(key, value)| KeyValuePair { key: (*key).into(), value: (*value).into() }).collect();
    Params::of(&given)
}

#[test]
fn parameters_are_found_beside_and_inside_params() {
    let params = params(&[("topk", "10"), ("params", r#"{"ef": 64, "radius": 0.5, "metric_type": "L2"}"#)]).unwrap();
    assert_eq!(params.count("topk"), Ok(Some(10)));
    assert_eq!(params.count("ef"), Ok(Some(64)));
    assert_eq!(params.float("radius"), Ok(Some(0.5)));
    assert_eq!(params.text("metric_type").as_deref(), Some("L2"));
    assert_eq!(params.count("offset"), Ok(None));
}

#[test]
fn what_stands_beside_counts_before_what_stands_inside() {
    let params = params(&[("params", r#"{"offset": 1}"#), ("offset", "2")]).unwrap();
    assert_eq!(params.count("offset"), Ok(Some(2)));
}

#[test]
fn null_and_empty_parameters_are_not_given() {
    let params = params(&[("metric_type", ""), ("params", r#"{"ef": null}"#)]).unwrap();
    assert_eq!(params.text("metric_type"), None);
    assert_eq!(params.count("ef"), Ok(None));
    assert!(self::params(&[("params", "")]).is_ok());
}

#[test]
fn parameters_that_make_no_sense_are_refused_by_name() {
    let params = params(&[("a", "-1"), ("b", "1.5"), ("c", "x"), ("d", "NaN"), ("e", "maybe")]).unwrap();
    assert!(params.count("a").unwrap_err().to_string().contains("'a'"));
    assert!(params.count("b").is_err());
    assert!(params.integer("c").is_err());
    assert!(params.float("d").is_err());
    assert!(params.flag("e").is_err());
    assert!(self::params(&[("params", "[1]")]).is_err());
    assert!(self::params(&[("params", "{")]).is_err());
}

#[test]
fn flags_are_read_as_python_writes_them() {
    let params = params(&[("a", "True"), ("b", "False"), ("params", r#"{"c": true}"#)]).unwrap();
    assert_eq!(
        (params.flag("a"), params.flag("b"), params.flag("c"), params.flag("d")),
        (Ok(true), Ok(false), Ok(true), Ok(false))
    );
}

#[test]
fn what_is_not_there_is_refused_unless_it_asks_for_nothing() {
    let params = params(&[("group_by_field", "color"), ("strict", "False"), ("empty", "")]).unwrap();
    let refused = params.refuse(&["strict", "empty", "other", "group_by_field"]).unwrap_err();
    assert!(refused.to_string().contains("'group_by_field'"));
    assert_eq!(params.refuse(&["strict", "empty", "other"]), Ok(()));
}

fn value(val: Val) -> TemplateValue {
    TemplateValue { val: Some(val) }
}

fn array(data: Items) -> TemplateValue {
    value(Val::ArrayVal(TemplateArrayValue { data: Some(data) }))
}

#[test]
fn filter_parameters_of_every_kind_become_json() {
    let nested = TemplateArrayValue { data: Some(Items::LongData(LongArray { data: vec![1, 2] })) };
    let values = HashMap::from([
        ("flag".to_owned(), value(Val::BoolVal(true))),
        ("int".to_owned(), value(Val::Int64Val(i64::MAX))),
        ("float".to_owned(), value(Val::FloatVal(0.5))),
        ("text".to_owned(), value(Val::StringVal("x\" or true".into()))),
        ("ints".to_owned(), array(Items::LongData(LongArray { data: vec![3] }))),
        ("bools".to_owned(), array(Items::BoolData(BoolArray { data: vec![false] }))),
        ("doubles".to_owned(), array(Items::DoubleData(DoubleArray { data: vec![1.5] }))),
        ("texts".to_owned(), array(Items::StringData(StringArray { data: vec!["a".into()] }))),
        ("mixed".to_owned(), array(Items::JsonData(JsonArray { data: vec![b"\"a\"".to_vec(), b"1".to_vec()] }))),
        ("nested".to_owned(), array(Items::ArrayData(TemplateArrayValueArray { data: vec![nested] }))),
        ("none".to_owned(), value(Val::ArrayVal(TemplateArrayValue { data: None }))),
    ]);
    let expected = json!({
        "flag": true, "int": i64::MAX, "float": 0.5, "text": "x\" or true", "ints": [3], "bools": [false],
        "doubles": [1.5], "texts": ["a"], "mixed": ["a", 1], "nested": [[1, 2]], "none": [],
    });
    assert_eq!(Json::Object(template(values).unwrap()), expected);
}

#[test]
fn filter_parameters_that_can_not_be_used_are_refused() {
    for bad in [
        TemplateValue { val: None },
        value(Val::BytesVal(vec![1])),
        value(Val::FloatVal(f64::NAN)),
        array(Items::JsonData(JsonArray { data: vec![b"{".to_vec()] })),
    ] {
        assert!(template(HashMap::from([("p".to_owned(), bad)])).unwrap_err().to_string().contains("'p'"));
    }
}
