use arrow_array::{Array, cast::AsArray, types::*};
use custody_engine::Value;
use milvus::proto::schema::{
    ArrayArray, BoolArray, DataType as WireType, DoubleArray, FloatArray, IntArray, JsonArray, LongArray,
    StringArray as Strings,
};

use super::*;

fn scalars(name: &str, kind: WireType, data: Scalars) -> FieldData {
    FieldData {
        r#type: kind.into(),
        field_name: name.into(),
        field: Some(Payload::Scalars(ScalarField { data: Some(data), valid_data: Vec::new() })),
        ..FieldData::default()
    }
}

fn longs(values: &[i64]) -> Scalars {
    Scalars::LongData(LongArray { data: values.to_vec() })
}

fn ints(values: &[i32]) -> Scalars {
    Scalars::IntData(IntArray { data: values.to_vec() })
}

fn vectors(dim: i64, floats: &[f32]) -> FieldData {
    FieldData {
        r#type: WireType::FloatVector.into(),
        field_name: "f".into(),
        field: Some(Payload::Vectors(VectorField {
            dim,
            data: Some(Vectors::FloatVector(FloatArray { data: floats.to_vec() })),
            valid_data: Vec::new(),
        })),
        ..FieldData::default()
    }
}

fn field(data_type: DataType) -> Field {
    Field::new("f", data_type)
}

fn nullable(data_type: DataType) -> Field {
    Field { nullable: true, ..field(data_type) }
}

fn array_of(element: DataType) -> DataType {
    DataType::Array { element: Box::new(element), capacity: 8 }
}

#[test]
fn every_scalar_type_arrives_as_its_arrow_column() {
    let bools = Scalars::BoolData(BoolArray { data: vec![true, false] });
    let bools = column(&field(DataType::Bool), scalars("f", WireType::Bool, bools), 2).unwrap();
    assert_eq!(bools.as_boolean().iter().collect::<Vec<_>>(), [Some(true), Some(false)]);

    let bytes = column(&field(DataType::Int8), scalars("f", WireType::Int8, ints(&[-128, 127])), 2).unwrap();
    assert_eq!(bytes.as_primitive::<Int8Type>().values(), &[-128, 127]);
    let shorts = column(&field(DataType::Int16), scalars("f", WireType::Int16, ints(&[-32_768, 1])), 2).unwrap();
    assert_eq!(shorts.as_primitive::<Int16Type>().values(), &[-32_768, 1]);
    let words = column(&field(DataType::Int32), scalars("f", WireType::Int32, ints(&[i32::MIN])), 1).unwrap();
    assert_eq!(words.as_primitive::<Int32Type>().values(), &[i32::MIN]);
    let wide = column(&field(DataType::Int64), scalars("f", WireType::Int64, longs(&[i64::MAX])), 1).unwrap();
    assert_eq!(wide.as_primitive::<Int64Type>().values(), &[i64::MAX]);

    let floats = Scalars::FloatData(FloatArray { data: vec![0.5] });
    let floats = column(&field(DataType::Float), scalars("f", WireType::Float, floats), 1).unwrap();
    assert_eq!(floats.as_primitive::<Float32Type>().values(), &[0.5]);
    let doubles = Scalars::DoubleData(DoubleArray { data: vec![0.25] });
    let doubles = column(&field(DataType::Double), scalars("f", WireType::Double, doubles), 1).unwrap();
    assert_eq!(doubles.as_primitive::<Float64Type>().values(), &[0.25]);

    let texts = Scalars::StringData(Strings { data: vec!["é".into()] });
    let texts = column(&field(DataType::VarChar { max_length: 8 }), scalars("f", WireType::VarChar, texts), 1).unwrap();
    assert_eq!(texts.as_string::<i32>().value(0), "é");
    let json = Scalars::JsonData(JsonArray { data: vec![b"{\"a\":1}".to_vec()] });
    let json = column(&field(DataType::Json), scalars("f", WireType::Json, json), 1).unwrap();
    assert_eq!(json.as_string::<i32>().value(0), "{\"a\":1}");
}

