"""Clusters under the control plane: made, used, darkened, moved through every state, dropped; each as a process of its own."""

import errno
import json
import os
import pathlib
import shutil
import signal
import socket
import stat
import tempfile
import time

import pytest

from helpers.clusters import add_key, count, fill, is_dark, kill_node, roll_back, sealed_at
from helpers.control import ADMIN_KEY, Control, own_address
from helpers.kms import LocalKms
from helpers.node import contents
from helpers.ports import free_port
from helpers.program import binary

# Somebody who is not root.
NOBODY = 65534
# For how long what is shown of a node holds while nothing is heard of it.
BETWEEN = 10
# How long a node may take to serve before that is news.
STARTING = 20


@pytest.fixture
def control(make_control):
    return make_control().start()


@pytest.fixture
def kms(control, make_local_kms):
    return make_local_kms(control)


def key(control, project: str, key_id: str) -> dict:
    return control.call("GET", f"/v2/projects/{project}/cmek/keys/{key_id}")


def calls_since(control, project: str, key_id: str, caller: str, action: str, since: float) -> list[dict]:
    """Calls about a key that somebody began since then, in milliseconds."""
    calls = control.call("GET", f"/v2/projects/{project}/cmek/keys/{key_id}/ledger?limit=10000")["calls"]
    return [it for it in calls if (it["caller"], it["action"]) == (caller, action) and it["at"] > since]


def wait_for_two_checks(control, project: str, key_id: str, cluster) -> None:
    """Waits until a cluster has proven its key twice more."""
    since = time.time() * 1_000
    control.wait_for(
        "two more checks", lambda: len(calls_since(control, project, key_id, cluster.id, "kms:Decrypt", since)) >= 2
    )


def alerts_of(control, project: str, cluster, number: int) -> list[dict]:
    """A cluster's alerts, newest first, once there are so many: its status is told a moment before they are written down."""

    def there():
        told = control.call("GET", f"/v2/projects/{project}/alerts")["alerts"]
        mine = [it for it in told if it["subject"] == cluster.id]
        return mine if len(mine) >= number else None

    return control.wait_for(f"{number} alerts of {cluster.id}", there)


def test_a_cluster_is_made_used_and_destroyed_with_nothing_left(control, kms):
    project, arn = control.create_project(), kms.create_key()
    key_id = add_key(control, project, arn)
    asked = control.ask_cluster(project, arn, deletionProtection=True)
    assert asked.made["username"] == "root" and asked.made["jobId"]
    shown = asked.wait_for_status("RUNNING")
    assert control.job(asked.made["jobId"], "SUCCESSFUL")["type"] == "CREATE_CLUSTER"
    assert (shown["keyIdentifier"], shown["plan"], shown["projectId"]) == (arn, "BusinessCritical", project)
    assert [zone["state"] for zone in shown["zones"]] == ["AVAILABLE"] * len(shown["zones"]) and shown["zones"]
    fill(asked.client())
    hits = asked.client().search("rows", data=[[3, 0, 0, 1]], limit=1)[0]
    assert hits[0]["id"] == 3
    with pytest.raises(Exception, match="(?i)auth|Fail connecting"):
        asked.client(token="root:wrong-password")
    assert key(control, project, key_id)["clusters"] == [{"clusterId": asked.id, "clusterName": "cluster"}]
    refused = control.refused("DELETE", f"/v2/projects/{project}/cmek/keys/{key_id}")
    assert refused.status == 409 and asked.id in refused.message
    assert control.call("GET", "/v2/projects")[0]["instanceCount"] == 1
    # Its password is kept nowhere, and its process was given no secret that shows.
    written = b"".join(contents(control.data_dir).values())
    assert asked.made["password"].encode() not in written
    for path in ("environ", "cmdline"):
        text = pathlib.Path(f"/proc/{asked.pid}/{path}").read_bytes()
        assert asked.made["password"].encode() not in text and ADMIN_KEY.encode() not in text
    refused = control.refused("DELETE", f"{asked.path}/drop")
    assert refused.status == 409 and "deletionProtection" in refused.message
    asked.do("modify", deletionProtection=False, clusterName="renamed", cuSize=2)
    assert (asked.describe()["clusterName"], asked.describe()["cuSize"]) == ("renamed", 2)
    dropped = asked.drop(0)
    receipt = control.job(dropped["jobId"], "SUCCESSFUL")["receipt"]
    assert receipt["keyIdentifier"] == arn and receipt["keyrings"] >= 2 and receipt["objects"] > 0
    assert any("snapshots" in text for text in receipt["couldStillOpenTheData"])
    assert control.refused("GET", asked.path).status == 404
    assert control.clusters() == [] and control.node_processes() == {} and not asked.storage.exists()
    assert not (control.data_dir / "nodes" / asked.id).exists()
    control.call("DELETE", f"/v2/projects/{project}/cmek/keys/{key_id}")
    told = [it["action"] for it in control.call("GET", f"/v2/projects/{project}/activities")]
    assert {"cluster.create", "cluster.created", "cluster.drop", "cluster.destroyed"} <= set(told)


