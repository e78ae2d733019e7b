"""Backups by hand: made, verified and restored with the program alone, under the same key, another one and none."""

import json
import os
import random
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

from helpers.aws import Customer
from helpers.kms import LocalKms
from helpers.node import Node, files_under
from helpers.program import PATIENCE, binary, clean_environment, custody

ROWS = 400
CANARY = "canary-5d1e7f"


def fill(node: Node) -> None:
    """Two databases, rows that were changed and deleted, an alias, an index, a partition, a user."""
    client = node.client()
    client.create_collection("points", dimension=8, metric_type="L2", auto_id=False, enable_dynamic_field=True)
    rng = np.random.default_rng(7)
    rows = [{"id": number, "vector": rng.random(8).tolist(), "note": f"{CANARY} {number}"} for number in range(ROWS)]
    client.insert("points", rows)
    client.delete("points", filter="id < 10")
    client.upsert("points", {**rows[20], "note": "changed"})
    client.create_alias("points", "dots")
    client.create_partition("points", "part")
    client.insert("points", {**rows[0], "id": 9_999}, partition_name="part")
    client.create_database("shop")
    shop = node.client(db_name="shop")
    shop.create_collection("orders", dimension=4, metric_type="COSINE")
    shop.insert("orders", [{"id": number, "vector": [number + 1.0, 0, 0, 1]} for number in range(30)])
    client.create_user("reader", "the-readers-password")


def picture(node: Node) -> dict:
    """All that a client sees."""
    seen = {}
    for db, name in [("", "points"), ("shop", "orders")]:
        client = node.client(db_name=db)
        client.load_collection(name)
        described = client.describe_collection(name)
        rows = client.query(name, filter="id >= 0", output_fields=["*"], limit=5_000)
        found = client.search(name, data=[rows[3]["vector"]], limit=20, output_fields=["id"])
        seen[name] = {
            "rows": sorted(json.dumps(row, sort_keys=True, default=str) for row in rows),
            "vectors": {row["id"]: np.asarray(row["vector"], dtype=np.float32).tobytes() for row in rows},
            "found": [(hit["id"], hit["distance"]) for hit in found[0]],
            "schema": (described["fields"], described["aliases"], described["enable_dynamic_field"]),
            "partitions": client.list_partitions(name),
            "indexes": client.list_indexes(name),
        }
    client = node.client()
    seen["alias"] = client.describe_alias("dots")["collection_name"]
    seen["users"] = sorted(client.list_users())
    return seen


class ByHand:
    """The program on clusters that no node serves."""

    def __init__(self, directory, env: dict[str, str] | None = None):
        self.directory = directory
        self.backups = directory / "backups"
        self.env = env or {}

    def command(self, name: str, cluster: str, data, key: tuple[str, ...], *more: str) -> list[str]:
        return [
            *(name, "--cluster-id", cluster, "--data-dir", str(data), "--storage", str(self.directory / "storage")),
            *("--backup-storage", str(self.backups), "--allow-swap"),
            *(key or ("--unencrypted",)),
            *more,
        ]

    def run(self, *arguments) -> subprocess.CompletedProcess[str]:
        return custody(*self.command(*arguments), env=self.env)

    def done(self, *arguments) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, f"{arguments}: {done.stderr}{done.stdout}"
        return done.stdout

    def refused(self, *arguments) -> str:
        done = self.run(*arguments)
        assert done.returncode == 1, f"{arguments}: {done.stdout}"
        return done.stderr + done.stdout

    def cluster(self, name: str):
        return self.directory / "storage" / "clusters" / name


@pytest.fixture
def by_hand(tmp_path) -> ByHand:
    return ByHand(tmp_path)


@pytest.fixture
def node_on(make_node, by_hand):
    """Makes a node of a cluster by its id, on the storage that the program works on."""

    def make(cluster: str, key: str | None, **more) -> Node:
        node = make_node(f"node-{cluster}", cluster_id=cluster, storage=str(by_hand.directory / "storage"), **more)
        node.command = [word for word in node.command if word != "--unencrypted"]
        node.command += ["--kms-file", str(by_hand.directory / "local-kms.json")] if not more.get("env") else []
        node.command += ["--key-arn", key] if key else ["--unencrypted"]
        return node

    return make


