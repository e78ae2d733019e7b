"""Clusters under customers' AWS keys, on the stand-in with two accounts: set up as the dialog shows, used, revoked in every way,
and back by themselves."""

import itertools
import json
import os
import pathlib
import re
import time
from collections import Counter

import pytest

from helpers.aws import SERVICE_ACCOUNT, Account, Trail
from helpers.clusters import count, fill, has_in_memory, is_dark, sealed_at
from helpers.dialog import REGION_ID, SetUp
from helpers.node import contents
from helpers.webhook import Receiver


@pytest.fixture
def control(make_control, service):
    return make_control(env=service.service.environment()).start()


@pytest.fixture
def set_up(control, quick_shell) -> SetUp:
    return SetUp(control, quick_shell, control.create_project())


def messages(receiver: Receiver, kind: str, subject: str) -> list[str]:
    """What alerts of a kind said of a subject."""
    alerts = [json.loads(body) for _, _, body in receiver.got]
    return [it["data"]["message"] for it in alerts if it["type"] == kind and it["data"]["subject"] == subject]


def create(control, set_up: SetUp, name: str = "cluster"):
    return control.create_cluster(set_up.project, set_up.key_arn, name, regionId=REGION_ID)


INTERVAL = 2


class Way:
    """A way to take a key away and to give it back, with a key and a cluster of its own."""

    def __init__(self, control, shell, project: str, name: str):
        self.name, self.set_up = name, SetUp(control, shell, project)
        self.key_id = self.set_up.add()
        self.added = time.time() * 1_000
        self.trust = self.set_up.shown()["trustPolicy"]

    def take(self) -> None:
        """Afterwards AWS refuses whatever the key is asked for."""
        {
            "disabled": lambda: self.set_up.aws("disable-key"),
            "deletion": lambda: self.set_up.aws("schedule-key-deletion --pending-window-in-days 7"),
            "policy": self.set_up.delete_policies,
            "trust": lambda: self.set_up.set_trust(self.trust.replace("user/", "user/not-")),
            "role": self.delete_role,
        }[self.name]()
        self.taken = time.time() * 1_000

    def give(self) -> None:
        {
            "disabled": lambda: self.set_up.aws("enable-key"),
            "deletion": self.cancel_deletion,
            "policy": self.set_up.put_policy,
            "trust": lambda: self.set_up.set_trust(self.trust),
            "role": self.make_role,
        }[self.name]()

    def cancel_deletion(self) -> None:
        self.set_up.aws("cancel-key-deletion")
        self.set_up.aws("enable-key")

    def delete_role(self) -> None:
        self.set_up.delete_policies()
        self.set_up.shell.run(f"aws iam delete-role --role-name {self.set_up.role}")

    def make_role(self) -> None:
        self.set_up.create_role()
        self.set_up.put_policy()

    def looks(self, caller: str, purpose: str) -> list[dict]:
        """The sessions that somebody asked for to use the key since it was added, in order. A call that had no answer in time is
        tried again."""
        calls = self.set_up.control.call("GET", self.set_up.path(f"/{self.key_id}/ledger?limit=10000"))["calls"]
        mine = [it for it in calls if (it["caller"], it["purpose"], it["action"]) == (caller, purpose, "sts:AssumeRole")]
        mine = [it for it in mine if it["outcome"] != "unreachable" and it["at"] > self.added]
        return sorted(mine, key=lambda it: it["at"])


WAYS = {
    "disabled": "disabled",
    "deletion": "deletion",
    "policy": "(?i)denied|not authorized",
    "trust": "(?i)denied|not authorized",
    "role": "(?i)denied|not authorized|no such role|not exist|cannot be found",
}


def assert_looked_at_every_interval(looks: list[dict], until: float) -> None:
    """A machine that stands still makes a wait longer and none shorter: the shortest counts."""
    times = [it["at"] for it in looks if it["at"] < until]
    assert min(two - one for one, two in itertools.pairwise(times)) < 1_750 * INTERVAL, times


def assert_told_by_the_first_look(looks: list[dict], taken: float, told: float) -> None:
    """One look finds that the key is gone and tells it, once a second one right after it has confirmed what needs to be."""
    found = [it for it in looks if taken < it["at"] < told]
    assert len(found) <= 2, f"told {told - taken} ms later, after {found}"