def test_a_cluster_that_can_not_be_meant_is_refused_and_nothing_is_made(control, kms):
    project, arn = control.create_project(), kms.create_key()
    add_key(control, project, arn)
    other = control.create_project("other")
    foreign = kms.create_key()
    add_key(control, other, foreign)
    standard, free = control.create_project("standard", "Standard"), control.create_project("free", "Free")
    good = {
        "clusterName": "x",
        "projectId": project,
        "regionId": "local-dev",
        "cuType": "Performance-optimized",
        "cuSize": 1,
        "keyIdentifier": arn,
    }
    no_key = {name: value for name, value in good.items() if name != "keyIdentifier"}
    for status, words, body in [
        (400, "no key of this project", {**good, "keyIdentifier": foreign}),
        (400, "no key of this project", {**good, "keyIdentifier": "arn:custody:kms:local-dev:000000000000:key/none"}),
        # An empty variable of a script must not give a cluster without encryption.
        (400, "no key of this project", {**good, "keyIdentifier": ""}),
        (400, "no key of this project", {**good, "keyIdentifier": " "}),
        (400, "same provider and region", {**good, "regionId": "aws-us-west-2"}),
        (400, "region", {**good, "regionId": "mars"}),
        (400, "keyidentifier", {**no_key, "keyidentifier": arn}),
        (400, "clusterName", {**good, "clusterName": " "}),
        (400, "cuSize", {**good, "cuSize": 0}),
        (400, "cuType", {**good, "cuType": "Quantum"}),
        (400, "missing field", {"projectId": project}),
        (403, "CMEK", {**good, "projectId": standard}),
        (403, "dedicated", {**no_key, "projectId": free}),
        (404, "project", {**no_key, "projectId": "proj-none"}),
    ]:
        refused = control.refused("POST", "/v2/clusters/createDedicated", body)
        assert refused.status == status and words in refused.message, (words, refused)
    assert control.clusters() == [] and control.node_processes() == {}
    unencrypted = control.create_cluster(standard)
    assert "keyIdentifier" not in unencrypted.describe()
    fill(unencrypted.client())
    assert control.refused("POST", f"{unencrypted.path}/seal").status == 409
    taken = {**no_key, "projectId": standard, "clusterName": "cluster"}
    assert control.refused("POST", "/v2/clusters/createDedicated", taken).status == 409
    assert control.refused("DELETE", f"/v2/projects/{standard}").status == 409
    assert control.refused("PATCH", f"/v2/projects/{standard}/plan", {"plan": "Free"}).status == 409


def test_a_cluster_whose_making_fails_leaves_nothing(make_control, make_local_kms):
    control = make_control(arguments=("--key-check-interval", "10m")).start()
    kms, project = make_local_kms(control), control.create_project()
    arn = kms.create_key()
    add_key(control, project, arn)
    # The control plane has not noticed yet: the node does, with the first thing that it asks.
    kms.disable(arn)
    asked = control.ask_cluster(project, arn)
    job = control.job(asked.made["jobId"], "FAILED")
    assert "disabled" in job["message"], job
    assert control.refused("GET", asked.path).status == 404
    assert control.clusters() == [] and control.node_processes() == {} and not asked.storage.exists()
    assert not (control.data_dir / "nodes" / asked.id).exists()
    kms.enable(arn)
    control.create_cluster(project, arn)


def test_a_cluster_whose_node_can_not_start_leaves_nothing(control):
    project, nodes = control.create_project(), control.data_dir / "nodes"

    def failed(asked) -> str:
        job = control.job(asked.made["jobId"], "FAILED")
        assert control.refused("GET", asked.path).status == 404 and control.clusters() == []
        assert control.node_processes() == {} and not asked.storage.exists() and not (nodes / asked.id).exists()
        return job["message"]

    def with_its_port_taken():
        """A cluster whose port somebody else has taken, after the answer that names it and before its node is there."""
        for _ in range(10):
            asked = control.ask_cluster(project)
            host, port = asked.describe()["connectAddress"].removeprefix("http://").split(":")
            try:
                return asked, port, socket.create_server((host, int(port)))
            except OSError as error:
                assert error.errno == errno.EADDRINUSE, error
            # Its node was there first.
            asked.wait_for_status("RUNNING")
            control.job(asked.drop(0)["jobId"], "SUCCESSFUL")
        raise AssertionError("each node was at its port before us")

    asked, port, stranger = with_its_port_taken()
    with stranger:
        assert f":{port}" in failed(asked)
    # Where nodes' directories are made, none can be, not even by root: a file stands there, or what leads to no place.
    shutil.rmtree(nodes)
    for block in (nodes.touch, lambda: nodes.symlink_to(control.directory / "not-there" / "nor-here")):
        block()
        refused = failed(control.ask_cluster(project))
        assert "its process can't be started" in refused and str(nodes) in refused
        nodes.unlink()
    control.create_cluster(project)


