//! What each filter finds among the seven rows of `common`.

use crate::common::{find, find_with};
use custody_filter::Params;
use serde_json::json;

const ALL: &[usize] = &[1, 2, 3, 4, 5, 6, 7];

fn check(cases: &[(&str, &[usize])]) {
    for (text, rows) in cases {
        assert_eq!(find(text), *rows, "{text}");
    }
}

#[test]
fn empty_text_finds_every_row() {
    check(&[("", ALL), (" \n\t ", ALL), ("true", ALL), ("TRUE", ALL), ("not False", ALL), ("false", &[])]);
}

#[test]
fn comparisons_take_either_side_and_leave_out_rows_without_a_value() {
    check(&[
        ("year == 2000", &[3]),
        ("2000 == year", &[3]),
        ("year != 2000", &[1, 2, 4, 5, 6]),
        ("year < 2000", &[1, 2]),
        ("2000 > year", &[1, 2]),
        ("year <= 2000", &[1, 2, 3]),
        ("year > 2000", &[4, 5, 6]),
        ("year >= 2000", &[3, 4, 5, 6]),
        ("not (year == 2000)", &[1, 2, 4, 5, 6]),
        ("not year == 2000", &[1, 2, 4, 5, 6]),
        ("!(year < 2000)", &[3, 4, 5, 6]),
        ("name == 'alpha'", &[1]),
        ("name != \"alpha\"", &[2, 3, 4, 5, 6]),
        ("name < 'b'", &[1, 3, 4, 6]),
        ("name >= 'b'", &[2, 5]),
        ("name == ''", &[6]),
    ]);
}

#[test]
fn ranges_go_in_either_direction() {
    check(&[
        ("1990 < year <= 2005", &[2, 3, 4]),
        ("2005 > year >= 1995", &[2, 3]),
        ("not (1990 < year <= 2005)", &[1, 5, 6]),
        ("'b' <= name < 'c'", &[2]),
        ("2010 < year < 1990", &[]),
        ("1 <= doc[\"n\"] < 2", &[1, 2]),
        ("10 < short < year", &[2, 3, 4, 5, 6]),
    ]);
}

#[test]
fn integers_of_every_width_meet_literals_beyond_it() {
    check(&[
        ("tiny == -128", &[1]),
        ("tiny >= 127", &[6]),
        ("tiny < 1000", &[1, 2, 3, 4, 5, 6]),
        ("tiny > 1000", &[]),
        ("tiny != 1000", &[1, 2, 3, 4, 5, 6]),
        ("tiny == 1000", &[]),
        ("short > 25.5", &[3, 4, 5, 6]),
        ("short == 25.5", &[]),
        ("short != 25.5", &[1, 2, 3, 4, 5, 6]),
        ("short <= 20.0", &[1, 2]),
        ("big == -9223372036854775808", &[1]),
        ("big <= -9223372036854775808", &[1]),
        ("big < -9223372036854775808", &[]),
        ("big == 9223372036854775807", &[6]),
        ("big > 9223372036854775807", &[]),
        ("big < 1e300", &[1, 2, 3, 4, 5, 6]),
        ("big > 1e300", &[]),
        ("big > -1e300", &[1, 2, 3, 4, 5, 6]),
        ("big < -1e300", &[]),
    ]);
}

#[test]
fn integers_and_floats_compare_exactly_where_a_float_would_round() {
    check(&[
        ("big == 9007199254740993", &[5]),
        ("big == 9007199254740992.0", &[4]),
        ("big > 9007199254740992.0", &[5, 6]),
        ("score == 9007199254740993", &[]),
        ("score < 9007199254740993", &[1, 2, 3, 4, 5, 6]),
        ("score >= 9007199254740993", &[]),
        ("score > 9007199254740991", &[3]),
        ("big > score", &[4, 5, 6]),
        ("score == 0", &[6]),
        ("score < 0", &[4]),
        ("score >= 0.0", &[1, 2, 3, 5, 6]),
        ("doc[\"n\"] == 9007199254740993", &[4]),
        ("doc[\"n\"] > 9007199254740992", &[4]),
    ]);
}

#[test]
fn a_literal_is_rounded_to_the_width_of_a_float_field() {
    check(&[
        ("price == 0.1", &[1]),
        ("price <= 0.1", &[1, 4, 6]),
        ("price < 0.1", &[4, 6]),
        ("price > 9.99", &[3, 5]),
        ("price in [0.1, 9.99]", &[1, 2]),
        ("rates[0] == 0.1", &[1]),
        ("array_contains(rates, 0.2)", &[1]),
        ("array_contains_any(rates, [0.2, 0.5])", &[1, 2]),
        ("rates == [0.1, 0.2]", &[1]),
        ("score == 0.1", &[1]),
        ("price + 0.0 == 0.1", &[]),
    ]);
}

