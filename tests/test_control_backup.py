"""Backups of the control plane's clusters: made while rows are written, restored under the same key, another and none, deleted
without harm to the others; what is refused, and what a crash leaves."""

import contextlib
import datetime
import json
import os
import random
import signal
import sqlite3
import threading
import time

import pytest

from helpers.backups import Backup, ask_backup, back_up, backups, object_names, objects, storage_of
from helpers.clusters import add_key, count, fill, kill_node
from helpers.control import Refused
from helpers.node import contents
from helpers.zilliz import ZillizCloud

CANARY = "canary_of_the_backups"


@pytest.fixture
def control(make_control):
    return make_control().start()


@pytest.fixture
def kms(control, make_local_kms):
    return make_local_kms(control)


@pytest.fixture
def project(control) -> str:
    return control.create_project()


def key_of(control, kms, project: str, **more) -> tuple[str, str]:
    """A new key of a project: its ARN and its id."""
    arn = kms.create_key()
    return arn, add_key(control, project, arn, **more)


def rows(client, name: str = "rows") -> list[dict]:
    return sorted(client.query(name, filter="id >= 0", output_fields=["*"], limit=10_000), key=lambda row: row["id"])


def activities(control, project: str) -> list[str]:
    return [it["action"] for it in control.call("GET", f"/v2/projects/{project}/activities?limit=1000")]


def alerts(control, project: str, kind: str) -> list[dict]:
    return [it for it in control.call("GET", f"/v2/projects/{project}/alerts")["alerts"] if it["kind"] == kind]


def names_nothing(control, *names: str) -> bool:
    """Whether none of these names is in the control plane's database or its log."""
    files = [*control.data_dir.glob("control.db*"), control.log_file]
    return not [name for name in names for file in files if name.encode() in file.read_bytes()]


@pytest.mark.parametrize(("before", "after"), [("own", "own"), ("own", "another"), ("own", None), (None, "own"), (None, None)])
def test_what_was_acknowledged_before_the_backup_is_in_the_restored_cluster(control, kms, project, before, after):
    keys = {"own": key_of(control, kms, project)[0], "another": key_of(control, kms, project)[0], None: None}
    cluster = control.create_cluster(project, keys[before])
    client = cluster.client()
    fill(client, 200)
    client.delete("rows", ids=[3, 5])
    client.create_alias("rows", "also")
    client.create_user("ann", "correct-horse")
    stop = threading.Event()

    def write():
        writer = cluster.client()
        number = 10_000
        while not stop.is_set():
            writer.insert("rows", [{"id": number, "vector": [number, 1, 1, 1]}])
            number += 1

    writing = threading.Thread(target=write)
    writing.start()
    try:
        acknowledged = [row for row in rows(client) if row["id"] < 10_000]
        backup = back_up(cluster)
    finally:
        stop.set()
        writing.join()
    told = backup.describe()
    assert told["encrypted"] == (before is not None) and told.get("keyIdentifier") == keys[before]
    assert (told["creationMethod"], told["backupType"], told["omittedZones"]) == ("MANUAL", "CLUSTER", [])
    assert 0 < told["copied"] <= told["size"] and told["objects"] > 0
    restored = backup.restore(project, keys[after])
    assert restored.describe().get("keyIdentifier") == keys[after]
    again = restored.client()
    found = [row for row in rows(again) if row["id"] < 10_000]
    assert [row["id"] for row in found] == [row["id"] for row in acknowledged]
    assert [list(row["vector"]) for row in found] == [list(row["vector"]) for row in acknowledged], "equal to the bit"
    search = {"data": [[7, 0, 0, 1]], "limit": 5, "filter": "id < 10000"}
    assert again.search("rows", **search) == client.search("rows", **search)
    assert again.list_aliases("rows")["aliases"] == ["also"]
    assert "ann" in again.list_users()
    if after == "another":
        # The new cluster has nothing of the old key.
        control.kill_nodes()
        kms.disable(keys["own"])
        restored.wait_for_status("RUNNING")
        assert count(restored.client()) >= 198