@pytest.mark.long
def test_every_way_to_take_the_key_away_is_told_by_the_next_check_and_given_back_it_serves(
    make_control, service, quick_shell, receiver
):
    arguments = ("--key-check-interval", f"{INTERVAL}s", "--webhook-allow", f"127.0.0.1:{receiver.port}")
    control = make_control(env=service.service.environment(), arguments=arguments).start()
    project = control.create_project()
    for kind in ("keyStatus", "clusterStatus"):
        rule = {"name": kind, "url": receiver.url, "kinds": [kind]}
        control.call("POST", f"/v2/projects/{project}/alerts", rule)
    ways = [Way(control, quick_shell, project, name) for name in WAYS]
    other = SetUp(control, quick_shell, control.create_project("other"))
    other.add()
    for way in ways:
        way.cluster = control.ask_cluster(project, way.set_up.key_arn, way.name, regionId=REGION_ID)
    neighbour = create(control, other)
    neighbours, pid = neighbour.client(), neighbour.pid
    fill(neighbours)
    for way in ways:
        way.cluster.wait_for_status("RUNNING")
        fill(way.cluster.client())
        for caller, purpose in (("control", "validate"), (way.cluster.id, "renew")):
            control.wait_for("three looks", lambda way=way, it=(caller, purpose): len(way.looks(*it)) >= 3)

    def alert(kind: str, subject: str, word: str) -> dict | None:
        """The alert of a kind that says a word of a subject, once it has arrived."""
        alerts = control.call("GET", f"/v2/projects/{project}/alerts")["alerts"]
        said = [it for it in alerts if (it["kind"], it["subject"]) == (kind, subject) and word in it["message"]]
        return said[-1] if said and said[-1]["deliveries"][0].get("deliveredAt") else None

    for way in ways:
        way.take()
    for way in ways:
        cluster, key = way.cluster, way.key_id
        for caller, purpose, kind, subject, word in (
            ("control", "validate", "keyStatus", key, "REVOKED"),
            (cluster.id, "renew", "clusterStatus", cluster.id, "ABNORMAL"),
        ):
            told = control.wait_for(f"{way.name}: {kind}", lambda it=(kind, subject, word): alert(*it))
            assert word in "".join(messages(receiver, kind, subject))
            looks = way.looks(caller, purpose)
            assert_looked_at_every_interval(looks, way.taken)
            assert_told_by_the_first_look(looks, way.taken, sealed_at(cluster) if caller == cluster.id else told["at"])
        assert way.set_up.key(key)["status"] == "REVOKED"
        shown = cluster.describe()
        assert shown["status"] == "ABNORMAL" and re.search(WAYS[way.name], shown["statusReason"]), (way.name, shown)
        assert is_dark(cluster)
    assert count(neighbours) == 20 and neighbour.describe()["status"] == "RUNNING"
    for way in ways:
        way.give()
    for way in ways:
        way.cluster.wait_for_status("RUNNING")
        assert count(way.cluster.client()) == 20
        control.wait_for(f"{way.name}: the key", lambda way=way: way.set_up.key(way.key_id)["status"] == "AVAILABLE")
        control.wait_for(f"{way.name}: both to be told", lambda way=way: alert("clusterStatus", way.cluster.id, "RUNNING"))
        alerts = control.call("GET", f"/v2/projects/{project}/alerts")["alerts"]
        told = [it["message"].split()[3].rstrip(":") for it in alerts if it["subject"] == way.cluster.id]
        # Where the node reports between two zones, a database that is dark already is told of a cluster that still runs.
        assert [status for status, _ in itertools.groupby(told)] == ["RUNNING", "ABNORMAL"], way.name
        # Every call to KMS that the cluster made stands in its key's ledger, with AWS's request id and its own session's name.
        ledger = control.call("GET", way.set_up.path(f"/{way.key_id}/ledger?limit=1000"))
        calls = [call for call in ledger["calls"] if call["caller"] == way.cluster.id]
        assert {"sts:AssumeRole", "kms:Encrypt", "kms:Decrypt"} <= {call["action"] for call in calls}
        assert all(call["requestId"] for call in calls if call["outcome"] == "ok")
        assert {call["session"].rsplit("/", 1)[1] for call in calls if call.get("session")} == {f"custody-{way.cluster.id}"}
    assert neighbour.pid == pid


