//! Writes the golden vectors of the sealed format to `vectors/sealed` again: `cargo run -p custody-seal --example make-vectors`.
//!
//! The inputs are fixed, so the files only change when the format does. A format that changes gets a new version and new
//! vectors beside the old ones, which have to open for ever.

use std::error::Error;
use std::path::Path;

use custody_seal::vectors::{Drawn, seal_with};
use custody_seal::{ChunkSize, ClusterId, FileContext, HEADER_LEN, Header, OpenError, ZoneId, ZoneKey, open};
use serde_json::{Value, json};

const CHUNK: usize = 4096;
const SEALED_CHUNK: usize = CHUNK + 16;
const PATH: &str = "zones/00112233445566778899aabbccddeeff/db/0001.sst";

/// Where a file is read. Each negative vector is wrong in one of these, or in its bytes.
#[derive(Clone)]
struct Reader {
    cluster: &'static str,
    zone: ZoneId,
    path: &'static str,
    zone_key: u8,
}

impl Reader {
    const HOME: Self = Self { cluster: "in01-0a1b2c3d", zone: zone(0x00), path: PATH, zone_key: 0x11 };

    fn seal(&self, length: usize, chunk: usize, drawn: u8) -> Result<Vec<u8>, Box<dyn Error>> {
        let drawn = Drawn { data_key: [drawn; 32], file_id: [drawn ^ 0x40; 16], salt: [drawn ^ 0x80; 32] };
        let chunk = ChunkSize::new(u32::try_from(chunk)?).ok_or("no chunk size")?;
        let cluster = self.cluster.parse()?;
        Ok(seal_with(&drawn, &plain(length), &self.key()?, 3, &self.context(&cluster), chunk)?)
    }

    fn open(&self, sealed: &[u8]) -> Result<Result<Vec<u8>, OpenError>, Box<dyn Error>> {
        let cluster = self.cluster.parse()?;
        Ok(open(sealed, &self.key()?, &self.context(&cluster)))
    }

    fn context<'a>(&'a self, cluster: &'a ClusterId) -> FileContext<'a> {
        FileContext { cluster, zone: self.zone, path: self.path }
    }

    fn key(&self) -> Result<ZoneKey, Box<dyn Error>> {
        Ok(ZoneKey::from_slice(&[self.zone_key; 32])?)
    }

    fn describe(&self) -> Value {
        json!({
            "cluster": self.cluster,
            "zone": self.zone.to_string(),
            "path": self.path,
            "zone_key": hex(&[self.zone_key; 32]),
        })
    }
}

/// 00 11 22 … ff, with the first byte changed for another zone.
const fn zone(first: u8) -> ZoneId {
    let mut bytes = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff_u128.to_be_bytes();
    bytes[0] = first;
    ZoneId::new(bytes)
}

/// Every vector's plaintext: byte `i` is `i mod 251`.
fn plain(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

struct Vectors<'a> {
    directory: &'a Path,
    entries: Vec<Value>,
}

impl Vectors<'_> {
    fn positive(
        &mut self,
        name: &str,
        why: &str,
        length: usize,
        chunk: usize,
        drawn: u8,
    ) -> Result<(), Box<dyn Error>> {
        let sealed = Reader::HOME.seal(length, chunk, drawn)?;
        if Reader::HOME.open(&sealed)? != Ok(plain(length)) {
            return Err(format!("{name} does not open").into());
        }
        self.write(
            name,
            why,
            &Reader::HOME,
            &sealed,
            json!({
                "plain_length": length,
                "chunk_size": chunk,
                "zone_key_version": Header::parse(&sealed)?.version(),
                "data_key": hex(&[drawn; 32]),
                "file_id": hex(&[drawn ^ 0x40; 16]),
                "salt": hex(&[drawn ^ 0x80; 32]),
            }),
        )
    }

    fn negative(
        &mut self,
        name: &str,
        error: &str,
        why: &str,
        reader: &Reader,
        sealed: &[u8],
    ) -> Result<(), Box<dyn Error>> {
        match reader.open(sealed)? {
            Err(found) if error_name(found) == error => {}
            Err(found) => return Err(format!("{name} gives {}, not {error}", error_name(found)).into()),
            Ok(_) => return Err(format!("{name} opens").into()),
        }
        self.write(name, why, reader, sealed, json!({ "error": error }))
    }

    fn write(
        &mut self,
        name: &str,
        why: &str,
        reader: &Reader,
        sealed: &[u8],
        more: Value,
    ) -> Result<(), Box<dyn Error>> {
        std::fs::write(self.directory.join(format!("{name}.sealed")), sealed)?;
        let mut entry = json!({ "name": name, "why": why, "reader": reader.describe() });
        if let (Some(entry), Value::Object(more)) = (entry.as_object_mut(), more) {
            entry.extend(more);
        }
        self.entries.push(entry);
        Ok(())
    }
}

