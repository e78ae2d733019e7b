"""Revoking a key darkens what lies under it within two check intervals, and only that; giving it back mends all."""

import itertools
import os
import struct
import time

import pytest
from pymilvus import MilvusClient

from helpers.kms import LocalKms
from helpers.ledger import began, ledger, lines, seconds
from helpers.node import Node, files_under
from helpers.program import PATIENCE
from helpers.raw import Raw

INTERVAL = 1.0
# What the machine may add to the shortest of several waits: none of them has to be undisturbed, one is.
SLACK = 0.5
DIM = 16
# Distinctive, and exact in 32 bits.
CANARY = [1234.5625 + number / 64 for number in range(DIM)]


def fill(client: MilvusClient, collection: str = "points", rows: int = 200) -> None:
    client.create_collection(collection, dimension=DIM, metric_type="L2")
    batch = [{"id": number, "vector": [float(number)] * DIM} for number in range(rows)]
    batch[0]["vector"] = CANARY
    client.insert(collection, batch)


def count(client: MilvusClient, collection: str = "points") -> int:
    return client.query(collection, filter="", output_fields=["count(*)"])[0]["count(*)"]


STUB = "holds no key and no data"


def wait_until_stub(node: Node, *raws: Raw) -> None:
    """Waits until the process has become the keyless stub, and each of these is answered by that."""
    node.wait_for("the stub", lambda: STUB in node.said())
    for raw in raws:
        raw.refusal()


def wait_until_back(raw: Raw) -> None:
    """Waits until a call is granted."""
    deadline = time.monotonic() + PATIENCE
    while (reason := raw.query()) is not None:
        assert time.monotonic() < deadline, f"the data did not come back: {reason}"
        time.sleep(0.01)


def granted_until_dark(raw: Raw) -> list[float]:
    """When the calls were asked that were still granted, until one is refused as sealed."""
    granted, deadline = [], time.monotonic() + PATIENCE
    while True:
        asked = time.time()
        answer = raw.query()
        if answer is None:
            granted.append(asked)
        elif "sealed" in answer:
            return granted
        assert time.monotonic() < deadline, f"the data did not go dark: {answer or 'granted'}"
        time.sleep(0.01)


def zones_told(node: Node, key: str, status: str) -> list[tuple[float, str]]:
    """When zones under a key were told to have this status, and which."""
    fields = [(seconds(line["timestamp"]), line["fields"]) for line in lines(node)]
    found = [(at, it) for at, it in fields if it["message"] == "zone status" and it["key"] == key]
    return [(at, it["zone"]) for at, it in found if it["status"].startswith(status)]


def sealed_at(node: Node, key: str) -> float:
    """When the last of a key's zones was sealed: each for the first time, which is the only one where nothing came back."""
    told = zones_told(node, key, "sealed")
    return max(min(at for at, it in told if it == zone) for _, zone in told)


def looks(node: Node, key: str, purpose: str) -> list[dict]:
    """The proofs of a key for a purpose, in the order in which they began: a node renews its lease, the stub opens."""
    mine = [it for it in ledger(node) if (it["action"], it["key"], it["purpose"]) == ("kms:Decrypt", key, purpose)]
    return sorted(mine, key=began)


def wait_for_looks(node: Node, key: str, purpose: str, since: float = 0, number: int = 3) -> None:
    """Waits until a key was asked for so often since then, each time an interval after the one before. A machine that stands
    still makes a wait longer and none shorter: the shortest counts."""
    node.wait_for("KMS to be asked", lambda: sum(began(it) > since for it in looks(node, key, purpose)) >= number)
    times = [began(it) for it in looks(node, key, purpose) if began(it) > since]
    assert min(two - one for one, two in itertools.pairwise(times)) < INTERVAL + SLACK, times


def assert_darkened_by_the_next_check(node: Node, key: str, disabled: float, granted: list[float]) -> None:
    """The key was not asked for again before its zones were sealed, and then nothing was granted."""
    sealed = sealed_at(node, key)
    asked = [it for it in looks(node, key, "renew") if disabled < began(it) < sealed]
    assert len(asked) <= 1 and all(it["outcome"] != "ok" for it in asked), asked
    assert not [at for at in granted if at > sealed], f"granted after the seal at {sealed}: {granted[-5:]}"


def assert_opened_by_the_next_look(node: Node, key: str, purpose: str, enabled: float, opened: float, most: int) -> None:
    """Nor was it asked for more often than one look takes before they were opened again."""
    asked = [it for it in looks(node, key, purpose) if enabled < began(it) < opened]
    assert len(asked) <= most and all(it["outcome"] == "ok" for it in asked), asked


def assert_all_dark(raw: Raw, *reasons: str) -> None:
    """Every data call is refused with UNAVAILABLE and the reason."""
    for call, answer in raw.every_data_call().items():
        assert answer is not None, f"{call} was granted"
        assert answer.startswith("UNAVAILABLE"), f"{call}: {answer}"
        for reason in ("sealed", *reasons):
            assert reason in answer.lower(), f"{call} does not name '{reason}': {answer}"