#[test]
fn columns_have_the_arrow_type_that_the_engine_expects() {
    let cell = ScalarField { data: Some(longs(&[1, 2])), valid_data: Vec::new() };
    let cells = Scalars::ArrayData(ArrayArray { data: vec![cell, ScalarField::default()], element_type: 0 });
    let list_type = array_of(DataType::Int64);
    let list = column(&field(list_type.clone()), scalars("f", WireType::Array, cells), 2).unwrap();
    assert_eq!(list.data_type(), &list_type.arrow());
    assert_eq!(list.as_list::<i32>().value(0).as_primitive::<Int64Type>().values(), &[1, 2]);
    assert!(list.is_valid(1) && list.as_list::<i32>().value(1).is_empty());

    let vector_type = DataType::FloatVector { dim: 2 };
    let vector = column(&field(vector_type.clone()), vectors(2, &[1.0, 2.0, 3.0, 4.0]), 2).unwrap();
    assert_eq!(vector.data_type(), &vector_type.arrow());
    assert_eq!(vector.as_fixed_size_list().value(1).as_primitive::<Float32Type>().values(), &[3.0, 4.0]);
}

#[test]
fn arrays_of_every_element_type_are_read() {
    let cases = [
        (DataType::Bool, Scalars::BoolData(BoolArray { data: vec![true] })),
        (DataType::Int8, ints(&[1])),
        (DataType::Int16, ints(&[1])),
        (DataType::Int32, ints(&[1])),
        (DataType::Int64, longs(&[1])),
        (DataType::Float, Scalars::FloatData(FloatArray { data: vec![1.0] })),
        (DataType::Double, Scalars::DoubleData(DoubleArray { data: vec![1.0] })),
        (DataType::VarChar { max_length: 4 }, Scalars::StringData(Strings { data: vec!["a".into()] })),
    ];
    for (element, values) in cases {
        let data_type = array_of(element);
        let cell = ScalarField { data: Some(values), valid_data: Vec::new() };
        let cells = Scalars::ArrayData(ArrayArray { data: vec![cell], element_type: 0 });
        let list = column(&field(data_type.clone()), scalars("f", WireType::Array, cells), 1).unwrap();
        assert_eq!(list.data_type(), &data_type.arrow());
        assert_eq!(list.as_list::<i32>().value(0).len(), 1);
    }
}

#[test]
fn a_nullable_column_may_bring_the_valid_values_alone_or_one_for_every_row() {
    let valid = vec![true, false, true];
    let expected = [Some(7), None, Some(9)];
    for values in [&[7, 9][..], &[7, 0, 9][..]] {
        for inside in [false, true] {
            let mut data = scalars("f", WireType::Int64, longs(values));
            match (&mut data.field, inside) {
                (Some(Payload::Scalars(scalars)), true) => scalars.valid_data.clone_from(&valid),
                _ => data.valid_data.clone_from(&valid),
            }
            let column = column(&nullable(DataType::Int64), data, 3).unwrap();
            assert_eq!(column.as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), expected);
        }
    }
}

#[test]
fn nullable_texts_json_and_arrays_keep_their_places() {
    let texts = Scalars::StringData(Strings { data: vec!["b".into()] });
    let data = FieldData { valid_data: vec![false, true], ..scalars("f", WireType::VarChar, texts) };
    let texts = column(&nullable(DataType::VarChar { max_length: 4 }), data, 2).unwrap();
    assert_eq!(texts.as_string::<i32>().iter().collect::<Vec<_>>(), [None, Some("b")]);

    let json = Scalars::JsonData(JsonArray { data: vec![b"1".to_vec()] });
    let data = FieldData { valid_data: vec![true, false], ..scalars("f", WireType::Json, json) };
    let json = column(&nullable(DataType::Json), data, 2).unwrap();
    assert_eq!(json.as_string::<i32>().iter().collect::<Vec<_>>(), [Some("1"), None]);

    let cell = ScalarField { data: Some(ints(&[5])), valid_data: Vec::new() };
    let cells = Scalars::ArrayData(ArrayArray { data: vec![cell], element_type: 0 });
    let data = FieldData { valid_data: vec![false, true], ..scalars("f", WireType::Array, cells) };
    let list = column(&nullable(array_of(DataType::Int16)), data, 2).unwrap();
    assert!(list.is_null(0) && list.as_list::<i32>().value(1).as_primitive::<Int16Type>().values() == &[5]);
}