def test_a_backup_is_ciphertext_and_names_stand_nowhere(control, kms, project):
    arn, _ = key_of(control, kms, project)
    cluster = control.create_cluster(project, arn)
    client = cluster.client()
    client.create_collection(CANARY, dimension=4, metric_type="L2")
    client.insert(CANARY, [{"id": 1, "vector": [1, 2, 3, 4], "text": f"{CANARY}-value"}])
    backup = back_up(cluster)
    found = objects(cluster)
    assert f"{backup.id}/zones/{'0' * 32}/backups/{backup.id}.json" in found
    assert not [path for path, text in found.items() if CANARY.encode() in text or CANARY in path]
    restored = backup.restore(project, arn, "restored")
    files = contents(restored.storage)
    assert files and not [path for path, text in files.items() if CANARY.encode() in text]
    only = [{"dbName": "", "collectionNames": [CANARY]}]
    chosen = back_up(cluster, backupType="COLLECTION", dbCollections=only)
    assert chosen.describe()["backupType"] == "COLLECTION"
    missing = ask_backup(cluster, backupType="COLLECTION", dbCollections=[{"collectionNames": [f"{CANARY}-none"]}])
    job = control.job(missing.asked["jobId"], "FAILED")
    assert job["message"] and missing.id not in [it["backupId"] for it in backups(control)]
    assert names_nothing(control, CANARY)


def test_what_an_earlier_backup_has_is_not_copied_again_and_stays_as_long_as_it_is_needed(control, kms, project):
    arn, _ = key_of(control, kms, project)
    cluster = control.create_cluster(project, arn)
    client = cluster.client()
    fill(client, 2_000)
    client.flush("rows")
    first = back_up(cluster)
    second = back_up(cluster)
    assert second.describe()["copied"] < first.describe()["copied"] / 2
    assert [it["backupId"] for it in backups(control, clusterId=cluster.id)] == [second.id, first.id]
    first.delete()
    assert not (storage_of(cluster) / first.id).exists()
    assert count(second.restore(project, arn).client()) == 2_000
    second.delete()
    assert objects(cluster) == {} and not storage_of(cluster).exists()
    assert control.refused("GET", second.path).status == 404
    assert activities(control, project).count("backup.deleted") == 2


def test_collections_come_into_a_cluster_that_there_is(control, kms, project):
    arn, _ = key_of(control, kms, project)
    cluster, other = control.create_cluster(project, arn), control.create_cluster(project, None, "other")
    fill(cluster.client(), 30)
    fill(cluster.client(), 40, "more")
    fill(other.client(), 5)
    backup = back_up(cluster)
    renamed = [{"collectionName": "rows", "destCollectionName": "back", "destCollectionStatus": "LOADED"}]
    path = f"{backup.path}/restoreCollection"
    body = {"destClusterId": other.id, "dbCollections": [{"collections": renamed}]}
    control.job(control.call("POST", path, body)["jobId"], "SUCCESSFUL")
    client = other.client()
    assert sorted(client.list_collections()) == ["back", "rows"] and count(client, "back") == 30
    assert len(alerts(control, project, "decryptedRestore")) == 1
    # What is there is not overwritten.
    job = control.call("POST", path, {"destClusterId": other.id})["jobId"]
    assert control.job(job, "FAILED")["message"]
    assert sorted(client.list_collections()) == ["back", "rows"] and count(client) == 5
    assert control.refused("POST", path, {"destClusterId": other.id, "dbCollections": [{"dbName": "x"}]}).status == 400


