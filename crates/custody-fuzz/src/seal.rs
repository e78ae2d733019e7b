//! Sealed files.

use std::{fs, path::PathBuf, sync::LazyLock};

use custody_seal::{ClusterId, FileContext, HEADER_LEN, Header, ZoneId, ZoneKey, open};
use serde_json::Value;

/// What the golden vectors are read with, and those that open.
pub(crate) struct Golden {
    cluster: ClusterId,
    zone: ZoneId,
    path: String,
    key: ZoneKey,
    /// The files that open for this reader, each with the length of its plaintext.
    positive: Vec<(Vec<u8>, usize)>,
    /// Every vector's header: some of those that must not open elsewhere open for this reader.
    headers: Vec<Vec<u8>>,
    /// Every vector's bytes.
    pub(crate) all: Vec<Vec<u8>>,
}

pub(crate) static GOLDEN: LazyLock<Golden> = LazyLock::new(Golden::read);

impl Golden {
    fn read() -> Self {
        let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../vectors/sealed");
        let index: Value = serde_json::from_slice(&fs::read(directory.join("index.json")).unwrap()).unwrap();
        let vectors = index["vectors"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let bytes = |vector: &Value| fs::read(directory.join(format!("{}.sealed", text(&vector["name"])))).unwrap();
        let reader = &vectors[0]["reader"];
        let opens = |vector: &&Value| vector["error"].is_null() && vector["reader"] == *reader;
        let positive = vectors.iter().filter(opens).map(|vector| {
            let length = vector["plain_length"].as_u64().unwrap();
            (bytes(vector), usize::try_from(length).unwrap())
        });
        let headers = vectors.iter().map(bytes).filter(|file| file.len() >= HEADER_LEN);
        let key: Vec<u8> = text(&reader["zone_key"])
            .as_bytes()
            .chunks(2)
            .map(|digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap())
            .collect();
        Self {
            cluster: text(&reader["cluster"]).parse().unwrap(),
            zone: text(&reader["zone"]).parse().unwrap(),
            path: text(&reader["path"]),
            key: ZoneKey::from_slice(&key).unwrap(),
            positive: positive.collect(),
            headers: headers.map(|file| file[..HEADER_LEN].to_vec()).collect(),
            all: vectors.iter().map(bytes).collect(),
        }
    }

    fn context(&self) -> FileContext<'_> {
        FileContext { cluster: &self.cluster, zone: self.zone, path: &self.path }
    }

    /// Opens a file. What opens has a golden header and the bytes that were sealed under it: a file that was made to be
    /// refused by another reader may open for this one, and so may one that was put together again from its parts.
    fn open(&self, file: &[u8]) {
        let golden = self.positive.iter().find(|(bytes, _)| bytes == file);
        match (open(file, &self.key, &self.context()), golden) {
            (Ok(plain), Some((_, length))) => {
                let sealed = (0..*length).map(|at| u8::try_from(at % 251).unwrap());
                assert!(plain.iter().copied().eq(sealed), "a golden file opened to something else");
            }
            (Ok(plain), None) => {
                let known = self.headers.iter().any(|header| header[..] == file[..HEADER_LEN]);
                assert!(known, "a file opened that nobody sealed");
                let sealed = (0..plain.len()).map(|at| u8::try_from(at % 251).unwrap());
                assert!(plain.iter().copied().eq(sealed), "a file opened to something that nobody sealed");
            }
            (Err(error), Some(_)) => panic!("a golden file did not open: {error}"),
            (Err(error), None) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// A header, and the file that begins with it.
pub fn header(bytes: &[u8]) {
    let golden = &*GOLDEN;
    if let Ok(header) = Header::parse(bytes) {
        assert!(bytes.len() >= HEADER_LEN);
        // What is read from a header that nothing has proven yet must be usable without a panic.
        let layout = header.layout();
        for length in [0, 1, bytes.len() as u64, u64::MAX] {
            if let Ok(file) = layout.file(length) {
                assert_eq!(layout.sealed_len(file.plain_len()), Ok(length), "the lengths contradict each other");
            }
        }
        let known = golden.headers.iter().any(|header| header[..] == bytes[..HEADER_LEN]);
        assert!(known || header.unseal(&golden.key, &golden.context()).is_err(), "a header opened that nobody sealed");
    }
    golden.open(bytes);
}

/// A body behind a golden header; the first byte says which.
pub fn body(bytes: &[u8]) {
    let golden = &*GOLDEN;
    let Some((which, body)) = bytes.split_first() else { return };
    let (file, _) = &golden.positive[usize::from(*which) % golden.positive.len()];
    golden.open(&[&file[..HEADER_LEN], body].concat());
}

/// Seeds of [`body`].
pub(crate) fn bodies() -> Vec<Vec<u8>> {
    let numbered = (0_u8..).zip(&GOLDEN.positive);
    numbered.map(|(which, (file, _))| [&[which], &file[HEADER_LEN..]].concat()).collect()
}