def assert_all_light(raw: Raw) -> None:
    refusals = {call: answer for call, answer in raw.every_data_call().items() if answer is not None}
    assert refusals == {}


@pytest.fixture
def encrypted_node(make_node, local_kms) -> Node:
    """The same as everywhere, with a log that can be read by its fields."""
    return make_node(key_arn=local_kms.create_key(), arguments=("--log-json",)).start()


@pytest.fixture
def raw(encrypted_node):
    """Calls on a collection of an encrypted cluster."""
    fill(encrypted_node.client())
    raw = Raw(encrypted_node, "points", DIM)
    yield raw
    raw.close()


def test_a_revoked_key_darkens_its_cluster_within_two_intervals_and_gives_all_back(encrypted_node, local_kms, raw):
    """An interval is what a check comes after the one before; the first that finds the key changed is the one that counts."""
    node, key = encrypted_node, encrypted_node.key_arn
    pid = node.pid
    assert_all_light(raw)
    node.close_clients()
    wait_for_looks(node, key, "renew")

    local_kms.disable(key)
    disabled = time.time()
    granted = granted_until_dark(raw)
    wait_until_stub(node, raw)
    assert_darkened_by_the_next_check(node, key, disabled, granted)
    assert_all_dark(raw, "disabled")
    assert node.http("/healthz")[0] == 200, "the process is well, only sealed"
    assert node.http("/readyz")[0] == 503
    wait_for_looks(node, key, "open", since=disabled)
    assert_all_dark(raw, "disabled")

    local_kms.enable(key)
    enabled = time.time()
    wait_until_back(raw)
    [opened] = [seconds(line["timestamp"]) for line in lines(node) if line["fields"]["message"] == "the cluster is opened again"]
    assert_opened_by_the_next_look(node, key, "open", enabled, opened, 1)
    assert_all_light(raw)
    assert node.http("/readyz")[0] == 200
    assert node.process.poll() is None and node.pid == pid, "nobody restarted the node"
    client = node.client()
    assert count(client) == 200
    hits = client.search("points", data=[CANARY], limit=1, output_fields=["vector"])[0]
    assert (hits[0]["id"], hits[0]["distance"], list(hits[0]["entity"]["vector"])) == (0, 0, CANARY)


def test_a_key_that_is_pending_deletion_darkens_its_cluster_too(encrypted_node, local_kms, raw):
    encrypted_node.close_clients()
    local_kms.run("schedule-deletion", encrypted_node.key_arn)
    wait_until_stub(encrypted_node, raw)
    assert_all_dark(raw, "deletion")
    local_kms.run("cancel-deletion", encrypted_node.key_arn)
    local_kms.enable(encrypted_node.key_arn)
    wait_until_back(raw)
    assert_all_light(raw)


@pytest.mark.parametrize("part", ["", f"zones/{'0' * 32}/catalog"], ids=["all of it", "the catalog"])
def test_a_cluster_whose_storage_was_away_when_the_key_came_back_comes_back_too(encrypted_node, local_kms, raw, part):
    """Neither the stub nor the node that it becomes again gives up: nobody is there to start them."""
    node = encrypted_node
    pid = node.pid
    node.close_clients()
    local_kms.disable(node.key_arn)
    wait_until_stub(node, raw)
    stored = node.data_dir / "storage" / "clusters" / node.cluster_id / part
    away = node.data_dir / "away"
    stored.rename(away)
    local_kms.enable(node.key_arn)
    for _ in range(int(4 * INTERVAL / 0.2)):
        assert raw.query() is not None
        time.sleep(0.2)
    assert not stored.exists(), "nothing was made in its place"
    away.rename(stored)
    wait_until_back(raw)
    assert_all_light(raw)
    assert node.process.poll() is None and node.pid == pid, "nobody restarted the node"


def test_a_stranger_learns_of_a_sealed_cluster_only_that_it_is_sealed(encrypted_node, local_kms, raw):
    encrypted_node.close_clients()
    local_kms.disable(encrypted_node.key_arn)
    wait_until_stub(encrypted_node, raw)
    stranger = Raw(encrypted_node, "points", DIM)
    stranger.metadata = ()
    assert encrypted_node.key_arn not in stranger.refusal()
    stranger.close()


def test_an_outage_of_the_kms_is_no_revocation(encrypted_node, local_kms, raw):
    with local_kms.cut_off():
        for _ in range(20):
            assert raw.query() is None
            time.sleep(INTERVAL / 4)
    assert_all_light(raw)


