//! Filters that are very deep or very long: refused in good order, or answered.

use crate::common::{batch, find, schema};
use custody_filter::{
    Filter, FilterError, MAX_CONDITIONS, MAX_DEPTH, MAX_INNER_LISTS, MAX_PATHS, MAX_STEPS, MAX_TEXT, MAX_VALUES,
    MAX_WILD, Params,
};

fn parse(text: &str) -> Result<Filter, FilterError> {
    Filter::parse(text, &schema(), &Params::new())
}

fn refused(text: &str) -> String {
    match parse(text) {
        Ok(_) => panic!("accepted: {}...", &text[..text.len().min(60)]),
        Err(error) => error.message().to_owned(),
    }
}

/// Runs a test on a stack a quarter as large as an async worker's.
fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(512 << 10).spawn(test).unwrap().join().unwrap();
}

#[test]
fn whatever_nests_ten_thousand_deep_is_refused() {
    on_a_small_stack(|| {
        let deep = 10_000;
        let too_deep = format!("nested more than {MAX_DEPTH} levels deep");
        assert_eq!(refused(&format!("{}id > 1{}", "(".repeat(deep), ")".repeat(deep))), too_deep);
        assert_eq!(refused(&"(".repeat(deep)), too_deep);
        assert_eq!(refused(&format!("{}id > 1", "not ".repeat(deep))), too_deep);
        assert_eq!(refused(&format!("id == {}1", "- ".repeat(deep))), too_deep);
        assert_eq!(refused(&format!("id == {}1", "+ ".repeat(deep))), too_deep);
        assert_eq!(refused(&format!("id in {}", "[".repeat(deep))), too_deep);
        assert_eq!(refused(&"exists ".repeat(deep)), too_deep);
        assert_eq!(refused(&"array_length(".repeat(deep)), too_deep);
        assert_eq!(refused(&"id > 1 and (id > 2 or (".repeat(deep)), too_deep);
        assert_eq!(
            refused(&format!("id{} > 1", " + id".repeat(deep))),
            format!("more than {MAX_DEPTH} arithmetic operations in one value")
        );
        assert_eq!(
            refused(&format!("doc{} == 1", "[0]".repeat(deep))),
            format!("a path of more than {MAX_STEPS} steps")
        );
        assert_eq!(refused(&format!("doc == {}1{}", "[".repeat(9), "]".repeat(9))), "lists nest at most 8 levels deep");
    });
}

#[test]
fn what_nests_as_deep_as_is_allowed_is_answered() {
    on_a_small_stack(|| {
        let deep = MAX_DEPTH - 3;
        assert_eq!(find(&format!("{}id < 3{}", "(".repeat(deep), ")".repeat(deep))), [1, 2]);
        assert_eq!(find(&format!("{}id < 3", "not ".repeat(deep / 2 * 2))), [1, 2]);
        assert_eq!(
            find(&format!("id{} == 0", " - id + id".repeat(deep / 2).replacen(" + id", "", 1))),
            [1, 2, 3, 4, 5, 6, 7]
        );
        // Each pair takes five levels: two operators' right sides and two parentheses, one within a third.
        let pairs = deep / 5 - 1;
        let nested =
            format!("{}name == 'beta'{}", "id > 6 or (flag or id != 2 and (".repeat(pairs), "))".repeat(pairs));
        assert_eq!(find(&nested), [1, 3, 5, 7]);
        let path = format!("doc{} == 1", "[0]".repeat(MAX_STEPS));
        assert_eq!(find(&path), [0; 0]);
    });
}

#[test]
fn a_chain_of_ten_thousand_terms_is_answered() {
    on_a_small_stack(|| {
        let chain = |term: &dyn Fn(usize) -> String, by: &str| (0..10_000).map(term).collect::<Vec<_>>().join(by);
        assert_eq!(find(&chain(&|n| format!("id == {}", n * 3), " or ")), [3, 6]);
        assert_eq!(find(&chain(&|n| format!("name == 'n{n}'"), " || ")), [0; 0]);
        assert_eq!(find(&chain(&|n| format!("score > {n}"), " or ")), [1, 2, 3, 5]);
        assert_eq!(find(&chain(&|n| format!("id != {}", n * 3), " and ")), [1, 2, 4, 5, 7]);
        assert_eq!(find(&chain(&|n| format!("k{n} == 1"), " or ")), [0; 0]);
        assert_eq!(find(&chain(&|n| format!("doc[\"list\"][{n}] == 2"), " or ")), [1, 5]);
    });
}

