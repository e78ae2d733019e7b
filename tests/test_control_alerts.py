"""Alerts of a project by signed webhook."""

import hashlib
import hmac
import json

import pytest

from helpers.program import custody


@pytest.fixture
def control(make_control, receiver):
    return make_control(arguments=("--webhook-allow", f"127.0.0.1:{receiver.port}")).start()


def verify(secret: str, headers, body: bytes) -> bool:
    fields = dict(field.split("=", 1) for field in headers["Custody-Signature"].split(","))
    expected = hmac.new(secret.encode(), fields["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, fields["v1"])


def add_key(control, project: str, arn: str) -> str:
    body = {"provider": "local", "regionId": "local-dev", "keyArn": arn}
    return control.call("POST", f"/v2/projects/{project}/cmek/keys", body)["keyId"]


def test_a_key_that_changes_its_status_raises_a_signed_alert_that_is_tried_again(control, receiver, make_local_kms):
    kms, project = make_local_kms(control), control.create_project()
    arn = kms.create_key()
    key = add_key(control, project, arn)
    path = f"/v2/projects/{project}/alerts"
    made = control.call("POST", path, {"name": "pager", "url": receiver.url, "kinds": ["keyStatus"]})
    other = control.create_project("other")
    add_key(control, other, kms.create_key())
    receiver.answers = [503]
    kms.disable(arn)
    control.wait_for("a first try", lambda: receiver.got)
    control.wait_for("a second try", lambda: len(receiver.got) >= 2)
    (_, first, body), (_, second, same) = receiver.got[:2]
    assert body == same and first["Custody-Delivery"] == second["Custody-Delivery"]
    assert (first["Custody-Attempt"], second["Custody-Attempt"]) == ("1", "2")
    for headers in (first, second):
        assert verify(made["secret"], headers, body) and not verify(made["secret"], headers, body + b" ")
    told = json.loads(body)
    # The head that is sent is the log's own: whoever keeps it can check the log by it.
    head = f"{told['auditHead']['sequence']}:{told['auditHead']['hash']}"
    checked = custody("audit", "verify", "--data-dir", control.data_dir, "--expect", head)
    assert checked.returncode == 0, checked.stderr
    assert (told["type"], told["projectId"], told["data"]["subject"]) == ("keyStatus", project, key)
    assert "REVOKED" in told["data"]["message"] and "disabled" in told["data"]["message"]
    assert len(told["auditHead"]["hash"]) == 64
    kms.enable(arn)
    control.wait_for("the second alert", lambda: len(receiver.deliveries) >= 2)
    assert "AVAILABLE again" in json.loads(receiver.deliveries[1][2])["data"]["message"]
    control.wait_for(
        "both to be delivered",
        lambda: all(it["deliveries"][0].get("deliveredAt") for it in control.call("GET", path)["alerts"]),
    )
    listed = control.call("GET", path)
    assert [it["subject"] for it in listed["alerts"]] == [key, key]
    tries = [headers for _, headers, _ in receiver.got if headers["Custody-Delivery"] == first["Custody-Delivery"]]
    assert listed["alerts"][1]["deliveries"][0]["attempts"] == len(tries)
    shown = json.dumps(listed)
    assert made["secret"] not in shown and "secret-path" not in shown
    assert control.call("GET", f"/v2/projects/{other}/alerts") == {"rules": [], "alerts": []}


def test_a_deletion_that_is_scheduled_is_told_once_with_what_can_be_done(control, receiver, make_local_kms):
    kms, project = make_local_kms(control), control.create_project()
    arn = kms.create_key()
    key = add_key(control, project, arn)
    one = f"/v2/projects/{project}/cmek/keys/{key}"
    path = f"/v2/projects/{project}/alerts"
    control.call("POST", path, {"name": "pager", "url": receiver.url, "kinds": ["keyDeletion"]})
    for episode in (1, 2):
        kms.run("schedule-deletion", arn)
        control.wait_for("the alert", lambda: len(receiver.deliveries) >= episode)
        message = json.loads(receiver.deliveries[-1][2])["data"]["message"]
        assert key in message and "cancel-key-deletion" in message, message
        checked = control.call("GET", one)["lastCheckedAt"]
        control.wait_for("two more checks", lambda: control.call("GET", one)["lastCheckedAt"] > checked + 1_500)
        assert len(receiver.deliveries) == episode
        kms.run("cancel-deletion", arn)
        kms.enable(arn)
        control.wait_for("AVAILABLE", lambda: control.call("GET", one)["status"] == "AVAILABLE")
    kinds = [it["kind"] for it in control.call("GET", path)["alerts"]]
    assert kinds.count("keyDeletion") == 2


def test_a_grace_that_ends_is_told_once_for_each_time_that_a_key_can_not_be_reached(control, receiver, make_local_kms):
    kms, project = make_local_kms(control), control.create_project()
    arn = kms.create_key()
    key = add_key(control, project, arn)
    one = f"/v2/projects/{project}/cmek/keys/{key}"
    path = f"/v2/projects/{project}/alerts"
    control.call("PATCH", one, {"grace": "10s"})
    control.call("POST", path, {"name": "pager", "url": receiver.url, "kinds": ["keyGrace"]})
    file = kms.data_dir / "local-kms.json"
    good = file.read_bytes()
    checks = set()

    def shown() -> dict:
        """How the key is, and by which check."""
        now = control.call("GET", one)
        checks.add(now["lastCheckedAt"])
        return now

    def status(wanted: str):
        control.wait_for(wanted, lambda: shown()["status"] == wanted)

    for episode in (1, 2):
        file.write_bytes(b"not the keys")
        status("UNREACHABLE")
        since = shown()["lastSuccessAt"]
        control.wait_for("the alert", lambda: shown() and len(receiver.deliveries) >= episode)
        alerts = [it for it in control.call("GET", path)["alerts"] if it["kind"] == "keyGrace"]
        assert len(alerts) == episode
        # The first check tells it that comes once half of it is over. That check is written down a moment before the alert.
        half, told = since + 5_000, alerts[0]["at"]
        assert half <= told and sum(half <= it <= told for it in checks) <= 1, (since, sorted(checks), alerts[0])
        # Each further check finds the same and tells nothing.
        checked = shown()["lastCheckedAt"]
        control.wait_for("two more checks", lambda: shown()["lastCheckedAt"] > checked + 1_500)
        assert len(receiver.deliveries) == episode
        message = json.loads(receiver.deliveries[-1][2])["data"]["message"]
        assert key in message and "has not answered" in message and "its grace ends at" in message, message
        file.write_bytes(good)
        status("AVAILABLE")
        assert shown()["lastSuccessAt"] > since
    # A key that its owner takes away has no grace that could end: a short one, so that it is over soon.
    control.call("PATCH", one, {"grace": "4s"})
    kms.disable(arn)
    status("REVOKED")
    checked = shown()["lastCheckedAt"]
    control.wait_for("the grace to be over", lambda: shown()["lastCheckedAt"] > checked + 5_000)
    assert len(receiver.deliveries) == 2


def test_a_delivery_that_waits_survives_kill_9(control, receiver, make_local_kms):
    kms, project = make_local_kms(control), control.create_project()
    arn = kms.create_key()
    add_key(control, project, arn)
    control.call("POST", f"/v2/projects/{project}/alerts", {"name": "pager", "url": receiver.url})
    receiver.answers = [500]
    kms.disable(arn)
    control.wait_for("a first try", lambda: receiver.got)
    control.kill()
    control.start()
    control.wait_for("a second try", lambda: len(receiver.got) >= 2)
    assert receiver.got[0][2] == receiver.got[1][2]


def test_a_redirect_is_not_followed(control, receiver, make_local_kms):
    kms, project = make_local_kms(control), control.create_project()
    arn = kms.create_key()
    add_key(control, project, arn)
    path = f"/v2/projects/{project}/alerts"
    control.call("POST", path, {"name": "pager", "url": receiver.url})
    receiver.answers = [302]
    kms.disable(arn)

    def failed():
        alerts = control.call("GET", path)["alerts"]
        return alerts and alerts[0]["deliveries"][0].get("error")

    assert "redirect" in control.wait_for("the failure to be told", failed)
    assert set(receiver.asked) == {"/hook/secret-path"}


def test_webhooks_into_this_network_and_rules_that_can_not_be_meant_are_refused(control):
    project = control.create_project()
    path = f"/v2/projects/{project}/alerts"
    for url in [
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/x",
        "https://[::ffff:10.0.0.1]/x",
        "https://2130706433/x",
        "http://hooks.example.com/x",
        "https://user:password@hooks.example.com/x",
        "ftp://hooks.example.com/x",
        "not a url",
    ]:
        refused = control.refused("POST", path, {"name": "x", "url": url})
        assert refused.status == 400, (url, refused)
    for body in [
        {"name": "", "url": "https://hooks.example.com/x"},
        {"name": "x", "url": "https://hooks.example.com/x", "kinds": ["weather"]},
        {"name": "x"},
    ]:
        assert control.refused("POST", path, body).status == 400, body
    assert control.call("GET", path)["rules"] == []
    made = control.call("POST", path, {"name": "x", "url": "https://hooks.example.com/T0/secret"})
    assert "T0" not in json.dumps(control.call("GET", path)["rules"])
    control.call("DELETE", f"{path}/{made['ruleId']}")
    assert control.refused("DELETE", f"{path}/{made['ruleId']}").status == 404
