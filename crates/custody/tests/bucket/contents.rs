//! All that a cluster holds, to be compared.

use std::collections::BTreeMap;

use arrow_array::ArrayRef;
use custody_engine::{Engine, EngineError, PrimaryKeys, QueryRequest, QueryResult, SearchRequest};

/// Queries that each collection is asked.
const QUERIES: u8 = 20;

/// What one collection holds and answers.
#[derive(Debug, PartialEq)]
pub(crate) struct Collection {
    pub(crate) rows: usize,
    columns: Vec<(String, ArrayRef)>,
    nearest: Vec<i64>,
    scores: Vec<f32>,
}

/// Collections by database and name.
#[derive(Debug, PartialEq)]
pub(crate) struct Contents(pub(crate) BTreeMap<(String, String), Collection>);

impl Contents {
    pub(crate) async fn read(engine: &Engine) -> Result<Self, EngineError> {
        let mut contents = BTreeMap::new();
        for database in engine.list_databases().await? {
            for collection in engine.list_collections(&database.name).await? {
                let read = Collection::read(engine, &database.name, &collection.name).await?;
                contents.insert((database.name.clone(), collection.name), read);
            }
        }
        // A database that does not open is not listed; whoever asks for it is told why.
        engine.list_collections("default").await?;
        engine.list_collections("second").await?;
        Ok(Self(contents))
    }

    /// Rows of a collection of the default database; `None` if there is none.
    pub(crate) fn rows(&self, name: &str) -> Option<usize> {
        self.0.get(&("default".to_owned(), name.to_owned())).map(|collection| collection.rows)
    }
}

impl Collection {
    async fn read(engine: &Engine, database: &str, name: &str) -> Result<Self, EngineError> {
        let request = QueryRequest { output_fields: vec!["*".into()], ..QueryRequest::default() };
        let QueryResult::Rows(rows) = engine.query(database, name, request).await? else {
            panic!("rows were asked for");
        };
        let dim = engine.describe_collection(database, name).await?.schema.fields.iter().find_map(|field| {
            let custody_engine::DataType::FloatVector { dim } = field.data_type else { return None };
            Some(dim as usize)
        });
        let dim = dim.expect("a vector field");
        let vectors = (0..QUERIES).map(|query| vec![f32::from(query) * 5.0; dim]).collect();
        let request = SearchRequest { vectors, limit: 1, ..SearchRequest::default() };
        let found = engine.search(database, name, request).await?;
        let PrimaryKeys::Int(nearest) = found.keys else { panic!("the keys are integers") };
        let columns = rows.columns.into_iter().map(|(field, values)| (field.name, values)).collect();
        Ok(Self { rows: rows.len, columns, nearest, scores: found.scores })
    }
}
