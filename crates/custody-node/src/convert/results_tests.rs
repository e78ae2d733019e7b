use std::sync::Arc;

use arrow_array::{
    BooleanArray, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array,
    StringArray as ArrowStrings,
};

use super::{super::columns::column as read, *};

fn nullable(data_type: DataType) -> Field {
    Field { id: 101, nullable: true, ..Field::new("f", data_type) }
}

fn round_trip(field: &Field, array: impl Array + 'static) {
    let array: ArrayRef = Arc::new(array);
    let wire = column(field, &array);
    assert_eq!(&read(field, wire, array.len()).unwrap(), &array);
}

#[test]
fn columns_of_every_type_survive_the_way_out_and_back() {
    round_trip(&nullable(DataType::Bool), BooleanArray::from(vec![Some(true), None]));
    round_trip(&nullable(DataType::Int8), Int8Array::from(vec![Some(-1), None]));
    round_trip(&nullable(DataType::Int16), Int16Array::from(vec![None, Some(2)]));
    round_trip(&nullable(DataType::Int32), Int32Array::from(vec![Some(3), None]));
    round_trip(&nullable(DataType::Int64), Int64Array::from(vec![Some(i64::MIN), None]));
    round_trip(&nullable(DataType::Float), Float32Array::from(vec![Some(0.5), None]));
    round_trip(&nullable(DataType::Double), Float64Array::from(vec![None, Some(0.25)]));
    let text = DataType::VarChar { max_length: 8 };
    round_trip(&nullable(text), ArrowStrings::from(vec![Some("a"), None, Some("")]));
    round_trip(&nullable(DataType::Json), ArrowStrings::from(vec![Some("[1]"), None]));
}

#[test]
fn a_nullable_column_has_a_value_for_every_row_and_tells_nulls_in_both_places() {
    let array: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None]));
    let wire = column(&nullable(DataType::Int64), &array);
    assert_eq!(wire.valid_data, [true, false]);
    let Some(Payload::Scalars(scalars)) = wire.field else { panic!("scalars") };
    assert_eq!(scalars.valid_data, [true, false]);
    assert_eq!(scalars.data, Some(Scalars::LongData(LongArray { data: vec![7, 0] })));
}

#[test]
fn a_column_that_can_not_be_null_tells_no_validity() {
    let array: ArrayRef = Arc::new(Int64Array::from(vec![7]));
    let wire = column(&Field::new("f", DataType::Int64), &array);
    assert!(wire.valid_data.is_empty());
}

#[test]
fn an_empty_column_still_says_what_it_would_hold() {
    let array: ArrayRef = Arc::new(Int64Array::from(Vec::<i64>::new()));
    let Some(Payload::Scalars(scalars)) = column(&Field::new("f", DataType::Int64), &array).field else {
        panic!("scalars")
    };
    assert_eq!(scalars.data, Some(Scalars::LongData(LongArray::default())));
}

#[test]
fn slices_of_vectors_and_arrays_are_written_as_what_they_show() {
    let vector = Field::new("f", DataType::FloatVector { dim: 2 });
    let floats = custody_vectors(2, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).slice(1, 1);
    let Some(Payload::Vectors(wire)) = column(&vector, &floats).field else { panic!("vectors") };
    assert_eq!(wire.data, Some(Vectors::FloatVector(FloatArray { data: vec![3.0, 4.0] })));
    let empty = floats.slice(0, 0);
    let Some(Payload::Vectors(wire)) = column(&vector, &empty).field else { panic!("vectors") };
    assert_eq!(wire.data, Some(Vectors::FloatVector(FloatArray::default())));
}

fn custody_vectors(dim: i32, floats: &[f32]) -> ArrayRef {
    let item = Arc::new(arrow_schema::Field::new("item", arrow_schema::DataType::Float32, false));
    let values = Arc::new(Float32Array::from(floats.to_vec()));
    Arc::new(arrow_array::FixedSizeListArray::new(item, dim, values, None))
}

