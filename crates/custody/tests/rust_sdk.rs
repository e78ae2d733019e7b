//! The official Rust SDK drives the whole life of a collection in an encrypted cluster.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    result::Result,
    time::{Duration, Instant},
};

use common::{Failure, Node};
use milvus::v2::prelude::*;
use serde_json::{Value, json};

const DIGITS: &str = include_str!("../data/digits.csv");

type Outcome = Result<(), Failure>;

/// A vector and the digit that its writer meant.
struct Digit {
    vector: Vec<f32>,
    label: i8,
}

fn digits() -> Result<Vec<Digit>, Failure> {
    let parse = |line: &str| {
        let numbers = line.split(',').map(str::parse).collect::<Result<Vec<f32>, _>>()?;
        let (label, pixels) = numbers.split_last().ok_or("an empty line")?;
        let norm = pixels.iter().map(|pixel| pixel * pixel).sum::<f32>().sqrt();
        #[expect(clippy::cast_possible_truncation, reason = "a digit")]
        let label = *label as i8;
        Ok(Digit { vector: pixels.iter().map(|pixel| pixel / norm).collect(), label })
    };
    DIGITS.lines().map(parse).collect()
}

/// The places of the true nearest ten, by exact arithmetic in double precision.
fn nearest(digits: &[Digit], query: &[f32]) -> BTreeSet<i64> {
    let distance = |digit: &Digit| -> f64 {
        digit.vector.iter().zip(query).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
    };
    let mut all: Vec<(f64, i64)> = digits.iter().map(distance).zip(0..).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    all.iter().take(10).map(|(_, place)| *place).collect()
}

fn schema() -> CollectionSchema {
    let field = |name: &str, data_type| FieldSchema::new().name(name).data_type(data_type);
    CollectionSchema::new()
        .enable_dynamic_field(true)
        .add_field(field("id", DataType::Int64).primary_key(true))
        .add_field(field("label", DataType::Int8))
        .add_field(field("word", DataType::VarChar).max_length(100).nullable(true))
        .add_field(field("level", DataType::Int32).default_value(DefaultValue::Int32(7)))
        .add_field(field("ratio", DataType::Double))
        .add_field(field("doc", DataType::Json))
        .add_field(field("tags", DataType::Array).element_type(DataType::Int64).max_capacity(4))
        .add_field(field("vector", DataType::FloatVector).dimension(64))
}

async fn create(client: &ClientV2, name: &str) -> Outcome {
    let graph = HashMap::from([("M".to_owned(), "16".to_owned()), ("efConstruction".to_owned(), "200".to_owned())]);
    let index = IndexParam::new()
        .field_name("vector")
        .index_name("graph")
        .index_type(IndexType::Hnsw)
        .metric_type(MetricType::L2)
        .extra_params(graph);
    let request = CreateCollectionRequest::builder().collection_name(name).schema(schema()).index_params(vec![index]);
    client.create_collection(request.build()?).await?;
    client.load_collection(LoadCollectionRequest::builder().collection_name(name).build()?).await?;
    Ok(())
}

/// A row as it is sent.
fn row(place: usize, digit: &Digit) -> Value {
    json!({
        "id": place,
        "label": digit.label,
        "word": if place.is_multiple_of(3) { Value::Null } else { json!(format!("wörd {place}")) },
        "level": place % 10,
        "ratio": f64::from(digit.label) / 4.0,
        "doc": { "half": place / 2 },
        "tags": [place, place + 1],
        "vector": digit.vector,
        "colour": if place.is_multiple_of(2) { "red" } else { "blue" },
    })
}

async fn query(client: &ClientV2, name: &str, filter: &str, fields: &[&str]) -> Result<Vec<EntityRow>, Failure> {
    let request = QueryRequest::builder().collection_name(name).filter(filter).limit(16_384);
    let response = client.query(request.output_fields(fields.iter().copied()).build()?).await?;
    Ok(response.results().get_output_rows()?)
}

async fn ids(client: &ClientV2, name: &str, filter: &str) -> Result<BTreeSet<i64>, Failure> {
    let rows = query(client, name, filter, &["id"]).await?;
    Ok(rows.iter().filter_map(|row| row["id"].as_i64()).collect())
}

async fn count(client: &ClientV2, name: &str) -> Result<u64, Failure> {
    let request = QueryRequest::builder().collection_name(name).output_fields(["count(*)"]).build()?;
    Ok(client.query(request).await?.results().get_row_count())
}

