//! Filters that are refused, each with where and why. No message repeats a value or a name.

use crate::common::schema;
use custody_filter::{FieldType, Filter, Params, Schema};
use serde_json::json;

fn check(cases: &[(&str, usize, &str)]) {
    for (text, position, message) in cases {
        let error = Filter::parse(text, &schema(), &Params::new()).expect_err(text);
        assert_eq!((error.position(), error.message()), (Some(*position), *message), "{text}");
    }
}

#[test]
fn unfinished_text() {
    check(&[
        ("year ==", 7, "expected a value after '=='"),
        ("year == ", 8, "expected a value after '=='"),
        ("year > 5 and", 12, "expected a value after 'and'"),
        ("year > 5 ||", 11, "expected a value after '||'"),
        ("not", 3, "expected a value after 'not'"),
        ("(year > 5", 9, "expected ')' after a value"),
        ("year in [1, 2", 13, "expected ']' after a value"),
        ("year in", 7, "expected a value after 'in'"),
        ("doc[", 4, "expected a quoted key or a whole number after '['"),
        ("doc[\"a\"", 7, "expected ']' after a value"),
        ("array_contains(tags", 19, "expected ',' after a name"),
        ("array_contains(tags, 'red'", 26, "expected ')' after a value"),
        ("name is", 7, "expected 'null' after 'is'"),
        ("name is not", 11, "expected 'null' after 'not'"),
        ("{", 1, "expected a placeholder's name after '{'"),
        ("name == 'alpha", 8, "text without its closing quote"),
        ("name == \"alpha\\\"", 8, "text without its closing quote"),
        ("exists", 6, "expected a value after 'exists'"),
        ("-", 1, "expected a value after '-'"),
    ]);
}

#[test]
fn misplaced_words_and_symbols() {
    check(&[
        ("== 5", 0, "expected a value"),
        (")", 0, "expected a value"),
        ("year > 5)", 8, "a ')' without its '('"),
        ("year > 5 6", 9, "expected an operator or the end after a value"),
        ("year > 5 year", 9, "expected an operator or the end after a value"),
        ("year not 5", 9, "expected 'in' after 'not'"),
        ("year !in", 8, "expected a value after 'in'"),
        ("()", 1, "expected a value after '('"),
        ("year > and", 7, "expected a value, but found a keyword; reach a dynamic field of that name by $meta"),
        ("doc[\"a\"]]", 8, "expected an operator or the end after ']'"),
        ("doc[-1] == 1", 4, "expected a quoted key or a whole number after '['"),
        (
            "year == 1 + not flag",
            12,
            "expected a value, but found a keyword; reach a dynamic field of that name by $meta",
        ),
        ("$ == 1", 0, "'$' must begin a name"),
        ("a; b", 1, "a character that has no meaning here"),
        ("year \u{fe0f} 5", 5, "a character that has no meaning here"),
    ]);
}

#[test]
fn operators_of_other_languages() {
    check(&[
        ("year = 5", 5, "a single '=' is no comparison; use '=='"),
        ("year & 5 == 5", 5, "bit operators are not supported; use 'and' or '&&' between conditions"),
        ("flag | flag", 5, "bit operators are not supported; use 'or' or '||' between conditions"),
        ("id ^ 2 == 4", 3, "bit operators are not supported; use '**' for a power"),
        ("id << 2 == 4", 3, "bit operators are not supported"),
        ("name =~ 'a.*'", 5, "regular expressions are not supported; use like"),
        (
            "text_match(name, 'a')",
            0,
            "no such function; there are array_contains, array_contains_all, array_contains_any, the same with json_, \
             and array_length",
        ),
    ]);
}

#[test]
fn malformed_literals() {
    check(&[
        ("id == 12abc", 6, "a malformed number"),
        ("id == 0x", 6, "a malformed number"),
        ("id == 0xg", 6, "a malformed number"),
        ("id == 0b12", 6, "a malformed number"),
        ("id == 09", 6, "a malformed number"),
        ("id == 1.2.3", 6, "a malformed number"),
        ("id == 1e", 6, "a malformed number"),
        ("id == 1_000", 6, "a malformed number"),
        ("id == 9223372036854775808", 6, "a whole number too large for Int64"),
        ("id == -9223372036854775809", 7, "a whole number too large for Int64"),
        ("id == 99999999999999999999999", 6, "a whole number too large for Int64"),
        ("score == 1e999", 9, "a number too large for Double"),
        (r"name == '\x4'", 9, "'\\x' needs two hexadecimal digits"),
        (r"name == '\u12'", 9, "'\\u' needs four hexadecimal digits of a character"),
        (r"name == '\ud800'", 9, "'\\u' needs four hexadecimal digits of a character"),
        (r"name == '\ud800\u0041'", 9, "'\\u' needs four hexadecimal digits of a character"),
        (r"name == '\U00110000'", 9, "'\\U' needs eight hexadecimal digits of a character"),
        (r"name == '\777'", 9, "an octal escape above \\377"),
        (r"name == '\xff'", 8, "text whose escapes make no valid UTF-8"),
    ]);
}

