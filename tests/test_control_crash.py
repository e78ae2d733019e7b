"""kill -9 of the control plane in the middle of making and dropping clusters and adding keys, and of nodes meanwhile: after a
restart each is done or undone, and nothing is left that belongs to nothing. First in the middle of each alone, at points that
are spread over the time that it takes; then of all together, at any moment.

CUSTODY_CRASH_SEED repeats a run's choices."""

import contextlib
import http.client
import os
import random
import signal
import sqlite3
import threading
import time

import pytest

from helpers.clusters import add_key
from helpers.control import Cluster, Refused
from helpers.dialog import SetUp
from helpers.proxy import KMS, late

ROUNDS = int(os.environ.get("CUSTODY_CONTROL_CRASH_ROUNDS", "100" if os.environ.get("CUSTODY_CAMPAIGN") == "1" else "3"))
SEED = int(os.environ.get("CUSTODY_CRASH_SEED", str(random.SystemRandom().randrange(2**32))))
# How a call ends whose server is killed.
CUT = (OSError, http.client.HTTPException, ValueError)
# In how many places one call is cut, how many more are tried until one was, and how late each answer of KMS is for one that
# asks it.
POINTS = 4
MOST_POINTS = 12
LATE = 0.3


@pytest.fixture
def control(make_control):
    return make_control().start()


