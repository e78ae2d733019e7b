//! What holds for any bytes, any chunk size and any range.

use std::ops::Range;

use custody_seal::{
    ChunkSize, ClusterId, FileContext, HEADER_LEN, Header, Layout, NewFile, Suite, ZoneId, ZoneKey, open, seal,
};
use proptest::prelude::*;

fn at_home<T>(work: impl FnOnce(&ZoneKey, &FileContext<'_>) -> T) -> T {
    let cluster: ClusterId = "in01-home".parse().unwrap();
    let key = ZoneKey::from_slice(&[7; 32]).unwrap();
    work(&key, &FileContext { cluster: &cluster, zone: ZoneId::CLUSTER, path: "zones/0/file" })
}

fn chunk_sizes() -> impl Strategy<Value = ChunkSize> {
    (12_u8..=16).prop_map(|log2| ChunkSize::from_log2(log2).unwrap())
}

/// Lengths near a chunk's edge as often as any other.
fn lengths() -> impl Strategy<Value = usize> {
    prop_oneof![
        0..70_000_usize,
        (0..5_usize, -2..=2_isize).prop_map(|(chunks, off)| (chunks * 4096).saturating_add_signed(off))
    ]
}

fn plain(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| seed.wrapping_add((at % 251) as u8)).collect()
}

/// Opens a range as a store does: only the chunks that it touches.
fn open_range(file: &[u8], range: Range<u64>) -> Vec<u8> {
    let header = Header::parse(&file[..HEADER_LEN]).unwrap();
    let key = at_home(|zone_key, context| header.unseal(zone_key, context)).unwrap();
    let layout = key.layout().file(file.len() as u64).unwrap();
    let span = layout.span(range).unwrap();
    let sealed = &file[span.sealed.start as usize..span.sealed.end as usize];
    let mut plain = Vec::new();
    for index in span.first..=span.last {
        let at = layout.sealed_chunk(index).unwrap();
        let chunk = layout.plain_chunk(index).unwrap();
        let mut opened = vec![0; (chunk.end - chunk.start) as usize];
        let from = (at.start - span.sealed.start) as usize..(at.end - span.sealed.start) as usize;
        key.open_chunk(&layout, index, &sealed[from], &mut opened).unwrap();
        plain.extend(opened);
    }
    plain[span.skip as usize..][..span.plain_len as usize].to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_sealed_opens(length in lengths(), seed: u8, chunk in chunk_sizes()) {
        let plain = plain(length, seed);
        let file = at_home(|key, context| seal(&plain, key, 1, context, chunk)).unwrap();
        let layout = Layout::new(Suite::Aes256Gcm, chunk);
        prop_assert_eq!(layout.sealed_len(length as u64).unwrap(), file.len() as u64);
        prop_assert_eq!(layout.plain_len(file.len() as u64).unwrap(), length as u64);
        prop_assert!(at_home(|key, context| open(&file, key, context)).unwrap() == plain);
    }

    #[test]
    fn sealing_in_pieces_gives_a_file_that_opens(pieces in prop::collection::vec(lengths(), 0..6), chunk in chunk_sizes()) {
        let mut sealer = at_home(|key, context| NewFile::new(key, 1, context, chunk)).unwrap().sealer();
        let (mut plain_so_far, mut file) = (Vec::new(), Vec::new());
        for (seed, length) in (0..).zip(pieces) {
            let piece = plain(length, seed);
            sealer.push(&piece, &mut file).unwrap();
            plain_so_far.extend(piece);
        }
        sealer.finish(&mut file).unwrap();
        prop_assert!(at_home(|key, context| open(&file, key, context)).unwrap() == plain_so_far);
    }

    #[test]
    fn a_range_is_the_plaintexts(length in 1..70_000_usize, from: prop::sample::Index, to: prop::sample::Index, chunk in chunk_sizes()) {
        let plain = plain(length, 3);
        let start = from.index(length);
        let end = start + 1 + to.index(length - start);
        let file = at_home(|key, context| seal(&plain, key, 1, context, chunk)).unwrap();
        prop_assert_eq!(&open_range(&file, start as u64..end as u64), &plain[start..end]);
    }

    #[test]
    fn any_other_byte_anywhere_is_found(length in lengths(), at: prop::sample::Index, change in 1..=255_u8) {
        let mut file = at_home(|key, context| seal(&plain(length, 0), key, 1, context, ChunkSize::MIN)).unwrap();
        let at = at.index(file.len());
        file[at] ^= change;
        prop_assert!(at_home(|key, context| open(&file, key, context)).is_err());
    }

    #[test]
    fn any_bytes_at_all_are_no_file(bytes in prop::collection::vec(any::<u8>(), 0..2000), magic: bool) {
        let mut bytes = bytes;
        if magic && bytes.len() > 12 {
            bytes[..12].copy_from_slice(b"\x93CUSTODY\x00\x01\x01\x0c");
        }
        prop_assert!(at_home(|key, context| open(&bytes, key, context)).is_err());
    }

    #[test]
    fn lengths_go_there_and_back(plain_len in 0..=u64::from(u32::MAX) << 16, chunk in chunk_sizes()) {
        let layout = Layout::new(Suite::Aes256Gcm, chunk);
        if let Ok(sealed_len) = layout.sealed_len(plain_len) {
            prop_assert_eq!(layout.plain_len(sealed_len), Ok(plain_len));
        } else {
            prop_assert!(plain_len > layout.max_plain_len());
        }
    }

    #[test]
    fn a_length_that_is_accepted_is_some_plaintexts(sealed_len: u64, chunk in chunk_sizes()) {
        let layout = Layout::new(Suite::Aes256Gcm, chunk);
        for sealed_len in [sealed_len, sealed_len % 100_000] {
            if let Ok(plain_len) = layout.plain_len(sealed_len) {
                prop_assert_eq!(layout.sealed_len(plain_len), Ok(sealed_len));
            }
        }
    }

    #[test]
    fn a_range_is_found_before_the_length_is_known(length in 1..70_000_u64, start in 0..70_000_u64, more in 1..70_000_u64, chunk in chunk_sizes()) {
        let layout = Layout::new(Suite::Aes256Gcm, chunk);
        let sealed_len = layout.sealed_len(length).unwrap();
        let guess = layout.sealed_range(&(start..start + more));
        if let Some(span) = layout.file(sealed_len).unwrap().span(start..(start + more).min(length)) {
            prop_assert_eq!(guess.start.min(sealed_len)..guess.end.min(sealed_len), span.sealed);
        }
    }
}