def test_a_backup_outlives_its_cluster_and_says_so(control, kms, project):
    arn, key = key_of(control, kms, project)
    cluster = control.create_cluster(project, arn)
    fill(cluster.client())
    backup = back_up(cluster, backupName="before it goes")
    receipt = control.job(cluster.drop(0)["jobId"], "SUCCESSFUL")["receipt"]
    assert backup.id in json.dumps(receipt["couldStillOpenTheData"])
    told = backup.describe()
    assert (told["status"], told["backupName"], told["clusterName"]) == ("AVAILABLE", "before it goes", "cluster")
    refused = control.refused("DELETE", f"/v2/projects/{project}/cmek/keys/{key}")
    assert refused.status == 409 and backup.id in refused.message
    assert control.refused("DELETE", f"/v2/projects/{project}").status == 409
    assert count(backup.restore(project, arn).client()) == 20


def test_the_key_of_a_backup_has_to_be_available_to_restore_it_but_not_to_delete_it(control, kms, project):
    arn, key = key_of(control, kms, project)
    another, _ = key_of(control, kms, project)
    cluster = control.create_cluster(project, arn)
    fill(cluster.client())
    backup = back_up(cluster)
    kms.disable(arn)
    control.wait_for(
        "the key to be revoked",
        lambda: control.call("GET", f"/v2/projects/{project}/cmek/keys/{key}")["status"] == "REVOKED",
    )
    refused = backup.refused(project, another)
    assert refused.status == 409 and arn in refused.message
    assert [it["clusterId"] for it in control.clusters()] == [cluster.id]
    kms.enable(arn)
    control.call("POST", f"/v2/projects/{project}/cmek/keys/{key}/check")
    assert count(backup.restore(project, another).client()) == 20
    kms.disable(arn)
    backup.delete()
    assert objects(cluster) == {}


def test_a_key_that_only_backups_need_goes_if_they_are_named(control, kms, project):
    arn, key = key_of(control, kms, project)
    cluster = control.create_cluster(project, arn)
    fill(cluster.client())
    first, second = back_up(cluster), back_up(cluster)
    path = f"/v2/projects/{project}/cmek/keys/{key}"
    assert sorted(control.call("GET", path)["backups"]) == sorted([first.id, second.id])
    assert "clusters" in control.refused("DELETE", f"{path}?force={first.id},{second.id}").message
    control.job(cluster.drop(0)["jobId"], "SUCCESSFUL")
    for force in ("", f"?force={first.id}", f"?force={first.id},{second.id},backup-none", "?force=*"):
        refused = control.refused("DELETE", path + force)
        assert refused.status == 409 and first.id in refused.message and second.id in refused.message
    control.call("DELETE", f"{path}?force={second.id},{first.id}")
    assert len(backups(control)) == 2
    second.delete()


def test_a_restore_without_encryption_can_be_forbidden_and_is_always_told(control, kms, project):
    arn, _ = key_of(control, kms, project)
    cluster = control.create_cluster(project, arn)
    fill(cluster.client())
    backup = back_up(cluster)
    path = f"/v2/projects/{project}/decryptedRestore"
    admin, custodian = (control.create_api_key(role, project) for role in ("ProjectAdmin", "KeyCustodian"))
    assert control.refused("PATCH", path, {"decryptedRestore": "deny"}, token=admin).status == 403
    control.call("PATCH", path, {"decryptedRestore": "deny"}, token=custodian)
    assert control.call("GET", f"/v2/projects/{project}")["decryptedRestore"] == "deny"
    assert backup.refused(project).status == 403
    plain = control.create_cluster(project, None, "plain")
    into = control.refused("POST", f"{backup.path}/restoreCollection", {"destClusterId": plain.id})
    assert into.status == 403 and alerts(control, project, "decryptedRestore") == []
    control.call("PATCH", path, {"decryptedRestore": "allow"}, token=custodian)
    # An empty variable of a script does not ask for it.
    for empty in ("", " "):
        body = {**backup.body(project, None, "empty"), "keyIdentifier": empty}
        refused = control.refused("POST", f"{backup.path}/restoreCluster", body)
        assert refused.status == 400 and "no key of this project" in refused.message
    assert alerts(control, project, "decryptedRestore") == []
    restored = backup.restore(project)
    told = alerts(control, project, "decryptedRestore")
    assert len(told) == 1 and restored.id in told[0]["message"] and told[0]["subject"] == backup.id
    assert "project.decryptedRestore" in activities(control, project)