#[test]
fn a_column_of_nulls_may_come_without_values() {
    for payload in [None, Some(Payload::Scalars(ScalarField::default()))] {
        let data = FieldData {
            r#type: WireType::Int32.into(),
            field_name: "f".into(),
            valid_data: vec![false, false],
            field: payload,
            ..FieldData::default()
        };
        assert_eq!(column(&nullable(DataType::Int32), data, 2).unwrap().null_count(), 2);
    }
}

#[test]
fn a_missing_value_is_let_through_where_the_field_has_a_default() {
    let data = FieldData { valid_data: vec![true, false], ..scalars("f", WireType::Int64, longs(&[1])) };
    let with_default = Field { default: Some(Value::Int(5)), ..field(DataType::Int64) };
    assert_eq!(column(&with_default, data.clone(), 2).unwrap().null_count(), 1);
    let refused = column(&field(DataType::Int64), data, 2).unwrap_err();
    assert_eq!(refused, ConvertError::Missing { field: "f".into() });
}

#[test]
fn a_column_with_a_wrong_number_of_rows_is_refused() {
    for (values, valid, rows) in [
        (&[1, 2][..], &[][..], 3),
        (&[1, 2], &[], 1),
        (&[1], &[true, false, true], 3),
        (&[1, 2], &[true, true], 3),
        (&[], &[], 1),
    ] {
        let data = FieldData { valid_data: valid.to_vec(), ..scalars("f", WireType::Int64, longs(values)) };
        let refused = column(&nullable(DataType::Int64), data, rows).unwrap_err();
        assert!(matches!(refused, ConvertError::Rows { .. }), "{values:?} {valid:?} {rows}: {refused}");
    }
    let empty = FieldData { r#type: WireType::Int64.into(), field_name: "f".into(), ..FieldData::default() };
    assert!(matches!(column(&field(DataType::Int64), empty, 2), Err(ConvertError::Rows { given: 0, .. })));
}

#[test]
fn vectors_of_a_wrong_dimension_number_or_cut_are_refused() {
    let field = field(DataType::FloatVector { dim: 2 });
    assert!(matches!(column(&field, vectors(3, &[1.0; 6]), 2), Err(ConvertError::Dimension { given: 3, .. })));
    assert!(matches!(column(&field, vectors(0, &[1.0; 4]), 2), Err(ConvertError::Dimension { .. })));
    assert!(matches!(column(&field, vectors(2, &[1.0; 3]), 2), Err(ConvertError::CutVector { .. })));
    assert!(matches!(column(&field, vectors(2, &[1.0; 2]), 2), Err(ConvertError::Rows { given: 1, .. })));
    assert!(matches!(column(&field, vectors(2, &[]), 2), Err(ConvertError::Rows { given: 0, .. })));
    let missing = FieldData { valid_data: vec![true, false], ..vectors(2, &[1.0; 2]) };
    assert!(matches!(column(&field, missing, 2), Err(ConvertError::Missing { .. })));
}

#[test]
fn a_column_of_another_type_is_refused_and_both_types_are_named() {
    let refused = column(&field(DataType::Int64), scalars("f", WireType::Int32, ints(&[1])), 1).unwrap_err();
    assert_eq!(refused, ConvertError::Type { field: "f".into(), given: "Int32", expected: "Int64" });
    // The type says one thing, the values another.
    let refused = column(&field(DataType::Int64), scalars("f", WireType::Int64, ints(&[1])), 1).unwrap_err();
    assert!(matches!(refused, ConvertError::Type { .. }));
    let refused = column(&field(DataType::FloatVector { dim: 2 }), scalars("f", WireType::Int64, longs(&[1])), 1);
    assert!(matches!(refused, Err(ConvertError::Type { .. })));
    let refused = column(&field(DataType::Int64), vectors(2, &[1.0, 2.0]), 1);
    assert!(matches!(refused, Err(ConvertError::Type { .. })));
    let binary = FieldData {
        r#type: WireType::BinaryVector.into(),
        field: Some(Payload::Vectors(VectorField {
            dim: 8,
            data: Some(Vectors::BinaryVector(vec![1])),
            ..VectorField::default()
        })),
        ..FieldData::default()
    };
    let refused = column(&field(DataType::FloatVector { dim: 8 }), binary, 1).unwrap_err();
    assert!(refused.to_string().contains("BinaryVector"), "{refused}");
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    for (data_type, kind, value) in [
        (DataType::Int8, WireType::Int8, 128),
        (DataType::Int8, WireType::Int8, -129),
        (DataType::Int16, WireType::Int16, 32_768),
    ] {
        let refused = column(&field(data_type), scalars("f", kind, ints(&[value])), 1).unwrap_err();
        assert!(matches!(refused, ConvertError::Range { .. }));
        assert!(!refused.to_string().contains(&value.to_string()), "the value is not told");
    }
    let cell = ScalarField { data: Some(ints(&[300])), valid_data: Vec::new() };
    let cells = Scalars::ArrayData(ArrayArray { data: vec![cell], element_type: 0 });
    let refused = column(&field(array_of(DataType::Int8)), scalars("f", WireType::Array, cells), 1);
    assert!(matches!(refused, Err(ConvertError::Range { .. })));
}

#[test]
fn array_cells_of_another_type_or_with_nulls_are_refused() {
    let cells = |cell| Scalars::ArrayData(ArrayArray { data: vec![cell], element_type: 0 });
    let other = ScalarField { data: Some(longs(&[1])), valid_data: Vec::new() };
    let refused = column(&field(array_of(DataType::Int32)), scalars("f", WireType::Array, cells(other)), 1);
    assert!(matches!(refused, Err(ConvertError::Type { .. })));
    let nulls = ScalarField { data: Some(ints(&[1])), valid_data: vec![true, false] };
    let refused = column(&field(array_of(DataType::Int32)), scalars("f", WireType::Array, cells(nulls)), 1);
    assert!(matches!(refused, Err(ConvertError::NullElement { .. })));
}

#[test]
fn json_that_is_not_utf8_is_refused() {
    let json = Scalars::JsonData(JsonArray { data: vec![vec![0xff]] });
    let refused = column(&field(DataType::Json), scalars("f", WireType::Json, json), 1);
    assert_eq!(refused.unwrap_err(), ConvertError::NotUtf8 { field: "f".into() });
}

fn schema(dynamic: bool) -> Schema {
    Schema {
        description: String::new(),
        fields: vec![Field::primary("id", DataType::Int64)],
        dynamic,
        properties: std::collections::BTreeMap::new(),
    }
}

#[test]
fn the_dynamic_column_is_known_by_its_flag() {
    let json = Scalars::JsonData(JsonArray { data: vec![b"{\"a\":1}".to_vec()] });
    let data = FieldData { is_dynamic: true, ..scalars("", WireType::Json, json) };
    let columns = columns(&schema(true), vec![scalars("id", WireType::Int64, longs(&[1])), data], 1).unwrap();
    assert_eq!(columns[1].0, DYNAMIC_FIELD);
}

#[test]
fn unknown_and_repeated_columns_are_refused() {
    let id = || scalars("id", WireType::Int64, longs(&[1]));
    let twice = columns(&schema(false), vec![id(), id()], 1);
    assert_eq!(twice.unwrap_err(), ConvertError::Twice("id".into()));
    let other = scalars("other", WireType::Int64, longs(&[1]));
    assert_eq!(columns(&schema(true), vec![other], 1).unwrap_err(), ConvertError::UnknownField("other".into()));
    let json = Scalars::JsonData(JsonArray { data: vec![b"{}".to_vec()] });
    let dynamic = FieldData { is_dynamic: true, ..scalars("$meta", WireType::Json, json) };
    assert_eq!(columns(&schema(false), vec![dynamic], 1).unwrap_err(), ConvertError::UnknownField("$meta".into()));
}