#[test]
fn ranges_that_are_empty_or_go_beyond_the_end_have_no_span() {
    let layout = Layout::new(Suite::Aes256Gcm, ChunkSize::MIN);
    let file = layout.file(layout.sealed_len(5000).unwrap()).unwrap();
    for range in [0..0, 7..7, 5000..5000, 0..5001, 5000..5001, u64::MAX - 1..u64::MAX] {
        assert_eq!(file.span(range.clone()), None, "{range:?}");
    }
    #[allow(clippy::reversed_empty_ranges)]
    let backwards = 9..3;
    assert_eq!(file.span(backwards), None);
}

#[test]
fn a_span_says_whether_it_proves_the_end() {
    let layout = Layout::new(Suite::Aes256Gcm, ChunkSize::MIN);
    let file = layout.file(layout.sealed_len(3 * 4096).unwrap()).unwrap();
    assert!(!file.span(0..8192).unwrap().proves_end);
    assert!(file.span(0..8193).unwrap().proves_end);
    assert!(file.whole().proves_end);
    assert_eq!(Some(file.whole()), file.span(0..3 * 4096));
    assert_eq!(Some(file.end()), file.span(8192..3 * 4096));
    let empty = layout.file(layout.sealed_len(0).unwrap()).unwrap();
    assert_eq!(empty.end(), empty.whole());
}

#[test]
fn the_longest_file_has_two_to_the_32_chunks() {
    let layout = Layout::new(Suite::Aes256Gcm, ChunkSize::MIN);
    let longest = layout.sealed_len(layout.max_plain_len()).unwrap();
    assert_eq!(layout.file(longest).unwrap().last(), u32::MAX);
    layout.file(longest + 1).unwrap_err();
    layout.file(longest + 17).unwrap_err();
    layout.sealed_len(layout.max_plain_len() + 1).unwrap_err();
    layout.file(u64::MAX).unwrap_err();
}

#[test]
fn chunk_sizes_are_powers_of_two_within_bounds() {
    for bytes in [0, 1, 2048, 4095, 4097, 6000, 2 << 20, u32::MAX] {
        assert_eq!(ChunkSize::new(bytes), None, "{bytes}");
    }
    assert_eq!(ChunkSize::new(65_536).map(ChunkSize::log2), Some(16));
    assert_eq!(ChunkSize::MAX.bytes(), 1 << 20);
}