def test_a_restore_into_another_project_takes_rights_in_both(control, kms, project):
    arn, _ = key_of(control, kms, project)
    cluster = control.create_cluster(project, arn)
    fill(cluster.client())
    backup = back_up(cluster)
    other = control.create_project("other")
    theirs, _ = key_of(control, kms, other)
    for place in (project, other):
        admin = control.create_api_key("ProjectAdmin", place)
        assert backup.refused(other, theirs, token=admin).status == 404
    assert "no key of this project" in backup.refused(other, arn).message
    assert count(backup.restore(other, theirs).client()) == 20


def test_who_reads_lists_and_changes_nothing(control, kms, project):
    cluster = control.create_cluster(project, key_of(control, kms, project)[0])
    backup = back_up(cluster)
    for role in ("ProjectReadOnly", "ProjectReadWrite", "KeyCustodian"):
        token = control.create_api_key(role, project)
        assert len(control.call("GET", "/v2/backups", token=token)["backups"]) == 1
        assert control.call("GET", f"{cluster.path}/backups/policy", token=token)["enabled"] is False
        for method, path, body in [
            ("POST", f"{cluster.path}/backups/create", {"backupType": "CLUSTER"}),
            ("POST", f"{cluster.path}/backups/policy", {"enabled": False}),
            ("DELETE", backup.path, None),
            ("POST", f"{backup.path}/restoreCluster", backup.body(project, None, "mine")),
            ("POST", f"/v2/jobs/{backup.asked['jobId']}/cancel", None),
        ]:
            assert control.refused(method, path, body, token=token).status == 403, (role, path)


def test_a_backup_that_is_canceled_leaves_nothing(control, kms, project):
    cluster = control.create_cluster(project, key_of(control, kms, project)[0])
    fill(cluster.client(), 5_000)
    backup, waiting = ask_backup(cluster), ask_backup(cluster)

    def ended(it: Backup) -> str | None:
        """How its job ended, if it has."""
        status = control.call("GET", f"/v2/jobs/{it.asked['jobId']}")["status"]
        return status if status in ("CANCELED", "SUCCESSFUL") else None

    def cancel(it: Backup) -> None:
        try:
            canceled = control.call("POST", f"/v2/jobs/{it.asked['jobId']}/cancel")
            assert canceled["jobId"] == it.asked["jobId"]
        except Refused as refused:
            # It was done before it was told.
            assert refused.status == 409 and ended(it) == "SUCCESSFUL", refused

    cancel(waiting)
    # One is made at a time: as long as the first is, the second has not begun, and is canceled with the call.
    assert ended(backup) or ended(waiting) == "CANCELED"
    cancel(backup)
    for it in (waiting, backup):
        if control.wait_for("the job to end", lambda it=it: ended(it)) == "SUCCESSFUL":
            it.delete()
    assert backups(control) == [] and objects(cluster) == {}
    assert control.refused("POST", f"/v2/jobs/{backup.asked['jobId']}/cancel").status == 409


@pytest.mark.long
@pytest.mark.parametrize("who", ["node", "control"])
def test_a_backup_goes_on_or_leaves_nothing_where_something_is_killed(control, kms, project, who):
    cluster = control.create_cluster(project, key_of(control, kms, project)[0])
    fill(cluster.client(), 5_000)
    for after in (0, 0.05, 0.2, 0.5):
        cluster.wait_for_status("RUNNING")
        backup = ask_backup(cluster)
        time.sleep(after)
        if who == "node":
            kill_node(cluster)
        else:
            control.kill()
            control.start()

        def ended(job=backup.asked["jobId"]):
            told = control.call("GET", f"/v2/jobs/{job}")["status"]
            return told if told in ("SUCCESSFUL", "FAILED") else None

        if control.wait_for("the job to end", ended) == "SUCCESSFUL":
            restored = backup.restore(project, cluster.describe()["keyIdentifier"])
            assert count(restored.client()) == 5_000
            control.job(restored.drop(0)["jobId"], "SUCCESSFUL")
            backup.delete()
        assert backups(control) == [] and objects(cluster) == {}, after


