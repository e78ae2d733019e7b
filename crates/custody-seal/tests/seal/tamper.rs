//! What was done to a sealed file is found, and named where it can be told apart.

use custody_seal::{
    ChunkError, ChunkSize, ClusterId, FileContext, HEADER_LEN, Header, HeaderError, NewFile, OpenError, UnsealError,
    ZoneId, ZoneKey, open, seal,
};

const CHUNK: usize = 4096;
const SEALED_CHUNK: usize = CHUNK + 16;

struct Home {
    key: ZoneKey,
    cluster: ClusterId,
    zone: ZoneId,
    path: &'static str,
}

impl Home {
    fn new() -> Self {
        Self {
            key: ZoneKey::from_slice(&[7; 32]).unwrap(),
            cluster: "in01-home".parse().unwrap(),
            zone: ZoneId::new([9; 16]),
            path: "zones/09/db/1.sst",
        }
    }

    fn context(&self) -> FileContext<'_> {
        FileContext { cluster: &self.cluster, zone: self.zone, path: self.path }
    }

    fn seal(&self, plain: &[u8]) -> Vec<u8> {
        seal(plain, &self.key, 1, &self.context(), ChunkSize::MIN).unwrap()
    }

    fn open(&self, file: &[u8]) -> Result<Vec<u8>, OpenError> {
        open(file, &self.key, &self.context())
    }
}

fn rows(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

fn chunk(file: &[u8], index: usize) -> &[u8] {
    let start = HEADER_LEN + index * SEALED_CHUNK;
    &file[start..file.len().min(start + SEALED_CHUNK)]
}

fn damaged(index: u32) -> OpenError {
    ChunkError::Damaged { index }.into()
}

fn moved(index: u32, found: u32) -> OpenError {
    ChunkError::Moved { index, found }.into()
}

#[test]
fn every_flipped_bit_of_the_header_is_found_and_named() {
    let home = Home::new();
    let file = home.seal(b"a row");
    for bit in 0..8 * HEADER_LEN {
        let mut flipped = file.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let error = home.open(&flipped).unwrap_err();
        let expected = match bit / 8 {
            0..8 => matches!(error, OpenError::Header(HeaderError::NotSealed)),
            8..10 => matches!(error, OpenError::Header(HeaderError::Version(_))),
            10 => matches!(error, OpenError::Header(HeaderError::Suite(_))),
            // Another chunk size that is in bounds may be one that no file of this length has.
            11 => {
                matches!(error, OpenError::Header(HeaderError::ChunkSize(_)) | OpenError::Unseal(UnsealError::DataKey))
            }
            12..16 | 36..48 | 240..256 => matches!(error, OpenError::Header(HeaderError::Reserved { .. })),
            16..32 => matches!(error, OpenError::Unseal(UnsealError::OtherZone { .. })),
            32..36 | 48..144 => error == UnsealError::DataKey.into(),
            144..176 => error == UnsealError::Commitment.into(),
            176..208 => error == UnsealError::OtherCluster.into(),
            208..240 => error == UnsealError::OtherPath.into(),
            _ => false,
        };
        assert!(expected, "bit {bit}: {error:?}");
    }
}

#[test]
fn every_flipped_bit_of_the_body_is_found_in_its_chunk() {
    let home = Home::new();
    let file = home.seal(&rows(CHUNK + 30));
    for bit in 8 * HEADER_LEN..8 * file.len() {
        let mut flipped = file.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let index = u32::try_from((bit / 8 - HEADER_LEN) / SEALED_CHUNK).unwrap();
        assert_eq!(home.open(&flipped), Err(damaged(index)), "bit {bit}");
    }
}

#[test]
fn a_file_cut_at_any_length_is_found() {
    let home = Home::new();
    let file = home.seal(&rows(2 * CHUNK));
    for length in 0..file.len() {
        let error = home.open(&file[..length]).unwrap_err();
        let expected = match length {
            0..HEADER_LEN => error == HeaderError::Short { length }.into(),
            // No chunk, or less of one than its tag.
            length if length < HEADER_LEN + 16 => matches!(error, OpenError::Length(_)),
            length if (length - HEADER_LEN).is_multiple_of(SEALED_CHUNK) => {
                error == ChunkError::Truncated { index: 0 }.into()
            }
            length if (1..=16).contains(&((length - HEADER_LEN) % SEALED_CHUNK)) && length > HEADER_LEN + 16 => {
                matches!(error, OpenError::Length(_))
            }
            _ => matches!(error, OpenError::Chunk(ChunkError::Damaged { .. })),
        };
        assert!(expected, "length {length}: {error:?}");
    }
}

#[test]
fn an_empty_file_cut_to_its_header_is_not_empty() {
    let home = Home::new();
    let file = home.seal(&[]);
    assert_eq!(home.open(&file), Ok(Vec::new()));
    assert!(matches!(home.open(&file[..HEADER_LEN]), Err(OpenError::Length(_))));
}

#[test]
fn appended_bytes_are_found_however_many() {
    let home = Home::new();
    for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK] {
        let file = home.seal(&rows(length));
        for more in [1, 2, 15, 16, 17, 31, 32, 33, CHUNK, SEALED_CHUNK, SEALED_CHUNK + 1] {
            let longer = [&file[..], &vec![0; more]].concat();
            home.open(&longer).unwrap_err();
        }
    }
}

