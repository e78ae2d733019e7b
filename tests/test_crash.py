"""kill -9 at random moments, while several clients write: what was acknowledged is there, and nothing is half there.

CUSTODY_CRASH_ROUNDS sets the number of kills, CUSTODY_CRASH_SEED repeats a run's choices."""

import hashlib
import os
import random
import threading
import time

from pymilvus import DataType, MilvusClient

from helpers.node import Node

ROUNDS = int(os.environ.get("CUSTODY_CRASH_ROUNDS", "20"))
SEED = int(os.environ.get("CUSTODY_CRASH_SEED", str(random.SystemRandom().randrange(2**32))))
WRITERS = 4
KEYS_EACH = 300
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
            except Exception:  # noqa: BLE001 - whatever the client makes of a dead server
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


def test_what_was_acknowledged_survives_kill_9_and_nothing_is_half_there(encrypted_node):
    node = encrypted_node
    print(f"CUSTODY_CRASH_SEED={SEED} CUSTODY_CRASH_ROUNDS={ROUNDS}")
    choice = random.Random(SEED)
    create_rows(node)
    writers = [Writer(number) for number in range(WRITERS)]
    granted = in_doubt = 0
    for _ in range(ROUNDS):
        stop = threading.Event()
        writers = [writer.prepare(node.client(), choice.randrange(2**32), stop) for writer in writers]
        stirrer = threading.Thread(
            target=stir, args=(node.client(), random.Random(choice.randrange(2**32)), stop), daemon=True
        )
        for thread in [*writers, stirrer]:
            thread.start()
        time.sleep(choice.uniform(0.02, 1.2))
        node.kill()
        stop.set()
        for thread in [*writers, stirrer]:
            thread.join(120)
            assert not thread.is_alive(), "a client did not notice that the server is gone"
        node.close_clients()

        if choice.random() < 0.3:
            # A kill while it recovers from the last one.
            node.spawn()
            time.sleep(choice.uniform(0.0, 0.5))
            node.kill()
        node.start()
        client = node.client()
        found = read_all(client)
        in_doubt += sum(bool(writer.in_doubt) for writer in writers)
        for writer in writers:
            writer.check(found)
        check_search(client, found, choice)
        granted += sum(writer.granted for writer in writers)
        node.close_clients()
    print(f"{granted} calls acknowledged, {in_doubt} in doubt, {len(found)} rows at the end")
    assert granted > ROUNDS, "hardly anything was written: the test proved little"
    assert in_doubt > 0 or ROUNDS < 5, "no kill hit a call: the test proved little"