def test_a_disabled_key_darkens_its_clusters_alone_and_enabled_they_come_back(control, kms):
    project = control.create_project()
    arns = [kms.create_key() for _ in range(2)]
    ids = [add_key(control, project, arn) for arn in arns]
    first, second = (control.create_cluster(project, arn, name) for arn, name in zip(arns, "ab", strict=True))
    clients = [cluster.client() for cluster in (first, second)]
    for client in clients:
        fill(client)
    pid = second.pid
    kms.disable(arns[0])
    disabled = time.time() * 1_000
    shown = first.wait_for_status("ABNORMAL")
    control.wait_for("the key to be REVOKED", lambda: key(control, project, ids[0])["status"] == "REVOKED")
    # Each of them asked once and knew: no time tells that on a machine that does other things besides.
    [told] = [it["at"] for it in control.call("GET", f"/v2/projects/{project}/alerts")["alerts"] if it["subject"] == ids[0]]
    looks = calls_since(control, project, ids[0], "control", "kms:DescribeKey", disabled)
    assert sum(it["at"] < told for it in looks) <= 1, looks
    proofs = calls_since(control, project, ids[0], first.id, "kms:Decrypt", disabled)
    assert sum(it["purpose"] == "renew" and it["at"] < sealed_at(first) for it in proofs) <= 1, proofs
    assert "disabled" in shown["statusReason"]
    assert is_dark(first)
    assert second.describe()["status"] == "RUNNING" and count(clients[1]) == 20 and second.pid == pid
    told = alerts_of(control, project, first, 1)
    assert [it["kind"] for it in told] == ["clusterStatus"] and "ABNORMAL" in told[0]["message"]
    kms.enable(arns[0])
    first.wait_for_status("RUNNING")
    assert count(first.client()) == 20
    told = alerts_of(control, project, first, 2)
    assert [it["message"].split()[3].rstrip(":") for it in told] == ["RUNNING", "ABNORMAL"]
    told = control.call("GET", f"/v2/projects/{project}/alerts")["alerts"]
    assert not [it for it in told if it["subject"] == second.id]


def test_tenants_hold_keys_of_their_own_and_one_revocation_darkens_one_database(control, kms):
    project = control.create_project()
    arns = [kms.create_key() for _ in range(4)]
    ids = [add_key(control, project, arn) for arn in arns[:3]]
    cluster = control.create_cluster(project, arns[0])
    admin = cluster.client()
    for name, arn in (("a", arns[1]), ("b", arns[2])):
        admin.create_database(name, properties={"cipher.enabled": "true", "cipher.key": arn})
    with pytest.raises(Exception, match="key"):
        admin.create_database("c", properties={"cipher.key": arns[3]})
    a, b = (cluster.client(db_name=name) for name in "ab")
    for client in (admin, a, b):
        fill(client)
    for key_id in ids[1:]:
        control.wait_for("the key to be in use", lambda key_id=key_id: key(control, project, key_id)["clusters"])
        assert control.refused("DELETE", f"/v2/projects/{project}/cmek/keys/{key_id}").status == 409
    kms.disable(arns[1])
    shown = control.wait_for("the zone to be told as sealed", lambda: cluster.describe().get("statusReason"))
    assert cluster.describe()["status"] == "RUNNING" and arns[1] in shown and "disabled" in shown
    assert is_dark(cluster, database="a")
    assert count(b) == 20 and count(admin) == 20
    assert len(alerts_of(control, project, cluster, 1)) == 1
    # What lies under a key that is refused uses it all the same, also after a restart.
    kill_node(cluster)
    cluster.wait_for_status("RUNNING")
    time.sleep(1)
    assert control.refused("DELETE", f"/v2/projects/{project}/cmek/keys/{ids[1]}").status == 409
    kms.enable(arns[1])
    control.wait_for("the zone to be open", lambda: "statusReason" not in cluster.describe())
    a = cluster.client(db_name="a")
    assert count(a) == 20
    a.drop_collection("rows")
    cluster.client().drop_database("a")
    control.wait_for("the key to be free", lambda: not key(control, project, ids[1])["clusters"])
    control.call("DELETE", f"/v2/projects/{project}/cmek/keys/{ids[1]}")