def test_a_node_has_no_base_credential_in_its_environment_its_memory_or_its_files(control, service, set_up):
    set_up.add()
    cluster = create(control, set_up)
    fill(cluster.client())
    environment = service.service.environment()
    secret = environment["AWS_SECRET_ACCESS_KEY"].encode()
    assert len(secret) >= 16, "a secret that is found by chance proves nothing"
    process = pathlib.Path(f"/proc/{cluster.pid}")
    names = {line.split(b"=")[0] for line in (process / "environ").read_bytes().split(b"\0") if line}
    reached = {b"AWS_ENDPOINT_URL", b"AWS_REGION", b"SSL_CERT_FILE", b"SSL_CERT_DIR"}
    assert names <= reached, "how AWS is reached, and nothing else"
    for file, content in contents(control.data_dir / "nodes").items():
        assert secret not in content, file
    if os.geteuid() != 0:
        pytest.skip("only root can look into another process's memory: the rest of this test has passed")
    assert has_in_memory(control.process.pid, secret), "the search finds what is there"
    assert not has_in_memory(cluster.pid, secret)


def test_adding_a_second_key_to_a_role_darkens_nothing(control, set_up):
    set_up.add()
    cluster = create(control, set_up)
    fill(cluster.client())
    second = SetUp(control, set_up.shell, set_up.project, role_arn=set_up.role_arn)
    second.add()
    another = create(control, second, "another")
    fill(another.client())
    assert cluster.describe()["status"] == "RUNNING" and count(cluster.client()) == 20
    assert json.dumps(control.call("GET", f"/v2/projects/{set_up.project}/alerts")["alerts"]) == "[]"


def test_the_ledger_has_every_call_of_a_cluster_that_cloudtrail_has_and_no_other(control, set_up, aws_endpoint):
    """Its sessions are opened by the control plane, in our account; the key is used by the node, in its owner's."""
    ours, theirs = Trail(Account(aws_endpoint, SERVICE_ACCOUNT)), Trail(set_up.shell.account)
    key_id = set_up.add()
    cluster = create(control, set_up)
    fill(cluster.client())
    name = f"custody-{cluster.id}"

    def ledger() -> dict[str, str]:
        calls = control.call("GET", set_up.path(f"/{key_id}/ledger?limit=10000"))["calls"]
        # One that had no answer in time has no id, and AWS may have seen it all the same.
        return {it["requestId"]: it["action"] for it in calls if it["caller"] == cluster.id and "requestId" in it}

    def unanswered() -> Counter:
        calls = control.call("GET", set_up.path(f"/{key_id}/ledger?limit=10000"))["calls"]
        return Counter(it["action"] for it in calls if it["caller"] == cluster.id and "requestId" not in it)

    def trail() -> dict[str, str]:
        asked = {
            event["requestID"]: f"sts:{event['requestParameters']['Action']}"
            for event in ours.events()
            if event["requestParameters"].get("RoleSessionName") == name
        }
        context = "custody:cluster"
        used = {
            event["requestID"]: f"kms:{event['eventName']}"
            for event in theirs.events()
            if event["requestParameters"].get("EncryptionContext", {}).get(context) == cluster.id
        }
        return asked | used

    control.wait_for("three renewals", lambda: list(ledger().values()).count("kms:Decrypt") > 5)
    before, seen = ledger(), trail()
    assert {"sts:AssumeRole", "kms:Encrypt", "kms:Decrypt"} <= set(before.values())
    # A description has no context to tell whose it is by.
    missing = {ident: action for ident, action in before.items() if action != "kms:DescribeKey" and ident not in seen}
    assert missing == {}, "calls of ours that CloudTrail does not know"
    control.wait_for(
        "the ledger to have them all", lambda: Counter(action for _, action in seen.items() - ledger().items()) <= unanswered()
    )
