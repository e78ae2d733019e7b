//! Darkness is real: what a sealed zone held is nowhere in the process's memory (rule 11), no core dump writes it out, and no
//! other process looks into it (rule 12).

mod common;

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader, Write},
    os::unix::fs::FileExt,
    path::Path,
    process::{Child, Command, Stdio},
    result::Result,
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use common::{CLUSTER, Failure, Node, PATIENCE, command, create_collection};
use custody_kms::{ContextId, EncryptionContext, LocalKms, MemoryLedger, Purpose, RootKeyRef, RootKms};
use milvus::v2::prelude::*;
use rustix::{
    fs::{CWD, Mode, OFlags, mkfifoat, open},
    process::{Resource, Rlimit, geteuid, setrlimit},
};
use serde_json::{Value, json};

const DIM: u32 = 32;
const ROWS: i64 = 2_000;
const BACKUP: &str = "backup-0123456789abcdef0123456789abcdef";

/// What one database's rows are recognised by.
struct Canary {
    database: &'static str,
    word: &'static str,
    /// Its vectors' values: this and what follows, each exact in 32 bits.
    first: f32,
}

const OURS: Canary = Canary { database: "default", word: "canary-of-the-cluster-6b1f", first: 5_120.5 };
const TENANTS: Canary = Canary { database: "tenant", word: "canary-of-the-tenant-93ad", first: 9_216.25 };

impl Canary {
    fn vector(&self, row: i64) -> Vec<f32> {
        #[expect(clippy::cast_precision_loss, reason = "small")]
        (0..DIM)
            .map(|place| self.first + row as f32 + f32::from(u16::try_from(place).unwrap_or_default()) / 64.0)
            .collect()
    }

    /// The forms in which some of its vectors, and its text, could lie in memory.
    fn needles(&self) -> Vec<(String, Vec<u8>)> {
        let mut needles = vec![("the text".to_owned(), self.word.as_bytes().to_vec())];
        for row in (0..ROWS).step_by(97) {
            let vector = self.vector(row);
            // Half a vector: also one that was overwritten in part.
            let half = &vector[vector.len() / 2..];
            needles.push((format!("vector {row} in 32 bits"), half.iter().flat_map(|x| x.to_le_bytes()).collect()));
            let doubles = half.iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect();
            needles.push((format!("vector {row} in 64 bits"), doubles));
        }
        needles
    }

    async fn fill(&self, node: &Node, key: Option<&str>) -> Result<ClientV2, Failure> {
        let client = node.client().await?;
        // Else a refusal is tried again for minutes.
        client.set_retry_param(RetryConfig::new().max_attempts(1));
        if let Some(key) = key {
            let properties =
                [("cipher.enabled", "true"), ("cipher.key", key)].map(|(name, value)| (name.into(), value.into()));
            let new =
                CreateDatabaseRequest::builder().database_name(self.database).properties(HashMap::from(properties));
            client.create_database(new.build()?).await?;
            client.use_database(self.database).await?;
        }
        create_collection(&client, "points", DIM).await?;
        let rows: Vec<Value> = (0..ROWS)
            .map(|row| json!({ "id": row, "word": format!("{} {row}", self.word), "vector": self.vector(row) }))
            .collect();
        for batch in rows.chunks(500) {
            client
                .insert(InsertRequest::builder().collection_name("points").rows(batch.iter().cloned()).build()?)
                .await?;
        }
        client.flush(FlushRequest::builder().collection_names(["points"]).build()?).await?;
        // Read, filtered and searched: what requests and answers leave behind is looked for too.
        for row in (0..ROWS).step_by(400) {
            self.ask(&client, row).await?;
        }
        Ok(client)
    }

    async fn ask(&self, client: &ClientV2, row: i64) -> Result<(), Failure> {
        let search = SearchRequest::builder()
            .collection_name("points")
            .vector_field("vector")
            .vectors(SearchVectors::Float(vec![self.vector(row)]))
            .output_fields(["word", "vector"])
            .limit(3);
        client.search(search.build()?).await?;
        let filter = format!("word == '{} {row}'", self.word);
        let query = QueryRequest::builder().collection_name("points").filter(filter).output_fields(["*"]).limit(10);
        client.query(query.build()?).await?;
        Ok(())
    }

