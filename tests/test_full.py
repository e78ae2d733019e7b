"""A disk that is full, and a second writer in the middle of writes: what was refused is said to be, and what was acknowledged
is there."""

import os
import random
import subprocess
import threading
import time

import pytest
from pymilvus import MilvusClient

from helpers.life import ALL, REFUSALS
from helpers.program import PATIENCE
from test_crash import Writer, create_rows, read_all

DIM = 64
BALLAST = 6 << 20


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 16 MiB for the data directory of the node named `node`."""
    data = tmp_path / "node" / "data"
    data.mkdir(parents=True)
    if os.geteuid() != 0:
        pytest.skip("a disk that is full is a small file system of its own: to mount one takes root")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "custody-test", data], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"a disk that is full is a small file system of its own, and none can be mounted: {done.stderr}")
    yield data
    subprocess.run(["umount", "--lazy", data], check=True)


class Filler:
    """Inserts until it is refused."""

    def __init__(self, client: MilvusClient):
        self.client = client
        self.acknowledged: set[int] = set()
        self.refused: set[int] = set()
        self.next = 0

    def insert(self, rows: int = 200) -> str | None:
        """None, or why it was refused."""
        keys = range(self.next, self.next + rows)
        self.next += rows
        batch = [{"id": key, "vector": [float(key)] * DIM} for key in keys]
        try:
            self.client.insert("points", batch, retry_times=0)
        except REFUSALS as error:
            self.refused.update(keys)
            return str(error)
        self.acknowledged.update(keys)
        return None

    def until_refused(self) -> str:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            why = self.insert()
            if why:
                return why
        raise AssertionError("the disk was never full")

    def check(self) -> None:
        """What was acknowledged is there and right; what was refused may be there, whole insert by whole insert."""
        found = {}
        while page := self.client.query(
            "points", filter=f"id > {max(found, default=-1)}", output_fields=["id", "vector"], limit=ALL
        ):
            found |= {row["id"]: list(row["vector"]) for row in page}
        assert self.acknowledged <= set(found) <= self.acknowledged | self.refused
        assert all(vector == [float(key)] * DIM for key, vector in found.items())
        assert len(found) % 200 == 0, "half an insert"


@pytest.mark.parametrize("killed", [False, True], ids=["runs on", "is killed"])
def test_on_a_full_disk_writes_are_refused_and_nothing_is_lost_and_room_is_enough(make_node, local_kms, small_disk, killed):
    ballast = small_disk / "ballast"
    key = local_kms.create_key()
    node = make_node(key_arn=key).start()
    filler = Filler(node.client())
    filler.client.create_collection("points", dimension=DIM, metric_type="L2", consistency_level="Strong")
    assert filler.insert() is None
    with ballast.open("wb") as file:
        file.write(bytes(BALLAST))

    why = filler.until_refused()
    assert "storage failed" in why and "No space left on device" in why, f"the refusal does not say what is wrong: {why}"
    assert "No space left on device" in filler.until_refused(), "it stays full"
    assert node.http("/healthz")[0] == 200
    if killed:
        node.close_clients()
        node.kill()

    ballast.unlink()
    if killed:
        node.start()
        filler.client = node.client()
    node.wait_for("writes to be taken again", lambda: filler.insert() is None)
    filler.check()
    # Compaction may have taken the room of the ballast meanwhile, and a start needs some: that would be another story.
    subprocess.run(["mount", "-o", "remount,size=128m", str(small_disk)], check=True)
    node.restart()
    filler.client = node.client()
    filler.check()


def test_a_second_writer_in_the_middle_of_writes_costs_nothing_that_was_acknowledged(make_node, encrypted_node):
    first = encrypted_node
    create_rows(first)
    choice, stop = random.Random(), threading.Event()
    writers = [Writer(number).prepare(first.client(), choice.randrange(2**32), stop) for number in range(4)]
    for writer in writers:
        writer.start()
    time.sleep(1)
    second = make_node("second", key_arn=first.key_arn, cluster_id=first.cluster_id, data_dir=first.data_dir).start()
    # Its own keys: from here on, both would write if the first one were not shut out.
    fresh = Writer(4).prepare(second.client(), choice.randrange(2**32), threading.Event())
    fresh.start()
    time.sleep(1)
    for writer in writers:
        writer.join(PATIENCE)
        assert not writer.is_alive(), "the first node goes on answering"
    code = first.process.wait(PATIENCE)
    first.process = None
    assert code not in (0, -9) and "fenced" in first.output(), first.output()
    fresh.stop.set()
    fresh.join(PATIENCE)
    assert fresh.granted > 0 and not fresh.ended and sum(writer.granted for writer in writers) > 0
    for _ in range(2):
        found = read_all(second.client())
        for writer in (*writers, fresh):
            writer.check(found)
        second.close_clients()
        second.restart()
