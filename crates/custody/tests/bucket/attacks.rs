//! Files that were altered, cut, moved, swapped or forged.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use custody_engine::{Engine, EngineError};
use custody_seal::HEADER_LEN;
use custody_store::{ZoneId, Zones};
use futures::TryStreamExt;
use object_store::{ObjectStoreExt, path::Path};

use crate::{
    common::{CLUSTER, Failure},
    files::{Objects, Stopped, read, store},
};

/// A sealed chunk: 32 KiB and its tag.
const CHUNK: usize = 32 * 1024 + 16;
const TAG: usize = 16;

/// What an attacker makes of a file, and what has to be said of it: one of these.
struct Attack {
    name: String,
    bytes: Vec<u8>,
    said: &'static [&'static str],
}

fn attack(name: impl Into<String>, bytes: Vec<u8>, said: &'static [&'static str]) -> Attack {
    Attack { name: name.into(), bytes, said }
}

const DAMAGED: &[&str] = &["is damaged, or is not this file's"];
const CUT: &[&str] = &["it was cut short", "no sealed file has a length of", "is damaged, or is not this file's"];
const LONGER: &[&str] =
    &["something was appended", "no sealed file has a length of", "is damaged, or is not this file's"];
const HEADER: &[&str] = &["the header was altered", "it was altered, or put together"];

/// A flipped bit in each of the header's fields, and in the body.
fn flips(file: &[u8]) -> Vec<Attack> {
    let fields: [(&str, usize, &'static [&'static str]); 13] = [
        ("magic", 0, &["this is no sealed file"]),
        ("format version", 9, &["which this build does not know"]),
        ("suite", 10, &["which this build does not know"]),
        (
            "chunk size",
            11,
            &[
                "the header was altered",
                "is out of bounds",
                "it was altered, or put together",
                "is sealed in chunks of",
            ],
        ),
        ("reserved", 13, &["has to be zero"]),
        ("zone", 20, &["it was moved between zones"]),
        ("key version", 35, &["version"]),
        ("file id", 50, HEADER),
        ("salt", 70, HEADER),
        ("wrapped key", 100, HEADER),
        ("commitment", 150, HEADER),
        ("cluster", 180, &["bound to another cluster"]),
        ("path", 210, &["bound to another path"]),
    ];
    let mut attacks: Vec<Attack> = fields
        .into_iter()
        .map(|(name, place, said)| attack(format!("a bit flipped in the {name}"), flipped(file, place), said))
        .collect();
    for place in [HEADER_LEN, usize::midpoint(HEADER_LEN, file.len()), file.len() - 1] {
        attacks.push(attack(format!("a bit flipped at {place}"), flipped(file, place), DAMAGED));
    }
    attacks
}

fn flipped(file: &[u8], place: usize) -> Vec<u8> {
    let mut file = file.to_vec();
    file[place] ^= 1;
    file
}

/// Cuts at the header's and the chunks' bounds and beside them.
fn cuts(file: &[u8]) -> Vec<Attack> {
    let mut lengths: BTreeSet<usize> =
        [0, 1, HEADER_LEN - 1, HEADER_LEN, HEADER_LEN + TAG - 1, HEADER_LEN + TAG].into();
    lengths.extend((HEADER_LEN..file.len()).step_by(CHUNK).flat_map(|bound| [bound, bound + 1]));
    lengths.extend([file.len() - TAG, file.len() - 1]);
    let cut = |length: usize| {
        let said = if length == 0 { &["it was cut short", "this is no sealed file"] } else { CUT };
        attack(format!("cut to {length} bytes"), file[..length].to_vec(), said)
    };
    lengths.into_iter().filter(|length| *length < file.len()).map(cut).collect()
}

fn longer(file: &[u8]) -> Vec<Attack> {
    let last = HEADER_LEN + (file.len() - HEADER_LEN - 1) / CHUNK * CHUNK;
    let with = |more: &[u8]| [file, more].concat();
    vec![
        attack("a byte appended", with(&[0]), LONGER),
        attack("a tag's length appended", with(&[0; TAG]), LONGER),
        attack("a chunk's length appended", with(&[0; CHUNK]), LONGER),
        attack("its own last chunk appended", with(&file[last..]), LONGER),
    ]
}

