use milvus::proto::schema::{FunctionSchema, StructArrayFieldSchema};

use super::*;

fn pair(key: &str, value: &str) -> KeyValuePair {
    KeyValuePair { key: key.into(), value: value.into() }
}

fn wire_field(name: &str, kind: WireType, params: &[(&str, &str)]) -> FieldSchema {
    FieldSchema {
        name: name.into(),
        data_type: kind.into(),
        type_params: params.iter().map(|(key, value)| pair(key, value)).collect(),
        ..FieldSchema::default()
    }
}

fn with(fields: Vec<FieldSchema>) -> CollectionSchema {
    CollectionSchema { name: "books".into(), fields, ..CollectionSchema::default() }
}

fn read(schema: CollectionSchema) -> Result<Schema> {
    from_wire(schema, BTreeMap::new())
}

fn all_types() -> Vec<Field> {
    let array = DataType::Array { element: Box::new(DataType::VarChar { max_length: 16 }), capacity: 4 };
    let types = [
        ("flag", DataType::Bool, Some(Value::Bool(true))),
        ("tiny", DataType::Int8, Some(Value::Int(-3))),
        ("small", DataType::Int16, None),
        ("medium", DataType::Int32, Some(Value::Int(70_000))),
        ("large", DataType::Int64, Some(Value::Int(1 << 40))),
        ("single", DataType::Float, Some(Value::Float(0.5))),
        ("double", DataType::Double, Some(Value::Double(0.25))),
        ("text", DataType::VarChar { max_length: 100 }, Some(Value::Text("none".into()))),
        ("json", DataType::Json, None),
        ("tags", array, None),
        ("vector", DataType::FloatVector { dim: 8 }, None),
    ];
    let mut fields = vec![Field { auto_id: true, description: "key".into(), ..Field::primary("id", DataType::Int64) }];
    fields.extend(types.into_iter().map(|(name, data_type, default)| Field {
        nullable: name != "vector",
        partition_key: name == "large",
        default,
        ..Field::new(name, data_type)
    }));
    fields
}

#[test]
fn a_schema_of_all_types_survives_the_way_out_and_back() {
    let schema = Schema {
        description: "all there is".into(),
        fields: all_types(),
        dynamic: true,
        properties: [("mmap.enabled".to_owned(), "false".to_owned())].into(),
    };
    let back = read(to_wire("books", "default", &schema)).unwrap();
    assert_eq!(back, schema);
}

#[test]
fn ids_are_told_and_the_dynamic_field_is_not_among_the_fields() {
    let schema = Schema {
        fields: vec![Field { id: 100, ..Field::primary("id", DataType::Int64) }],
        dynamic: true,
        description: String::new(),
        properties: BTreeMap::new(),
    };
    let wire = to_wire("books", "default", &schema);
    assert!(wire.enable_dynamic_field);
    assert_eq!(wire.fields.len(), 1);
    assert_eq!(wire.fields[0].field_id, 100);
}

#[test]
fn numbers_may_come_in_quotes() {
    let schema = read(with(vec![wire_field("v", WireType::FloatVector, &[("dim", "\"8\"")])])).unwrap();
    assert_eq!(schema.fields[0].data_type, DataType::FloatVector { dim: 8 });
}

#[test]
fn the_schemas_own_auto_id_marks_the_primary_key_alone() {
    let mut id = wire_field("id", WireType::Int64, &[]);
    id.is_primary_key = true;
    let mut schema = with(vec![id, wire_field("n", WireType::Int64, &[])]);
    #[expect(deprecated, reason = "older clients set it")]
    {
        schema.auto_id = true;
    }
    let schema = read(schema).unwrap();
    assert!(schema.fields[0].auto_id && !schema.fields[1].auto_id);
}

#[test]
fn types_that_are_not_there_are_refused_by_name() {
    for kind in [
        WireType::BinaryVector,
        WireType::Float16Vector,
        WireType::BFloat16Vector,
        WireType::SparseFloatVector,
        WireType::Int8Vector,
        WireType::Geometry,
        WireType::Timestamptz,
        WireType::Text,
        WireType::String,
        WireType::None,
    ] {
        let refused = read(with(vec![wire_field("f", kind, &[("dim", "8")])])).unwrap_err().to_string();
        assert!(refused.contains(kind.as_str_name()) && refused.contains("'f'"), "{refused}");
    }
    let unknown = FieldSchema { name: "f".into(), data_type: 9_999, ..FieldSchema::default() };
    assert!(read(with(vec![unknown])).unwrap_err().to_string().contains("9999"));
}

#[test]
fn arrays_of_what_is_no_scalar_are_refused() {
    let array = FieldSchema {
        element_type: WireType::Array.into(),
        ..wire_field("f", WireType::Array, &[("max_capacity", "4")])
    };
    assert!(matches!(read(with(vec![array])), Err(ConvertError::Unsupported(_))));
}

#[test]
fn a_missing_or_senseless_size_is_an_illegal_schema() {
    for field in [
        wire_field("f", WireType::FloatVector, &[]),
        wire_field("f", WireType::FloatVector, &[("dim", "-4")]),
        wire_field("f", WireType::VarChar, &[]),
        wire_field("f", WireType::VarChar, &[("max_length", "many")]),
        FieldSchema { element_type: WireType::Int64.into(), ..wire_field("f", WireType::Array, &[]) },
    ] {
        assert!(matches!(read(with(vec![field])), Err(ConvertError::Schema(_))));
    }
}

#[test]
fn what_milvus_does_with_fields_and_custody_does_not_is_refused() {
    let plain = || wire_field("f", WireType::Int64, &[]);
    for field in [
        FieldSchema { is_clustering_key: true, ..plain() },
        FieldSchema { is_function_output: true, ..plain() },
        FieldSchema { external_field: "other".into(), ..plain() },
        FieldSchema { element_nullable: true, ..plain() },
        wire_field("f", WireType::VarChar, &[("max_length", "8"), ("enable_analyzer", "true")]),
        wire_field("f", WireType::VarChar, &[("max_length", "8"), ("analyzer_params", "{}")]),
    ] {
        assert!(matches!(read(with(vec![field])), Err(ConvertError::Unsupported(_))));
    }
    let ignored = wire_field("f", WireType::Int64, &[("mmap.enabled", "true"), ("enable_match", "false")]);
    assert!(read(with(vec![ignored])).is_ok());
}

#[test]
fn what_milvus_does_with_collections_and_custody_does_not_is_refused() {
    for schema in [
        CollectionSchema { functions: vec![FunctionSchema::default()], ..CollectionSchema::default() },
        CollectionSchema {
            struct_array_fields: vec![StructArrayFieldSchema::default()],
            ..CollectionSchema::default()
        },
        CollectionSchema { enable_namespace: true, ..CollectionSchema::default() },
        CollectionSchema { external_source: "s3://".into(), ..CollectionSchema::default() },
    ] {
        assert!(matches!(read(schema), Err(ConvertError::Unsupported(_))));
    }
}

#[test]
fn default_values_of_other_types_are_refused() {
    let default_value = Some(ValueField { data: Some(Given::BytesData(vec![1])) });
    let field = FieldSchema { default_value, ..wire_field("f", WireType::Int64, &[]) };
    assert!(matches!(read(with(vec![field])), Err(ConvertError::Unsupported(_))));
}
