//! The whole life of a collection, driven by the official Rust client.

use std::collections::HashMap;

use crate::common::plain;
use milvus::v2::prelude::*;
use serde_json::{Value as Json, json};

const BOOKS: &str = "books";

fn books() -> CollectionSchema {
    let field = |name: &str, data_type| FieldSchema::new().name(name).data_type(data_type);
    CollectionSchema::new()
        .enable_dynamic_field(true)
        .add_field(field("id", DataType::Int64).primary_key(true))
        .add_field(field("title", DataType::VarChar).max_length(100))
        .add_field(field("year", DataType::Int16).nullable(true))
        .add_field(field("price", DataType::Double).nullable(true))
        .add_field(field("info", DataType::Json).nullable(true))
        .add_field(field("tags", DataType::Array).element_type(DataType::VarChar).max_length(20).max_capacity(8))
        .add_field(field("vector", DataType::FloatVector).dimension(4))
}

fn book(id: i64) -> Json {
    let odd = id % 2 == 1;
    json!({
        "id": id,
        "title": format!("book {id}"),
        "year": if odd { Json::Null } else { json!(1900 + id) },
        "price": 9.5,
        "info": {"pages": id * 10},
        "tags": ["paper", if odd { "odd" } else { "even" }],
        "vector": vector(id),
        "shelf": format!("s{}", id % 3),
    })
}

#[expect(clippy::cast_precision_loss, reason = "ids are small")]
fn vector(id: i64) -> Vec<f32> {
    let id = id as f32;
    vec![id, 1.0, -id, 2.0]
}

async fn create(client: &ClientV2) {
    let index = IndexParam::new().field_name("vector").index_type(IndexType::Hnsw).metric_type(MetricType::L2);
    let params = HashMap::from([("M".to_owned(), "8".to_owned()), ("efConstruction".to_owned(), "64".to_owned())]);
    let request = CreateCollectionRequest::builder()
        .collection_name(BOOKS)
        .schema(books())
        .index_params(vec![index.extra_params(params)])
        .build();
    client.create_collection(request.unwrap()).await.unwrap();
    client.load_collection(LoadCollectionRequest::builder().collection_name(BOOKS).build().unwrap()).await.unwrap();
}

async fn filled(client: &ClientV2, rows: i64) {
    create(client).await;
    let request = InsertRequest::builder().collection_name(BOOKS).rows((0..rows).map(book).collect::<Vec<_>>());
    let inserted = client.insert(request.build().unwrap()).await.unwrap();
    assert_eq!(inserted.insert_count(), rows);
    assert_eq!(*inserted.ids(), Ids::Int64((0..rows).collect()));
}

async fn rows(client: &ClientV2, filter: &str, fields: &[&str]) -> Vec<EntityRow> {
    let request = QueryRequest::builder().collection_name(BOOKS).filter(filter).output_fields(fields.iter().copied());
    client.query(request.build().unwrap()).await.unwrap().results().get_output_rows().unwrap()
}

async fn count(client: &ClientV2, filter: &str) -> Json {
    rows(client, filter, &["count(*)"]).await[0]["count(*)"].clone()
}

fn code(error: Error) -> i32 {
    match error {
        Error::Server(error) => error.code(),
        other => panic!("an error of the server expected: {other}"),
    }
}

#[tokio::test]
async fn a_collection_is_described_as_it_was_made() {
    let node = plain().await;
    let client = node.client().await;
    create(&client).await;
    let request = DescribeCollectionRequest::builder().collection_name(BOOKS).build().unwrap();
    let described = client.describe_collection(request).await.unwrap();
    let text = format!("{:?}", described.description());
    for told in ["books", "title", "tags", "VarChar", "FloatVector"] {
        assert!(text.contains(told), "{told} in {text}");
    }
    let request = ListIndexesRequest::builder().collection_name(BOOKS).build().unwrap();
    assert_eq!(client.list_indexes(request).await.unwrap().index_names(), ["vector"]);
}