/// `Header(Version(2))` is `Header.Version`: the variants' names, without what they carry.
fn error_name(error: OpenError) -> String {
    let text = format!("{error:?}");
    let mut names = text.split(['(', '{', ' ']).filter(|name| !name.is_empty());
    let (outer, inner) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
    let inner = inner.trim_end_matches(')');
    if outer == "Length" { outer.to_owned() } else { format!("{outer}.{inner}") }
}

fn main() -> Result<(), Box<dyn Error>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/sealed");
    std::fs::create_dir_all(&directory)?;
    let mut vectors = Vectors { directory: &directory, entries: Vec::new() };
    positive(&mut vectors)?;
    headers(&mut vectors)?;
    places(&mut vectors)?;
    bodies(&mut vectors)?;
    let index = json!({
        "format": "docs/format.md",
        "plain": "byte i of every plaintext is i mod 251",
        "vectors": vectors.entries,
    });
    std::fs::write(directory.join("index.json"), format!("{}\n", serde_json::to_string_pretty(&index)?))?;
    Ok(())
}

fn positive(vectors: &mut Vectors<'_>) -> Result<(), Box<dyn Error>> {
    vectors.positive("empty", "one empty chunk", 0, CHUNK, 0x01)?;
    vectors.positive("one-byte", "the shortest file that holds something", 1, CHUNK, 0x02)?;
    vectors.positive("chunk-minus-one", "one chunk, not quite full", CHUNK - 1, CHUNK, 0x03)?;
    vectors.positive("chunk", "a full last chunk is the last: no empty one follows", CHUNK, CHUNK, 0x04)?;
    vectors.positive("chunk-plus-one", "the second chunk has one byte", CHUNK + 1, CHUNK, 0x05)?;
    vectors.positive("two-chunks", "two full chunks", 2 * CHUNK, CHUNK, 0x06)?;
    vectors.positive("several-chunks", "three full chunks and a part of one", 3 * CHUNK + 100, CHUNK, 0x07)?;
    vectors.positive("default-chunk", "a short file with chunks of the size that is written", 100, 32 << 10, 0x08)
}

/// A file with one byte changed.
fn altered(sealed: &[u8], at: usize, to: u8) -> Vec<u8> {
    let mut altered = sealed.to_vec();
    altered[at] = to;
    altered
}

