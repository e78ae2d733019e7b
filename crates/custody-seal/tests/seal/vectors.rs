//! The golden vectors open as their index says, and this build still writes the positive ones byte by byte.

use std::path::{Path, PathBuf};

use custody_seal::vectors::{Drawn, seal_with};
use custody_seal::{ChunkSize, ClusterId, FileContext, OpenError, ZoneId, ZoneKey, open};
use serde::Deserialize;

#[derive(Deserialize)]
struct Index {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    reader: Reader,
    error: Option<String>,
    #[serde(flatten)]
    positive: Option<Positive>,
}

#[derive(Deserialize)]
struct Reader {
    cluster: String,
    zone: String,
    path: String,
    zone_key: String,
}

#[derive(Deserialize)]
struct Positive {
    plain_length: usize,
    chunk_size: u32,
    zone_key_version: u32,
    data_key: String,
    file_id: String,
    salt: String,
}

impl Vector {
    fn sealed(&self) -> Vec<u8> {
        std::fs::read(directory().join(format!("{}.sealed", self.name))).unwrap()
    }

    fn open(&self) -> Result<Vec<u8>, OpenError> {
        self.at_home(|key, context| open(&self.sealed(), key, context))
    }

    fn at_home<T>(&self, work: impl FnOnce(&ZoneKey, &FileContext<'_>) -> T) -> T {
        let cluster: ClusterId = self.reader.cluster.parse().unwrap();
        let zone: ZoneId = self.reader.zone.parse().unwrap();
        let key = ZoneKey::from_slice(&unhex::<32>(&self.reader.zone_key)).unwrap();
        work(&key, &FileContext { cluster: &cluster, zone, path: &self.reader.path })
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/sealed")
}

fn vectors() -> Vec<Vector> {
    let index = std::fs::read_to_string(directory().join("index.json")).unwrap();
    serde_json::from_str::<Index>(&index).unwrap().vectors
}

fn plain(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

fn unhex<const N: usize>(text: &str) -> [u8; N] {
    assert_eq!(text.len(), 2 * N);
    std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
}

/// `Header(Version(2))` is `Header.Version`.
fn name(error: OpenError) -> String {
    let text = format!("{error:?}");
    let names: Vec<&str> = text.split(|byte: char| !byte.is_alphanumeric()).filter(|name| !name.is_empty()).collect();
    if names[0] == "Length" { "Length".to_owned() } else { format!("{}.{}", names[0], names[1]) }
}

#[test]
fn the_positive_vectors_open() {
    let positive: Vec<Vector> = vectors().into_iter().filter(|vector| vector.positive.is_some()).collect();
    assert!(positive.len() >= 8);
    for vector in positive {
        let length = vector.positive.as_ref().unwrap().plain_length;
        assert!(vector.open() == Ok(plain(length)), "{}", vector.name);
    }
}

#[test]
fn this_build_writes_the_positive_vectors() {
    for vector in vectors() {
        let Some(positive) = &vector.positive else { continue };
        let drawn = Drawn {
            data_key: unhex(&positive.data_key),
            file_id: unhex(&positive.file_id),
            salt: unhex(&positive.salt),
        };
        let chunk_size = ChunkSize::new(positive.chunk_size).unwrap();
        let sealed = vector.at_home(|key, context| {
            seal_with(&drawn, &plain(positive.plain_length), key, positive.zone_key_version, context, chunk_size)
        });
        assert!(sealed.unwrap() == vector.sealed(), "{}", vector.name);
    }
}

#[test]
fn the_negative_vectors_fail_as_they_should() {
    let negative: Vec<Vector> = vectors().into_iter().filter(|vector| vector.error.is_some()).collect();
    assert!(negative.len() >= 40);
    for vector in negative {
        let error = vector.open().expect_err(&vector.name);
        assert_eq!(Some(name(error)), vector.error, "{}", vector.name);
    }
}

#[test]
fn no_vector_is_left_out_of_the_index() {
    let mut indexed: Vec<String> = vectors().into_iter().map(|vector| format!("{}.sealed", vector.name)).collect();
    let mut stored: Vec<String> = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "index.json")
        .collect();
    indexed.sort();
    stored.sort();
    assert_eq!(indexed, stored);
}