@pytest.mark.long
def test_nothing_is_left_of_backups_and_restores_that_are_killed_at_random_moments(control, kms, project):
    """More than fifty rounds with CUSTODY_CONTROL_CRASH_ROUNDS."""
    rounds = int(os.environ.get("CUSTODY_CONTROL_CRASH_ROUNDS", "50"))
    seed = int(os.environ.get("CUSTODY_CRASH_SEED", random.SystemRandom().randrange(2**32)))
    print(f"CUSTODY_CRASH_SEED={seed}")
    chance = random.Random(seed)
    arn, other = (key_of(control, kms, project)[0] for _ in range(2))
    cluster = control.create_cluster(project, arn)
    fill(cluster.client(), 3_000)
    began = time.monotonic()
    kept = back_up(cluster)
    took = time.monotonic() - began
    outcomes = []
    for number in range(rounds):
        cluster.wait_for_status("RUNNING")
        restores = number % 2 == 1
        asked = kept.ask_restore(project, other, f"restored-{number}") if restores else ask_backup(cluster)
        job = asked.made["jobId"] if restores else asked.asked["jobId"]
        time.sleep(chance.random() * took * 1.2)
        victim = chance.choice(["node", "control", "both"])
        if victim != "control":
            pid = (asked if restores else cluster).pid
            # A cluster that is being made has no process at first.
            if pid:
                os.kill(pid, signal.SIGKILL)
        if victim != "node":
            control.kill()
            control.start()

        def ended(job=job):
            told = control.call("GET", f"/v2/jobs/{job}")
            return told["status"] if told["status"] in ("SUCCESSFUL", "FAILED") else None

        outcome = control.wait_for("the job to end", ended, 180)
        outcomes.append((victim, "restore" if restores else "backup", outcome))
        if restores and outcome == "SUCCESSFUL":
            asked.wait_for_status("RUNNING")
            assert count(asked.client()) == 3_000
            asked.drop(0)
            control.wait_for("the cluster to be gone", lambda asked=asked: not asked.storage.exists(), 180)
        elif restores:
            assert control.refused("GET", asked.path).status == 404 and not asked.storage.exists()
        elif outcome == "SUCCESSFUL":
            asked.delete()
        else:
            assert [it["backupId"] for it in backups(control)] == [kept.id]
    print(outcomes)
    # What is left is the one backup that was kept, and with it goes everything.
    (needed,) = (storage_of(cluster) / kept.id / "attempts").glob("*/objects")
    needed = needed.read_text().split()
    control.wait_for("the clean-up", lambda: {f"pool/{name}" for name in needed} == object_names(cluster, "pool"), 60)
    assert {path.split("/")[0] for path in object_names(cluster)} == {kept.id, "pool"}
    kept.delete()
    assert objects(cluster) == {}


def test_a_restore_whose_backup_was_tampered_with_leaves_nothing(control, kms, project):
    arn, _ = key_of(control, kms, project)
    cluster = control.create_cluster(project, arn)
    fill(cluster.client(), 500)
    backup = back_up(cluster)
    manifest = storage_of(cluster) / backup.id / "zones" / ("0" * 32) / "backups" / f"{backup.id}.json"
    text = manifest.read_bytes()
    for tampered in (text[:-1], bytes([text[0] ^ 1]) + text[1:]):
        manifest.write_bytes(tampered)
        asked = backup.ask_restore(project, arn)
        assert control.job(asked.made["jobId"], "FAILED")["message"]
        assert control.refused("GET", asked.path).status == 404 and not asked.storage.exists()
    manifest.write_bytes(text)
    assert count(backup.restore(project, arn).client()) == 500