fn headers(vectors: &mut Vectors<'_>) -> Result<(), Box<dyn Error>> {
    let home = &Reader::HOME;
    let file = &home.seal(100, CHUNK, 0x21)?;
    let other = &home.seal(100, CHUNK, 0x22)?;
    let flip = |at: usize| altered(file, at, file[at] ^ 1);
    let mut add = |name: &str, error: &str, why: &str, sealed: &[u8]| vectors.negative(name, error, why, home, sealed);
    add("nothing", "Header.Short", "a file of no bytes", &[])?;
    add("plaintext", "Header.NotSealed", "a plaintext file in a sealed one's place", &plain(1000))?;
    add("plaintext-short", "Header.NotSealed", "a plaintext file shorter than the magic", b"row")?;
    add("magic-only", "Header.Short", "cut after the magic", &file[..8])?;
    add("header-cut", "Header.Short", "cut one byte before the header's end", &file[..HEADER_LEN - 1])?;
    add("header-alone", "Length", "a header and no chunk at all: not even an empty file", &file[..HEADER_LEN])?;
    add("format-0", "Header.Version", "an older format version", &altered(file, 9, 0))?;
    add("format-2", "Header.Version", "a newer format version", &altered(file, 9, 2))?;
    add("suite-0", "Header.Suite", "no suite", &altered(file, 10, 0))?;
    add("suite-2", "Header.Suite", "another suite", &altered(file, 10, 2))?;
    add("chunk-size-small", "Header.ChunkSize", "2^11 is too small", &altered(file, 11, 11))?;
    add("chunk-size-large", "Header.ChunkSize", "2^21 is too large", &altered(file, 11, 21))?;
    add(
        "chunk-size-other",
        "Unseal.DataKey",
        "a chunk size that the file was not sealed with",
        &altered(file, 11, 13),
    )?;
    add("reserved-low", "Header.Reserved", "a reserved byte in front", &altered(file, 12, 1))?;
    add("wrap-nonce", "Header.Reserved", "suite 1 leaves the wrapping nonce zero", &altered(file, 47, 1))?;
    add("reserved-tail", "Header.Reserved", "a reserved byte at the end", &altered(file, 255, 1))?;
    add("zone-flipped", "Unseal.OtherZone", "a bit of the zone id", &flip(31))?;
    add("version-flipped", "Unseal.DataKey", "a bit of the zone key's version", &flip(35))?;
    add("file-id-flipped", "Unseal.DataKey", "a bit of the file id", &flip(48))?;
    add("salt-flipped", "Unseal.DataKey", "a bit of the salt", &flip(64))?;
    add("data-key-flipped", "Unseal.DataKey", "a bit of the wrapped data key", &flip(96))?;
    add("data-key-tag-flipped", "Unseal.DataKey", "a bit of the wrapped data key's tag", &flip(143))?;
    add("commitment-flipped", "Unseal.Commitment", "a bit of the commitment", &flip(144))?;
    add("cluster-mac-flipped", "Unseal.OtherCluster", "a bit of the cluster's MAC", &flip(176))?;
    add("path-mac-flipped", "Unseal.OtherPath", "a bit of the path's MAC", &flip(239))?;
    add(
        "header-of-another",
        "Chunk.Damaged",
        "the header of one file on the body of another",
        &[&other[..HEADER_LEN], &file[HEADER_LEN..]].concat(),
    )?;
    add(
        "tail-of-another",
        "Unseal.Commitment",
        "commitment and MACs of another header",
        &[&file[..144], &other[144..HEADER_LEN], &file[HEADER_LEN..]].concat(),
    )
}

fn places(vectors: &mut Vectors<'_>) -> Result<(), Box<dyn Error>> {
    let home = Reader::HOME;
    let file = &home.seal(100, CHUNK, 0x31)?;
    let mut add =
        |name: &str, error: &str, why: &str, reader: &Reader| vectors.negative(name, error, why, reader, file);
    add(
        "moved-path",
        "Unseal.OtherPath",
        "read at another path: two files of a zone swapped",
        &Reader { path: "zones/00112233445566778899aabbccddeeff/db/0002.sst", ..home.clone() },
    )?;
    add(
        "moved-path-shorter",
        "Unseal.OtherPath",
        "read at a prefix of its path",
        &Reader { path: "zones/00112233445566778899aabbccddeeff/db/0001.ss", ..home.clone() },
    )?;
    add(
        "moved-cluster",
        "Unseal.OtherCluster",
        "read in another cluster with the same zone key",
        &Reader { cluster: "in01-0a1b2c3e", ..home.clone() },
    )?;
    add(
        "moved-zone",
        "Unseal.OtherZone",
        "read in another zone with the same zone key",
        &Reader { zone: zone(0x01), ..home.clone() },
    )?;
    add("other-zone-key", "Unseal.DataKey", "read with another zone key", &Reader { zone_key: 0x12, ..home.clone() })
}