def under(kms: LocalKms, key: str | None) -> tuple[str, ...]:
    return ("--key-arn", key, "--kms-file", str(kms.data_dir / "local-kms.json")) if key else ()


def source(cluster: str, backup: str, key: str | None) -> tuple[str, ...]:
    return ("--from-cluster", cluster, "--from-backup", backup, *(("--from-key-arn", key) if key else ()))


def is_plain(directory) -> bool:
    return any(CANARY.encode() in file.read_bytes() for file in files_under(directory))


def test_a_backup_is_restored_under_the_same_key_another_one_and_none(tmp_path, by_hand, node_on):
    kms = LocalKms(tmp_path)
    key, other = kms.create_key(), kms.create_key()
    file = ("--kms-file", str(tmp_path / "local-kms.json"))
    node = node_on("in01-from", key).start()
    fill(node)
    seen = picture(node)
    assert "reader" in seen["users"]
    node.stop()
    made = by_hand.done("backup", "in01-from", tmp_path / "a", under(kms, key), "--backup", "b1")
    assert "b1" in made and key in made
    assert "0 bad" in by_hand.done("verify", "in01-from", tmp_path / "a", under(kms, key), "--backup", "b1")
    assert not is_plain(by_hand.backups)
    for cluster, target, more in [
        ("in01-same", key, ()),
        ("in01-other", other, ()),
        ("in01-anew", other, ("--reencrypt",)),
        ("in01-off", None, ()),
    ]:
        by_hand.done("restore", cluster, tmp_path / "a", under(kms, target) or ("--unencrypted", *file), *source("in01-from", "b1", key), *more)
        assert is_plain(by_hand.cluster(cluster)) == (target is None), cluster
    # From off to on: how an existing cluster becomes encrypted.
    by_hand.done("backup", "in01-off", tmp_path / "a", (), "--backup", "b2")
    assert is_plain(by_hand.backups / "backups" / "in01-off")
    by_hand.done("restore", "in01-on", tmp_path / "a", under(kms, other), *source("in01-off", "b2", None))
    assert not is_plain(by_hand.cluster("in01-on"))
    # The restored ones need the old key no more.
    kms.disable(key)
    for cluster, target in [("in01-other", other), ("in01-anew", other), ("in01-off", None), ("in01-on", other)]:
        restored = node_on(cluster, target).start()
        assert picture(restored) == seen, cluster
        assert restored.client(token="reader:the-readers-password").list_collections() == ["points"]
        restored.stop()
    refused = by_hand.refused("restore", "in01-late", tmp_path / "a", under(kms, other), *source("in01-from", "b1", key))
    assert "disabled" in refused and not by_hand.cluster("in01-late").exists()


def test_a_backup_that_was_tampered_with_is_named_and_leaves_nothing(tmp_path, by_hand, node_on):
    kms = LocalKms(tmp_path)
    key = kms.create_key()
    node = node_on("in01-from", key).start()
    fill(node)
    node.stop()
    made = by_hand.done("backup", "in01-from", tmp_path / "a", under(kms, key), "--backup", "b1")
    manifest = next(line.split()[1] for line in made.splitlines() if line.startswith("manifest"))
    target = ("restore", "in01-to", tmp_path / "a", under(kms, key), *source("in01-from", "b1", key))
    pool = sorted(files_under(by_hand.backups / "backups" / "in01-from" / "pool"))
    victims = [next(path for path in pool if "compacted" in str(path)), next(path for path in pool if "manifest" in str(path))]
    for victim in victims:
        sound = victim.read_bytes()
        for attack in (sound[:-1], sound + b"\0", sound[:300] + bytes([sound[300] ^ 1]) + sound[301:], None):
            if attack is None:
                victim.unlink()
            else:
                victim.write_bytes(attack)
            name = victim.name.rsplit(".", 1)[0]
            assert name in by_hand.refused("verify", "in01-from", tmp_path / "a", under(kms, key), "--backup", "b1")
            assert name in by_hand.refused(*target)
            assert not by_hand.cluster("in01-to").exists()
            victim.write_bytes(sound)
    # Nor does one that fails once its storage is made, and before its first object.
    assert by_hand.refused(*target, "--tenant-key", "nonsense") and not by_hand.cluster("in01-to").exists()
    stale = by_hand.refused(*target, "--from-manifest", manifest.replace(manifest[0], "f" if manifest[0] != "f" else "0"))
    assert "not the one" in stale and not by_hand.cluster("in01-to").exists()
    by_hand.done(*target, "--from-manifest", manifest)
    assert "already" in by_hand.refused(*target)


