//! Random filters over random rows, against an evaluator that does the same in the plainest way: row by row, with
//! `Option<bool>` for true, false and unknown.

use std::{fmt::Write as _, sync::Arc};

use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray, types::Int64Type,
};
use custody_filter::{FieldType, Filter, Params, Schema};
use proptest::prelude::*;
use serde_json::{Value, json};

#[derive(Clone, Debug)]
struct Row {
    int: Option<i64>,
    float: Option<f64>,
    text: Option<String>,
    flag: Option<bool>,
    nums: Option<Vec<i64>>,
    doc: Option<Value>,
}

#[derive(Clone, Debug)]
enum Expr {
    All(Vec<Expr>),
    Any(Vec<Expr>),
    Not(Box<Expr>),
    Flag,
    Int(&'static str, i64),
    IntFloat(&'static str, f64),
    Float(&'static str, f64),
    Text(&'static str, String),
    Like(String),
    In(Vec<i64>),
    TextIn(Vec<String>),
    Sum(i64, &'static str, i64),
    Quotient(i64, &'static str, i64),
    Range(i64, i64),
    Null,
    Doc(&'static str, Value),
    DocIn(Vec<Value>),
    Exists,
    Contains(Vec<i64>, bool),
    Length(&'static str, i64),
    Element(usize, &'static str, i64),
}

const COMPARISONS: [&str; 6] = ["==", "!=", "<", "<=", ">", ">="];

fn small_int() -> impl Strategy<Value = i64> {
    prop_oneof![8 => -4_i64..5, 1 => Just(i64::MIN), 1 => Just(i64::MAX), 1 => Just((1 << 53) + 1)]
}

fn small_float() -> impl Strategy<Value = f64> {
    prop_oneof![8 => (-8_i32..9).prop_map(|half| f64::from(half) / 2.0), 1 => Just(9_007_199_254_740_992.0), 1 => Just(1e300)]
}

fn small_text() -> impl Strategy<Value = String> {
    "[ab%_\\\\'\"é\n]{0,4}"
}

fn small_json() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => small_int().prop_map(Value::from),
        2 => small_float().prop_map(Value::from),
        2 => small_text().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
    ]
}

fn row() -> impl Strategy<Value = Row> {
    let doc = prop_oneof![
        6 => small_json().prop_map(|value| json!({ "k": value })),
        1 => Just(json!({})),
        1 => Just(json!({ "k": null })),
        1 => Just(json!([1])),
    ];
    (
        prop::option::weighted(0.8, small_int()),
        prop::option::weighted(0.8, small_float()),
        prop::option::weighted(0.8, small_text()),
        prop::option::weighted(0.8, any::<bool>()),
        prop::option::weighted(0.8, prop::collection::vec(-3_i64..4, 0..4)),
        prop::option::weighted(0.8, doc),
    )
        .prop_map(|(int, float, text, flag, nums, doc)| Row { int, float, text, flag, nums, doc })
}

fn expr() -> impl Strategy<Value = Expr> {
    let comparison = || prop::sample::select(&COMPARISONS[..]);
    let ints = || prop::collection::vec(small_int(), 0..20);
    let leaf = prop_oneof![
        Just(Expr::Flag),
        (comparison(), small_int()).prop_map(|(op, value)| Expr::Int(op, value)),
        (comparison(), small_float()).prop_map(|(op, value)| Expr::IntFloat(op, value)),
        (comparison(), small_float()).prop_map(|(op, value)| Expr::Float(op, value)),
        (comparison(), small_text()).prop_map(|(op, value)| Expr::Text(op, value)),
        small_text().prop_map(Expr::Like),
        ints().prop_map(Expr::In),
        prop::collection::vec(small_text(), 0..4).prop_map(Expr::TextIn),
        (small_int(), comparison(), small_int()).prop_map(|(add, op, value)| Expr::Sum(add, op, value)),
        (small_int(), comparison(), small_int()).prop_map(|(over, op, value)| Expr::Quotient(over, op, value)),
        (small_int(), small_int()).prop_map(|(low, high)| Expr::Range(low, high)),
        Just(Expr::Null),
        (comparison(), small_json())
            .prop_filter("Bool has no order", |(op, value)| !value.is_boolean() || *op == "==" || *op == "!=")
            .prop_map(|(op, value)| Expr::Doc(op, value)),
        prop::collection::vec(small_json(), 0..4).prop_map(Expr::DocIn),
        Just(Expr::Exists),
        (prop::collection::vec(-3_i64..4, 0..3), any::<bool>()).prop_map(|(wanted, all)| Expr::Contains(wanted, all)),
        (comparison(), 0_i64..4).prop_map(|(op, len)| Expr::Length(op, len)),
        (0_usize..3, comparison(), -3_i64..4).prop_map(|(place, op, value)| Expr::Element(place, op, value)),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expr::All),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expr::Any),
            inner.prop_map(|inner| Expr::Not(Box::new(inner))),
        ]
    })
}

/// A literal in the filter language; texts are quoted so that every character survives.
fn quoted(text: &str) -> String {
    let mut out = String::from("'");
    for character in text.chars() {
        match character {
            '\\' | '\'' => write!(out, "\\{character}").unwrap(),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
    out + "'"
}

fn print_json(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), quoted)
}

fn list<T>(values: &[T], print: impl Fn(&T) -> String) -> String {
    format!("[{}]", values.iter().map(print).collect::<Vec<_>>().join(", "))
}

impl Expr {
    fn print(&self) -> String {
        let join = |terms: &[Expr], by: &str| terms.iter().map(Self::print_nested).collect::<Vec<_>>().join(by);
        match self {
            Self::All(terms) => join(terms, " and "),
            Self::Any(terms) => join(terms, " || "),
            Self::Not(inner) => format!("not {}", inner.print_nested()),
            Self::Flag => "flag".into(),
            Self::Int(op, value) => format!("int {op} {value}"),
            Self::IntFloat(op, value) => format!("{value:?} {} int", flipped(op)),
            Self::Float(op, value) => format!("float{op}{value:?}"),
            Self::Text(op, value) => format!("text {op} {}", quoted(value)),
            Self::Like(pattern) => format!("text like {}", quoted(pattern)),
            Self::In(values) => format!("int in {}", list(values, i64::to_string)),
            Self::TextIn(values) => format!("text in {}", list(values, |text| quoted(text))),
            Self::Sum(add, op, value) => format!("int + {add} {op} {value}"),
            Self::Quotient(over, op, value) => format!("{over} / int {op} {value}"),
            Self::Range(low, high) => format!("{low} < int <= {high}"),
            Self::Null => "text is null".into(),
            Self::Doc(op, value) => format!("doc['k'] {op} {}", print_json(value)),
            Self::DocIn(values) => format!("k in {}", list(values, print_json)),
            Self::Exists => "exists k".into(),
            Self::Contains(wanted, all) => {
                let name = if *all { "array_contains_all" } else { "json_contains_any" };
                format!("{name}(nums, {})", list(wanted, i64::to_string))
            }
            Self::Length(op, len) => format!("array_length(nums) {op} {len}"),
            Self::Element(place, op, value) => format!("nums[{place}] {op} {value}"),
        }
    }

    fn print_nested(&self) -> String {
        match self {
            Self::All(_) | Self::Any(_) => format!("({})", self.print()),
            _ => self.print(),
        }
    }

    fn holds(&self, row: &Row) -> Option<bool> {
        match self {
            Self::All(terms) => {
                let known: Vec<_> = terms.iter().map(|term| term.holds(row)).collect();
                if known.contains(&Some(false)) { Some(false) } else { (!known.contains(&None)).then_some(true) }
            }
            Self::Any(terms) => {
                let known: Vec<_> = terms.iter().map(|term| term.holds(row)).collect();
                if known.contains(&Some(true)) { Some(true) } else { (!known.contains(&None)).then_some(false) }
            }
            Self::Not(inner) => inner.holds(row).map(|holds| !holds),
            Self::Flag => row.flag,
            Self::Int(op, value) => row.int.map(|int| ordered(op, int.cmp(value))),
            Self::IntFloat(op, value) => row.int.map(|int| ordered(op, exact(&Value::from(int), &Value::from(*value)))),
            Self::Float(op, value) => {
                row.float.and_then(|float| float.partial_cmp(value)).map(|order| ordered(op, order))
            }
            Self::Text(op, value) => row.text.as_ref().map(|text| ordered(op, text.cmp(value))),
            Self::Like(pattern) => {
                let pattern: Vec<char> = pattern.chars().collect();
                row.text.as_ref().map(|text| like(&text.chars().collect::<Vec<_>>(), &pattern))
            }
            Self::In(values) => row.int.map(|int| values.contains(&int)),
            Self::TextIn(values) => row.text.as_ref().map(|text| values.contains(text)),
            Self::Sum(add, op, value) => {
                row.int.and_then(|int| int.checked_add(*add)).map(|sum| ordered(op, sum.cmp(value)))
            }
            Self::Quotient(over, op, value) => {
                row.int.and_then(|int| over.checked_div(int)).map(|quotient| ordered(op, quotient.cmp(value)))
            }
            Self::Range(low, high) => row.int.map(|int| *low < int && int <= *high),
            Self::Null => Some(row.text.is_none()),
            Self::Doc(op, value) => {
                let found = row.key()?;
                comparable(found, value).then(|| ordered(op, exact(found, value)))
            }
            Self::DocIn(values) => {
                let found = row.key()?;
                let known = values.is_empty() || values.iter().any(|value| comparable(found, value));
                known.then(|| values.iter().any(|value| comparable(found, value) && exact(found, value).is_eq()))
            }
            Self::Exists => Some(row.key().is_some()),
            Self::Contains(wanted, all) => row.nums.as_ref().map(|nums| {
                let mut found = wanted.iter().map(|value| nums.contains(value));
                if *all { found.all(|found| found) } else { found.any(|found| found) }
            }),
            Self::Length(op, len) => {
                row.nums.as_ref().map(|nums| ordered(op, i64::try_from(nums.len()).unwrap().cmp(len)))
            }
            Self::Element(place, op, value) => {
                row.nums.as_ref().and_then(|nums| nums.get(*place)).map(|num| ordered(op, num.cmp(value)))
            }
        }
    }
}

impl Row {
    fn key(&self) -> Option<&Value> {
        self.doc.as_ref()?.get("k").filter(|value| !value.is_null())
    }
}

fn flipped(op: &str) -> &str {
    match op {
        "<" => ">",
        "<=" => ">=",
        ">" => "<",
        ">=" => "<=",
        other => other,
    }
}

fn ordered(op: &str, order: std::cmp::Ordering) -> bool {
    match op {
        "==" => order.is_eq(),
        "!=" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    }
}

fn comparable(left: &Value, right: &Value) -> bool {
    (left.is_number() && right.is_number())
        || (left.is_string() && right.is_string())
        || (left.is_boolean() && right.is_boolean())
}

#[expect(clippy::cast_possible_truncation, reason = "the halves of small floats are whole")]
/// The exact order of two comparable values; numbers through 128 bits, in halves, which all test floats have.
fn exact(left: &Value, right: &Value) -> std::cmp::Ordering {
    let halves = |value: &Value| match value.as_i64() {
        Some(int) => Some(i128::from(int) * 2),
        None => value.as_f64().map(|float| if float >= 1e30 { i128::MAX } else { (float * 2.0) as i128 }),
    };
    match (halves(left), halves(right)) {
        (Some(left), Some(right)) => left.cmp(&right),
        _ => (left.as_str(), left.as_bool()).cmp(&(right.as_str(), right.as_bool())),
    }
}

fn like(text: &[char], pattern: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['%', rest @ ..] => (0..=text.len()).any(|skip| like(&text[skip..], rest)),
        ['_', rest @ ..] => !text.is_empty() && like(&text[1..], rest),
        ['\\', literal @ ('%' | '_' | '\\'), rest @ ..] | [literal, rest @ ..] => {
            text.first() == Some(literal) && like(&text[1..], rest)
        }
    }
}

fn schema() -> Schema {
    Schema::new()
        .primary("int", FieldType::Int64)
        .field("float", FieldType::Double)
        .field("text", FieldType::VarChar)
        .field("flag", FieldType::Bool)
        .field("nums", FieldType::Array(Box::new(FieldType::Int64)))
        .field("doc", FieldType::Json)
        .dynamic("doc")
}

fn batch(rows: &[Row]) -> RecordBatch {
    let doc = |row: &Row| row.doc.as_ref().map(Value::to_string);
    let nums = |row: &Row| row.nums.as_ref().map(|nums| nums.iter().map(|num| Some(*num)).collect::<Vec<_>>());
    let columns: [(&str, ArrayRef); 6] = [
        ("int", Arc::new(rows.iter().map(|row| row.int).collect::<Int64Array>())),
        ("float", Arc::new(rows.iter().map(|row| row.float).collect::<Float64Array>())),
        ("text", Arc::new(rows.iter().map(|row| row.text.clone()).collect::<StringArray>())),
        ("flag", Arc::new(rows.iter().map(|row| row.flag).collect::<BooleanArray>())),
        ("nums", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(rows.iter().map(nums)))),
        ("doc", Arc::new(rows.iter().map(doc).collect::<StringArray>())),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

/// Pieces of the language, to be thrown together.
fn fragments() -> impl Strategy<Value = String> {
    const PIECES: [&str; 52] = [
        "id",
        "year",
        "name",
        "flag",
        "doc",
        "nums",
        "tags",
        "price",
        "color",
        "vector",
        "$meta",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        "==",
        "!=",
        "<",
        ">=",
        "+",
        "-",
        "*",
        "/",
        "%",
        "**",
        "and",
        "or",
        "not",
        "in",
        "like",
        "is",
        "null",
        "exists",
        "true",
        "1",
        "0",
        "2.5",
        "9223372036854775808",
        "'a'",
        "\"b%\"",
        "'\\u00e9'",
        "[1, 2]",
        "['a']",
        "[\"n\"]",
        "[0]",
        "array_contains",
        "json_contains_all",
        "array_length",
        "&&",
    ];
    prop::collection::vec(prop::sample::select(&PIECES[..]), 0..16).prop_map(|pieces| pieces.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn a_printed_filter_finds_what_the_plain_evaluator_finds(
        expr in expr(),
        rows in prop::collection::vec(row(), 0..80),
    ) {
        let text = expr.print();
        let filter = Filter::parse(&text, &schema(), &Params::new());
        let filter = filter.map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        let found = filter.evaluate(&batch(&rows), rows.len()).unwrap();
        for (place, row) in rows.iter().enumerate() {
            prop_assert_eq!(found.value(place), expr.holds(row) == Some(true), "{} in {:?}", text, row);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        let _ = Filter::parse(&text, &schema(), &Params::new());
    }

    #[test]
    fn any_arrangement_of_words_is_answered_or_refused_inside_the_text(text in fragments()) {
        match Filter::parse(&text, &crate::common::schema(), &Params::new()) {
            Ok(filter) => {
                let found = filter.evaluate(&crate::common::batch(), 7);
                prop_assert!(found.is_ok(), "{} was read but not answered", text);
            }
            Err(error) => prop_assert!(error.position().is_some_and(|position| position <= text.len())),
        }
    }

    #[test]
    fn every_text_can_be_quoted(value in any::<String>()) {
        let row = Row { text: Some(value.clone()), int: None, float: None, flag: None, nums: None, doc: None };
        let filter = Filter::parse(&format!("text == {}", quoted(&value)), &schema(), &Params::new()).unwrap();
        prop_assert!(filter.evaluate(&batch(&[row]), 1).unwrap().value(0));
    }
}