#[tokio::test]
async fn rows_come_back_as_they_went_in() {
    let node = plain().await;
    let client = node.client().await;
    filled(&client, 10).await;
    for row in rows(&client, "id in [3, 4]", &["*"]).await {
        let id = row["id"].as_i64().unwrap();
        assert_eq!(Json::Object(row), book(id));
    }
    let some = rows(&client, "id == 4", &["year", "shelf"]).await;
    assert_eq!(some, [json!({"id": 4, "year": 1904, "shelf": "s1"}).as_object().unwrap().clone()]);
}

#[tokio::test]
async fn columns_are_taken_as_rows_are() {
    let node = plain().await;
    let client = node.client().await;
    create(&client).await;
    let years = FieldData::int16("year", vec![2001]).with_validity(vec![false, true]).unwrap();
    let columns = vec![
        FieldData::int64("id", vec![1, 2]),
        FieldData::varchar("title", vec!["a".into(), "b".into()]),
        years,
        FieldData::ArrayVarChar { name: "tags".into(), values: vec![vec!["x".into()], Vec::new()] },
        FieldData::float_vector("vector", vec![vector(1), vector(2)]),
    ];
    let request = InsertRequest::builder().collection_name(BOOKS).columns(columns).build().unwrap();
    assert_eq!(client.insert(request).await.unwrap().insert_count(), 2);
    let found = rows(&client, "id > 0", &["year", "price", "tags"]).await;
    let expected = [
        json!({"id": 1, "year": null, "price": null, "tags": ["x"]}),
        json!({"id": 2, "year": 2001, "price": null, "tags": []}),
    ];
    assert_eq!(found.into_iter().map(Json::Object).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn filters_look_into_every_kind_of_field() {
    let node = plain().await;
    let client = node.client().await;
    filled(&client, 30).await;
    for (filter, expected) in [
        ("year is null", 15),
        ("year >= 1920", 5),
        (r#"title like "book 2%""#, 11),
        (r#"info["pages"] < 100"#, 10),
        (r#"array_contains(tags, "even")"#, 15),
        (r#"shelf == "s0""#, 10),
        (r#"id in [1, 2, 3] and shelf != "s1""#, 2),
    ] {
        assert_eq!(count(&client, filter).await, expected, "{filter}");
    }
}

#[tokio::test]
async fn a_filters_parameters_are_values_and_never_text_of_the_filter() {
    let node = plain().await;
    let client = node.client().await;
    filled(&client, 10).await;
    let evil = FilterTemplateValue::String(r#"book 1" or id >= 0 or title == ""#.to_owned());
    let request = QueryRequest::builder()
        .collection_name(BOOKS)
        .filter("title == {title}")
        .filter_templates(HashMap::from([("title".to_owned(), evil)]))
        .output_fields(["id"]);
    let found = client.query(request.build().unwrap()).await.unwrap();
    assert_eq!(found.results().get_row_count(), 0);
}

#[tokio::test]
async fn the_nearest_rows_are_found_for_every_query_vector() {
    let node = plain().await;
    let client = node.client().await;
    filled(&client, 50).await;
    let request = SearchRequest::builder()
        .collection_name(BOOKS)
        .vector_field("vector")
        .vectors(SearchVectors::Float(vec![vector(7), vector(20)]))
        .output_fields(["title", "year", "shelf"])
        .filter("id != 20")
        .limit(3);
    let found = client.search(request.build().unwrap()).await.unwrap();
    let results = found.results().get_results();
    assert_eq!(results.len(), 2);
    assert_eq!(*results[0].get_ids(), Ids::Int64(vec![7, 6, 8]));
    let Ids::Int64(second) = results[1].get_ids() else { panic!("integer keys") };
    assert_eq!(second.len(), 3);
    assert!(!second.contains(&20) && second.contains(&19) && second.contains(&21));
    assert!(results[0].get_scores()[0].abs() < 1e-6);
}

#[tokio::test]
async fn upserts_replace_and_partial_ones_keep_the_rest() {
    let node = plain().await;
    let client = node.client().await;
    filled(&client, 4).await;
    let one = |row| InsertRequest::builder().collection_name(BOOKS).rows(vec![row]).build().unwrap();
    let whole = UpsertRequest::builder().insert(one(book(1))).build().unwrap();
    assert_eq!(client.upsert(whole).await.unwrap().upsert_count(), 1);
    assert_eq!(count(&client, "id >= 0").await, 4);
    let part = UpsertRequest::builder().insert(one(json!({"id": 2, "title": "renamed"}))).partial_update(true);
    client.upsert(part.build().unwrap()).await.unwrap();
    let found = rows(&client, "id == 2", &["title", "year"]).await;
    assert_eq!(Json::Object(found[0].clone()), json!({"id": 2, "title": "renamed", "year": 1902}));
}

#[tokio::test]
async fn deletes_take_keys_and_filters_and_say_how_many_they_were() {
    let node = plain().await;
    let client = node.client().await;
    filled(&client, 10).await;
    // Keys that are named are counted whether or not there are such rows, as in Milvus.
    for (filter, gone, left) in [("id in [1, 2, 77]", 3, 8), (r#"shelf == "s0""#, 4, 4), ("id > 1000", 0, 4)] {
        let request = DeleteRequest::builder().collection_name(BOOKS).filter(filter).build().unwrap();
        assert_eq!(client.delete(request).await.unwrap().delete_count(), gone, "{filter}");
        assert_eq!(count(&client, "id >= 0").await, left, "{filter}");
    }
}

#[tokio::test]
async fn partitions_divide_the_rows() {
    let node = plain().await;
    let client = node.client().await;
    filled(&client, 5).await;
    let create = || CreatePartitionRequest::builder().collection_name(BOOKS).partition_name("new").build().unwrap();
    client.create_partition(create()).await.unwrap();
    client.create_partition(create()).await.unwrap();
    let request = InsertRequest::builder().collection_name(BOOKS).partition_name("new").rows(vec![book(100)]);
    client.insert(request.build().unwrap()).await.unwrap();
    let request = QueryRequest::builder().collection_name(BOOKS).partition_names(["new"]).output_fields(["count(*)"]);
    let found = client.query(request.build().unwrap()).await.unwrap();
    assert_eq!(found.results().get_output_rows().unwrap()[0]["count(*)"], 1);
    let request = DropPartitionRequest::builder().collection_name(BOOKS).partition_name("new").build().unwrap();
    client.drop_partition(request).await.unwrap();
    assert_eq!(count(&client, "id >= 0").await, 5);
    let request = QueryRequest::builder().collection_name(BOOKS).partition_names(["new"]).filter("id > 0");
    assert_eq!(code(client.query(request.build().unwrap()).await.unwrap_err()), 200);
}

#[tokio::test]
async fn an_iterator_brings_every_row_once_even_where_scores_are_equal() {
    let node = plain().await;
    let client = node.client().await;
    create(&client).await;
    // Thirty rows with one and the same vector: more than a batch holds.
    let same = |id: i64| json!({"id": id, "title": "t", "tags": [], "vector": vector(if id < 30 { 5 } else { id })});
    let request = InsertRequest::builder().collection_name(BOOKS).rows((0..100).map(same).collect::<Vec<_>>());
    client.insert(request.build().unwrap()).await.unwrap();
    let search = SearchRequest::builder()
        .collection_name(BOOKS)
        .vector_field("vector")
        .vectors(SearchVectors::Float(vec![vector(5)]))
        .limit(7);
    let request = SearchIteratorRequest::builder().search(search.build().unwrap()).batch_size(7).build();
    let mut iterator = client.search_iterator(request.unwrap()).await.unwrap();
    let mut seen: Vec<i64> = Vec::new();
    while let Some(page) = iterator.next().await.unwrap() {
        let Ids::Int64(ids) = page.results().get_results()[0].get_ids() else { panic!("integer keys") };
        if ids.is_empty() {
            break;
        }
        seen.extend_from_slice(ids);
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn databases_keep_collections_apart() {
    let node = plain().await;
    let client = node.client().await;
    filled(&client, 3).await;
    let request = CreateDatabaseRequest::builder().database_name("other").build().unwrap();
    client.create_database(request).await.unwrap();
    let other = node.client_as(crate::common::API_KEY, "other").await;
    filled(&other, 1).await;
    assert_eq!(count(&client, "id >= 0").await, 3);
    assert_eq!(count(&other, "id >= 0").await, 1);
    let drop_database = || DropDatabaseRequest::builder().database_name("other").build().unwrap();
    assert!(client.drop_database(drop_database()).await.is_err(), "it is not empty");
    other.drop_collection(DropCollectionRequest::builder().collection_name(BOOKS).build().unwrap()).await.unwrap();
    client.drop_database(drop_database()).await.unwrap();
}

#[tokio::test]
async fn an_alias_is_another_name_until_it_is_dropped() {
    let node = plain().await;
    let client = node.client().await;
    filled(&client, 2).await;
    let request = CreateAliasRequest::builder().collection_name(BOOKS).alias("library").build().unwrap();
    client.create_alias(request).await.unwrap();
    let query = || {
        let request = QueryRequest::builder().collection_name("library").filter("id == 1").output_fields(["id"]);
        client.query(request.build().unwrap())
    };
    assert_eq!(query().await.unwrap().results().get_row_count(), 1);
    client.drop_alias(DropAliasRequest::builder().alias("library").build().unwrap()).await.unwrap();
    assert_eq!(code(query().await.unwrap_err()), 100);
}

#[tokio::test]
async fn a_released_or_dropped_collection_says_which_it_is() {
    let node = plain().await;
    let client = node.client().await;
    filled(&client, 2).await;
    let query = || {
        let request = QueryRequest::builder().collection_name(BOOKS).filter("id == 1").output_fields(["id"]);
        client.query(request.build().unwrap())
    };
    let request = ReleaseCollectionRequest::builder().collection_name(BOOKS).build().unwrap();
    client.release_collection(request).await.unwrap();
    assert_eq!(code(query().await.unwrap_err()), 101);
    client.drop_collection(DropCollectionRequest::builder().collection_name(BOOKS).build().unwrap()).await.unwrap();
    assert_eq!(code(query().await.unwrap_err()), 100);
}

#[tokio::test]
async fn users_come_change_their_password_and_go() {
    let node = plain().await;
    let root = node.client().await;
    let request = CreateUserRequest::builder().username("alice").password("alice-one").build().unwrap();
    root.create_user(request).await.unwrap();
    let names = root.list_users(ListUsersRequest::builder().build().unwrap()).await.unwrap();
    assert_eq!(names.usernames(), ["alice", "root"]);

    let alice = node.client_as("alice:alice-one", "default").await;
    let change = |old: &str| {
        let request = UpdatePasswordRequest::builder().username("alice").old_password(old).new_password("alice-two");
        request.build().unwrap()
    };
    assert!(alice.update_password(change("not-my-password")).await.is_err());
    alice.update_password(change("alice-one")).await.unwrap();
    let list = || ListCollectionsRequest::builder().build().unwrap();
    assert!(alice.list_collections(list()).await.is_err(), "the old password is over");
    let alice = node.client_as("alice:alice-two", "default").await;
    alice.list_collections(list()).await.unwrap();
    let request = CreateUserRequest::builder().username("bob").password("bobs-password").build().unwrap();
    assert!(alice.create_user(request).await.is_err(), "only root makes users");

    root.drop_user(DropUserRequest::builder().username("alice").build().unwrap()).await.unwrap();
    assert!(alice.list_collections(list()).await.is_err(), "alice is gone");
    assert!(root.drop_user(DropUserRequest::builder().username("root").build().unwrap()).await.is_err());
}