def test_a_keys_owner_says_which_clusters_may_use_it(control, kms):
    project, arns = control.create_project(), [kms.create_key() for _ in range(2)]
    first, tenant = (add_key(control, project, arn) for arn in arns)
    cluster = control.create_cluster(project, arns[0])
    path = f"/v2/projects/{project}/cmek/keys/{tenant}"
    control.call("PATCH", path, {"allow": {"clusters": [], "databases": []}})
    body = {"clusterName": "y", "projectId": project, "regionId": "local-dev", "cuType": "Performance-optimized"}
    refused = control.refused("POST", "/v2/clusters/createDedicated", {**body, "cuSize": 1, "keyIdentifier": arns[1]})
    assert refused.status == 403 and "allow" in refused.message
    # A node heeds what its key's owner forbids at its next start.
    kill_node(cluster)
    cluster.wait_for_status("RUNNING")
    with pytest.raises(Exception, match="key"):
        cluster.client().create_database("t", properties={"cipher.key": arns[1]})
    control.call("PATCH", path, {"allow": {"clusters": [], "databases": [cluster.id]}})
    cluster.client().create_database("t", properties={"cipher.key": arns[1]})
    assert first


def test_nodes_outlive_the_control_plane_and_are_taken_over(control, kms):
    project, arn = control.create_project(), kms.create_key()
    add_key(control, project, arn)
    cluster, other = control.create_cluster(project, arn), control.create_cluster(project, arn, "suspended")
    other.do("suspend")
    client = cluster.client()
    fill(client)
    pid, before = cluster.pid, cluster.describe()
    control.kill()
    assert count(client) == 20, "a node needs no control plane to serve"
    began = time.monotonic()
    control.start()
    shown = cluster.describe()
    late = time.monotonic() - began >= BETWEEN
    assert late or shown | {"zones": []} == before | {"zones": []}, "a restart changes nothing that is shown"
    control.wait_for("the node to report", lambda: cluster.describe() == before)
    assert cluster.pid == pid
    assert other.describe()["status"] == "SUSPENDED" and other.pid is None
    took = []

    def serves_again(since: float) -> None:
        cluster.wait_for_status("RUNNING")
        assert count(cluster.client()) == 20
        control.wait_for("the node to report", lambda: cluster.describe()["zones"])
        took.append(time.monotonic() - since)

    # A node that is killed comes back by itself, and so do both.
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    control.wait_for("another process", lambda: cluster.pid not in (None, pid))
    serves_again(began)
    began = time.monotonic()
    control.kill()
    control.kill_nodes()
    control.start()
    serves_again(began)
    # SIGTERM ends all of it.
    began = time.monotonic()
    control.stop()
    assert control.node_processes() == {}
    control.start()
    serves_again(began)
    other.do("resume")
    other.wait_for_status("RUNNING")
    assert control.refused("POST", f"{other.path}/resume").status == 409
    told = control.call("GET", f"/v2/projects/{project}/alerts")["alerts"]
    assert not told or max(took) >= STARTING, f"a restart is no news: {told}"


def test_a_seal_by_hand_darkens_within_the_call_and_outlives_every_restart(control, kms):
    project, arn = control.create_project(), kms.create_key()
    add_key(control, project, arn)
    cluster = control.create_cluster(project, arn)
    client = cluster.client()
    fill(client)
    admin = control.create_api_key("ProjectAdmin", project)
    custodian = control.create_api_key("KeyCustodian", project)
    assert control.refused("POST", f"{cluster.path}/seal", token=admin).status == 403
    # The key is out of reach at that moment: sealing asks nobody.
    with kms.cut_off():
        shown = control.call("POST", f"{cluster.path}/seal", token=custodian)
        assert shown["status"] == "ABNORMAL" and shown["sealed"] and cluster.answer()[0] != 200
        # A node that did not say so in time was killed, and the next one says so once it is there.
        control.wait_for("it to say so", lambda: "by hand" in cluster.describe().get("statusReason", ""))
        assert is_dark(cluster)
        # Nor does ending the seal: the cluster opens once its key is proven.
        control.call("POST", f"{cluster.path}/unseal", token=custodian)
        control.wait_for("KMS to be asked", lambda: "by hand" not in cluster.describe()["statusReason"])
        assert is_dark(cluster) and not cluster.describe()["sealed"]
    cluster.wait_for_status("RUNNING")
    assert count(cluster.client()) == 20
    control.call("POST", f"{cluster.path}/seal", token=custodian)
    control.kill()
    control.kill_nodes()
    control.start()
    control.wait_for("the node", lambda: "by hand" in cluster.describe().get("statusReason", ""))
    time.sleep(3)
    assert cluster.describe()["status"] == "ABNORMAL", "its key is there, and nobody has unsealed it"
    control.call("POST", f"{cluster.path}/unseal", token=custodian)
    cluster.wait_for_status("RUNNING")
    assert count(cluster.client()) == 20