def far_off() -> str:
    """A time of day as a policy has it that is hours away, and hours ago."""
    begin = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=12)
    return f"{begin:%H:%M}-{begin + datetime.timedelta(hours=2):%H:%M}"


def let_days_pass(control, cluster, days: int) -> None:
    """Puts the last look for backups that are due back by so many days. The control plane must not run."""
    with contextlib.closing(sqlite3.connect(control.data_dir / "control.db")) as database, database:
        changed = database.execute(
            "UPDATE backup_policies SET seen_at = seen_at - ? WHERE cluster_id = ?", (days * 86_400_000, cluster.id)
        )
        assert changed.rowcount == 1


def test_a_policy_makes_backups_and_is_kept_over_a_restart(control, kms, project):
    cluster = control.create_cluster(project, key_of(control, kms, project)[0])
    fill(cluster.client())
    path = f"{cluster.path}/backups/policy"
    assert control.call("GET", path)["status"] == "DISABLED"
    wanted = {"enabled": True, "frequency": "1,2,3,4,5,6,7", "startTime": far_off(), "retentionDays": 7, "crossRegionCopies": []}
    told = control.call("POST", path, wanted)
    assert {name: told[name] for name in wanted} == wanted and told["nextBackupTime"]
    for bad in ({"frequency": "8"}, {"startTime": "25:00"}, {"retentionDays": 31}, {"crossRegionCopies": [{}]}):
        assert control.refused("POST", path, wanted | bad).status == 400, bad
    assert control.refused("POST", path, {"enabled": True}).status == 400
    assert backups(control) == [], "its time is to come"
    control.stop()
    # Three are missed.
    let_days_pass(control, cluster, 3)
    control.start()
    made = control.wait_for("the backup", lambda: backups(control, creationMethod="AUTO"))[0]
    backup = Backup(cluster, {"backupId": made["backupId"]})
    control.wait_for("it to be complete", lambda: backup.describe()["status"] == "AVAILABLE")
    kept = datetime.datetime.fromisoformat(made["expireTime"]) - datetime.datetime.fromisoformat(made["createTime"])
    assert round(kept.total_seconds() / 86_400) == 7
    time.sleep(6)
    assert len(backups(control)) == 1, "one makes up for what was missed"
    off = control.call("POST", path, {"enabled": False, "frequency": "", "startTime": "", "retentionDays": 0})
    assert (off["enabled"], off["status"], off["frequency"]) == (False, "DISABLED", "1,2,3,4,5,6,7")


def test_a_cluster_that_does_not_serve_is_not_backed_up(control, kms, project):
    cluster = control.create_cluster(project, key_of(control, kms, project)[0])
    cluster.do("suspend")
    refused = control.refused("POST", f"{cluster.path}/backups/create", {"backupType": "CLUSTER"})
    assert refused.status == 409 and "SUSPENDED" in refused.message
    assert backups(control) == []


def test_requests_that_can_not_be_meant_are_refused(control, kms, project):
    cluster = control.create_cluster(project, None)
    create = f"{cluster.path}/backups/create"
    for body in (
        {},
        {"backupType": "DISK"},
        {"backupType": "COLLECTION"},
        {"backupType": "CLUSTER", "dbCollections": []},
        {"backupType": "CLUSTER", "backupName": ""},
        {"backupType": "CLUSTER", "unknown": 1},
    ):
        assert control.refused("POST", create, body).status == 400, body
    backup = back_up(cluster)
    for more in ({"keyIdentifer": "x"}, {"mode": "copy"}, {"collectionStatus": "maybe"}, {"keepDatabaseKeys": True}, {"cuSize": 0}):
        assert backup.refused(project, **more).status == 400, more
    assert control.refused("GET", f"{cluster.path}/backups/backup-none").status == 404
    assert control.refused("GET", "/v2/backups?startTime=yesterday").status == 400
    assert backups(control, startTime="2100-01-01T00:00:00Z") == []