#[test]
fn values_of_types_that_never_meet() {
    check(&[
        ("name < 5", 5, "VarChar can't be compared with a whole number"),
        ("5 > name", 2, "VarChar can't be compared with a whole number"),
        ("id == '5'", 3, "a whole number can't be compared with VarChar"),
        ("id == true", 3, "a whole number can't be compared with Bool"),
        ("score == 'x'", 6, "a floating-point number can't be compared with VarChar"),
        ("flag == 1", 5, "Bool can't be compared with a whole number"),
        ("flag < true", 5, "Bool has no order; only '==' and '!=' compare it"),
        ("doc[\"b\"] < true", 9, "Bool has no order; only '==' and '!=' compare it"),
        ("nums < [1]", 5, "a list has no order; only '==' and '!=' compare it"),
        ("nums == 1", 5, "a list can't be compared with a whole number"),
        ("nums == tags", 5, "a list can't be compared with a list"),
        ("nums[0] == 'x'", 8, "a whole number can't be compared with VarChar"),
        ("tags[0] > 5", 8, "VarChar can't be compared with a whole number"),
        ("name == id", 5, "VarChar can't be compared with a whole number"),
        ("1 == 'x'", 2, "a whole number can't be compared with VarChar"),
        ("id in [1, 'x']", 3, "a whole number can't be compared with VarChar"),
        ("name in [1]", 5, "VarChar can't be compared with a whole number"),
        ("id in [[1]]", 3, "a whole number can't be compared with a list"),
        ("array_contains(nums, 'x')", 0, "a whole number can't be compared with VarChar"),
        ("array_contains(nums, [1])", 0, "a whole number can't be compared with a list"),
        ("array_contains_any(tags, ['a', 1])", 0, "VarChar can't be compared with a whole number"),
        ("1 < name < 5", 2, "VarChar can't be compared with a whole number"),
    ]);
}

#[test]
fn conditions_and_values_in_each_others_place() {
    const RANGE: &str = "a condition can only be compared with true or false; join conditions by 'and', and write both \
                         signs of a range the same way, as in 1 < a <= 5";
    check(&[
        ("id", 0, "expected a condition, as in 'a > 5', but found a whole number"),
        ("5", 0, "expected a condition, as in 'a > 5', but found a whole number"),
        ("'x'", 0, "expected a condition, as in 'a > 5', but found VarChar"),
        ("nums", 0, "expected a condition, as in 'a > 5', but found a list"),
        ("color", 0, "a JSON value is no condition; compare it, as in '== true'"),
        ("flag and id", 9, "expected a condition, as in 'a > 5', but found a whole number"),
        ("id or flag", 0, "expected a condition, as in 'a > 5', but found a whole number"),
        ("not id", 4, "expected a condition, as in 'a > 5', but found a whole number"),
        ("1 < id > 0", 7, RANGE),
        ("id == id == 1", 9, RANGE),
        ("(id == 1) == id", 10, RANGE),
        ("(id == 1) < true", 10, RANGE),
        ("1 < (id == 1) < 2", 2, "a range needs a value in its middle"),
        ("(id == 1) + 1 == 2", 10, "a condition is no number to compute with"),
    ]);
}

#[test]
fn operators_without_a_field_to_work_on() {
    check(&[
        ("1 in [1]", 2, "'in' needs a field on its left"),
        ("id in 1", 3, "'in' needs a list of values on its right, as in [1, 2]"),
        ("id in nums", 3, "'in' needs a list of values on its right, as in [1, 2]"),
        ("id in [year]", 7, "a list may hold only values, no fields"),
        ("nums in [[1]]", 5, "'in' looks for a single value; use array_contains_any for an Array"),
        ("id like 'a'", 3, "'like' needs a VarChar field or a JSON path on its left"),
        ("'a' like 'a'", 4, "'like' needs a VarChar field or a JSON path on its left"),
        ("name like name", 5, "'like' needs a quoted pattern on its right"),
        ("name like 5", 5, "'like' needs a quoted pattern on its right"),
        ("exists name", 0, "'exists' needs a key of a JSON or dynamic field, as in meta[\"key\"]"),
        ("exists doc", 0, "'exists' needs a key of a JSON or dynamic field, as in meta[\"key\"]"),
        ("exists nums[0]", 0, "'exists' needs a key of a JSON or dynamic field, as in meta[\"key\"]"),
        ("5 is null", 2, "'is null' needs a field or a JSON path on its left"),
        ("nums[0] is null", 8, "'is null' needs a field or a JSON path on its left"),
        ("id + 1 is null", 7, "'is null' needs a field or a JSON path on its left"),
        ("array_contains(name, 'a')", 0, "the first argument must be an Array field or a JSON path"),
        ("array_contains([1], 1)", 0, "the first argument must be an Array field or a JSON path"),
        ("array_contains(nums, id)", 0, "the second argument must be a value, not a field"),
        ("array_contains_all(nums, 1)", 0, "the second argument must be a list of values, as in [1, 2]"),
        ("array_length(name) > 1", 0, "the first argument must be an Array field or a JSON path"),
        ("array_length(nums, 1) > 1", 17, "expected ')' after a name"),
    ]);
}