def test_a_seal_by_hand_is_dark_when_it_answers_even_where_the_node_hangs(control, kms):
    project, arn = control.create_project(), kms.create_key()
    add_key(control, project, arn)
    cluster = control.create_cluster(project, arn)
    fill(cluster.client())
    pid = cluster.pid
    os.kill(pid, signal.SIGSTOP)
    control.call("POST", f"{cluster.path}/seal")
    assert cluster.pid != pid, "that process has the key"
    control.wait_for("it to say so", lambda: "by hand" in cluster.describe().get("statusReason", ""))
    assert is_dark(cluster)
    cluster.do("unseal")
    cluster.wait_for_status("RUNNING")
    assert count(cluster.client()) == 20


def test_after_a_revocation_a_cluster_waits_for_a_person_where_its_keys_owner_wants_one(control, kms):
    project, arn = control.create_project(), kms.create_key()
    key_id = add_key(control, project, arn)
    cluster = control.create_cluster(project, arn)
    fill(cluster.client())
    control.call("PATCH", f"/v2/projects/{project}/cmek/keys/{key_id}", {"recovery": "manual"})
    kms.disable(arn)
    cluster.wait_for_status("ABNORMAL")
    control.wait_for("it to wait", lambda: cluster.describe()["sealed"])
    kms.enable(arn)
    # Also for a process that has never heard of the revocation.
    control.kill()
    control.kill_nodes()
    control.start()
    control.wait_for("a process", lambda: cluster.pid)
    time.sleep(4)
    assert cluster.describe()["status"] == "ABNORMAL" and cluster.describe()["sealed"]
    cluster.do("unseal")
    cluster.wait_for_status("RUNNING")
    assert count(cluster.client()) == 20


@pytest.mark.long
def test_a_tenants_database_waits_for_a_person_where_its_keys_owner_wants_one(control, kms):
    project, arn, tenant = control.create_project(), kms.create_key(), kms.create_key()
    key_id = add_key(control, project, arn)
    tenant_id = add_key(control, project, tenant)
    control.call("PATCH", f"/v2/projects/{project}/cmek/keys/{tenant_id}", {"recovery": "manual"})
    cluster = control.create_cluster(project, arn)
    admin = cluster.client()
    admin.create_database("tenant", properties={"cipher.key": tenant})
    fill(admin)
    fill(cluster.client(db_name="tenant"))
    kms.disable(tenant)
    control.wait_for("the zone to be told as sealed", lambda: tenant in cluster.describe().get("statusReason", ""))
    kms.enable(tenant)

    def waits():
        wait_for_two_checks(control, project, key_id, cluster)
        shown = cluster.describe()
        assert shown["status"] == "RUNNING" and is_dark(cluster, database="tenant")
        [zone] = [it for it in shown["zones"] if it["keyArn"] == tenant]
        assert zone["state"] == "SEALED" and "disabled" in zone["reason"] and "unseals" in zone["reason"], zone
        assert count(cluster.client()) == 20, "the others serve"

    waits()
    # Also a process that has never heard of the revocation: the key is there, and its owner wants a person.
    kill_node(cluster)
    cluster.wait_for_status("RUNNING")
    waits()
    # Also after the whole cluster was dark, and is back by itself.
    kms.disable(arn)
    cluster.wait_for_status("ABNORMAL")
    kms.enable(arn)
    cluster.wait_for_status("RUNNING")
    waits()
    control.kill()
    control.kill_nodes()
    control.start()
    cluster.wait_for_status("RUNNING")
    waits()
    cluster.do("unseal")
    control.wait_for("the zone to be open", lambda: not is_dark(cluster, database="tenant"))
    assert count(cluster.client(db_name="tenant")) == 20
    # It waits no more.
    control.wait_for("that to be told", lambda: "statusReason" not in cluster.describe())
    kill_node(cluster)
    cluster.wait_for_status("RUNNING")
    control.wait_for("the zone to be open", lambda: not is_dark(cluster, database="tenant"))
    # Also where no process is there to hear of it.
    kms.disable(tenant)
    control.wait_for("the zone to be told as sealed", lambda: "unseals" in cluster.describe().get("statusReason", ""))
    kms.enable(tenant)
    cluster.do("suspend")
    cluster.do("unseal")
    cluster.do("resume")
    cluster.wait_for_status("RUNNING")
    control.wait_for("the zone to be open", lambda: not is_dark(cluster, database="tenant"))