#[test]
fn what_is_appended_after_a_full_last_chunk_is_named() {
    let home = Home::new();
    let file = home.seal(&rows(2 * CHUNK));
    let longer = [&file[..], &[0; 20]].concat();
    assert_eq!(home.open(&longer), Err(ChunkError::Extended { index: 1 }.into()));
}

#[test]
fn swapped_chunks_are_named() {
    let home = Home::new();
    let file = home.seal(&rows(3 * CHUNK));
    let swapped = [&file[..HEADER_LEN], chunk(&file, 1), chunk(&file, 0), chunk(&file, 2)].concat();
    assert_eq!(home.open(&swapped), Err(moved(0, 1)));
}

#[test]
fn equal_chunks_can_not_be_swapped_either() {
    let home = Home::new();
    let file = home.seal(&vec![0; 3 * CHUNK]);
    let swapped = [&file[..HEADER_LEN], chunk(&file, 0), chunk(&file, 2), chunk(&file, 1)].concat();
    assert_eq!(home.open(&swapped), Err(moved(1, 2)));
}

#[test]
fn a_repeated_chunk_is_named() {
    let home = Home::new();
    let file = home.seal(&rows(3 * CHUNK));
    let repeated = [&file[..HEADER_LEN], chunk(&file, 0), chunk(&file, 0), chunk(&file, 2)].concat();
    assert_eq!(home.open(&repeated), Err(moved(1, 0)));
    let inserted = [&file[..], chunk(&file, 2)].concat();
    assert_eq!(home.open(&inserted), Err(ChunkError::Extended { index: 2 }.into()));
}

#[test]
fn a_dropped_chunk_is_named() {
    let home = Home::new();
    let file = home.seal(&rows(3 * CHUNK));
    let first = [&file[..HEADER_LEN], chunk(&file, 1), chunk(&file, 2)].concat();
    assert_eq!(home.open(&first), Err(moved(0, 1)));
    let middle = [&file[..HEADER_LEN], chunk(&file, 0), chunk(&file, 2)].concat();
    assert_eq!(home.open(&middle), Err(moved(1, 2)));
    let last = [&file[..HEADER_LEN], chunk(&file, 0), chunk(&file, 1)].concat();
    assert_eq!(home.open(&last), Err(ChunkError::Truncated { index: 1 }.into()));
}

#[test]
fn a_chunk_of_another_file_is_no_chunk_of_this_one() {
    let home = Home::new();
    let (file, other) = (home.seal(&rows(2 * CHUNK)), home.seal(&rows(2 * CHUNK)));
    let crossed = [&file[..HEADER_LEN], chunk(&other, 0), chunk(&file, 1)].concat();
    assert_eq!(home.open(&crossed), Err(damaged(0)));
}

#[test]
fn two_files_of_a_zone_can_not_be_swapped() {
    let home = Home::new();
    let file = home.seal(b"one");
    let other = Home { path: "zones/09/db/2.sst", ..Home::new() };
    assert_eq!(other.open(&file), Err(UnsealError::OtherPath.into()));
    assert_eq!(home.open(&other.seal(b"two")), Err(UnsealError::OtherPath.into()));
}

#[test]
fn a_file_does_not_open_in_another_cluster_with_the_same_key() {
    let file = Home::new().seal(b"a row");
    let other = Home { cluster: "in01-away".parse().unwrap(), ..Home::new() };
    assert_eq!(other.open(&file), Err(UnsealError::OtherCluster.into()));
}

#[test]
fn a_file_does_not_open_in_another_zone_with_the_same_key() {
    let home = Home::new();
    let other = Home { zone: ZoneId::new([8; 16]), ..Home::new() };
    let error = other.open(&home.seal(b"a row"));
    assert_eq!(error, Err(UnsealError::OtherZone { expected: other.zone, found: home.zone }.into()));
}

#[test]
fn a_zone_id_written_over_does_not_help() {
    let home = Home::new();
    let other = Home { zone: ZoneId::new([8; 16]), ..Home::new() };
    let mut file = home.seal(b"a row");
    file[16..32].copy_from_slice(&[8; 16]);
    assert_eq!(other.open(&file), Err(UnsealError::DataKey.into()));
}

#[test]
fn cluster_and_path_are_not_one_text() {
    // What goes over from the end of the one to the start of the other is still another place.
    let long = Home { cluster: "in01-homez".parse().unwrap(), path: "ones", ..Home::new() };
    let short = Home { cluster: "in01-home".parse().unwrap(), path: "zones", ..Home::new() };
    assert_eq!(short.open(&long.seal(b"a row")), Err(UnsealError::OtherCluster.into()));
}