#[test]
fn arithmetic_that_can_have_no_result() {
    check(&[
        ("name + 1 == 2", 5, "arithmetic needs numbers, but found VarChar"),
        ("name + 'x' == 'y'", 5, "arithmetic needs numbers, but found VarChar"),
        ("flag + 1 == 2", 5, "arithmetic needs numbers, but found Bool"),
        ("nums + 1 == 2", 5, "arithmetic needs numbers, but found a list"),
        ("-name == 1", 0, "arithmetic needs numbers, but found VarChar"),
        ("score % 2 == 0", 6, "'%' needs whole numbers"),
        ("id % 2.5 == 0", 3, "'%' needs whole numbers"),
        ("id / 0 == 1", 3, "a division by zero"),
        ("id % 0 == 1", 3, "a division by zero"),
        ("score / 0.0 == 1", 6, "a division by zero"),
        ("id == 1 / 0", 8, "a division by zero"),
        ("id == 9223372036854775807 + 1", 26, "this arithmetic has no finite result"),
        ("id == 10 ** 400", 9, "this arithmetic has no finite result"),
    ]);
}

#[test]
fn fields_that_are_not_there_or_can_not_be_used() {
    check(&[
        ("vector == 1", 0, "a vector can't stand in a filter"),
        ("vector is null", 0, "a vector can't stand in a filter"),
        ("name[0] == 'a'", 0, "VarChar can't be reached into by [ ]"),
        ("id[\"a\"] == 1", 0, "Int64 can't be reached into by [ ]"),
        ("nums[\"a\"] == 1", 0, "an Array is reached into by one whole number, as in tags[0]"),
        ("nums[0][1] == 1", 0, "an Array is reached into by one whole number, as in tags[0]"),
    ]);
    let strict = Schema::new().primary("id", FieldType::Int64);
    let error = Filter::parse("id > 1 and color == 1", &strict, &Params::new()).unwrap_err();
    assert_eq!(error.position(), Some(11));
    assert_eq!(error.message(), "no such field, and the collection has no dynamic field");
}

#[test]
fn placeholders_without_a_usable_value() {
    const KINDS: &str = "the value given for this placeholder must be Bool, a number, text, or a list of them";
    let given = json!({ "nothing": null, "object": {"a": 1}, "huge": 18_446_744_073_709_551_615_u64, "text": "x",
        "list": [1, null], "deep": [[[[[[[[[1]]]]]]]]] });
    let given = given.as_object().unwrap().clone();
    let cases = [
        ("id == {missing}", 7, "no value was given for this placeholder"),
        ("id == {nothing}", 7, KINDS),
        ("id == {object}", 7, KINDS),
        ("id in {list}", 7, KINDS),
        ("id == {huge}", 7, "the number given for this placeholder is too large"),
        ("id in {deep}", 7, "the lists given for this placeholder nest too deep"),
        ("id == {text}", 3, "a whole number can't be compared with VarChar"),
        ("id in {text}", 3, "'in' needs a list of values on its right, as in [1, 2]"),
        ("id == {5}", 7, "expected a placeholder's name after '{'"),
        ("id == {text", 11, "expected '}' after a name"),
    ];
    for (text, position, message) in cases {
        let error = Filter::parse(text, &schema(), &given).expect_err(text);
        assert_eq!((error.position(), error.message()), (Some(position), message), "{text}");
    }
}

#[test]
fn the_message_counts_characters_and_repeats_nothing_of_the_text() {
    let text = "größe == 'geheim' and name == 12345";
    let error = Filter::parse(text, &schema(), &Params::new()).unwrap_err();
    assert_eq!(error.to_string(), "filter, at character 28: VarChar can't be compared with a whole number");
    assert_eq!(error.position(), Some(29), "bytes and characters differ");
    for word in ["größe", "geheim", "name", "12345"] {
        assert!(!error.to_string().contains(word) && !format!("{error:?}").contains(word), "{word} leaked");
    }
}
