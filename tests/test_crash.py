"""kill -9 at random moments, while several clients write and others make and drop databases, collections and indexes: what
was acknowledged is there, nothing is half there, and nothing that a crash left is taken for an attack.

CUSTODY_CRASH_ROUNDS sets the number of kills (200; 10,000 with CUSTODY_CAMPAIGN=1), CUSTODY_CRASH_SEED repeats a run's
choices. CUSTODY_CRASH_CLUSTERS is how many clusters are killed side by side (3). CUSTODY_CRASH_PAUSE names a directory: while there
is a file in it no new round begins, so that a campaign of hours can leave the machine to somebody else for a while."""

import hashlib
import os
import pathlib
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

import pytest
from pymilvus import DataType, MilvusClient

from helpers.kms import LocalKms
from helpers.node import Node
from helpers.shaper import Shaper

CAMPAIGN = os.environ.get("CUSTODY_CAMPAIGN") == "1"
ROUNDS = int(os.environ.get("CUSTODY_CRASH_ROUNDS", "10000" if CAMPAIGN else "200"))
SEALS = max(20, ROUNDS // 50)
SEED = int(os.environ.get("CUSTODY_CRASH_SEED", str(random.SystemRandom().randrange(2**32))))
PAUSE = os.environ.get("CUSTODY_CRASH_PAUSE")
# Side by side: most of a round is waiting.
CLUSTERS = int(os.environ.get("CUSTODY_CRASH_CLUSTERS", "3"))
WRITERS = 3
KEYS_EACH = 300
# Kills of one cluster between two lines that tell how far it is.
PROGRESS = 100
DIM = 8
ABSENT = None


def row(key: int, version: int) -> dict:
    """A row whose every field tells its key and version."""
    return {
        "id": key,
        "version": version,
        "checksum": checksum(key, version),
        "vector": vector(key, version),
        "extra": checksum(version, key),
    }


def checksum(key: int, version: int) -> str:
    return hashlib.sha256(f"{key}:{version}".encode()).hexdigest()


def vector(key: int, version: int) -> list[float]:
    digest = hashlib.sha256(f"vector {key}:{version}".encode()).digest()
    return [byte / 16 for byte in digest[:DIM]]


class Writer(threading.Thread):
    """Writes its own keys, and knows which versions each may have."""

    def __init__(self, number: int):
        super().__init__(daemon=True)
        self.keys = range(number * KEYS_EACH, (number + 1) * KEYS_EACH)
        # A key that is not named was never written, or is deleted.
        self.acknowledged: dict[int, int] = {}
        # The outcomes that a call without an answer may have had, one for each of its keys.
        self.in_doubt: dict[int, int | None] = {}
        self.next_version = 1
        self.granted = 0
        self.ended = ""

    def prepare(self, client: MilvusClient, seed: int, stop: threading.Event) -> "Writer":
        """The same knowledge, a new thread."""
        fresh = Writer(self.keys.start // KEYS_EACH)
        fresh.acknowledged, fresh.next_version = self.acknowledged, self.next_version
        fresh.client, fresh.random, fresh.stop = client, random.Random(seed), stop
        return fresh

    def run(self) -> None:
        while not self.stop.is_set():
            kind = self.random.choice(["insert", "insert", "upsert", "upsert", "delete", "delete by filter"])
            outcome, call = self.plan(kind)
            if not outcome:
                continue
            self.in_doubt = outcome
            try:
                call()
            except Exception as error:  # noqa: BLE001 - whatever the client makes of a dead server
                self.ended = f"{kind}: {error}"
                return
            self.settle(outcome)
            self.in_doubt = {}
            self.granted += 1

    def plan(self, kind: str):
        """A call, and what its keys are after it."""
        absent = [key for key in self.keys if key not in self.acknowledged]
        present = list(self.acknowledged)
        client = self.client

        def some(keys: list[int]) -> list[int]:
            return self.random.sample(keys, min(len(keys), self.random.randint(1, 25)))

        version = self.next_version
        self.next_version += 1
        match kind:
            case "insert":
                outcome = dict.fromkeys(some(absent), version)
                return outcome, lambda: client.insert("rows", [row(key, version) for key in outcome], retry_times=0)
            case "upsert":
                outcome = dict.fromkeys(some(list(self.keys)), version)
                return outcome, lambda: client.upsert("rows", [row(key, version) for key in outcome], retry_times=0)
            case "delete":
                outcome = dict.fromkeys(some(present), ABSENT)
                return outcome, lambda: client.delete("rows", ids=list(outcome), retry_times=0)
            case _:
                start = self.random.choice(self.keys)
                end = min(start + self.random.randint(1, 20), self.keys.stop)
                outcome = {key: ABSENT for key in range(start, end) if key in self.acknowledged}
                return outcome, lambda: client.delete("rows", filter=f"{start} <= id < {end}", retry_times=0)

    def settle(self, outcome: dict[int, int | None]) -> None:
        """Takes over what is now known."""
        for key, version in outcome.items():
            if version is ABSENT:
                self.acknowledged.pop(key, None)
            else:
                self.acknowledged[key] = version

    def check(self, found: dict[int, int]) -> None:
        """Compares with what the cluster holds, and learns how the call in doubt ended."""
        for key in self.keys:
            may_be = {self.acknowledged.get(key)} | ({self.in_doubt[key]} if key in self.in_doubt else set())
            assert found.get(key) in may_be, (
                f"key {key} has version {found.get(key)}, may have {may_be} (None: no such row); seed {SEED}"
            )
        self.settle({key: found.get(key) for key in self.in_doubt})
        self.in_doubt = {}


def read_all(client: MilvusClient) -> dict[int, int]:
    """Every row's version; each row's fields must agree with each other."""
    found = {}
    for one in client.query("rows", filter="id >= 0", output_fields=["*"], limit=16_384):
        assert one["id"] not in found, f"key {one['id']} twice; seed {SEED}"
        expected = row(one["id"], one["version"])
        assert {**one, "vector": list(one["vector"])} == expected, f"half a row; seed {SEED}"
        found[one["id"]] = one["version"]
    assert client.query("rows", filter="", output_fields=["count(*)"])[0]["count(*)"] == len(found)
    return found


def check_search(client: MilvusClient, found: dict[int, int], choice: random.Random) -> None:
    """A row that is there is found by its vector; one that is not is never among the neighbours."""
    for key in choice.sample(sorted(found), min(10, len(found))):
        hits = client.search("rows", data=[vector(key, found[key])], limit=10, output_fields=["version"])[0]
        assert hits and hits[0]["distance"] == 0
        for hit in hits:
            assert found.get(hit["id"]) == hit["entity"]["version"], f"a row that is gone was found; seed {SEED}"


def stir(client: MilvusClient, choice: random.Random, stop: threading.Event) -> None:
    """Flushes and compacts meanwhile, so that kills hit these too."""
    while not stop.wait(choice.uniform(0.05, 0.4)):
        try:
            client.flush("rows", retry_times=0)
            client.compact("rows", retry_times=0)
        except Exception:  # noqa: BLE001
            return


# How calls to a node end that is killed or sealed.
GONE = ("Fail connecting", "UNAVAILABLE", "unavailable", "sealed", "Socket closed", "Connection reset", "closed channel")
# What is said of storage that somebody tampered with.
SUSPICIONS = (
    "younger objects of the same log are there",
    "is older than collection",
    "are missing",
    "the catalog is missing",
    "can't be read",
    "does not open",
)


def create_rows(node: Node) -> None:
    client = node.client()
    schema = client.create_schema(enable_dynamic_field=True)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("version", DataType.INT64)
    schema.add_field("checksum", DataType.VARCHAR, max_length=64)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="HNSW", metric_type="L2", params={"M": 8, "efConstruction": 64})
    client.create_collection("rows", schema=schema, index_params=index)
    node.close_clients()


class Cluster:
    """A cluster under writers and shapers, killed again and again."""

    def __init__(self, node: Node, kms: LocalKms, tenant_key: str, seed: int):
        self.node, self.kms, self.tenant_key = node, kms, tenant_key
        self.choice = random.Random(seed)
        self.writers = [Writer(number) for number in range(WRITERS)]
        self.shaper = Shaper(tenant_key)
        self.kills = self.granted = self.shaped = self.in_doubt = self.sealed = self.looked_at = 0

    def run(self, kills: int, seal: bool = False) -> None:
        while self.kills < kills:
            before = self.kills
            while PAUSE and any(pathlib.Path(PAUSE).iterdir()):
                time.sleep(0.5)
            self.round(seal)
            if self.kills // PROGRESS > before // PROGRESS:
                print(f"{self.node.cluster_id}: {self.kills} of {kills} kills", flush=True)

    def round(self, seal: bool) -> None:
        node, choice, stop = self.node, self.choice, threading.Event()
        self.writers = [it.prepare(node.client(), choice.randrange(2**32), stop) for it in self.writers]
        self.shaper = self.shaper.prepare(node, choice.randrange(2**32), stop)
        stirrer = threading.Thread(
            target=stir, args=(node.client(), random.Random(choice.randrange(2**32)), stop), daemon=True
        )
        threads = [*self.writers, self.shaper, stirrer]
        for thread in threads:
            thread.start()
        if seal:
            self.kill_while_it_seals()
        else:
            if self.lags():
                node.wait_for("calls to be acknowledged", self.is_heard)
            time.sleep(choice.uniform(0.02, 0.6))
            self.kill()
        stop.set()
        for thread in threads:
            thread.join(120)
            assert not thread.is_alive(), "a client did not notice that the server is gone"
        node.close_clients()
        if not seal and choice.random() < 0.4:
            # A kill while it recovers from the last one.
            node.spawn()
            time.sleep(choice.uniform(0.0, 0.4))
            self.kill()
        node.start()
        self.check()

    def lags(self) -> bool:
        """Whether so little was acknowledged so far that it would prove little. On a slow machine a kill has to wait for it."""
        return 3 * self.shaped <= self.kills or self.granted <= 1.2 * self.kills

    def is_heard(self) -> bool:
        """Whether the shaper and the writers have been told that calls were granted; one that has ended tells why later."""
        heard = self.shaper.granted > 0 and sum(it.granted for it in self.writers) > 1
        return heard or not all(it.is_alive() for it in (*self.writers, self.shaper))

    def kill(self) -> None:
        assert self.node.process.poll() is None, f"it ended by itself: {self.node.output()}"
        self.node.kill()
        self.kills += 1

    def kill_while_it_seals(self) -> None:
        """Its own key or the tenant's is disabled, and the kill comes at any moment from before the next look at the key
        until after the stub has taken over, or the key is back and the node returns."""
        key = self.choice.choice([self.node.key_arn, self.node.key_arn, self.tenant_key])
        self.kms.disable(key)
        time.sleep(self.choice.uniform(0.0, 2.2))
        if self.choice.random() < 0.3:
            self.kms.enable(key)
            time.sleep(self.choice.uniform(0.0, 1.3))
        self.kill()
        self.kms.enable(key)

    def check(self) -> None:
        client = self.node.client()
        found = read_all(client)
        self.in_doubt += sum(bool(it.in_doubt) for it in self.writers)
        for writer in self.writers:
            writer.check(found)
        check_search(client, found, self.choice)
        self.granted += sum(it.granted for it in self.writers)
        self.shaped += self.shaper.granted
        for ended in (it.ended for it in [*self.writers, self.shaper] if it.ended):
            assert any(words in ended for words in GONE), f"refused for another reason than a kill or a seal: {ended}"
        self.shaper.check(self.node)
        self.node.close_clients()
        log = self.node.log_file.read_bytes()
        new, self.looked_at = log[self.looked_at :].decode(errors="replace"), len(log)
        self.sealed += "holds no key and no data" in new or "its data leaves memory" in new
        lines = [line for line in new.splitlines() if any(text in line for text in SUSPICIONS)]
        assert not lines, f"a crash was taken for an attack; seed {SEED}: {lines[:5]}"


@pytest.fixture
def clusters(make_node, tmp_path):
    """Clusters that are ready to be written to."""
    made = []
    for number in range(CLUSTERS):
        kms = LocalKms(tmp_path / f"node{number}" / "data")
        key, tenant_key = kms.create_key(), kms.create_key()
        node = make_node(f"node{number}", key_arn=key, arguments=("--tenant-key", tenant_key)).start()
        create_rows(node)
        made.append(Cluster(node, kms, tenant_key, SEED + number))
    return made


def run_all(clusters: list[Cluster], kills: int, seal: bool = False) -> None:
    """Kills side by side; the first failure ends the test."""
    print(f"CUSTODY_CRASH_SEED={SEED} CUSTODY_CRASH_ROUNDS={ROUNDS}")
    with ThreadPoolExecutor(len(clusters)) as pool:
        for done in as_completed([pool.submit(it.run, -(-kills // len(clusters)), seal) for it in clusters]):
            done.result()
    for it in clusters:
        print(f"{it.kills} kills, {it.granted} writes and {it.shaped} changes acknowledged, {it.in_doubt} in doubt")


@pytest.mark.long
def test_what_was_acknowledged_survives_kill_9_and_nothing_is_half_there(clusters):
    run_all(clusters, ROUNDS)
    assert sum(it.kills for it in clusters) >= ROUNDS
    assert sum(it.granted for it in clusters) > ROUNDS, "hardly anything was written: the test proved little"
    assert sum(it.shaped for it in clusters) > ROUNDS // 4, "hardly anything was made or dropped: the test proved little"
    assert sum(it.in_doubt for it in clusters) > 0 or ROUNDS < 5, "no kill hit a call: the test proved little"


@pytest.mark.long
def test_a_node_that_is_killed_while_it_seals_comes_back_right(clusters):
    run_all(clusters, SEALS, seal=True)
    assert sum(it.sealed for it in clusters) > 0, "no kill came while it sealed: the test proved little"