#[test]
fn the_header_of_one_file_does_not_open_the_body_of_another() {
    let home = Home::new();
    let (file, other) = (home.seal(b"one"), home.seal(b"two"));
    assert_eq!(home.open(&[&file[..HEADER_LEN], &other[HEADER_LEN..]].concat()), Err(damaged(0)));
}

#[test]
fn a_header_put_together_from_two_does_not_open() {
    let home = Home::new();
    let (file, other) = (home.seal(b"one"), home.seal(b"two"));
    for at in [56, 64, 96, 128, 144, 160, 176, 192, 208, 224] {
        home.open(&[&file[..at], &other[at..]].concat()).unwrap_err();
    }
}

#[test]
fn the_wrong_zone_key_opens_nothing() {
    let other = Home { key: ZoneKey::from_slice(&[6; 32]).unwrap(), ..Home::new() };
    assert_eq!(other.open(&Home::new().seal(b"a row")), Err(UnsealError::DataKey.into()));
}

#[test]
fn another_version_or_suite_is_not_tried() {
    let home = Home::new();
    let file = home.seal(b"a row");
    let with = |at: usize, byte: u8| {
        let mut altered = file.clone();
        altered[at] = byte;
        home.open(&altered).unwrap_err()
    };
    assert_eq!(with(9, 0), HeaderError::Version(0).into());
    assert_eq!(with(9, 2), HeaderError::Version(2).into());
    assert_eq!(with(10, 0), HeaderError::Suite(0).into());
    assert_eq!(with(10, 2), HeaderError::Suite(2).into());
}

#[test]
fn a_plaintext_file_is_never_read() {
    let home = Home::new();
    for plain in [b"".to_vec(), b"C".to_vec(), rows(100), rows(300), rows(10_000), b"\x93CUSTODX".to_vec()] {
        let error = home.open(&plain).unwrap_err();
        assert!(
            matches!(error, OpenError::Header(HeaderError::NotSealed | HeaderError::Short { length: 0 })),
            "{error:?}"
        );
    }
}

#[test]
fn a_file_of_impossible_length_costs_no_key() {
    let home = Home::new();
    let file = home.seal(&rows(CHUNK));
    let longer = [&file[..], &[0]].concat();
    let wrong_key = Home { key: ZoneKey::from_slice(&[6; 32]).unwrap(), ..Home::new() };
    assert!(matches!(wrong_key.open(&longer), Err(OpenError::Length(_))), "found before the key was tried");
}

#[test]
fn a_dropped_sealer_leaves_no_valid_file() {
    let home = Home::new();
    for length in [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
        let mut out = Vec::new();
        let mut sealer = NewFile::new(&home.key, 1, &home.context(), ChunkSize::MIN).unwrap().sealer();
        sealer.push(&rows(length), &mut out).unwrap();
        drop(sealer);
        home.open(&out).unwrap_err();
    }
}

#[test]
fn a_new_header_moves_a_file_and_leaves_its_body() {
    let home = Home::new();
    let there = Home {
        key: ZoneKey::from_slice(&[5; 32]).unwrap(),
        cluster: "in01-away".parse().unwrap(),
        zone: ZoneId::new([4; 16]),
        path: "zones/04/db/7.sst",
    };
    let file = home.seal(&rows(CHUNK + 1));
    let header = Header::parse(&file).unwrap();
    let data_key = header.data_key(&home.key, &home.context()).unwrap();
    let new = data_key.seal_header(&there.key, 2, &there.context()).unwrap();
    let moved = [&new[..], &file[HEADER_LEN..]].concat();
    assert_eq!(there.open(&moved), Ok(rows(CHUNK + 1)));
    assert_eq!(Header::parse(&moved).unwrap().version(), 2);
    assert_eq!(Header::parse(&moved).unwrap().file_id(), header.file_id());
    home.open(&moved).unwrap_err();
    there.open(&file).unwrap_err();
}

#[test]
fn the_data_key_is_not_given_out_to_move_a_file_from_a_place_it_is_not_at() {
    let home = Home::new();
    let other = Home { path: "zones/09/db/2.sst", ..Home::new() };
    let header = Header::parse(&home.seal(b"a row")).unwrap();
    assert_eq!(header.data_key(&other.key, &other.context()).err(), Some(UnsealError::OtherPath));
}

#[test]
fn every_header_has_a_salt_of_its_own() {
    let home = Home::new();
    let file = home.seal(b"a row");
    let data_key = Header::parse(&file).unwrap().data_key(&home.key, &home.context()).unwrap();
    let mut salts = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let header = data_key.seal_header(&home.key, 1, &home.context()).unwrap();
        assert!(salts.insert(header[64..96].to_vec()));
    }
}

#[test]
fn two_files_of_one_plaintext_share_nothing_but_their_fields() {
    let home = Home::new();
    let (one, two) = (home.seal(&rows(100)), home.seal(&rows(100)));
    assert_eq!(one[..48], two[..48]);
    for at in (48..240).step_by(16).chain([256, 272, 288]) {
        assert_ne!(one[at..at + 16], two[at..at + 16], "at {at}");
    }
}