#[test]
fn a_list_of_a_hundred_thousand_values_is_answered() {
    let list = |value: &dyn Fn(usize) -> String| (0..100_000).map(value).collect::<Vec<_>>().join(",");
    assert_eq!(find(&format!("id in [{}]", list(&|n| (n * 7_919 + 3).to_string()))), [3]);
    assert_eq!(find(&format!("id not in [{}]", list(&|n| (n + 3).to_string()))), [1, 2]);
    assert_eq!(find(&format!("name in ['beta', {}]", list(&|n| format!("'key-{n:032}'")))), [2]);
    assert_eq!(find(&format!("color in [{}, 'red']", list(&|n| format!("'{n}'")))), [1, 3]);
}

#[test]
fn more_than_the_limits_is_refused() {
    let values = "1,".repeat(MAX_VALUES + 1);
    assert_eq!(refused(&format!("id in [{values}]")), format!("more than {MAX_VALUES} values in lists"));
    let conditions = "a<1 or ".repeat(MAX_CONDITIONS + 1);
    let message = format!("more than {MAX_CONDITIONS} conditions; use 'in' with a list");
    assert_eq!(refused(&format!("{conditions} a<1")), message);
    let long = format!("name == '{}'", "x".repeat(MAX_TEXT));
    assert_eq!(refused(&long), format!("the text is longer than {MAX_TEXT} bytes; pass long lists as placeholders"));
    let paths = (0..=MAX_PATHS).map(|n| format!("k{n} == 1")).collect::<Vec<_>>().join(" or ");
    assert_eq!(refused(&paths), format!("more than {MAX_PATHS} different JSON paths"));
    let inner = "[1],".repeat(MAX_INNER_LISTS + 1);
    assert_eq!(refused(&format!("doc in [{inner}]")), format!("more than {MAX_INNER_LISTS} lists within a list"));
    let wild = "_".repeat(MAX_WILD + 1);
    let message = format!("more than {MAX_WILD} characters with a '_' among them between two '%'");
    assert_eq!(refused(&format!("name like '%{wild}%'")), message);
    assert_eq!(find(&format!("name like '{}%'", "a".repeat(100_000))), [0; 0]);
    let params: Params = serde_json::json!({ "ids": vec![1; MAX_VALUES + 1] }).as_object().unwrap().clone();
    let error = Filter::parse("id in {ids}", &schema(), &params).unwrap_err();
    assert_eq!(error.message(), format!("more than {MAX_VALUES} values in lists"));
}

#[test]
fn json_deeper_than_any_path_is_read() {
    use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use std::sync::Arc;

    let deep =
        |middle: &str| Some(format!("{{\"a\": {}{middle}{}, \"b\": 1}}", "[".repeat(100_000), "]".repeat(100_000)));
    let docs: ArrayRef = Arc::new(StringArray::from(vec![deep("1"), deep("")]));
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let batch = RecordBatch::try_from_iter([("id", ids), ("doc", docs)]).unwrap();
    let found = |text| parse(text).unwrap().evaluate(&batch, 2).map(|found| found.count_set_bits());
    assert_eq!(found("doc[\"b\"] == 1"), Ok(2));
    assert_eq!(found("doc[\"a\"] == [1]"), Ok(0));
    assert_eq!(found("array_length(doc[\"a\"]) == 1"), Ok(2));
    assert_eq!(found("json_contains(doc[\"a\"], 1)"), Ok(0));
    assert_eq!(found("exists doc[\"a\"][0][0][0]"), Ok(2));
}

#[test]
fn a_filter_is_evaluated_any_number_of_times() {
    let filter = parse("doc[\"n\"] == 1 or id in [3]").unwrap();
    for _ in 0..3 {
        assert_eq!(filter.evaluate(&batch(), 7).unwrap().set_indices().collect::<Vec<_>>(), [0, 1, 2]);
    }
}
