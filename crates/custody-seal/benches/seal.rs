//! Sealing and opening by chunk size, beside AES-256-GCM alone on the same chunks and on one big buffer.
//!
//! `cargo bench -p custody-seal`; `docs/adr/0002-chunk-size.md` has the table.

use std::hint::black_box;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use custody_seal::{BodyKey, ChunkSize, ClusterId, FileContext, HEADER_LEN, Header, NewFile, ZoneId, ZoneKey};

const FILE: usize = 4 << 20;
const KIB: [u32; 6] = [4, 16, 32, 64, 128, 256];

struct Place {
    cluster: ClusterId,
    key: ZoneKey,
}

impl Place {
    fn new() -> Self {
        Self { cluster: "in01-bench".parse().expect("a cluster id"), key: ZoneKey::generate().expect("a key") }
    }

    fn context(&self) -> FileContext<'_> {
        FileContext { cluster: &self.cluster, zone: ZoneId::CLUSTER, path: "zones/0/bench" }
    }

    fn file(&self, chunk: ChunkSize) -> NewFile {
        NewFile::new(&self.key, 1, &self.context(), chunk).expect("a file")
    }

    fn body_key(&self, file: &[u8]) -> BodyKey {
        Header::parse(file).expect("a header").unseal(&self.key, &self.context()).expect("its key")
    }
}

fn plain_cipher() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("a key"))
}

fn seal_chunks(key: &LessSafeKey, plain: &[u8], chunk: usize, out: &mut [u8]) {
    for (index, (plain, out)) in (0_u32..).zip(plain.chunks(chunk).zip(out.chunks_mut(chunk + 16))) {
        let (body, tag) = out.split_at_mut(plain.len());
        key.seal_out_of_place_scatter(nonce(index), Aad::empty(), plain, body, &[], tag).expect("sealed");
    }
}

fn open_chunks(key: &LessSafeKey, sealed: &[u8], chunk: usize, out: &mut [u8]) {
    for (index, (sealed, out)) in (0_u32..).zip(sealed.chunks(chunk + 16).zip(out.chunks_mut(chunk))) {
        let (body, tag) = sealed.split_at(out.len());
        key.open_separate_gather(nonce(index), Aad::empty(), body, tag, out).expect("opened");
    }
}

fn nonce(index: u32) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&index.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

fn sizes() -> impl Iterator<Item = (String, ChunkSize)> {
    KIB.into_iter().map(|kib| (format!("{kib:>3} KiB"), ChunkSize::new(kib << 10).expect("a chunk size")))
}

fn sealing(criterion: &mut Criterion) {
    let place = Place::new();
    let plain = vec![0xa5; FILE];
    let cipher = plain_cipher();
    let mut group = criterion.benchmark_group("seal");
    group.throughput(Throughput::Bytes(FILE as u64));
    for (name, chunk) in sizes() {
        let mut out = Vec::new();
        group.bench_function(BenchmarkId::new("sealed stream", &name), |bencher| {
            bencher.iter(|| {
                out.clear();
                let mut sealer = place.file(chunk).sealer();
                sealer.push(black_box(&plain), &mut out).expect("sealed");
                sealer.finish(&mut out).expect("sealed");
                black_box(out.len())
            });
        });
        group.bench_function(BenchmarkId::new("sealed file", &name), |bencher| {
            bencher.iter(|| {
                place.file(chunk).seal_into(black_box(&plain), &mut out).expect("sealed");
            });
        });
        let size = chunk.bytes() as usize;
        let mut out = vec![0; FILE + 16 * FILE.div_ceil(size)];
        group.bench_function(BenchmarkId::new("cipher alone", &name), |bencher| {
            bencher.iter(|| seal_chunks(&cipher, black_box(&plain), size, &mut out));
        });
    }
    let mut out = vec![0; FILE + 16];
    group.bench_function("cipher alone/one buffer", |bencher| {
        bencher.iter(|| seal_chunks(&cipher, black_box(&plain), FILE, &mut out));
    });
    group.finish();
}

fn opening(criterion: &mut Criterion) {
    let place = Place::new();
    let plain = vec![0xa5; FILE];
    let cipher = plain_cipher();
    let mut out = vec![0; FILE];
    let mut group = criterion.benchmark_group("open");
    group.throughput(Throughput::Bytes(FILE as u64));
    for (name, chunk) in sizes() {
        let size = chunk.bytes() as usize;
        let sealed = custody_seal::seal(&plain, &place.key, 1, &place.context(), chunk).expect("sealed");
        group.bench_function(BenchmarkId::new("sealed file", &name), |bencher| {
            bencher.iter(|| {
                let key = place.body_key(black_box(&sealed));
                let file = key.layout().file(sealed.len() as u64).expect("a layout");
                let chunks = sealed[HEADER_LEN..].chunks(size + 16).zip(out.chunks_mut(size));
                for (index, (sealed, plain)) in (0..).zip(chunks) {
                    key.open_chunk(&file, index, sealed, plain).expect("opened");
                }
            });
        });
        let mut sealed = vec![0; FILE + 16 * FILE.div_ceil(size)];
        seal_chunks(&cipher, &plain, size, &mut sealed);
        group.bench_function(BenchmarkId::new("cipher alone", &name), |bencher| {
            bencher.iter(|| open_chunks(&cipher, black_box(&sealed), size, &mut out));
        });
    }
    let mut sealed = vec![0; FILE + 16];
    seal_chunks(&cipher, &plain, FILE, &mut sealed);
    group.bench_function("cipher alone/one buffer", |bencher| {
        bencher.iter(|| open_chunks(&cipher, black_box(&sealed), FILE, &mut out));
    });
    group.finish();
}

/// What a small object or a first read costs beyond its bytes.
fn headers(criterion: &mut Criterion) {
    let place = Place::new();
    let empty = custody_seal::seal(&[], &place.key, 1, &place.context(), ChunkSize::DEFAULT).expect("sealed");
    let mut group = criterion.benchmark_group("header");
    group.bench_function("seal", |bencher| bencher.iter(|| place.file(ChunkSize::DEFAULT)));
    group.bench_function("unseal", |bencher| bencher.iter(|| place.body_key(black_box(&empty))));
    group.finish();
}

criterion_group!(benches, sealing, opening, headers);
criterion_main!(benches);