def test_who_does_not_show_a_clusters_token_is_told_nothing(control, kms):
    project, arn = control.create_project(), kms.create_key()
    add_key(control, project, arn)
    cluster = control.create_cluster(project, arn)
    link = control.data_dir / "link"
    assert stat.S_IMODE(link.stat().st_mode) == 0o700
    directory = os.open(link, os.O_PATH)
    for name, token in [(cluster.id, "00" * 32), (cluster.id, ""), ("in01-none", "00" * 32)]:
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.settimeout(30)
            # Short enough for a socket's path, however deep the directory is.
            stranger.connect(f"/proc/self/fd/{directory}/control.sock")
            hello = json.dumps({"hello": {"cluster": name, "token": token}}).encode()
            stranger.sendall(len(hello).to_bytes(4, "big") + hello)
            assert stranger.recv(1) == b"", "neither configuration nor error"
    os.close(directory)
    control.wait_for("that to be noted", lambda: control.output().count("was turned away") == 3)
    assert cluster.describe()["status"] == "RUNNING"


@pytest.mark.long
def test_a_node_that_keeps_silent_is_replaced_but_never_while_its_key_gives_no_answer(control, kms):
    project, arn = control.create_project(), kms.create_key()
    key_id = add_key(control, project, arn)
    cluster = control.create_cluster(project, arn)
    fill(cluster.client())
    pid = cluster.pid
    with kms.cut_off():
        control.wait_for("the key to be UNREACHABLE", lambda: key(control, project, key_id)["status"] == "UNREACHABLE")
        os.kill(pid, signal.SIGSTOP)
        # It may keep silent for 45 s.
        control.wait_for("that to be noticed", lambda: "left alone" in control.output())
        assert cluster.pid == pid, "to kill it would forfeit the grace"
    control.wait_for("another process", lambda: cluster.pid not in (pid, None))
    cluster.wait_for_status("RUNNING")
    assert count(cluster.client()) == 20


def test_the_figures_tell_of_keys_and_clusters_by_their_ids(control, kms):
    project, arn = control.create_project("named-project"), kms.create_key()
    key_id = add_key(control, project, arn, name="named-key")
    cluster = control.create_cluster(project, arn, "named-cluster")

    def figures() -> dict[str, float]:
        status, headers, text = control.raw("GET", "/metrics", token=None)
        assert status == 200 and headers["content-type"].startswith("text/plain"), text
        assert b"named" not in text
        lines = [line.rsplit(" ", 1) for line in text.decode().splitlines() if not line.startswith("#")]
        return {name.removeprefix("custody_control_"): float(value) for name, value in lines}

    now = figures()
    assert now['keys{status="AVAILABLE"}'] == 1 and now['keys{status="REVOKED"}'] == 0
    assert now['clusters{status="RUNNING"}'] == 1 and now[f'cluster_running{{cluster="{cluster.id}"}}'] == 1
    assert now[f'cluster_zones{{cluster="{cluster.id}",state="AVAILABLE"}}'] >= 1
    assert now[f'node_starts_total{{cluster="{cluster.id}"}}'] == 1
    assert abs(now[f'key_last_success_timestamp_seconds{{key="{key_id}"}}'] - time.time()) < 60
    assert now['requests_total{status="200"}'] > 0 and now["alert_deliveries_waiting"] == 0
    decrypts = 'kms_calls_total{action="kms:Decrypt",outcome="ok"}'
    control.wait_for("more calls", lambda: figures()[decrypts] > now[decrypts])
    kms.disable(arn)
    control.wait_for("the key to be counted as revoked", lambda: figures()['keys{status="REVOKED"}'] == 1)
    control.wait_for("the cluster to be counted", lambda: figures()[f'cluster_running{{cluster="{cluster.id}"}}'] == 0)
    os.kill(cluster.pid, signal.SIGKILL)
    control.wait_for("another start", lambda: figures()[f'node_starts_total{{cluster="{cluster.id}"}}'] == 2)


def test_from_elsewhere_the_figures_need_a_key_that_sees_every_project(make_control):
    address = own_address()
    if address is None:
        pytest.skip("this machine has no address but loopback's; rest/metrics.rs tests who is asked for a key")
    control = make_control(arguments=("--listen", f"0.0.0.0:{free_port()}", "--insecure")).start_at(address)
    project = control.create_project(plan="Standard")
    assert control.raw("GET", "/metrics", token=None)[0] == 401
    assert control.raw("GET", "/metrics", token="custody_wrong")[0] == 401
    assert control.refused("GET", "/metrics", token=control.create_api_key("ProjectAdmin", project)).status == 403
    status, _, text = control.raw("GET", "/metrics", token=control.create_api_key("ProjectReadOnly"))
    assert status == 200 and b"custody_control_keys" in text