#[test]
fn literals_are_read_as_milvus_reads_them() {
    check(&[
        ("id == 0x5", &[5]),
        ("id == 0X5", &[5]),
        ("id == 0b101", &[5]),
        ("id == 05", &[5]),
        ("short == 024", &[2]),
        ("score == .5", &[2]),
        ("score == 3.", &[5]),
        ("score == 5e-1", &[2]),
        ("score == 30E-1", &[5]),
        ("tiny == -1", &[2]),
        ("tiny == - 1", &[2]),
        ("tiny == +1", &[4]),
        (r#"name == "it's \"quoted\"""#, &[5]),
        (r#"name == 'it\'s "quoted"'"#, &[5]),
        (r"name == '\x61lpha'", &[1]),
        (r"name == '\141lpha'", &[1]),
        (r"name == '\u0061lpha'", &[1]),
        (r"name == '\U00000061lpha'", &[1]),
        (r#"doc["s"] == "x\"é""#, &[4]),
        (r#"doc["s"] == 'x"\u00e9'"#, &[4]),
        (r#"doc["s"] == 'x"\xc3\xa9'"#, &[4]),
    ]);
}

#[test]
fn keywords_are_read_in_any_case() {
    check(&[
        ("year > 1990 AND year < 2000", &[2]),
        ("year > 1990 && year < 2000", &[2]),
        ("year < 1995 Or year > 2010", &[1, 6]),
        ("year < 1995 || year > 2010", &[1, 6]),
        ("NOT year > 1990", &[1]),
        ("id IN [1, 2]", &[1, 2]),
        ("id Not In [1, 2]", &[3, 4, 5, 6, 7]),
        ("name LIKE 'a%'", &[1]),
        ("EXISTS color", &[1, 2, 3]),
        ("name IS NULL", &[7]),
        ("name is  NOT\nnull", &[1, 2, 3, 4, 5, 6]),
        ("ARRAY_CONTAINS(tags, 'red')", &[1, 2, 5]),
        ("Json_Contains_Any(tags, ['green'])", &[4, 5]),
    ]);
}

#[test]
fn and_binds_tighter_than_or_and_not_looser_than_a_comparison() {
    check(&[
        ("id == 1 or id == 2 and year == 1990", &[1]),
        ("(id == 1 or id == 2) and year == 1990", &[1]),
        ("(id == 1 or id == 2) and year == 1995", &[2]),
        ("not id == 1 and year < 2000", &[2]),
        ("not (id == 1 and year < 2000)", &[2, 3, 4, 5, 6, 7]),
        ("not not id == 1", &[1]),
        ("id == 1 or id == 2 or name == 'Gamma' or name == 'beta'", &[1, 2, 3]),
    ]);
}

#[test]
fn unknown_is_neither_true_nor_false() {
    check(&[
        // In row 7 year is unknown, id > 6 true, id < 7 false.
        ("year > 0 or id > 6", ALL),
        ("year > 0 and id > 6", &[]),
        ("not (year > 0 and id > 6)", &[1, 2, 3, 4, 5, 6]),
        ("not (year > 0 and id < 7)", &[7]),
        ("not (year > 0 or id < 7)", &[]),
        ("not (not (year > 0))", &[1, 2, 3, 4, 5, 6]),
        ("not (year is null)", &[1, 2, 3, 4, 5, 6]),
        ("not (not (year is null))", &[7]),
        ("year is null or year > 2010", &[6, 7]),
    ]);
}

#[test]
fn bool_fields_are_conditions_and_values() {
    check(&[
        ("flag", &[1, 3, 5]),
        ("not flag", &[2, 4, 6]),
        ("flag == true", &[1, 3, 5]),
        ("flag == false", &[2, 4, 6]),
        ("flag != true", &[2, 4, 6]),
        ("true == flag and id > 1", &[3, 5]),
        ("flag in [true]", &[1, 3, 5]),
        ("flag in [true, false]", &[1, 2, 3, 4, 5, 6]),
        ("flag == flag", &[1, 2, 3, 4, 5, 6]),
        ("(year > 2000) == true", &[4, 5, 6]),
        ("(year > 2000) == false", &[1, 2, 3]),
        ("false != (year > 2000)", &[4, 5, 6]),
        ("marks[0]", &[1, 4]),
        ("not marks[0]", &[2]),
        ("doc[\"b\"] == true", &[1]),
        ("flag == doc[\"b\"]", &[1, 2]),
    ]);
}

#[test]
fn fields_compare_with_fields() {
    check(&[
        ("id < tiny", &[6]),
        ("short > year", &[]),
        ("id == id", ALL),
        ("name == name", &[1, 2, 3, 4, 5, 6]),
        ("price == score", &[6]),
        ("nums[0] == id", &[1]),
        ("doc[\"n\"] == id", &[1]),
        ("doc[\"s\"] == $meta[\"color\"]", &[]),
        ("nums == nums", &[1, 2, 3, 4, 5, 6]),
    ]);
}

#[test]
fn in_finds_values_whatever_their_number_form() {
    check(&[
        ("id in [1, 3, 99]", &[1, 3]),
        ("id in [1.0, 2.5]", &[1]),
        ("id in []", &[]),
        ("id not in []", ALL),
        ("year not in []", &[1, 2, 3, 4, 5, 6]),
        ("year in [1990, 2000,]", &[1, 3]),
        ("year not in [1990, 2000]", &[2, 4, 5, 6]),
        ("not (year not in [1990])", &[1]),
        ("score in [0, 3]", &[5, 6]),
        ("score in [0.5]", &[2]),
        ("name in ['alpha', 'Gamma']", &[1, 3]),
        ("name not in ['alpha', 'Gamma']", &[2, 4, 5, 6]),
        ("nums[1] in [2, 0]", &[1, 5, 6]),
        ("year - 1990 in [0, 5]", &[1, 2]),
        ("big in [0, 9007199254740993, -9007199254740993, 9223372036854775807]", &[2, 3, 5, 6]),
        ("doc[\"n\"] in [1, -2.5]", &[1, 2, 5]),
        ("doc[\"n\"] in [1, '1']", &[1, 2, 3]),
        ("doc[\"n\"] not in [1]", &[4, 5]),
        ("doc[\"n\"] not in ['1']", &[]),
        ("doc[\"b\"] in [true, 'true']", &[1, 3]),
        ("doc[\"list\"] in [[], [1, [2, 3]]]", &[2, 3]),
    ]);
}

#[test]
fn long_lists_find_the_same_as_short_ones() {
    let dense = (3..60).map(|id| id.to_string()).collect::<Vec<_>>().join(",");
    let sparse = (3..60).map(|id: i64| (id * 1_000_003 - 3_000_006).to_string()).collect::<Vec<_>>().join(",");
    assert_eq!(find(&format!("id in [{dense}]")), [3, 4, 5, 6, 7]);
    assert_eq!(find(&format!("id not in [{dense}]")), [1, 2]);
    assert_eq!(find(&format!("id in [{sparse}]")), [3]);
    assert_eq!(find(&format!("big in [{dense}, -9223372036854775808, 9223372036854775807]")), [1, 6]);
}

#[test]
fn like_knows_its_wildcards_and_their_escapes() {
    check(&[
        ("name like 'a%'", &[1]),
        ("name like '%a'", &[1, 2, 3]),
        ("name like '%et%'", &[2]),
        ("name like '_eta'", &[2]),
        ("name like 'G_mm_'", &[3]),
        ("name like '%'", &[1, 2, 3, 4, 5, 6]),
        ("name like ''", &[6]),
        ("name like 'alpha'", &[1]),
        (r"name like '50\% %'", &[4]),
        (r"name like '50\\% %'", &[4]),
        (r"name like '5\_%'", &[]),
        ("not (name like '%a%')", &[4, 5, 6]),
        ("tags[0] like 'r%'", &[1, 2, 5]),
        ("color like 'r_d'", &[1, 3]),
        ("doc[\"s\"] like '%'", &[1, 2, 4]),
        ("not (doc[\"s\"] like 'x%')", &[2]),
    ]);
}

#[test]
fn arithmetic_follows_its_precedence() {
    check(&[
        ("id + 1 == 3", &[2]),
        ("1 + id * 2 == 7", &[3]),
        ("(1 + id) * 2 == 8", &[3]),
        ("id * 2 + 1 == 7", &[3]),
        ("10 - id - 1 == 4", &[5]),
        ("id % 3 == 0", &[3, 6]),
        ("id / 2 == 1", &[2, 3]),
        ("-7 / 2 == -3 and id == 1", &[1]),
        ("tiny % 2 == -1", &[2]),
        ("id / 2.0 == 1.5", &[3]),
        ("id ** 2 == 16", &[4]),
        ("2 ** id == 8", &[3]),
        ("2 ** 3 ** 2 == 64 and id == 1", &[1]),
        ("-2 ** 2 == -4 and id == 1", &[1]),
        ("2 ** -1 == 0.5 and id == 1", &[1]),
        ("-id == -3", &[3]),
        ("- - id == 3", &[3]),
        ("id + tiny > 100", &[6]),
        ("price * 2 == 20", &[3]),
        ("doc[\"n\"] + 1 == 2", &[1, 2]),
        ("doc[\"n\"] * 2 < 0", &[5]),
        ("size % 2 == 1", &[1]),
        ("1 + 1 == 2", ALL),
        ("1 > 2", &[]),
    ]);
}

#[test]
fn arithmetic_without_a_result_is_unknown() {
    check(&[
        // The smallest integer overflows in row 1, by -1 and by its sign.
        ("big - 1 < 0", &[2, 3]),
        ("not (big - 1 < 0)", &[4, 5, 6]),
        ("-big > 0", &[2]),
        ("big * big >= 0", &[3]),
        ("big / -1 < 0", &[4, 5, 6]),
        ("big % -1 == 0", &[1, 2, 3, 4, 5, 6]),
        // Division by zero in row 3, and of the float in row 6.
        ("10 / tiny > -100", &[1, 2, 4, 5, 6]),
        ("not (10 / tiny > -100)", &[]),
        ("10 % tiny == 0", &[2, 4, 5]),
        ("1 / price > 5", &[1]),
        ("1 / score == 1 / score", &[1, 2, 3, 4, 5]),
        ("tiny ** 0.5 >= 0", &[3, 4, 5, 6]),
        ("tiny ** 1000 >= 0", &[2, 3, 4, 5]),
    ]);
}

#[test]
fn json_paths_reach_into_objects_and_lists() {
    check(&[
        ("doc[\"deep\"][\"er\"][1][\"k\"] == 20", &[1]),
        ("doc['deep']['er'][0]['k'] == 10", &[1]),
        ("doc[\"list\"][0] == 1", &[1, 2]),
        ("doc[\"list\"][2] == 'three'", &[1]),
        ("doc[\"list\"][1][1] == 3", &[2]),
        ("doc[1] == 20", &[6]),
        ("doc == [10, 20]", &[6]),
        ("doc[\"list\"] == [1, 2, 'three']", &[1]),
        ("doc[\"list\"] == []", &[3]),
        ("doc[\"list\"] != []", &[1, 2, 5]),
        ("doc[\"list\"] == [1, [2, 3]] and doc[\"list\"][1] == [2, 3]", &[2]),
        ("doc[\"list\"] == doc[\"list\"]", &[1, 2, 3, 4]),
    ]);
}

#[test]
fn json_of_another_kind_or_missing_is_unknown() {
    check(&[
        ("doc[\"n\"] == 1", &[1, 2]),
        ("doc[\"n\"] == '1'", &[3]),
        ("doc[\"n\"] != 1", &[4, 5]),
        ("doc[\"n\"] != 'x'", &[3]),
        ("not (doc[\"n\"] == 1)", &[4, 5]),
        ("doc[\"b\"] != true", &[2]),
        ("doc[\"missing\"] != 1", &[]),
        ("not (doc[\"missing\"] == 1)", &[]),
        ("doc[\"s\"] < 'y'", &[1, 4]),
        ("doc[\"n\"] > doc[\"m\"]", &[]),
        ("doc[\"n\"] < doc[\"m\"]", &[5]),
        ("doc[\"deep\"] == 5", &[3]),
    ]);
}

#[test]
fn names_outside_the_schema_are_dynamic_fields() {
    check(&[
        ("color == 'red'", &[1, 3]),
        ("$meta[\"color\"] == 'red'", &[1, 3]),
        ("color != 'red'", &[2]),
        ("nested[\"color\"] == 'red'", &[4]),
        ("$meta[\"nested\"][\"color\"] == 'red'", &[4]),
        ("size > 3", &[2, 4]),
        ("größe == 5", &[1]),
        ("$meta[\"in\"] == 1", &[1]),
        ("$meta is null", &[7]),
        ("unheard_of == 1", &[]),
    ]);
}

#[test]
fn exists_and_is_null_are_never_unknown() {
    check(&[
        ("exists doc[\"s\"]", &[1, 2, 4, 5]),
        ("not exists doc[\"s\"]", &[3, 6, 7]),
        ("exists (doc[\"list\"])", &[1, 2, 3, 4, 5]),
        ("exists doc[\"deep\"][\"er\"]", &[1, 2]),
        ("exists doc[\"deep\"][\"er\"][0]", &[1]),
        ("exists doc[0]", &[6]),
        ("exists color and size > 3", &[2]),
        ("color is null", &[4, 5, 6, 7]),
        ("color is not null", &[1, 2, 3]),
        ("doc[\"s\"] is null", &[3, 6, 7]),
        ("doc is null", &[7]),
        ("nums is null", &[7]),
        ("id is null", &[]),
        ("id is not null", ALL),
    ]);
}

#[test]
fn lists_are_searched_for_elements() {
    check(&[
        ("array_contains(nums, 1)", &[1, 4, 5]),
        ("not array_contains(nums, 1)", &[2, 3, 6]),
        ("array_contains_all(nums, [1, 2])", &[1, 5]),
        ("array_contains_all(nums, [1, 1, 1.0])", &[1, 4, 5]),
        ("array_contains_all(nums, [])", &[1, 2, 3, 4, 5, 6]),
        ("array_contains_any(nums, [4, 0])", &[2, 6]),
        ("array_contains_any(nums, [])", &[]),
        ("array_contains(marks, false)", &[2, 4]),
        ("json_contains(nums, 4)", &[2]),
        ("json_contains(doc[\"list\"], 1)", &[1, 2]),
        ("json_contains(doc[\"list\"], 'three')", &[1]),
        ("json_contains(doc[\"list\"], 2)", &[1, 5]),
        ("json_contains(doc[\"list\"], [2, 3])", &[2]),
        ("not json_contains(doc[\"list\"], 1)", &[3, 5]),
        ("array_contains(doc[\"list\"], true)", &[5]),
        ("json_contains_all(doc[\"list\"], [1, 'three'])", &[1]),
        ("json_contains_all(doc[\"list\"], [[2, 3], 1])", &[2]),
        ("json_contains_any(doc[\"list\"], [true, 'three'])", &[1, 5]),
        ("json_contains(doc, 20)", &[6]),
    ]);
}

#[test]
fn arrays_have_elements_and_a_length() {
    check(&[
        ("nums[0] == 1", &[1, 4]),
        ("nums[0] != 1", &[2, 5, 6]),
        ("nums[2] > 0", &[1, 4, 5]),
        ("nums[99] == 1", &[]),
        ("not (nums[99] == 1)", &[]),
        ("nums[0] + nums[1] == 5", &[5]),
        ("tags[1] == 'green'", &[5]),
        ("nums == [1, 2, 3]", &[1]),
        ("nums != [1, 2, 3]", &[2, 3, 4, 5, 6]),
        ("tags == ['red']", &[2]),
        ("array_length(nums) == 3", &[1, 4, 5]),
        ("array_length(nums) - 1 == 0", &[2]),
        ("array_length(tags) > array_length(nums)", &[]),
        ("array_length(doc[\"list\"]) == 2", &[2]),
        ("array_length(doc[\"list\"]) == 0", &[3]),
        ("array_length(doc) in [2]", &[6]),
    ]);
}

#[test]
fn placeholders_stand_for_values() {
    let params = json!({
        "age": 2000, "half": 0.5, "names": ["alpha", "beta"], "yes": true, "pattern": "%mm%", "ids": [1, 2, [3]],
        "lists": [[1, 2, 3], [4]],
    });
    let params: Params = params.as_object().unwrap().clone();
    let cases: [(&str, &[usize]); 9] = [
        ("year > {age}", &[4, 5, 6]),
        ("{age} >= year", &[1, 2, 3]),
        ("1990 < year < { age }", &[2]),
        ("score == {half}", &[2]),
        ("name in {names}", &[1, 2]),
        ("flag == {yes} and id < 3", &[1]),
        ("name like {pattern}", &[3]),
        ("year + {age} == 3990", &[1]),
        ("array_contains_any(nums, [{age}, 4])", &[2]),
    ];
    for (text, rows) in cases {
        assert_eq!(find_with(text, &params).unwrap(), rows, "{text}");
    }
}

#[test]
fn a_field_may_bear_a_keywords_name() {
    use arrow_array::{Int64Array, RecordBatch};
    use custody_filter::{FieldType, Filter, Schema};

    let schema = Schema::new().primary("In", FieldType::Int64).field("null", FieldType::Int64);
    let column = || std::sync::Arc::new(Int64Array::from(vec![1, 2, 3])) as arrow_array::ArrayRef;
    let batch = RecordBatch::try_from_iter([("In", column()), ("null", column())]).unwrap();
    let filter = Filter::parse("In in [1, 2] and null > 1 and null is not null", &schema, &Params::new()).unwrap();
    assert_eq!(filter.evaluate(&batch, 3).unwrap().set_indices().collect::<Vec<_>>(), [1]);
}