def test_kill_9_of_a_backup_or_a_restore_leaves_nothing_that_passes_for_whole(tmp_path, by_hand, node_on):
    """The same ids again and again, each killed at a random moment, until it is done once."""
    kms = LocalKms(tmp_path)
    key = kms.create_key()
    node = node_on("in01-from", key).start()
    fill(node)
    seen = picture(node)
    node.stop()
    rounds = int(os.environ.get("CUSTODY_BACKUP_KILLS", "12"))
    seed = int(os.environ.get("CUSTODY_CRASH_SEED", random.SystemRandom().randrange(2**32)))
    print(f"CUSTODY_CRASH_SEED={seed}")
    rng = random.Random(seed)
    restoring = ("restore", "in01-to", tmp_path / "a", under(kms, key), *source("in01-from", "b0", key))
    whole = {"b0"}
    for what in ("backup", "restore"):
        cut = number = 0
        began = time.monotonic()
        backing_up = ("backup", "in01-from", tmp_path / "a", under(kms, key), "--backup")
        by_hand.done(*(restoring if what == "restore" else (*backing_up, "b0")))
        took = time.monotonic() - began
        # How long a run takes depends on what the machine does besides: there are more rounds where too few were cut.
        while number < rounds or (cut < rounds // 3 and number < 5 * rounds):
            number += 1
            if what == "restore":
                shutil.rmtree(by_hand.cluster("in01-to"), ignore_errors=True)
            arguments = restoring if what == "restore" else (*backing_up, f"b{number}")
            process = subprocess.Popen(
                [binary(), *map(str, by_hand.command(*arguments))],
                env=clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            began = time.monotonic()
            try:
                if process.wait(rng.random() * took) == 0:
                    took = min(took, time.monotonic() - began)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                cut += process.wait(PATIENCE) != 0
            if what == "backup":
                # Either it is there as a whole, or it is not there.
                checked = by_hand.run("verify", "in01-from", tmp_path / "a", under(kms, key), "--backup", f"b{number}")
                assert "0 bad" in checked.stdout or "no complete backup" in checked.stderr, checked
                whole |= {f"b{number}"} if checked.returncode == 0 else set()
            elif by_hand.cluster("in01-to").exists() and process.returncode != 0:
                # It is not served half made, and restored over.
                started = node_on("in01-to", key)
                unfinished = (by_hand.cluster("in01-to") / "restore").exists()
                if unfinished and json.loads((by_hand.cluster("in01-to") / "restore").read_text())["done"] is None:
                    assert "cut short" in started.start_refused()
                    by_hand.done(*restoring)
        assert cut >= rounds // 3, f"{cut} of {number} were cut"
    # What was cut short is removed, and what is whole deleted, without any key.
    removing = ("backup", "--cluster-id", "in01-from", "--backup-storage", str(by_hand.backups))
    there = by_hand.backups / "backups" / "in01-from"

    def left() -> set[str]:
        return {path.relative_to(there).parts[0] for path in files_under(there)}

    assert custody(*removing, "--clean-up").returncode == 0
    assert left() == whole | {"pool"}
    for backup in sorted(whole - {"b0"}):
        assert custody(*removing, "--delete", backup).returncode == 0
    assert "no backup" in custody(*removing, "--delete", "b1").stderr
    assert left() == {"b0", "pool"}
    shutil.rmtree(by_hand.cluster("in01-to"), ignore_errors=True)
    by_hand.done(*restoring)
    restored = node_on("in01-to", key).start()
    assert picture(restored) == seen


# --- in AWS ---------------------------------------------------------------------------------------------------------


def roles(customer: Customer, prefix: str) -> tuple[str, ...]:
    return (f"--{prefix}role-arn", customer.role_arn)


def test_a_backup_is_reached_through_its_own_role_and_restored_into_another_account(aws_endpoint, tmp_path, make_node):
    owner = Customer(aws_endpoint)
    other = Customer(aws_endpoint, service=owner)
    by_hand = ByHand(tmp_path, {**owner.service.environment(), "CUSTODY_FROM_EXTERNAL_ID": owner.external_id})
    node = make_node(
        key_arn=owner.key_arn,
        cluster_id="in01-from",
        storage=str(tmp_path / "storage"),
        arguments=owner.node_arguments(),
        env=owner.service.environment(),
    ).start()
    fill(node)
    seen = picture(node)
    node.stop()
    own = ("--key-arn", owner.key_arn, *owner.node_arguments())
    by_hand.done("backup", "in01-from", tmp_path / "a", own, "--backup", "b1")
    to = ("--key-arn", other.key_arn, *other.node_arguments())
    restoring = ("restore", "in01-to", tmp_path / "a", to, *source("in01-from", "b1", owner.key_arn), *roles(owner, "from-"))
    owner.kms.disable_key(KeyId=owner.key_arn)
    assert "disabled" in by_hand.refused(*restoring).lower() and not by_hand.cluster("in01-to").exists()
    owner.kms.enable_key(KeyId=owner.key_arn)
    by_hand.done(*restoring)
    restored = make_node(
        "restored",
        key_arn=other.key_arn,
        cluster_id="in01-to",
        storage=str(tmp_path / "storage"),
        arguments=other.node_arguments(),
        env=other.service.environment(),
    ).start()
    assert picture(restored) == seen


def test_a_backup_that_was_copied_to_another_region_is_restored_there_with_the_replica(aws_endpoint, tmp_path, make_node):
    customer = Customer(aws_endpoint)
    primary = customer.create_key(MultiRegion=True)
    customer.kms.replicate_key(KeyId=primary, ReplicaRegion="eu-central-1")
    replica = primary.replace(customer.region, "eu-central-1")
    # The role may use the key in both regions.
    policy = {"Effect": "Allow", "Action": ["kms:Encrypt", "kms:Decrypt", "kms:DescribeKey"], "Resource": [primary, replica]}
    document = json.dumps({"Version": "2012-10-17", "Statement": [policy]})
    customer.iam.put_role_policy(RoleName=customer.role, PolicyName="custody", PolicyDocument=document)
    west = ByHand(tmp_path / "west", customer.service.environment())
    east = ByHand(
        tmp_path / "east",
        {**customer.service.environment(), "AWS_REGION": "eu-central-1", "CUSTODY_FROM_EXTERNAL_ID": customer.external_id},
    )
    node = make_node(
        key_arn=primary,
        cluster_id="in01-from",
        storage=str(west.directory / "storage"),
        arguments=customer.node_arguments(),
        env=customer.service.environment(),
    ).start()
    fill(node)
    seen = picture(node)
    node.stop()
    made = west.done("backup", "in01-from", tmp_path / "a", ("--key-arn", primary, *customer.node_arguments()), "--backup", "b1")
    manifest = next(line.split()[1] for line in made.splitlines() if line.startswith("manifest"))
    shutil.copytree(west.backups, east.backups)
    shutil.rmtree(west.directory)
    there = ("--key-arn", replica, *customer.node_arguments())
    restoring = ("restore", "in01-to", tmp_path / "a", there, *source("in01-from", "b1", replica), *roles(customer, "from-"))
    assert "is pinned" in east.refused(*restoring), "its keyrings name the key in the other region"
    strange = primary.replace("mrk-", "mrk-0")[: len(primary)]
    assert "no replica" in east.refused(*restoring, "--from-replica-of", strange)
    verifying = ("verify", "in01-from", tmp_path / "a", there, "--backup", "b1", "--manifest", manifest)
    assert "is pinned" in east.refused(*verifying)
    assert "0 bad" in east.done(*verifying, "--replica-of", primary)
    assert "not the one" in east.refused(*verifying[:-1], "0" * 64, "--replica-of", primary)
    east.done(*restoring, "--from-replica-of", primary)
    restored = make_node(
        "restored",
        key_arn=replica,
        cluster_id="in01-to",
        storage=str(east.directory / "storage"),
        arguments=customer.node_arguments(),
        env={**customer.service.environment(), "AWS_REGION": "eu-central-1"},
    ).start()
    assert picture(restored) == seen