fn bodies(vectors: &mut Vectors<'_>) -> Result<(), Box<dyn Error>> {
    let home = &Reader::HOME;
    let file = &home.seal(2 * CHUNK + 100, CHUNK, 0x41)?;
    let full = &home.seal(2 * CHUNK, CHUNK, 0x42)?;
    let head = &file[..HEADER_LEN];
    let chunk = |index: usize| {
        let start = HEADER_LEN + index * SEALED_CHUNK;
        &file[start..file.len().min(start + SEALED_CHUNK)]
    };
    let mut add = |name: &str, error: &str, why: &str, sealed: &[u8]| vectors.negative(name, error, why, home, sealed);
    add("chunk-flipped", "Chunk.Damaged", "a bit of the first chunk", &altered(file, 300, file[300] ^ 0x80))?;
    add(
        "chunk-tag-flipped",
        "Chunk.Damaged",
        "a bit of the last chunk's tag",
        &altered(file, file.len() - 1, file[file.len() - 1] ^ 1),
    )?;
    add(
        "chunks-swapped",
        "Chunk.Moved",
        "the first two chunks swapped",
        &[head, chunk(1), chunk(0), chunk(2)].concat(),
    )?;
    add(
        "chunk-repeated",
        "Chunk.Moved",
        "the first chunk again in place of the second",
        &[head, chunk(0), chunk(0), chunk(2)].concat(),
    )?;
    add(
        "chunk-inserted",
        "Chunk.Moved",
        "the second chunk twice",
        &[head, chunk(0), chunk(1), chunk(1), chunk(2)].concat(),
    )?;
    add("chunk-dropped", "Chunk.Moved", "the first chunk dropped", &[head, chunk(1), chunk(2)].concat())?;
    add("chunk-dropped-middle", "Chunk.Moved", "the second chunk dropped", &[head, chunk(0), chunk(2)].concat())?;
    add(
        "cut-at-chunk",
        "Chunk.Truncated",
        "the last chunk dropped: a cut at a boundary",
        &[head, chunk(0), chunk(1)].concat(),
    )?;
    add("cut-one-byte", "Chunk.Damaged", "cut by one byte", &file[..file.len() - 1])?;
    add(
        "cut-into-tag",
        "Length",
        "cut so that less than a tag is left of the last chunk",
        &file[..HEADER_LEN + 2 * SEALED_CHUNK + 15],
    )?;
    add(
        "cut-to-tag",
        "Length",
        "cut so that an empty last chunk would be left",
        &file[..HEADER_LEN + 2 * SEALED_CHUNK + 16],
    )?;
    add("appended-one", "Chunk.Damaged", "one byte after a part of a chunk", &[file, &[0][..]].concat())?;
    add("appended-to-full", "Length", "one byte after a full last chunk", &[full, &[0][..]].concat())?;
    add(
        "appended-tag",
        "Length",
        "sixteen bytes after a full last chunk: an empty chunk",
        &[full, &[0; 16][..]].concat(),
    )?;
    add("appended-chunk", "Chunk.Extended", "seventeen bytes after a full last chunk", &[full, &[0; 17][..]].concat())?;
    add(
        "appended-last-again",
        "Chunk.Extended",
        "the full last chunk twice",
        &[full, &full[HEADER_LEN + SEALED_CHUNK..]].concat(),
    )?;
    let mut crossed = file.clone();
    crossed[HEADER_LEN..HEADER_LEN + SEALED_CHUNK].copy_from_slice(&full[HEADER_LEN..HEADER_LEN + SEALED_CHUNK]);
    add("chunk-of-another", "Chunk.Damaged", "the first chunk of another file", &crossed)
}
