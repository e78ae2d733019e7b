//! What a filter asks of its columns, and what it says of itself.

use std::sync::Arc;

use crate::common::{batch, schema};
use arrow_array::{Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use custody_filter::{Columns, FieldType, Filter, Params, PrimaryKeys, Schema};

fn parse(text: &str) -> Filter {
    Filter::parse(text, &schema(), &Params::new()).unwrap()
}

fn single(name: &str, column: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter([(name, column)]).unwrap()
}

#[test]
fn only_the_columns_it_needs_are_asked_for_each_once() {
    let names = |text| parse(text).fields().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(names(""), [""; 0]);
    assert_eq!(names("year > 1 and (name == 'a' or year < 5)"), ["year", "name"]);
    assert_eq!(names("color == 1 and size == 2 and $meta[\"x\"] == 3 and doc[\"a\"] == 1"), ["$meta", "doc"]);
}

#[test]
fn a_filter_for_primary_keys_alone_gives_them() {
    let keys = |text| parse(text).primary_keys().cloned();
    assert_eq!(keys("id == 5"), Some(PrimaryKeys::Ints(vec![5])));
    assert_eq!(keys("5 == id"), Some(PrimaryKeys::Ints(vec![5])));
    assert_eq!(keys("(id in [3, 1, 3])"), Some(PrimaryKeys::Ints(vec![1, 3])));
    assert_eq!(keys("id in []"), Some(PrimaryKeys::Ints(vec![])));
    assert_eq!(keys("id == 1 or id == 2"), Some(PrimaryKeys::Ints(vec![1, 2])));
    for other in [
        "",
        "id != 5",
        "id > 5",
        "id not in [1]",
        "not (id == 5)",
        "id == 5 and flag",
        "id == 5 or flag",
        "id == tiny",
        "year == 5",
    ] {
        assert_eq!(keys(other), None, "{other}");
    }

    let texts = Schema::new().primary("key", FieldType::VarChar);
    let keys = |text| Filter::parse(text, &texts, &Params::new()).unwrap().primary_keys().cloned();
    assert_eq!(keys("key == 'a'"), Some(PrimaryKeys::Texts(vec!["a".into()])));
    assert_eq!(keys("key in ['b', 'a', 'b']"), Some(PrimaryKeys::Texts(vec!["a".into(), "b".into()])));
    assert_eq!(keys("key > 'a'"), None);
    assert_eq!(keys("key like 'a'"), None);
}

#[test]
fn columns_that_do_not_fit_are_refused_without_a_position() {
    let fault = |text: &str, batch: &RecordBatch, rows| {
        let error = parse(text).evaluate(batch, rows).unwrap_err();
        assert_eq!(error.position(), None);
        error.to_string()
    };
    let years = single("year", Arc::new(Int32Array::from(vec![1, 2])));
    assert_eq!(fault("id == 1", &years, 2), "filter: a column that the filter reads is missing");
    assert_eq!(fault("year == 1", &years, 3), "filter: a column has another number of rows than was said");
    let wide = single("year", Arc::new(Int64Array::from(vec![1, 2])));
    assert_eq!(fault("year == 1", &wide, 2), "filter: a column has another Arrow type than Int32 asks for");
    let list = single("nums", Arc::new(Int64Array::from(vec![1, 2])));
    assert_eq!(
        fault("array_contains(nums, 1)", &list, 2),
        "filter: a column has another Arrow type than Array asks for"
    );
}

#[test]
fn damaged_json_is_an_error_and_not_a_row_without_a_value() {
    for damaged in ["", "{", "{\"a\": 1", "{\"a\": 1} trailing", "{\"a\": nul}", "{'a': 1}", "{\"b\": [1, }"] {
        let docs = single("doc", Arc::new(StringArray::from(vec![Some("{\"a\": 1}"), Some(damaged)])));
        for text in ["doc[\"a\"] == 1", "exists doc[\"x\"]", "array_length(doc) > 0"] {
            let error = parse(text).evaluate(&docs, 2).unwrap_err();
            assert_eq!(error.to_string(), "filter: a JSON column holds text that is not JSON", "{damaged}");
        }
    }
}

#[test]
fn json_of_rows_that_cheaper_conditions_ruled_out_is_not_read() {
    let columns: [(&str, ArrayRef); 2] = [
        ("id", Arc::new(Int64Array::from(vec![1, 2]))),
        ("doc", Arc::new(StringArray::from(vec!["{\"a\": 1}", "damaged"]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    assert!(parse("doc[\"a\"] == 1 and id < 2").evaluate(&batch, 2).is_ok());
    assert!(parse("doc[\"a\"] == 1 or id > 1").evaluate(&batch, 2).is_ok());
    assert!(parse("doc[\"a\"] == 1 and id < 3").evaluate(&batch, 2).is_err());
}

#[test]
fn a_sliced_batch_answers_as_the_whole_does() {
    let whole = batch();
    for text in [
        "year > 1990",
        "flag",
        "not flag",
        "name like '%a%'",
        "doc[\"n\"] == 1",
        "array_contains(nums, 1)",
        "nums[0] > 0",
        "color == 'red'",
        "score in [3, 0.5]",
        "price < 10",
        "name is null",
        "tags == ['red']",
        "id + tiny > 3",
        "marks[0]",
    ] {
        let filter = parse(text);
        let expected = filter.evaluate(&whole, 7).unwrap();
        for start in 0..7 {
            let part = whole.slice(start, 7 - start);
            let found = filter.evaluate(&part, 7 - start).unwrap();
            assert_eq!(
                found.iter().collect::<Vec<_>>(),
                expected.iter().skip(start).collect::<Vec<_>>(),
                "{text} from {start}"
            );
        }
    }
}

#[test]
fn many_rows_are_answered_as_few_are() {
    let rows = 10_001;
    let year = |row: usize| (!row.is_multiple_of(7)).then(|| i32::try_from(row % 1_000).unwrap());
    let doc = |row: usize| (!row.is_multiple_of(5)).then(|| format!("{{\"n\": {}, \"pad\": \"{row}\"}}", row % 100));
    let columns: [(&str, ArrayRef); 2] = [
        ("year", Arc::new((0..rows).map(year).collect::<Int32Array>())),
        ("doc", Arc::new((0..rows).map(doc).collect::<StringArray>())),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap();
    let found =
        parse("not (year >= 500) and (doc[\"n\"] < 10 or doc[\"pad\"] like '%7')").evaluate(&batch, rows).unwrap();
    let expected = |row: &usize| {
        year(*row).is_some_and(|year| year < 500) && doc(*row).is_some() && (row % 100 < 10 || row % 10 == 7)
    };
    assert_eq!(found.len(), rows);
    assert_eq!(found.set_indices().collect::<Vec<_>>(), (0..rows).filter(expected).collect::<Vec<_>>());
}

#[test]
fn no_rows_and_constant_filters_need_no_columns() {
    struct Nothing;
    impl Columns for Nothing {
        fn column(&self, _: &str) -> Option<&dyn Array> {
            None
        }
    }
    assert_eq!(parse("").evaluate(&Nothing, 100).unwrap().count_set_bits(), 100);
    assert_eq!(parse("1 > 2").evaluate(&Nothing, 100).unwrap().count_set_bits(), 0);
    assert_eq!(parse("").evaluate(&Nothing, 0).unwrap().len(), 0);
    assert_eq!(
        parse("year > 5").evaluate(&single("year", Arc::new(Int32Array::from(vec![0; 0]))), 0).unwrap().len(),
        0
    );
}

#[test]
fn debug_shows_no_values() {
    let filter = parse("id in [12345, 67890] and name == 'secret'");
    let keys = parse("id in [12345]");
    let shown = format!("{filter:?} {:?}", keys.primary_keys());
    assert_eq!(shown, "Filter(2 columns) Some(PrimaryKeys(1 keys))");
}

#[test]
fn a_filter_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Filter>();
}