def test_a_drop_waits_and_can_be_taken_back(control, kms):
    project, arn = control.create_project(), kms.create_key()
    add_key(control, project, arn)
    cluster = control.create_cluster(project, arn)
    client = cluster.client()
    fill(client)
    for days in (-1, 31):
        assert control.refused("DELETE", f"{cluster.path}/drop?waitDays={days}").status == 400
    dropped = cluster.drop()
    job = control.call("GET", f"/v2/jobs/{dropped['jobId']}")
    assert job["status"] == "PENDING" and dropped["dropTime"][:10] == time.strftime(
        "%Y-%m-%d", time.gmtime(time.time() + 7 * 86_400)
    )
    assert cluster.describe()["status"] == "DELETING"
    control.wait_for("its process to end", lambda: cluster.pid is None)
    assert cluster.answer() == (0, "nothing listens")
    keyrings = list(cluster.storage.rglob("keyring/*"))
    assert keyrings, "the keyrings are kept meanwhile"
    assert control.refused("DELETE", f"{cluster.path}/drop").status == 409
    control.kill()
    control.start()
    assert cluster.describe()["status"] == "DELETING" and cluster.pid is None
    cluster.do("undrop")
    cluster.wait_for_status("RUNNING")
    assert control.job(dropped["jobId"], "CANCELED")
    assert count(cluster.client()) == 20 and list(cluster.storage.rglob("keyring/*")) == keyrings
    assert control.refused("POST", f"{cluster.path}/undrop").status == 409


def test_api_keys_open_the_clusters_of_their_projects_as_far_as_their_roles_go(control, kms):
    project, other = control.create_project(), control.create_project("other")
    arn = kms.create_key()
    add_key(control, project, arn)
    cluster = control.create_cluster(project, arn)
    fill(cluster.client())
    reader, writer = (control.create_api_key(role, project) for role in ("ProjectReadOnly", "ProjectReadWrite"))
    assert count(cluster.client(token=reader)) == 20
    with pytest.raises(Exception, match="(?i)permission|denied|read"):
        cluster.client(token=reader).insert("rows", [{"id": 99, "vector": [0, 0, 0, 1]}])
    cluster.client(token=writer).insert("rows", [{"id": 99, "vector": [0, 0, 0, 1]}])
    with pytest.raises(Exception, match="(?i)permission|denied|may"):
        cluster.client(token=writer).create_user("eve", "a-password-of-eve")
    # A database under a tenant's key keeps that key from being deleted: who may write rows has no say in it.
    tenant = kms.create_key()
    tenant_id = add_key(control, project, tenant)
    with pytest.raises(Exception, match="cipher.key"):
        cluster.client(token=writer).create_database("t", properties={"cipher.key": tenant})
    cluster.client(token=writer).create_database("plain")
    control.call("DELETE", f"/v2/projects/{project}/cmek/keys/{tenant_id}")
    tenant_id = add_key(control, project, tenant)
    admin = control.create_api_key("ProjectAdmin", project)
    cluster.client(token=admin).create_database("t", properties={"cipher.key": tenant})
    control.wait_for("the key to be in use", lambda: key(control, project, tenant_id)["clusters"])
    for stranger in (control.create_api_key("KeyCustodian", project), control.create_api_key("ProjectAdmin", other)):
        with pytest.raises(Exception, match="(?i)auth|Fail connecting"):
            count(cluster.client(token=stranger))
    assert count(cluster.client()) == 21


def test_the_control_planes_files_hold_no_name_of_what_a_cluster_holds(control, kms):
    project, arn = control.create_project(), kms.create_key()
    add_key(control, project, arn)
    cluster = control.create_cluster(project, arn)
    client = cluster.client()
    client.create_database("secret_database_name")
    fill(cluster.client(db_name="secret_database_name"), name="secret_collection_name")
    kms.disable(arn)
    cluster.wait_for_status("ABNORMAL")
    control.stop()
    for file in control.data_dir.rglob("*"):
        if file.is_file():
            text = file.read_bytes()
            assert b"secret_database_name" not in text and b"secret_collection_name" not in text, file
    shown = json.dumps(control.output())
    assert "secret_database_name" not in shown