fn chunks(file: &[u8]) -> Vec<Attack> {
    let (header, body) = file.split_at(HEADER_LEN);
    let chunks: Vec<&[u8]> = body.chunks(CHUNK).collect();
    let [first, second, .., last] = chunks[..] else { return Vec::new() };
    let rest = || chunks[2..].iter().copied();
    let made = |parts: Vec<&[u8]>| [header, &parts.concat()].concat();
    let moved: &[&str] = &["chunks were swapped, repeated or dropped"];
    vec![
        attack("two chunks swapped", made([second, first].into_iter().chain(rest()).collect()), moved),
        attack("a chunk repeated", made([first, first].into_iter().chain(rest()).collect()), moved),
        attack("a chunk dropped", made([first].into_iter().chain(rest()).collect()), moved),
        attack(
            "the last chunk alone",
            made(vec![last]),
            &["chunks were swapped, repeated or dropped", "is damaged, or is not this file's"],
        ),
    ]
}

/// What another object makes possible: `others` are some of the same zone, of another zone, and of another cluster.
fn replaced(file: &[u8], others: &Others) -> Vec<Attack> {
    let mut downgraded = file.to_vec();
    downgraded[8..10].copy_from_slice(&[0, 0]);
    let mut suite = file.to_vec();
    suite[10] = 0;
    let header_of = |other: &[u8]| [&other[..HEADER_LEN], &file[HEADER_LEN..]].concat();
    vec![
        attack("the format version lowered", downgraded, &["which this build does not know"]),
        attack("the suite lowered", suite, &["which this build does not know"]),
        attack("plaintext in its place", b"{\"rows\": []}".repeat(100), &["this is no sealed file"]),
        attack("nothing but zeros", vec![0; file.len()], &["this is no sealed file"]),
        attack("another file of the zone in its place", others.same_zone.clone(), &["bound to another path"]),
        attack("a file of another zone in its place", others.other_zone.clone(), &["it was moved between zones"]),
        attack(
            "a file of another cluster in its place",
            others.other_cluster.clone(),
            &["it was moved between zones", "does not open under the zone's key"],
        ),
        attack("another header on its body", header_of(&others.same_zone), &["bound to another path"]),
    ]
}

