"""kill -9 of the control plane in the middle of making and dropping clusters and adding keys, and of nodes meanwhile: after a
restart each is done or undone, and nothing is left that belongs to nothing.

CUSTODY_CRASH_SEED repeats a run's choices."""

import contextlib
import http.client
import os
import random
import signal
import threading
import time

import pytest

from helpers.clusters import add_key
from helpers.control import Cluster, Refused

ROUNDS = int(os.environ.get("CUSTODY_CONTROL_CRASH_ROUNDS", "100" if os.environ.get("CUSTODY_CAMPAIGN") == "1" else "8"))
SEED = int(os.environ.get("CUSTODY_CRASH_SEED", str(random.SystemRandom().randrange(2**32))))
# How a call ends whose server is killed.
CUT = (OSError, http.client.HTTPException, ValueError)


@pytest.fixture
def control(make_control):
    return make_control().start()


class World:
    """What was asked for, and what became of it."""

    def __init__(self, control, kms, project: str):
        self.control, self.kms, self.project = control, kms, project
        self.choice = random.Random(SEED)
        self.arn = kms.create_key()
        add_key(control, project, self.arn)
        self.created: dict[str, str] = {}
        self.dropped: set[str] = set()
        self.number = 0

    def round(self) -> None:
        names = [f"c{self.number + step}" for step in range(2)]
        self.number += 2
        spare = self.kms.create_key()
        running = [it["clusterId"] for it in self.control.clusters() if it["status"] == "RUNNING"]
        victims = self.choice.sample(running, min(1, len(running)))
        threads = [threading.Thread(target=self.create, args=(name,)) for name in names]
        threads += [threading.Thread(target=self.drop, args=(victim,)) for victim in victims]
        threads.append(threading.Thread(target=self.add, args=(spare,)))
        for thread in threads:
            thread.start()
        time.sleep(self.choice.uniform(0, 3))
        self.control.kill()
        if self.choice.random() < 0.4:
            for pid in self.choice.sample(list(self.control.node_processes().values()), 1) if self.control.node_processes() else []:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        self.control.start()
        self.check(names, spare)

    def create(self, name: str) -> None:
        with contextlib.suppress(*CUT):
            made = self.control.ask_cluster(self.project, self.arn, name)
            self.created[made.id] = name

    def drop(self, cluster: str) -> None:
        with contextlib.suppress(*CUT):
            self.control.call("DELETE", f"/v2/clusters/{cluster}/drop?waitDays=0")
            self.dropped.add(cluster)

    def add(self, arn: str) -> None:
        with contextlib.suppress(*CUT):
            add_key(self.control, self.project, arn)

    def check(self, names: list[str], spare: str) -> None:
        control = self.control
        control.wait_for(
            f"everything to settle; seed {SEED}",
            lambda: all(it["status"] == "RUNNING" for it in control.clusters()),
        )
        jobs = control.call("GET", f"/v2/projects/{self.project}/jobs?limit=1000")
        assert {job["status"] for job in jobs} <= {"SUCCESSFUL"}, [job for job in jobs if job["status"] != "SUCCESSFUL"]
        clusters = {it["clusterId"]: it["clusterName"] for it in control.clusters()}
        assert not self.dropped & set(clusters), "a drop that was answered was forgotten"
        for cluster, name in self.created.items():
            assert cluster in clusters or cluster in self.gone(jobs), f"{name} was answered and is gone; seed {SEED}"
        # Nothing belongs to nothing.
        assert set(control.node_processes()) == set(clusters)
        for place in ("nodes", "storage/clusters"):
            directory = control.data_dir / place
            there = {it.name for it in directory.iterdir() if it.is_dir()} if directory.exists() else set()
            assert there == set(clusters), (place, there ^ set(clusters), SEED)
        keys = control.call("GET", f"/v2/projects/{self.project}/cmek/keys")["keys"]
        assert len({it["keyArn"] for it in keys}) == len(keys)
        used = next(it for it in keys if it["keyArn"] == self.arn)["clusters"]
        assert {it["clusterId"] for it in used} == set(clusters)
        for it in keys:
            if it["keyArn"] == spare:
                control.call("DELETE", f"/v2/projects/{self.project}/cmek/keys/{it['keyId']}")
        # A name whose making was cut off can be used again, or names a cluster that is there.
        for name in names:
            if name not in clusters.values():
                Cluster(control, control.ask_cluster(self.project, self.arn, name).made).wait_for_status("RUNNING")
        while len(control.clusters()) > 3:
            victim = control.clusters()[0]["clusterId"]
            dropped = control.call("DELETE", f"/v2/clusters/{victim}/drop?waitDays=0")
            self.dropped.add(victim)
            control.job(dropped["jobId"], "SUCCESSFUL")

    def gone(self, jobs: list[dict]) -> set[str]:
        return {job["clusterId"] for job in jobs if job["type"] == "DROP_CLUSTER"}


def test_kill_9_leaves_everything_done_or_undone_and_nothing_orphaned(control, make_local_kms):
    print(f"CUSTODY_CRASH_SEED={SEED} CUSTODY_CONTROL_CRASH_ROUNDS={ROUNDS}")
    world = World(control, make_local_kms(control), control.create_project())
    for _ in range(ROUNDS):
        world.round()
    told = control.call("GET", f"/v2/projects/{world.project}/activities?limit=1000")
    assert sum(it["action"] == "cluster.create" for it in told) >= ROUNDS, "hardly anything was made: the test proved little"
    with pytest.raises(Refused):
        control.call("GET", "/v2/clusters/in01-none")
