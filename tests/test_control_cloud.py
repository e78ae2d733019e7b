"""Clusters under customers' AWS keys, on the stand-in with two accounts: set up as the dialog shows, used, revoked in every way,
and back by themselves."""

import itertools
import json
import os
import pathlib
import re
import time

import pytest

from helpers.aws import SERVICE_ACCOUNT, Account, Trail
from helpers.clusters import count, fill, has_in_memory, is_dark
from helpers.dialog import REGION_ID, SetUp
from helpers.node import contents
from helpers.webhook import Receiver


@pytest.fixture
def control(make_control, service):
    return make_control(env=service.service.environment()).start()


@pytest.fixture
def set_up(control, shell) -> SetUp:
    return SetUp(control, shell, control.create_project())


def sent(receiver: Receiver, kind: str, since: int) -> str:
    """What alerts of a kind said, of those that came since there were so many."""
    alerts = [json.loads(body) for _, _, body in receiver.got[since:]]
    return "\n".join(it["data"]["message"] for it in alerts if it["type"] == kind)


def create(control, set_up: SetUp, name: str = "cluster"):
    return control.create_cluster(set_up.project, set_up.key_arn, name, regionId=REGION_ID)


# Long beside the time that a check takes, so that an interval more or less shows.
INTERVAL = 5
# Between a denial and the second look that confirms it.
CONFIRMATION = 2
# A check under way, the look for deliveries that are due, and a machine that runs other tests besides.
SLACK = 3


def test_every_way_to_take_the_key_away_is_told_within_two_intervals_and_given_back_it_serves(make_control, service, shell, receiver):
    arguments = ("--key-check-interval", f"{INTERVAL}s", "--webhook-allow", f"127.0.0.1:{receiver.port}")
    control = make_control(env=service.service.environment(), arguments=arguments).start()
    set_up = SetUp(control, shell, control.create_project())
    key_id = set_up.add()
    for kind in ("keyStatus", "clusterStatus"):
        rule = {"name": kind, "url": receiver.url, "kinds": [kind]}
        control.call("POST", f"/v2/projects/{set_up.project}/alerts", rule)
    cluster = create(control, set_up)
    other = SetUp(control, set_up.shell, control.create_project("other"))
    other.add()
    neighbour = create(control, other)
    neighbours, pid = neighbour.client(), neighbour.pid
    for client in (cluster.client(), neighbours):
        fill(client)
    trust = set_up.shown()["trustPolicy"]

    def first(kind: str, word: str, since: int) -> dict | None:
        """The first alert of a kind that says a word, of those since a time, once it has arrived."""
        alerts = control.call("GET", f"/v2/projects/{set_up.project}/alerts")["alerts"]
        said = [it for it in alerts if it["kind"] == kind and word in it["message"] and it["at"] >= since]
        return said[-1] if said and said[-1]["deliveries"][0].get("deliveredAt") else None

    def enable():
        set_up.aws("cancel-key-deletion")
        set_up.aws("enable-key")

    def delete_role():
        set_up.delete_policies()
        set_up.shell.run(f"aws iam delete-role --role-name {set_up.role}")

    def make_role():
        set_up.create_role()
        set_up.put_policy()

    for what, take, give, words in [
        ("disabled", lambda: set_up.aws("disable-key"), lambda: set_up.aws("enable-key"), "disabled"),
        ("deletion", lambda: set_up.aws("schedule-key-deletion --pending-window-in-days 7"), enable, "deletion"),
        ("policy", set_up.delete_policies, set_up.put_policy, "(?i)denied|not authorized"),
        ("trust", lambda: set_up.set_trust(trust.replace("user/", "user/not-")), lambda: set_up.set_trust(trust), "(?i)denied|not authorized"),
        ("role", delete_role, make_role, "(?i)denied|not authorized|no such role|not exist|cannot be found"),
    ]:
        heard, since = len(receiver.got), int(time.time() * 1_000)
        take()
        began = time.time() * 1_000
        told = {
            "the key": lambda: set_up.key(key_id)["status"] == "REVOKED",
            "the cluster": lambda: cluster.describe()["status"] == "ABNORMAL",
            "the key's webhook": lambda heard=heard: "REVOKED" in sent(receiver, "keyStatus", heard),
            "the cluster's webhook": lambda heard=heard: "ABNORMAL" in sent(receiver, "clusterStatus", heard),
        }
        for name, is_so in told.items():
            control.wait_for(f"{what}: {name} to tell", is_so)
        # By when the service wrote it down, and when it had arrived: how long this test takes to look is none of its time.
        took: dict[str, float] = {}
        for kind, word in (("keyStatus", "REVOKED"), ("clusterStatus", "ABNORMAL")):
            alert = control.wait_for(
                f"{what}: {kind} to have arrived", lambda kind=kind, word=word, since=since: first(kind, word, since)
            )
            took[kind] = (alert["at"] - began) / 1_000
            took[f"the webhook's {kind}"] = (alert["deliveries"][0]["deliveredAt"] - began) / 1_000
        assert max(took.values()) < 2 * INTERVAL + CONFIRMATION + SLACK, f"{what}: told within more than two intervals: {took}"
        shown = cluster.describe()
        assert re.search(words, shown["statusReason"]), (what, shown["statusReason"])
        assert is_dark(cluster)
        assert count(neighbours) == 20 and neighbour.describe()["status"] == "RUNNING"
        give()
        cluster.wait_for_status("RUNNING")
        assert count(cluster.client()) == 20
        control.wait_for(f"{what}: the key to be AVAILABLE", lambda: set_up.key(key_id)["status"] == "AVAILABLE")
    assert neighbour.pid == pid
    alerts = control.call("GET", f"/v2/projects/{set_up.project}/alerts")["alerts"]
    told = [it["message"].split()[3].rstrip(":") for it in alerts if it["subject"] == cluster.id]
    # Where the node reports between one zone and the next, a database that is dark already is told of a cluster that still runs.
    assert [status for status, _ in itertools.groupby(told)] == ["RUNNING", "ABNORMAL"] * 5
    # Every call to KMS that the cluster made stands in its key's ledger, with AWS's request id and its own session's name.
    ledger = control.call("GET", set_up.path(f"/{key_id}/ledger?limit=1000"))
    calls = [call for call in ledger["calls"] if call["caller"] == cluster.id]
    assert {"sts:AssumeRole", "kms:Encrypt", "kms:Decrypt"} <= {call["action"] for call in calls}
    assert all(call["requestId"] for call in calls if call["outcome"] == "ok")
    assert {call["session"].rsplit("/", 1)[1] for call in calls if call.get("session")} == {f"custody-{cluster.id}"}


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
        return {call["requestId"]: call["action"] for call in calls if call["caller"] == cluster.id}

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
    control.wait_for("the ledger to have them all", lambda: seen.items() <= ledger().items())