def check_rows(control, project: str) -> None:
    """The database has no row that belongs to nothing, or that nobody is shown. Whatever names a cluster or a key, in whichever
    table, names one that is there; but calls to KMS and jobs that have ended, which outlive it."""
    clusters = {it["clusterId"] for it in control.clusters()}
    keys = {it["keyId"] for it in control.call("GET", f"/v2/projects/{project}/cmek/keys")["keys"]}
    jobs = {it["jobId"] for it in control.call("GET", f"/v2/projects/{project}/jobs?limit=1000")}
    with contextlib.closing(sqlite3.connect(f"file:{control.data_dir / 'control.db'}?mode=ro", uri=True)) as database:

        def ids(column: str, source: str) -> set[str]:
            return {it for (it,) in database.execute(f"SELECT {column} FROM {source} WHERE {column} IS NOT NULL")}

        assert (ids("id", "clusters"), ids("id", "keys"), ids("id", "jobs")) == (clusters, keys, jobs)
        tables = {it for (it,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        looked_at = set()
        for table in tables:
            columns = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
            source = "(SELECT * FROM jobs WHERE ended_at IS NULL)" if table == "jobs" else table
            for column, there in (("cluster_id", clusters), ("key_id", keys)):
                if column in columns:
                    looked_at.add(table)
                    assert ids(column, source) <= there, (table, column, ids(column, source) - there)
        assert {"cluster_keys", "held_zones", "jobs", "clusters", "key_statuses"} <= looked_at, "these name them"


def check_files(control) -> None:
    """No process and no directory belongs to nothing."""
    clusters = {it["clusterId"] for it in control.clusters()}
    assert set(control.node_processes()) == clusters
    for place in ("nodes", "storage/clusters"):
        directory = control.data_dir / place
        there = {it.name for it in directory.iterdir() if it.is_dir()} if directory.exists() else set()
        assert there == clusters, (place, there ^ clusters, SEED)


def succeed(control, job: str) -> None:
    """Waits until a job is done, for somebody from whose hands the control plane may be taken meanwhile."""
    while (status := control.call("GET", f"/v2/jobs/{job}")["status"]) != "SUCCESSFUL":
        assert status in ("PENDING", "RUNNING"), status
        time.sleep(0.05)


class Create:
    """A cluster is made: asked for, and then a job."""

    def __init__(self, control, project: str, kms):
        self.control, self.project, self.arn = control, project, kms.create_key()
        add_key(control, project, self.arn)
        self.number = 0

    def prepare(self) -> None:
        self.number += 1

    def do(self) -> None:
        made = self.control.ask_cluster(self.project, self.arn, f"c{self.number}")
        succeed(self.control, made.made["jobId"])

    def check(self) -> None:
        """It is there and serves, or its name is free."""
        names = [it["clusterName"] for it in self.control.clusters()]
        if f"c{self.number}" not in names:
            self.do()


class Drop(Create):
    """A cluster is destroyed."""

    def prepare(self) -> None:
        super().prepare()
        self.cluster = self.control.create_cluster(self.project, self.arn, f"c{self.number}")
        self.keyrings = sum(it.is_file() and "keyring" in it.parts for it in self.cluster.storage.rglob("*"))
        assert self.keyrings, "there is something to tell of"

    def do(self) -> None:
        succeed(self.control, self.cluster.drop(0)["jobId"])

    def check(self) -> None:
        """It is gone, or serves and can be dropped. The receipt tells of all that went, in however many passes."""
        if self.cluster.id in {it["clusterId"] for it in self.control.clusters()}:
            self.do()
        jobs = self.control.call("GET", f"/v2/projects/{self.project}/jobs?limit=1000")
        [job] = [it for it in jobs if (it["type"], it["clusterId"]) == ("DROP_CLUSTER", self.cluster.id)]
        told = job["receipt"]
        assert told["keyrings"] == self.keyrings and told["objects"] > 0 and told["bytes"] > 0, told


class Add:
    """A key in AWS is proven and added."""

    def __init__(self, control, project: str, shell):
        self.control, self.project, self.set_up = control, project, SetUp(control, shell, project)

    def prepare(self) -> None:
        pass

    def do(self) -> None:
        self.set_up.add()

    def check(self) -> None:
        """It is there and proven, or can be added; once."""
        if not self.set_up.keys():
            self.do()
        [key] = self.set_up.keys()
        assert key["status"] == "AVAILABLE"
        self.control.call("DELETE", self.set_up.path(f"/{key['keyId']}"))


@pytest.fixture(params=["create", "drop", "add"])
def call(request, make_control, make_local_kms):
    """One of the calls that take a while."""
    if request.param != "add":
        control = make_control().start()
        return {"create": Create, "drop": Drop}[request.param](control, control.create_project(), make_local_kms(control))
    proxy, customer = request.getfixturevalue("proxy"), request.getfixturevalue("customer")
    proxy.fault(late(LATE), KMS)
    env = customer.service.environment() | {"AWS_ENDPOINT_URL": proxy.endpoint}
    control = make_control(env=env).start()
    return Add(control, control.create_project(), request.getfixturevalue("quick_shell"))


def time_of(call) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


@pytest.mark.long
def test_kill_9_within_a_call_leaves_it_done_or_undone(call):
    control, project = call.control, call.project
    call.prepare()
    # The shortest time that it was seen to take: where the machine stood still meanwhile, it would be over before the first cut.
    whole = time_of(call.do)
    call.check()
    cut = points = 0
    while points < POINTS or (not cut and points < MOST_POINTS):
        call.prepare()
        outcome: list[Exception | float] = []

        def run(outcome=outcome):
            try:
                outcome.append(time_of(call.do))
            except (*CUT, AssertionError) as error:
                outcome.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        time.sleep(whole * (points % POINTS + 0.5) / POINTS)
        control.kill()
        thread.join(60)
        [ended] = outcome
        assert not isinstance(ended, AssertionError), ended
        points += 1
        if isinstance(ended, float):
            whole = min(whole, ended)
        else:
            cut += 1
        control.start()
        control.wait_for("everything to settle", lambda: all(it["status"] == "RUNNING" for it in control.clusters()))
        control.wait_for(
            "each job to end",
            lambda: all("endTime" in it for it in control.call("GET", f"/v2/projects/{project}/jobs?limit=1000")),
        )
        check_rows(control, project)
        check_files(control)
        call.check()
    print(f"{cut} of {points} cut, over {whole:.1f} s")
    assert cut, "it was over each time: nothing was proven"


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
        check_files(control)
        check_rows(control, self.project)
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


@pytest.mark.long
def test_kill_9_leaves_everything_done_or_undone_and_nothing_orphaned(control, make_local_kms):
    print(f"CUSTODY_CRASH_SEED={SEED} CUSTODY_CONTROL_CRASH_ROUNDS={ROUNDS}")
    world = World(control, make_local_kms(control), control.create_project())
    for _ in range(ROUNDS):
        world.round()
    told = control.call("GET", f"/v2/projects/{world.project}/activities?limit=1000")
    assert sum(it["action"] == "cluster.create" for it in told) >= ROUNDS, "hardly anything was made: the test proved little"
    with pytest.raises(Refused):
        control.call("GET", "/v2/clusters/in01-none")
