//! Doors to what reads clients' bytes, for the fuzz targets alone. Errors come as the text that a client would get.

use arrow_array::Array;
use custody_engine::{EngineError, Schema};
use milvus::proto::{
    common::{KeyValuePair, PlaceholderGroup, PlaceholderType, PlaceholderValue},
    milvus::{InsertRequest, SearchRequest},
    schema::{
        CollectionSchema, DataType, FieldData, FloatArray, LongArray, ScalarField, VectorField, field_data::Field,
        scalar_field, vector_field,
    },
};
use prost::Message;

use crate::{
    auth,
    convert::{columns, params, schema},
    service::{rest, vectors as query_vectors},
};

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Reads an insert into a collection; each column must have the rows that the request announced.
pub fn insert(bytes: &[u8], into: &Schema) -> Result<(), String> {
    let request = InsertRequest::decode(bytes).map_err(text)?;
    let rows = usize::try_from(request.num_rows).map_err(text)?;
    let columns = columns::columns(into, request.fields_data, rows).map_err(text)?;
    assert!(columns.iter().all(|(_, column)| column.len() == rows), "a column of another length was let in");
    Ok(())
}

/// Reads a schema. One that the engine takes must read back from what a client is shown of it.
pub fn collection_schema(bytes: &[u8]) -> Result<(), String> {
    let wire = CollectionSchema::decode(bytes).map_err(text)?;
    let read = |wire| -> Result<Schema, String> {
        let given = schema::from_wire(wire, std::collections::BTreeMap::new()).map_err(text)?;
        given.validate().map_err(|error: EngineError| text(error))
    };
    let taken = read(wire)?;
    let again = read(schema::to_wire("name", "database", &taken)).expect("a schema as it was shown is taken again");
    assert_eq!(again, taken, "a schema changed on its way out");
    Ok(())
}

/// Reads a search: its parameters, its filter's values and its vectors.
pub fn search(bytes: &[u8]) -> Result<(), String> {
    let request = SearchRequest::decode(bytes).map_err(text)?;
    let params = params::Params::of(&request.search_params).map_err(text)?;
    for name in ["topk", "limit", "offset", "radius", "ef"] {
        params.count(name).map_err(text)?;
        params.float(name).map_err(text)?;
        params.flag(name).ok();
    }
    params::template(request.expr_template_values).map_err(text)?;
    Ok(())
}

/// Reads a search's vectors.
pub fn vectors(bytes: &[u8]) -> Result<usize, String> {
    query_vectors(bytes).map(|vectors| vectors.iter().map(Vec::len).sum()).map_err(text)
}

/// The REST calls.
pub const REST_CALLS: &[&str] = rest::CALLS;

/// Reads the body of a REST call.
pub fn rest_body(call: &str, bytes: &[u8]) -> Result<(), String> {
    rest::read(call, bytes)
}

/// Reads rows as REST brings them; each column must have as many rows as there are.
pub fn rest_rows(bytes: &[u8], into: &Schema, partial: bool) -> Result<(), String> {
    let data = std::str::from_utf8(bytes).map_err(text)?;
    let (rows, fields) = rest::fuzz(into, data, partial)?;
    let columns = columns::columns(into, fields, rows).map_err(text)?;
    assert!(columns.iter().all(|(_, column)| column.len() == rows), "a column of another length was let in");
    Ok(())
}

/// How many credentials an `authorization` header may mean.
pub fn authorization(header: &[u8]) -> usize {
    auth::tokens(header).map_or(0, |tokens| tokens.len())
}

/// A request of each kind that is read here: an insert, a schema, a search, a search's vectors.
pub fn requests(of: &Schema) -> [Vec<u8>; 4] {
    let scalars = scalar_field::Data::LongData(LongArray { data: vec![1, -2] });
    let ids = FieldData {
        r#type: DataType::Int64.into(),
        field_name: "id".into(),
        field: Some(Field::Scalars(ScalarField { data: Some(scalars), ..ScalarField::default() })),
        ..FieldData::default()
    };
    let floats = vector_field::Data::FloatVector(FloatArray { data: vec![0.5, 1.0, -1.0, 0.0] });
    let vector = FieldData {
        r#type: DataType::FloatVector.into(),
        field_name: "vector".into(),
        field: Some(Field::Vectors(VectorField { dim: 2, data: Some(floats), ..VectorField::default() })),
        ..FieldData::default()
    };
    let insert = InsertRequest { num_rows: 2, fields_data: vec![ids, vector], ..InsertRequest::default() };
    let pair = |key: &str, value: &str| KeyValuePair { key: key.into(), value: value.into() };
    let search = SearchRequest {
        search_params: vec![pair("topk", "10"), pair("params", "{\"ef\": 64, \"radius\": 0.5}")],
        ..SearchRequest::default()
    };
    let query = PlaceholderValue {
        tag: "$0".into(),
        r#type: PlaceholderType::FloatVector.into(),
        values: vec![vec![0; 8]],
        ..PlaceholderValue::default()
    };
    [
        insert.encode_to_vec(),
        schema::to_wire("name", "database", of).encode_to_vec(),
        search.encode_to_vec(),
        PlaceholderGroup { placeholders: vec![query] }.encode_to_vec(),
    ]
}