async fn wait_until_indexed(client: &ClientV2, name: &str, rows: i64) -> Outcome {
    let began = Instant::now();
    loop {
        let request = DescribeIndexRequest::builder().collection_name(name).index_name("graph").build()?;
        let response = client.describe_index(request).await?;
        let index = response.indexes().first().ok_or("no index")?;
        if index.get_indexed_rows() >= rows && index.get_pending_rows() == 0 {
            return Ok(());
        }
        assert!(began.elapsed() < Duration::from_mins(5), "{rows} rows were to be indexed: {index:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Recall of the graph against exact search, and whether a digit's nearest neighbour is the same digit.
async fn check_digits(client: &ClientV2, name: &str, digits: &[Digit]) -> Outcome {
    let asked: Vec<usize> = (0..digits.len()).step_by(9).collect();
    let request = SearchRequest::builder()
        .collection_name(name)
        .vector_field("vector")
        .vectors(SearchVectors::Float(asked.iter().map(|place| digits[*place].vector.clone()).collect()))
        .output_fields(["label"])
        .limit(10);
    let response = client.search(request.build()?).await?;
    let (mut hits, mut same, mut queries) = (0, 0, 0);
    for (place, result) in asked.iter().zip(response.results()) {
        let Ids::Int64(found) = result.get_ids() else { return Err("integer keys were expected".into()) };
        assert_eq!(found.len(), 10);
        assert!(result.get_scores().is_sorted(), "nearest first");
        let truth = nearest(digits, &digits[*place].vector);
        hits += found.iter().filter(|id| truth.contains(id)).count();
        let labels = result.get_output_field("label").and_then(FieldData::as_int8).ok_or("no labels")?;
        for (id, label) in found.iter().zip(labels) {
            assert_eq!(digits[usize::try_from(*id)?].label, *label);
        }
        let other = found.iter().position(|id| usize::try_from(*id).ok() != Some(*place)).ok_or("only itself")?;
        same += usize::from(labels[other] == digits[*place].label);
        queries += 1;
    }
    assert_eq!(queries, asked.len());
    assert!(hits * 100 >= queries * 10 * 98, "recall@10 is {hits} of {}", queries * 10);
    assert!(same * 100 >= queries * 96, "only {same} of {queries} digits lie next to the same digit");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_lives_its_whole_life() -> Outcome {
    let mut node = Node::start()?;
    let client = node.client().await?;
    let digits = digits()?;
    create(&client, "digits").await?;

    let rows: Vec<Value> = digits.iter().enumerate().map(|(place, digit)| row(place, digit)).collect();
    for chunk in rows.chunks(600) {
        let request = InsertRequest::builder().collection_name("digits").rows(chunk.iter().cloned());
        let inserted = client.insert(request.build()?).await?;
        assert_eq!(usize::try_from(inserted.insert_count())?, chunk.len());
    }
    assert_eq!(count(&client, "digits").await?, 1_797);
    check_digits(&client, "digits", &digits).await?;

    // What was acknowledged survives a kill, and comes back value by value.
    node.kill_and_restart()?;
    let client = node.client().await?;
    let found = query(&client, "digits", "id in [8, 9]", &["*"]).await?;
    let found: BTreeMap<i64, EntityRow> =
        found.into_iter().filter_map(|row| Some((row["id"].as_i64()?, row))).collect();
    for place in [8, 9] {
        let got = &found[&i64::try_from(place)?];
        for (name, value) in rows[place].as_object().into_iter().flatten().filter(|(name, _)| *name != "vector") {
            assert_eq!(got[name], *value, "{name}");
        }
        let vector: Vec<f32> = serde_json::from_value(got["vector"].clone())?;
        assert_eq!(vector, digits[place].vector);
    }

    type Matches = fn(usize, i8) -> bool;
    let filters: [(&str, Matches); 8] = [
        ("id < 10", |place, _| place < 10),
        ("label == 4 and id > 1000", |place, label| label == 4 && place > 1_000),
        ("word is null", |place, _| place % 3 == 0),
        ("word like 'wörd 1%'", |place, _| place % 3 != 0 && place.to_string().starts_with('1')),
        ("not (level in [1, 2, 3])", |place, _| ![1, 2, 3].contains(&(place % 10))),
        ("doc['half'] == 20", |place, _| place / 2 == 20),
        ("array_contains(tags, 50)", |place, _| place == 49 || place == 50),
        ("colour == 'red' or ratio >= 2.25", |place, label| place % 2 == 0 || label == 9),
    ];
    for (filter, condition) in filters {
        let expected = (0..).zip(&digits).filter(|(place, digit)| condition(*place, digit.label));
        let expected = expected.map(|(place, _)| i64::try_from(place)).collect::<Result<BTreeSet<_>, _>>()?;
        assert_eq!(ids(&client, "digits", filter).await?, expected, "{filter}");
    }

    client.flush(FlushRequest::builder().collection_names(["digits"]).build()?).await?;
    wait_until_indexed(&client, "digits", 1_797).await?;
    check_digits(&client, "digits", &digits).await?;

    let mut changed = row(5, &digits[5]);
    changed["word"] = json!("changed");
    let rows = InsertRequest::builder().collection_name("digits").rows([changed, row(5_000, &digits[6])]).build()?;
    assert_eq!(client.upsert(UpsertRequest::builder().insert(rows).build()?).await?.upsert_count(), 2);
    assert_eq!(ids(&client, "digits", "word == 'changed'").await?, BTreeSet::from([5]));
    assert_eq!(count(&client, "digits").await?, 1_798);
    let request = DeleteRequest::builder().collection_name("digits").ids(Ids::Int64(vec![5, 5_000]));
    assert_eq!(client.delete(request.build()?).await?.delete_count(), 2);
    let request = DeleteRequest::builder().collection_name("digits").filter("label == 0");
    let zeros = digits.iter().filter(|digit| digit.label == 0).count();
    assert_eq!(usize::try_from(client.delete(request.build()?).await?.delete_count())?, zeros);
    assert_eq!(usize::try_from(count(&client, "digits").await?)?, 1_796 - zeros);

    client.drop_collection(DropCollectionRequest::builder().collection_name("digits").build()?).await?;
    let request = HasCollectionRequest::builder().collection_name("digits").build()?;
    assert!(!client.has_collection(request).await?.exists());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_aliases_and_partitions_keep_apart_what_they_name() -> Outcome {
    let node = Node::start()?;
    let client = node.client().await?;
    client.create_database(CreateDatabaseRequest::builder().database_name("branch").build()?).await?;
    let listed = client.list_databases(ListDatabasesRequest::builder().build()?).await?;
    assert_eq!(listed.database_names().iter().collect::<BTreeSet<_>>().len(), 2);

    let digits = digits()?;
    create(&client, "same").await?;
    let request = CreatePartitionRequest::builder().collection_name("same").partition_name("north");
    client.create_partition(request.build()?).await?;
    for (partition, place) in [("_default", 1), ("north", 2)] {
        let rows = [row(place, &digits[place])];
        let request = InsertRequest::builder().collection_name("same").partition_name(partition).rows(rows);
        client.insert(request.build()?).await?;
    }
    let request = QueryRequest::builder().collection_name("same").partition_names(["north"]).filter("id > 0");
    let north = client.query(request.output_fields(["id"]).limit(10).build()?).await?;
    assert_eq!(north.results().get_output_rows()?[0]["id"], 2);
    assert_eq!(north.results().get_row_count(), 1);

    let request = CreateAliasRequest::builder().collection_name("same").alias("current");
    client.create_alias(request.build()?).await?;
    assert_eq!(ids(&client, "current", "id > 0").await?, BTreeSet::from([1, 2]));

    let branch = node.client().await?;
    branch.use_database("branch").await?;
    let request = HasCollectionRequest::builder().collection_name("same").build()?;
    assert!(!branch.has_collection(request).await?.exists());
    create(&branch, "same").await?;
    assert_eq!(count(&branch, "same").await?, 0);
    assert_eq!(count(&client, "same").await?, 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_says_why() -> Outcome {
    let node = Node::start()?;
    let client = node.client().await?;
    create(&client, "digits").await?;
    for filter in ["id >", "nosuch(id)", "id == 'text'"] {
        let refused = query(&client, "digits", filter, &["id"]).await.err().ok_or(filter)?;
        assert!(refused.to_string().contains("filter"), "{filter}: {refused}");
    }
    let refused = query(&client, "missing", "id > 0", &["id"]).await.err().ok_or("a missing collection")?;
    assert!(refused.to_string().contains("missing"), "{refused}");
    for token in ["root:wrong-password", "nobody:x"] {
        let refused = match node.client_with(token).await {
            Ok(stranger) => count(&stranger, "digits").await.err().ok_or(token)?,
            Err(refused) => refused,
        };
        assert!(refused.to_string().contains("wrong user name, password or API key"), "{refused}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_darkens_the_cluster_until_it_is_enabled() -> Outcome {
    let mut node = Node::start()?;
    let client = node.client().await?;
    let digits = digits()?;
    create(&client, "digits").await?;
    let request = InsertRequest::builder().collection_name("digits").rows([row(1, &digits[1])]);
    client.insert(request.build()?).await?;

    node.key("disable")?;
    node.wait_until_stub()?;
    node.wait_for_status(503)?;
    client.set_retry_param(RetryConfig::new().max_attempts(1));
    let refused = count(&client, "digits").await.err().ok_or("the cluster is sealed")?;
    assert!(refused.to_string().contains("sealed"), "{refused}");

    node.key("enable")?;
    node.wait_for_status(200)?;
    let client = node.client().await?;
    assert_eq!(ids(&client, "digits", "id > 0").await?, BTreeSet::from([1]));
    Ok(())
}