def test_the_memory_of_a_sealed_node_holds_no_row(encrypted_node, local_kms, raw):
    node = encrypted_node
    if not os.access(f"/proc/{node.pid}/mem", os.R_OK):
        pytest.skip("reading the memory of a process that can't be dumped takes root")
    needle = struct.pack(f"<{DIM}f", *CANARY)
    assert needle in memory(node), "the search would find the row if it were there"
    node.close_clients()
    local_kms.disable(node.key_arn)
    wait_until_stub(node)
    left = memory(node)
    assert needle not in left and struct.pack(f"<{DIM}d", *CANARY) not in left
    assert len(left) > 1_000_000, "the memory was read"


def memory(node: Node) -> bytes:
    """All of a process's memory that can be read."""
    parts = []
    with open(f"/proc/{node.pid}/maps") as maps, open(f"/proc/{node.pid}/mem", "rb", 0) as mem:
        for line in maps:
            span, rights, *_ = line.split()
            if "r" not in rights or "[v" in line:
                continue
            start, end = (int(number, 16) for number in span.split("-"))
            try:
                mem.seek(start)
                parts.append(mem.read(end - start))
            except OSError:
                continue
    return b"".join(parts)


# --- a tenant's own key -------------------------------------------------------------------------------------------


@pytest.fixture
def tenants(make_node, local_kms: LocalKms):
    """A cluster with a tenant's database under the tenant's own key: (node, its key, calls there, calls elsewhere)."""
    cluster_key, tenant_key = local_kms.create_key(), local_kms.create_key()
    node = make_node(key_arn=cluster_key, arguments=("--tenant-key", tenant_key, "--log-json")).start()
    client = node.client()
    client.create_database("tenant", properties={"cipher.enabled": "true", "cipher.key": tenant_key})
    assert client.describe_database("tenant")["cipher.key"] == tenant_key
    fill(client)
    fill(node.client(db_name="tenant"))
    node.close_clients()
    there, elsewhere = Raw(node, "points", DIM, "tenant"), Raw(node, "points", DIM)
    yield node, tenant_key, there, elsewhere
    there.close()
    elsewhere.close()


def test_revoking_a_tenants_key_darkens_that_tenants_database_alone(tenants, local_kms):
    node, tenant_key, there, elsewhere = tenants
    pid = node.pid
    wait_for_looks(node, tenant_key, "renew")
    local_kms.disable(tenant_key)
    disabled = time.time()
    granted = granted_until_dark(there)
    assert_darkened_by_the_next_check(node, tenant_key, disabled, granted)
    assert_all_dark(there, "disabled")
    assert_all_light(elsewhere)
    assert node.client().list_databases() == ["default"], "a sealed tenant's name is hidden too"
    node.close_clients()
    wait_for_looks(node, tenant_key, "renew", since=disabled)

    local_kms.enable(tenant_key)
    enabled = time.time()
    wait_until_back(there)
    opened = max(at for at, _ in zones_told(node, tenant_key, "available"))
    # The proof of the key, and then its zone's own.
    assert_opened_by_the_next_look(node, tenant_key, "renew", enabled, opened, 2)
    assert_all_light(there)
    assert node.pid == pid
    assert count(node.client(db_name="tenant")) == 200


def test_a_cluster_starts_without_a_revoked_tenant_who_comes_back_later(tenants, local_kms):
    node, tenant_key, there, elsewhere = tenants
    node.stop()
    local_kms.disable(tenant_key)
    node.start()
    wait_until_back(elsewhere)
    assert_all_light(elsewhere)
    there.refusal()
    assert_all_dark(there, "disabled")
    local_kms.enable(tenant_key)
    wait_until_back(there)
    assert_all_light(there)
    assert count(node.client(db_name="tenant")) == 200


def test_revoking_the_clusters_key_darkens_its_tenants_too(tenants, local_kms):
    node, _, there, elsewhere = tenants
    local_kms.disable(node.key_arn)
    wait_until_stub(node, elsewhere, there)
    assert_all_dark(there)
    assert_all_dark(elsewhere, "disabled")


# --- starting under a revoked key ---------------------------------------------------------------------------------


def test_a_node_does_not_start_under_a_disabled_key_and_starts_once_it_is_enabled(encrypted_node, local_kms, raw):
    node = encrypted_node
    node.stop()
    local_kms.disable(node.key_arn)
    before = {path: path.read_bytes() for path in files_under(node.data_dir)}
    said = node.start_refused()
    assert "disabled" in said and node.key_arn in said
    assert {path: path.read_bytes() for path in files_under(node.data_dir)} == before
    local_kms.enable(node.key_arn)
    node.start()
    assert count(node.client()) == 200


def test_a_new_cluster_is_not_made_under_a_disabled_key(make_node, local_kms):
    key = local_kms.create_key()
    local_kms.disable(key)
    node = make_node(key_arn=key)
    before = files_under(node.data_dir)
    assert "disabled" in node.start_refused()
    assert files_under(node.data_dir, node.tmp_dir) == before
