"""What tests do with a cluster of the control plane."""

import contextlib
import os
import shutil
import signal
import sqlite3
import time

from pymilvus import MilvusClient

from .control import Cluster, Control
from .ledger import seconds


def add_key(control: Control, project: str, arn: str, **more) -> str:
    body = {"provider": "local", "regionId": "local-dev", "keyArn": arn, **more}
    return control.call("POST", f"/v2/projects/{project}/cmek/keys", body)["keyId"]


def fill(client: MilvusClient, rows: int = 20, name: str = "rows") -> None:
    client.create_collection(name, dimension=4, metric_type="L2")
    client.insert(name, [{"id": number, "vector": [number, 0, 0, 1]} for number in range(rows)])


def count(client: MilvusClient, name: str = "rows") -> int:
    return client.query(name, filter="", output_fields=["count(*)"])[0]["count(*)"]


def anchor_of(cluster: Cluster) -> str | None:
    """What the control plane keeps of the state of a cluster's storage, to know an older one by."""
    file = cluster.control.data_dir / "control.db"
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        return database.execute("SELECT anchor FROM clusters WHERE id = ?", (cluster.id,)).fetchone()[0]


def roll_back(cluster: Cluster, change) -> None:
    """Lets `change` happen, then puts the cluster's storage back to what it was before, and starts the cluster over it. The
    control plane has been told of the change by then: where the last word of a node is lost, so is what it says."""
    before = cluster.control.directory / "before"
    cluster.do("suspend")
    shutil.copytree(cluster.storage, before)
    cluster.do("resume")
    cluster.wait_for_status("RUNNING")
    anchor = anchor_of(cluster)
    change()
    cluster.control.wait_for("the anchor to follow", lambda: anchor_of(cluster) != anchor)
    cluster.do("suspend")
    shutil.rmtree(cluster.storage)
    shutil.copytree(before, cluster.storage)
    cluster.do("resume")


def kill_node(cluster: Cluster) -> None:
    """kill -9 of its node, and the wait for the next one: for a moment the old process is listed, and its cluster told as RUNNING."""
    old = cluster.pid
    os.kill(old, signal.SIGKILL)
    cluster.control.wait_for("a new process", lambda: cluster.pid not in (None, old))


def is_dark(cluster: Cluster, *, database: str = "default") -> bool:
    """Whether a query is refused as sealed; it must not be refused for another reason. While the node changes its process
    image, it says nothing for a moment."""
    deadline = time.monotonic() + 5
    while (answer := cluster.answer(database))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    status, message = answer
    assert status in (200, 503), (status, message)
    assert status == 200 or "sealed" in message, message
    return status == 503


def sealed_at(cluster: Cluster) -> float:
    """When its node first knew that a key is taken away, in milliseconds since 1970. To tell it, it becomes its stub, and goes on
    asking until then."""
    log = (cluster.control.data_dir / "nodes" / cluster.id / "node.log").read_text()
    return 1_000 * min(seconds(line.split()[0]) for line in log.splitlines() if "status=sealed: its key is revoked" in line)


def has_in_memory(pid: int, secret: bytes) -> bool:
    """Whether a process has these bytes in its memory; only root can look."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            first, last = (int(it, 16) for it in line.split()[0].split("-"))
            if "r" not in line.split()[1] or "[v" in line:
                continue
            memory.seek(first)
            try:
                if secret in memory.read(last - first):
                    return True
            except OSError:
                continue
    return False