def test_a_storage_that_was_rolled_back_is_refused_until_somebody_takes_the_loss(control, kms):
    project, arn = control.create_project(), kms.create_key()
    add_key(control, project, arn)
    cluster = control.create_cluster(project, arn)
    client = cluster.client()
    fill(client, 10)
    client.flush("rows")

    def write_more():
        client = cluster.client()
        for number in range(10, 30):
            client.insert("rows", [{"id": number, "vector": [number, 0, 0, 1]}])
        assert count(client) == 30

    roll_back(cluster, write_more)
    control.wait_for("the rollback to be told", lambda: "rolled back" in cluster.describe().get("statusReason", ""))
    shown = cluster.describe()
    assert shown["status"] == "ABNORMAL" and "openBelowAnchor" in shown["statusReason"] and shown["rolledBack"]
    assert is_dark(cluster)
    reader = control.create_api_key("ProjectReadOnly", project)
    assert control.refused("POST", f"{cluster.path}/openBelowAnchor", token=reader).status == 403
    cluster.do("openBelowAnchor")
    control.wait_for("it to serve", lambda: cluster.answer()[0] == 200)
    assert count(cluster.client()) == 10
    assert "cluster.openBelowAnchor" in [it["action"] for it in control.call("GET", f"/v2/projects/{project}/activities")]
    control.wait_for("nothing more to be told", lambda: "statusReason" not in cluster.describe())
    assert not cluster.describe()["rolledBack"]
    assert control.refused("POST", f"{cluster.path}/openBelowAnchor").status == 409


def test_tenants_keys_do_not_count_among_a_projects_keys(make_control, make_local_kms):
    control = make_control(arguments=("--key-limit", "1")).start()
    kms, project = make_local_kms(control), control.create_project()
    add_key(control, project, kms.create_key())
    body = {"provider": "local", "regionId": "local-dev", "keyArn": kms.create_key()}
    path = f"/v2/projects/{project}/cmek/keys"
    refused = control.refused("POST", path, body)
    assert refused.status == 409 and "Tenants' keys" in refused.message
    tenant = add_key(control, project, body["keyArn"], allow={"clusters": [], "databases": ["*"]})
    add_key(control, project, kms.create_key(), allow={"clusters": [], "databases": ["*"]})
    everything = {"allow": {"clusters": ["*"], "databases": ["*"]}}
    assert control.refused("PATCH", f"{path}/{tenant}", everything).status == 409, "that would be a second one"
    assert len(control.call("GET", path)["keys"]) == 3


def test_a_cluster_on_grace_is_not_stopped_by_the_way(control, kms):
    project, arn = control.create_project(), kms.create_key()
    key_id = add_key(control, project, arn)
    cluster = control.create_cluster(project, arn)
    client = cluster.client()
    fill(client)
    pid = cluster.pid
    with kms.cut_off():
        control.wait_for("the key to be UNREACHABLE", lambda: key(control, project, key_id)["status"] == "UNREACHABLE")
        shown = control.wait_for("grace to be told", lambda: cluster.describe().get("statusReason"))
        assert cluster.describe()["status"] == "RUNNING" and "grace" in shown
        refused = control.refused("POST", f"{cluster.path}/suspend")
        assert refused.status == 409 and "forfeit" in refused.message
        # Another control plane takes the process over as it is.
        control.kill()
        control.start()
        assert count(client) == 20 and cluster.pid == pid
        control.call("POST", f"{cluster.path}/suspend?force=true")
        assert cluster.pid is None
        cluster.do("resume")
        control.wait_for("it to be sealed", lambda: cluster.answer()[0] == 503)
    cluster.wait_for_status("RUNNING")
    assert count(cluster.client()) == 20


@pytest.mark.skipif(os.geteuid() != 0, reason="every test here runs as who is not root already")
def test_nodes_of_who_is_not_root_are_taken_over_too():
    """Found again by its command line and ended by a signal: both have to be allowed, of a process that can't be dumped."""
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        home = pathlib.Path(place)
        program = home / "custody"
        shutil.copy(binary(), program)
        control = Control(home / "control")
        control.command[0] = str(program)
        control.user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        control.data_dir.mkdir()
        arn = LocalKms(control.data_dir).create_key()
        for file in (home, *home.rglob("*")):
            os.chown(file, NOBODY, NOBODY)
        try:
            control.start()
            project = control.create_project()
            add_key(control, project, arn)
            cluster = control.create_cluster(project, arn)
            fill(cluster.client())
            pid = cluster.pid
            assert f"\t{NOBODY}\t" in pathlib.Path(f"/proc/{pid}/status").read_text()
            control.kill()
            control.start()
            control.wait_for("the node to report", lambda: cluster.describe()["zones"])
            assert cluster.pid == pid and count(cluster.client()) == 20
            cluster.do("suspend")
            assert cluster.pid is None
            control.stop()
        finally:
            control.end()