def test_every_call_is_described_and_figures_count(control, kms, project):
    paths = json.loads(control.raw("GET", "/openapi.json")[2])["paths"]
    for path in (
        "/v2/backups",
        "/v2/clusters/{clusterId}/backups/create",
        "/v2/clusters/{clusterId}/backups/policy",
        "/v2/clusters/{clusterId}/backups/{backupId}",
        "/v2/clusters/{clusterId}/backups/{backupId}/restoreCluster",
        "/v2/clusters/{clusterId}/backups/{backupId}/restoreCollection",
        "/v2/jobs/{jobId}/cancel",
        "/v2/projects/{projectId}/decryptedRestore",
    ):
        assert path in paths
    cluster = control.create_cluster(project, None)
    back_up(cluster)
    figures = control.raw("GET", "/metrics")[2].decode()
    assert 'custody_control_backups{status="AVAILABLE"} 1' in figures
    assert f'custody_control_backup_last_success_timestamp_seconds{{cluster="{cluster.id}"}}' in figures


def test_zilliz_cli_backs_up_and_restores(control, project, tmp_path):
    zilliz = ZillizCloud(tmp_path / "zilliz", control)
    cluster = control.create_cluster(project, None)
    fill(cluster.client())
    of = ("--cluster-id", cluster.id)
    asked = zilliz("backup", "create", *of, "--backup-type", "CLUSTER")
    job = zilliz("job", "describe", "--job-id", asked["jobId"], "--wait", "--interval", 1)
    assert (job["status"], job["type"]) == ("SUCCESSFUL", "CREATE_BACKUP")
    listed = zilliz("backup", "list", *of)
    listed = listed["backups"] if isinstance(listed, dict) else listed
    assert [it["backupId"] for it in listed] == [asked["backupId"]]
    it = (*of, "--backup-id", asked["backupId"])
    told = zilliz("backup", "describe", *it)
    assert (told["status"], told["creationMethod"], told["encrypted"]) == ("AVAILABLE", "MANUAL", False)
    one = zilliz("backup", "create", *of, "--backup-type", "COLLECTION", "--database", "default", "--collection", "rows")
    control.job(one["jobId"], "SUCCESSFUL")
    place = ("--project-id", project, "--name", "restored", "--cu-size", 1, "--collection-status", "LOADED")
    made = zilliz("backup", "restore-cluster", *it, *place)
    job = zilliz("job", "describe", "--job-id", made["jobId"], "--wait", "--interval", 1)
    assert (job["status"], job["type"]) == ("SUCCESSFUL", "RESTORE_CLUSTER")
    other = control.create_cluster(project, None, "other")
    into = zilliz("backup", "restore-collection", *it, "--dest-cluster-id", other.id)
    control.job(into["jobId"], "SUCCESSFUL")
    assert other.client().list_collections() == ["rows"]
    policy = ("--auto-backup", "true", "--frequency", "weekdays", "--start-time", "02:00", "--retention-days", 7)
    zilliz("backup", "update-policy", *of, *policy)
    told = zilliz("backup", "describe-policy", *of)
    assert (told["frequency"], told["startTime"], told["status"]) == ("1,2,3,4,5", "02:00-04:00", "ENABLED")
    zilliz("backup", "update-policy", *of, "--auto-backup", "false")
    assert zilliz("backup", "describe-policy", *of)["status"] == "DISABLED"
    deleted = zilliz("backup", "delete", *it, "--yes")
    control.job(deleted["jobId"], "SUCCESSFUL")
    assert "no backup" in zilliz.refused("backup", "describe", *it)["message"]