    /// Waits until the database's rows are refused.
    async fn wait_until_dark(&self, client: &ClientV2) -> Result<(), Failure> {
        let began = Instant::now();
        while self.ask(client, 1).await.is_ok() {
            if began.elapsed() > Duration::from_mins(1) {
                return Err("the database did not go dark".into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}

/// All of a process's memory that can be read; `None` where that takes rights that this test doesn't have.
fn memory(pid: u32) -> Result<Option<Vec<Vec<u8>>>, Failure> {
    let memory = match File::open(format!("/proc/{pid}/mem")) {
        Ok(memory) => memory,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut parts = Vec::new();
    for line in BufReader::new(File::open(format!("/proc/{pid}/maps"))?).lines() {
        let line = line?;
        let mut words = line.split_ascii_whitespace();
        let (Some(span), Some(rights)) = (words.next(), words.next()) else { continue };
        if !rights.contains('r') || line.contains("[v") {
            continue;
        }
        let (start, end) = span.split_once('-').ok_or("a span")?;
        let (start, end) = (u64::from_str_radix(start, 16)?, u64::from_str_radix(end, 16)?);
        let mut part = vec![0; usize::try_from(end - start)?];
        // A mapping may be gone by now; what is left of the others is looked through.
        if memory.read_exact_at(&mut part, start).is_ok() {
            parts.push(part);
        }
    }
    Ok(Some(parts))
}

fn found(memory: &[Vec<u8>], needles: &[(String, Vec<u8>)]) -> Vec<String> {
    let hit = |needle: &[u8]| memory.iter().any(|part| memchr::memmem::find(part, needle).is_some());
    needles.iter().filter(|(_, needle)| hit(needle)).map(|(name, _)| name.clone()).collect()
}

/// The key of each zone under a root key, unwrapped here from its keyring.
async fn zone_keys(node: &Node, key_arn: &str) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let kms = LocalKms::new(node.kms_file(), Arc::new(MemoryLedger::new(4)));
    let key = RootKeyRef::parse("local", key_arn, None, None)?;
    let session = kms.session(&key, Purpose::Renew).await?;
    let mut keys = Vec::new();
    for (path, object) in node.objects()? {
        if !path.as_ref().ends_with("/keyring/0000000001.a") {
            continue;
        }
        let [_, named, _, wrapped] = fields(&object).ok_or("a keyring object as docs/keyring.md has it")?;
        if named != key_arn.as_bytes() {
            continue;
        }
        let zone = path.parts().nth(1).ok_or("a zone")?.as_ref().to_owned();
        let context = EncryptionContext::zone_key(CLUSTER.parse::<ContextId>()?, zone.parse()?, 1);
        keys.push((format!("the key of zone {zone}"), session.decrypt(wrapped, &context).await?.expose().to_vec()));
    }
    Ok(keys)
}

/// The four fields of variable length in a keyring object.
fn fields(object: &[u8]) -> Option<[&[u8]; 4]> {
    let mut rest = object.get(40..)?;
    let mut take = || {
        let (length, after) = rest.split_at_checked(2)?;
        let (field, after) = after.split_at_checked(usize::from(u16::from_be_bytes(length.try_into().ok()?)))?;
        rest = after;
        Some(field)
    };
    Some([take()?, take()?, take()?, take()?])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_zone_leaves_neither_key_nor_row_in_memory_and_a_sealed_cluster_none_at_all() -> Result<(), Failure> {
    let mut node = Node::start_with_tenant()?;
    let our_client = OURS.fill(&node, None).await?;
    let tenant_key = node.tenant_key().to_owned();
    let tenants_client = TENANTS.fill(&node, Some(&tenant_key)).await?;
    let ours = [OURS.needles(), zone_keys(&node, node.key_arn()).await?].concat();
    let tenants = [TENANTS.needles(), zone_keys(&node, &tenant_key).await?].concat();
    let Some(before) = memory(node.pid())? else {
        skipped("reading the memory of a process that can't be dumped takes root");
        return Ok(());
    };
    let is_key = |name: &String| name.starts_with("the key");
    for needles in [&ours, &tenants] {
        let seen = found(&before, needles);
        assert!(seen.len() > 20 && seen.iter().any(is_key), "what is looked for is there before: {seen:?}");
    }
    drop(before);

    node.set_tenant_key("disable")?;
    TENANTS.wait_until_dark(&tenants_client).await?;
    // The buffers of an open connection keep what went through them last: docs/threat-model.md says so.
    drop(tenants_client);
    let began = Instant::now();
    let dark = loop {
        let dark = memory(node.pid())?.ok_or("it could be read before")?;
        if found(&dark, &tenants).is_empty() || began.elapsed() > PATIENCE {
            break dark;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert_eq!(found(&dark, &tenants), Vec::<String>::new(), "of the tenant's zone that was sealed alone");
    let seen = found(&dark, &ours);
    assert!(seen.len() > 20 && seen.iter().any(is_key), "the cluster's own rows are still served: {seen:?}");
    drop(dark);

    node.key("disable")?;
    node.wait_until_stub()?;
    node.wait_for_status(503)?;
    OURS.wait_until_dark(&our_client).await?;
    let dark = memory(node.pid())?.ok_or("it could be read before")?;
    assert_eq!(found(&dark, &[ours, tenants].concat()), Vec::<String>::new(), "of the sealed cluster");
    assert!(dark.iter().map(Vec::len).sum::<usize>() > 1_000_000, "the memory was read");
    Ok(())
}

/// The limits, soft and hard, on the size of a process's core dump.
fn core_limits(pid: u32) -> Result<Vec<String>, Failure> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).ok_or("a limit on cores")?;
    Ok(core.split_ascii_whitespace().take(2).map(ToOwned::to_owned).collect())
}

/// Lets processes that are started from here leave a core, as far as they don't forbid it themselves. Says whether they may.
fn allow_cores() -> Result<bool, Failure> {
    let all = Rlimit { current: None, maximum: None };
    // Where the limit can't be raised it may be high enough.
    let _ = setrlimit(Resource::Core, all);
    Ok(core_limits(std::process::id())?[1] != "0")
}

/// Says why a test did nothing, or fails where that is no excuse.
fn skipped(why: &str) {
    assert!(std::env::var_os("CUSTODY_TEST_NO_SKIPS").is_none(), "nothing may be skipped here, and {why}");
    eprintln!("SKIPPED: {why}");
}

/// Takes root's rights to look into every process from what it starts. Who has none needs nobody to take them.
fn without_rights() -> &'static [&'static str] {
    if geteuid().is_root() { &["setpriv", "--bounding-set", "-sys_ptrace,-sys_admin,-perfmon", "--"] } else { &[] }
}

/// Whether another process of the same user, without rights besides, may look into a process.
fn may_look_into(pid: u32) -> Result<bool, Failure> {
    let file = format!("/proc/{pid}/environ");
    let arguments = [without_rights(), &["cat", &file]].concat();
    let output = Command::new(arguments[0]).args(&arguments[1..]).output()?;
    let said = String::from_utf8(output.stderr)?;
    assert!(output.status.success() || said.contains("Permission denied"), "{said}");
    Ok(output.status.success())
}

/// A process that does nothing, for comparison.
struct Idle(Child);

impl Drop for Idle {
    fn drop(&mut self) {
        drop((self.0.kill(), self.0.wait()));
    }
}

#[tokio::test]
async fn a_node_leaves_no_core_and_nobody_looks_into_it_but_root() -> Result<(), Failure> {
    if !allow_cores()? {
        skipped("no process here may leave a core, whatever it does itself");
        return Ok(());
    }
    let idle = [without_rights(), &["sleep", "600"]].concat();
    let idle = Idle(Command::new(idle[0]).args(&idle[1..]).spawn()?);
    let node = Node::start_by(without_rights())?;
    assert!(may_look_into(idle.0.id())?, "into a process that has nothing against it");
    assert!(!may_look_into(node.pid())?, "into a node");
    assert_ne!(core_limits(idle.0.id())?[1], "0");
    assert_eq!(core_limits(node.pid())?, ["0", "0"]);
    Ok(())
}

/// The arguments of a command about the node's cluster.
fn about(node: &Node, command: &str) -> Vec<String> {
    let data = node.data_dir().display().to_string();
    let words = [command, "--data-dir", &data, "--cluster-id", CLUSTER, "--key-arn", node.key_arn(), "--allow-swap"];
    words.map(ToOwned::to_owned).to_vec()
}

/// Waits for somebody to open a named pipe, and gives its other end.
fn opened(pipe: &Path) -> Result<File, Failure> {
    let began = Instant::now();
    loop {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK;
        match open(pipe, flags, Mode::empty()) {
            Ok(end) => return Ok(end.into()),
            Err(error) if began.elapsed() > PATIENCE => return Err(format!("nobody opens the pipe: {error}").into()),
            Err(_) => sleep(Duration::from_millis(10)),
        }
    }
}

/// What `custody verify` said on standard output and in the log. It is held as it is about to ask for its first key, and must
/// be hardened by then.
fn verified(node: &Node, more: &[&str]) -> Result<(String, String), Failure> {
    let (keys, aside) = (node.kms_file(), node.data_dir().join("kms-aside.json"));
    std::fs::rename(&keys, &aside)?;
    mkfifoat(CWD, &keys, Mode::RUSR | Mode::WUSR)?;
    let mut verify = command(without_rights());
    verify.args(about(node, "verify")).args(more).env("RUST_LOG", "off");
    let verify = verify.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut pipe = opened(&keys)?;
    let (limits, seen) = (core_limits(verify.id()), may_look_into(verify.id()));
    let text = std::fs::read(&aside)?;
    std::fs::rename(&aside, &keys)?;
    pipe.write_all(&text)?;
    drop(pipe);
    let output = verify.wait_with_output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(limits?, ["0", "0"], "it holds zone keys and rows");
    assert!(!seen?, "others may look into it");
    Ok((String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?))
}

#[tokio::test]
async fn a_verify_leaves_no_core_and_writes_down_its_calls_to_kms() -> Result<(), Failure> {
    if !allow_cores()? {
        skipped("no process here may leave a core, whatever it does itself");
        return Ok(());
    }
    let mut node = Node::start()?;
    node.stop()?;
    let made = command(&[]).args(about(&node, "backup")).args(["--backup", BACKUP]).output()?;
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for (more, found) in [(&[][..], "authenticated, 0 bad"), (&["--backup", BACKUP], "0 bad")] {
        let (out, log) = verified(&node, more)?;
        assert!(out.contains(found), "{out}");
        let is_decrypt = |line: &&str| line.contains("custody_kms::ledger") && line.contains("kms:Decrypt");
        let calls: Vec<&str> = log.lines().filter(is_decrypt).collect();
        assert!(!calls.is_empty() && calls.iter().all(|call| call.contains(node.key_arn())), "{more:?}: {log}");
        assert!(!out.contains("custody_kms"), "findings alone: {out}");
    }
    Ok(())
}