#[test]
fn arrays_tell_their_element_type() {
    let field = nullable(DataType::Array { element: Box::new(DataType::Int32), capacity: 4 });
    let cells = vec![Some(vec![Some(1), Some(2)]), None, Some(Vec::new())];
    let array: ArrayRef = Arc::new(arrow_array::ListArray::from_iter_primitive::<Int32Type, _, _>(cells));
    let wire = column(&field, &array);
    let Some(Payload::Scalars(ScalarField { data: Some(Scalars::ArrayData(cells)), .. })) = &wire.field else {
        panic!("arrays")
    };
    assert_eq!(cells.element_type, i32::from(milvus::proto::schema::DataType::Int32));
    assert_eq!(cells.data.len(), 3);
    assert_eq!(&read(&field, wire, 3).unwrap(), &array);
}

fn schema(dynamic: bool) -> Schema {
    Schema {
        description: String::new(),
        fields: vec![
            Field::primary("id", DataType::Int64),
            Field::new("v", DataType::FloatVector { dim: 2 }),
            Field::new("n", DataType::Int64),
        ],
        dynamic,
        properties: std::collections::BTreeMap::new(),
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_star_is_every_field_and_the_dynamic_one() {
    let output = Output::of(&schema(true), &names(&["*"])).unwrap();
    assert_eq!(output.fields, names(&["id", "v", "n", "$meta"]));
    assert_eq!(output.names, output.fields);
    assert_eq!(output.dynamic, None);
}

#[test]
fn a_name_that_is_not_declared_is_a_dynamic_fields() {
    let output = Output::of(&schema(true), &names(&["n", "color", "$meta[\"size\"]"])).unwrap().with_key(&schema(true));
    assert_eq!(output.fields, names(&["n", "$meta", "id"]));
    assert_eq!(output.names, names(&["n", "color", "size", "id"]));
}

#[test]
fn a_name_that_is_not_declared_is_refused_where_there_are_no_dynamic_fields() {
    let refused = Output::of(&schema(false), &names(&["color"])).unwrap_err();
    assert_eq!(refused, ConvertError::UnknownField("color".into()));
    assert!(Output::of(&schema(false), &names(&["$meta"])).is_err());
}

fn dynamic_cells(output: &Output, cells: Vec<Option<&str>>) -> Vec<String> {
    let field = schema(true).columns().pop().unwrap();
    let rows = Rows { len: cells.len(), columns: vec![(field, Arc::new(ArrowStrings::from(cells)) as ArrayRef)] };
    let mut columns = output.columns(&rows);
    let wire = columns.pop().unwrap();
    assert!(wire.is_dynamic && wire.valid_data.is_empty());
    let Some(Payload::Scalars(ScalarField { data: Some(Scalars::JsonData(cells)), .. })) = wire.field else {
        panic!("JSON")
    };
    cells.data.into_iter().map(|cell| String::from_utf8(cell).unwrap()).collect()
}

#[test]
fn of_the_dynamic_fields_only_those_asked_for_are_told() {
    let output = Output::of(&schema(true), &names(&["color"])).unwrap();
    let cells = dynamic_cells(&output, vec![Some(r#"{"color":"red","secret":1}"#), Some(r#"{"secret":2}"#), None]);
    assert_eq!(cells, [r#"{"color":"red"}"#, "{}", "{}"]);
    let all = Output::of(&schema(true), &names(&["color", "*"])).unwrap();
    assert_eq!(dynamic_cells(&all, vec![Some(r#"{"b":1}"#)]), [r#"{"b":1}"#]);
}

#[test]
fn columns_come_in_the_order_asked_for_and_no_others_come() {
    let rows = Rows {
        len: 1,
        columns: vec![
            (Field::primary("id", DataType::Int64), Arc::new(Int64Array::from(vec![1])) as ArrayRef),
            (Field::new("n", DataType::Int64), Arc::new(Int64Array::from(vec![2])) as ArrayRef),
        ],
    };
    let wanted = |given: &[&str]| {
        let output = Output::of(&schema(false), &names(given)).unwrap();
        output.columns(&rows).into_iter().map(|column| column.field_name).collect::<Vec<_>>()
    };
    assert_eq!(wanted(&["n", "id"]), ["n", "id"]);
    assert_eq!(wanted(&["n"]), ["n"]);
    assert!(wanted(&[]).is_empty());
}

#[test]
fn a_count_is_a_column_of_its_own_name() {
    let column = count_column(42);
    assert_eq!(column.field_name, "count(*)");
    let Some(Payload::Scalars(scalars)) = column.field else { panic!("scalars") };
    assert_eq!(scalars.data, Some(Scalars::LongData(LongArray { data: vec![42] })));
}
