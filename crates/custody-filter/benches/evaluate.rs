//! How long filters take over 100,000 rows.

use std::{hint::black_box, sync::Arc};

use arrow_array::{ArrayRef, Float32Array, Int64Array, RecordBatch, StringArray};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use custody_filter::{FieldType, Filter, Params, Schema};

const ROWS: usize = 100_000;

fn schema() -> Schema {
    Schema::new()
        .primary("id", FieldType::Int64)
        .field("price", FieldType::Float)
        .field("name", FieldType::VarChar)
        .dynamic("$meta")
}

fn batch() -> RecordBatch {
    let number = |row: usize| i64::try_from(row * 2_654_435_761 % 1_000_003).unwrap_or_default();
    let price = |row: usize| f32::from(u16::try_from(row % 60_000).unwrap_or_default()) / 10.0;
    let name = |row: usize| format!("product {} of the {} series", number(row), row % 97);
    let meta = |row: usize| {
        let color = ["red", "green", "blue"][row % 3];
        format!(
            "{{\"size\": {}, \"tags\": [\"a\", \"b\"], \"look\": {{\"color\": \"{color}\", \"matte\": true}}}}",
            row % 50
        )
    };
    let columns: [(&str, ArrayRef); 4] = [
        ("id", Arc::new((0..ROWS).map(number).collect::<Int64Array>())),
        ("price", Arc::new(Float32Array::from_iter_values((0..ROWS).map(price)))),
        ("name", Arc::new(StringArray::from_iter_values((0..ROWS).map(name)))),
        ("$meta", Arc::new(StringArray::from_iter_values((0..ROWS).map(meta)))),
    ];
    RecordBatch::try_from_iter(columns).unwrap_or_else(|error| panic!("the batch is built wrong: {error}"))
}

fn filters(criterion: &mut Criterion) {
    let list = |count: usize, step: usize| (0..count).map(|n| (n * step).to_string()).collect::<Vec<_>>().join(",");
    let cases = [
        ("comparison of an Int64", "id < 500000".to_owned()),
        ("range of a Float", "100 < price <= 5000.5".to_owned()),
        ("comparison of a VarChar", "name >= 'product 5'".to_owned()),
        ("in with 8 integers", format!("id in [{}]", list(8, 12_345))),
        ("in with 1,000 dense integers", format!("id in [{}]", list(1_000, 17))),
        ("in with 10,000 sparse integers", format!("id in [{}]", list(10_000, 7_919))),
        ("in with 1,000 texts", format!("name in ['{}']", list(1_000, 1).replace(',', "','"))),
        ("like with a prefix", "name like 'product 12%'".to_owned()),
        ("like with a part", "name like '%of the 42%'".to_owned()),
        ("like with pieces", "name like 'prod%7_ of%9_ series'".to_owned()),
        ("a JSON path", "look[\"color\"] == 'red'".to_owned()),
        ("three JSON paths", "look[\"color\"] == 'red' or size > 40 or json_contains(tags, 'c')".to_owned()),
        ("a JSON path behind a comparison", "id < 10000 and look[\"color\"] == 'red'".to_owned()),
        ("arithmetic", "id % 7 == 3".to_owned()),
    ];
    let batch = batch();
    let mut group = criterion.benchmark_group("100,000 rows");
    group.throughput(Throughput::Elements(ROWS as u64));
    for (name, text) in cases {
        let filter = Filter::parse(&text, &schema(), &Params::new());
        let filter = filter.unwrap_or_else(|error| panic!("{name}: {error}"));
        group.bench_function(name, |bencher| bencher.iter(|| filter.evaluate(black_box(&batch), ROWS)));
    }
    group.finish();

    let long = format!("id in [{}]", list(100_000, 7_919));
    criterion.bench_function("reading a list of 100,000 integers", |bencher| {
        bencher.iter(|| Filter::parse(black_box(&long), &schema(), &Params::new()));
    });
    let usual = "1990 < id <= 2005 and (name like 'a%' or look[\"color\"] in ['red', 'blue']) and not price > 5";
    criterion.bench_function("reading a usual filter", |bencher| {
        bencher.iter(|| Filter::parse(black_box(usual), &schema(), &Params::new()));
    });
}

criterion_group!(benches, filters);
criterion_main!(benches);