/// What became of a keyring object (`None`: deleted), by name, and what has to be said when both copies are so.
type Damage = (&'static str, Option<Vec<u8>>, &'static [&'static str]);

struct Others {
    same_zone: Vec<u8>,
    other_zone: Vec<u8>,
    other_cluster: Vec<u8>,
}

/// The directory under `zones/` of an object, and its kind: which files do the same job.
fn place(path: &Path) -> (String, String) {
    let parts: Vec<String> = path.parts().map(|part| part.as_ref().to_owned()).collect();
    let kind =
        parts[2..parts.len() - 1].iter().map(|part| if part.len() == 16 { "N" } else { part }).collect::<Vec<_>>();
    (parts[1].clone(), kind.join("/"))
}

fn is_keyring(path: &Path) -> bool {
    path.as_ref().contains("/keyring/")
}

/// One object of each kind in each zone, the newest. Of kinds that have several homes, the largest file's.
fn targets(objects: &Objects) -> BTreeMap<(String, String), Path> {
    let mut targets: BTreeMap<(String, String), Path> = BTreeMap::new();
    for path in objects.keys().filter(|path| !is_keyring(path)) {
        targets.insert(place(path), path.clone());
    }
    targets
}

fn others(stopped: &Stopped, path: &Path, foreign: &Objects) -> Others {
    let (zone, kind) = place(path);
    let sealed = || stopped.objects.iter().filter(|(other, _)| !is_keyring(other));
    let same = sealed().rfind(|(other, _)| *other != path && place(other).0 == zone);
    let other = sealed().rfind(|(other, _)| place(other).0 != zone);
    let foreign = foreign
        .iter()
        .rfind(|(other, _)| place(other).1 == kind)
        .or_else(|| foreign.iter().rfind(|(p, _)| !is_keyring(p)));
    let bytes = |found: Option<(&Path, &Vec<u8>)>| found.expect("there are such files").1.clone();
    Others { same_zone: bytes(same), other_zone: bytes(other), other_cluster: bytes(foreign) }
}

fn attacks(file: &[u8], others: &Others) -> Vec<Attack> {
    [flips(file), cuts(file), longer(file), chunks(file), replaced(file, others)].into_iter().flatten().collect()
}

/// The objects of another cluster under the same root key.
async fn another_cluster(stopped: &Stopped) -> Result<Objects, Failure> {
    make_and_take(stopped, "in01-another", &stopped.key_arn).await
}

/// The objects of a new cluster.
async fn make_and_take(stopped: &Stopped, cluster: &str, key_arn: &str) -> Result<Objects, Failure> {
    let store = store(&Objects::new()).await?;
    let zones = stopped.zones_over(Arc::clone(&store), cluster, key_arn)?;
    let engine = Engine::create(zones as Arc<dyn Zones>).await?;
    engine.close().await;
    let mut objects = Objects::new();
    for meta in store.list(None).try_collect::<Vec<_>>().await? {
        let bytes = store.get(&meta.location).await?.bytes().await?;
        objects.insert(meta.location, bytes.to_vec());
    }
    Ok(objects)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attack_on_a_file_is_refused_with_its_own_error_and_never_changes_an_answer() -> Result<(), Failure> {
    let stopped = Stopped::make().await?;
    let whole = stopped.read(&stopped.objects).await?;
    assert_eq!(whole.rows("points"), Some(780));
    let foreign = another_cluster(&stopped).await?;
    let kinds: BTreeSet<String> = targets(&stopped.objects).into_keys().map(|(_, kind)| kind).collect();
    let known =
        ["catalog/compacted", "catalog/compactions", "catalog/manifest", "catalog/wal", "collections/N/indexes/N"];
    let rows = [
        "collections/N/rows/compacted",
        "collections/N/rows/compactions",
        "collections/N/rows/manifest",
        "collections/N/rows/wal",
    ];
    assert!(known.iter().chain(&rows).all(|kind| kinds.contains(*kind)), "files of every kind: {kinds:?}");

    let (mut tried, mut refused) = (0, 0);
    for ((zone, kind), path) in targets(&stopped.objects) {
        let file = &stopped.objects[&path];
        let others = others(&stopped, &path, &foreign);
        let before = refused;
        for attack in attacks(file, &others) {
            let mut objects = stopped.objects.clone();
            objects.insert(path.clone(), attack.bytes);
            let case = format!("{path}: {}", attack.name);
            let zones = stopped.zones(&objects).await?;
            let sealed = zones.open_sealed(zone.parse::<ZoneId>()?, None).await?;
            let found = sealed.verify(&path).await.expect_err(&case).to_string();
            assert!(attack.said.iter().any(|said| found.contains(said)), "{case}: {found}");

            tried += 1;
            match stopped.read(&objects).await {
                Ok(contents) => assert!(contents == whole, "{case}: other contents"),
                Err(error) => {
                    refused += 1;
                    let error = error.to_string();
                    // What SlateDB finds missing where a listing or its own record says more has its own words.
                    let named = attack.said.iter().any(|said| error.contains(said)) || error.contains(path.as_ref());
                    assert!(named, "{case}: {error}");
                }
            }
        }
        if kind.ends_with("/rows/wal") {
            assert!(refused > before, "{path}: an acknowledged row is in this log object alone, and nobody missed it");
        }
        eprintln!("{zone} {kind}: {tried} attacks so far, {refused} kept the cluster from opening");
    }
    assert!(refused * 2 > tried, "only {refused} of {tried} were noticed by opening the cluster");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyring_is_refused_when_it_is_damaged_foreign_or_gone_and_mended_when_one_copy_is() -> Result<(), Failure> {
    let stopped = Stopped::make().await?;
    let whole = stopped.read(&stopped.objects).await?;
    let foreign = another_cluster(&stopped).await?;
    let keyrings: Vec<Path> = stopped.objects.keys().filter(|path| is_keyring(path)).cloned().collect();
    let zones: BTreeSet<String> = keyrings.iter().map(|path| place(path).0).collect();
    assert!(zones.len() >= 3 && keyrings.len() == 2 * zones.len());
    for zone in &zones {
        let ours: Vec<&Path> = keyrings.iter().filter(|path| place(path).0 == *zone).collect();
        let of_another_zone = keyrings.iter().find(|path| place(path).0 != *zone).expect("several zones");
        let of_another_cluster = foreign.keys().find(|path| is_keyring(path)).expect("a keyring");
        let cases: [Damage; 6] = [
            ("deleted", None, &["has no keyring", "is missing", "there is no zone"]),
            ("cut", Some(stopped.objects[ours[0]][..40].to_vec()), &["no usable copy"]),
            ("a bit flipped at its end", Some(flip_last(&stopped.objects[ours[0]])), &["no usable copy"]),
            ("another zone's", Some(stopped.objects[of_another_zone].clone()), &["as its zone"]),
            ("another cluster's", Some(foreign[of_another_cluster].clone()), &["as its cluster"]),
            ("plain text", Some(b"key = 1".to_vec()), &["no usable copy"]),
        ];
        for (name, bytes, said) in cases {
            let mut objects = stopped.objects.clone();
            for path in &ours {
                replace(&mut objects, path, bytes.clone());
            }
            let error = match stopped.read(&objects).await {
                Ok(_) => panic!("zone {zone} opened with both copies {name}"),
                Err(error) => error.to_string(),
            };
            assert!(said.iter().any(|said| error.contains(said)), "{zone}, both {name}: {error}");

            let mut objects = stopped.objects.clone();
            replace(&mut objects, ours[0], bytes);
            assert!(stopped.read(&objects).await? == whole, "one copy {name}");
        }
    }
    Ok(())
}

fn flip_last(bytes: &[u8]) -> Vec<u8> {
    flipped(bytes, bytes.len() - 1)
}

fn replace(objects: &mut Objects, path: &Path, bytes: Option<Vec<u8>>) {
    match bytes {
        Some(bytes) => drop(objects.insert(path.clone(), bytes)),
        None => drop(objects.remove(path)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_forged_under_another_key_or_of_another_cluster_is_refused() -> Result<(), Failure> {
    let stopped = Stopped::make().await?;
    let thief = stopped.another_key()?;
    let forged = make_and_take(&stopped, CLUSTER, &thief).await?;
    let said = |opened: Result<_, EngineError>| match opened {
        Ok(()) => panic!("it opened"),
        Err(error) => error.to_string(),
    };
    // The forger's cluster is sound under the forger's key.
    read_alone(stopped.zones_as(&forged, CLUSTER, &thief).await?).await?;
    let error = said(stopped.read(&forged).await.map(drop));
    assert!(error.contains("as its key") && error.contains(&thief), "{error}");

    // Our objects under the keyring of the forger.
    let mut mixed = stopped.objects.clone();
    mixed.extend(
        forged.into_iter().filter(|(path, _)| is_keyring(path) && place(path).0 == ZoneId::CLUSTER.to_string()),
    );
    let error = said(stopped.read(&mixed).await.map(drop));
    assert!(error.contains("as its key"), "{error}");

    // The whole cluster in another one's place, under the same root key.
    let moved = stopped.zones_as(&stopped.objects, "in01-another", &stopped.key_arn).await?;
    let error = said(read(moved).await.map(drop));
    assert!(error.contains("as its cluster"), "{error}");
    Ok(())
}

async fn read_alone(zones: Arc<custody_store::SealedZones>) -> Result<(), EngineError> {
    let engine = Engine::open(zones as Arc<dyn Zones>).await?;
    engine.close().await;
    Ok(())
}
