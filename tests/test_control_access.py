"""Who may do what in the control plane, and what becomes of requests that can't be meant."""

import functools
import json
import os
import re
import stat
import subprocess
import sys

import jsonschema_rs
import pytest

from helpers.backups import back_up
from helpers.clusters import add_key
from helpers.control import ADMIN_KEY, ADMIN_PASSWORD
from helpers.node import contents
from helpers.program import PATIENCE, clean_environment, custody


@pytest.fixture
def control(make_control):
    return make_control().start()


# What answers without a credential: whether it lives, its figures to this machine (test_control_clusters.py asks from elsewhere),
# and what makes or ends a session.
OPEN = {("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics"), ("POST", "/v2/session"), ("DELETE", "/v2/session")}


def new_cluster(project: str) -> dict:
    unit = {"cuType": "Performance-optimized", "cuSize": 1}
    return {"clusterName": "forged", "projectId": project, "regionId": "local-dev", **unit}


def calls(project: str, key: str, api_key: str, cluster: str, job: str, backup: str) -> list[tuple[str, str, dict | None, bool]]:
    """Every call that needs a credential: method, path, body, and whether it changes something."""
    given = {"provider": "local", "regionId": "local-dev", "keyArn": "alias/none"}
    keys = f"/v2/projects/{project}/cmek/keys"
    clusters = f"/v2/clusters/{cluster}"
    backups = f"{clusters}/backups"
    restore = {"projectId": project, "clusterName": "forged", "cuSize": 1, "collectionStatus": "KEEP"}
    return [
        ("GET", "/v2/clouds", None, False),
        ("GET", "/v2/regions?cloudId=aws", None, False),
        ("POST", "/v2/projects", {"projectName": "forged", "plan": "Free"}, True),
        ("GET", "/v2/projects", None, False),
        ("GET", f"/v2/projects/{project}", None, False),
        ("PATCH", f"/v2/projects/{project}/plan", {"plan": "Free"}, True),
        ("DELETE", f"/v2/projects/{project}", None, True),
        ("GET", f"/v2/projects/{project}/activities", None, False),
        ("GET", f"/v2/projects/{project}/cmek/setup?provider=local", None, True),
        ("GET", f"/v2/projects/{project}/cmek/roles", None, True),
        ("POST", f"{keys}/validate", given, True),
        ("POST", keys, given, True),
        ("GET", keys, None, True),
        ("GET", f"{keys}/{key}", None, True),
        ("POST", f"{keys}/{key}/check", None, True),
        ("PATCH", f"{keys}/{key}", {"name": "forged"}, True),
        ("GET", f"{keys}/{key}/ledger", None, True),
        ("GET", f"{keys}/{key}/statuses", None, True),
        ("DELETE", f"{keys}/{key}", None, True),
        ("POST", f"/v2/projects/{project}/alerts", {"name": "forged", "url": "https://hooks.example.com/"}, True),
        ("GET", f"/v2/projects/{project}/alerts", None, False),
        ("DELETE", f"/v2/projects/{project}/alerts/rule-none", None, True),
        ("POST", "/v2/clusters/createDedicated", new_cluster(project), True),
        ("GET", "/v2/clusters", None, False),
        ("GET", clusters, None, False),
        ("POST", f"{clusters}/modify", {"cuSize": 9}, True),
        ("POST", f"{clusters}/suspend", None, True),
        ("POST", f"{clusters}/resume", None, True),
        ("POST", f"{clusters}/seal", None, True),
        ("POST", f"{clusters}/unseal", None, True),
        ("POST", f"{clusters}/openBelowAnchor", None, True),
        ("DELETE", f"{clusters}/drop", None, True),
        ("POST", f"{clusters}/undrop", None, True),
        ("POST", f"{backups}/create", {"backupType": "CLUSTER"}, True),
        ("GET", "/v2/backups", None, False),
        ("GET", f"{backups}/{backup}", None, False),
        ("DELETE", f"{backups}/{backup}", None, True),
        ("GET", f"{backups}/policy", None, False),
        ("POST", f"{backups}/policy", {"enabled": False}, True),
        ("POST", f"{backups}/{backup}/restoreCluster", restore, True),
        ("POST", f"{backups}/{backup}/restoreCollection", {"destClusterId": cluster}, True),
        ("PATCH", f"/v2/projects/{project}/decryptedRestore", {"decryptedRestore": "deny"}, True),
        ("POST", f"/v2/jobs/{job}/cancel", None, True),
        ("GET", f"/v2/jobs/{job}", None, False),
        ("GET", f"/v2/projects/{project}/jobs", None, False),
        ("POST", "/v2/apiKeys", {"name": "forged", "role": "Owner"}, True),
        ("POST", "/v2/apiKeys", {"name": "forged", "role": "ProjectReadOnly", "projectId": project}, True),
        ("GET", "/v2/apiKeys", None, True),
        ("DELETE", f"/v2/apiKeys/{api_key}", None, True),
        ("POST", "/v2/users", {"name": "forged", "password": "forged-1", "role": "Owner"}, True),
        ("GET", "/v2/users", None, True),
        ("DELETE", "/v2/users/user-none", None, True),
        ("PUT", "/v2/users/user-none/password", {"newPassword": "forged-1"}, True),
        ("PUT", "/v2/users/user-none/grants/Owner", None, True),
        ("DELETE", "/v2/users/user-none/grants/Owner", None, True),
    ]


def described(control) -> dict:
    status, _, text = control.raw("GET", "/openapi.json", token=None)
    assert status == 200
    return json.loads(text)


def operations(described: dict) -> set[tuple[str, str]]:
    """Each call that is described."""
    return {(method.upper(), path) for path, item in described["paths"].items() for method in item if method != "parameters"}


def asked() -> set[tuple[str, str]]:
    """Each of `calls`, as the description calls it."""
    named = calls("{projectId}", "{keyId}", "{apiKeyId}", "{clusterId}", "{jobId}", "{backupId}")
    paths = {(method, path.split("?")[0]) for method, path, _, _ in named}
    names = {"user-none": "{userId}", "rule-none": "{ruleId}", "grants/Owner": "grants/{role}"}
    return {(method, functools.reduce(lambda it, name: it.replace(name, names[name]), names, path)) for method, path in paths}


@pytest.fixture
def filled(control, make_local_kms):
    """A project with a key, an API key, a cluster and the job that made it, and a backup."""
    project = control.create_project()
    arn = make_local_kms(control).create_key()
    body = {"provider": "local", "regionId": "local-dev", "keyArn": arn}
    key = control.call("POST", f"/v2/projects/{project}/cmek/keys", body)["keyId"]
    api_key = control.call("POST", "/v2/apiKeys", {"name": "spare", "role": "ProjectReadOnly", "projectId": project})
    cluster = control.create_cluster(project, arn)
    cluster.wait_for_status("RUNNING")
    return project, key, api_key["apiKeyId"], cluster.id, cluster.made["jobId"], back_up(cluster).id


def everything(control, project: str) -> dict:
    """All that a forged call might change."""
    keys = control.call("GET", f"/v2/projects/{project}/cmek/keys")["keys"]
    for key in keys:
        for changing in ("lastCheckedAt", "lastSuccessAt", "nextCheckAt"):
            del key[changing]
    api_keys = [{**it, "lastUsedAt": 0} for it in control.call("GET", "/v2/apiKeys")]
    activities = control.call("GET", f"/v2/projects/{project}/activities")
    return {
        "projects": control.call("GET", "/v2/projects"),
        "keys": keys,
        "clusters": control.clusters(),
        "backups": control.call("GET", "/v2/backups"),
        "jobs": control.call("GET", f"/v2/projects/{project}/jobs"),
        "api keys": api_keys,
        "users": control.call("GET", "/v2/users"),
        "activities": activities,
    }


def test_without_a_right_credential_every_call_is_refused_and_changes_nothing(control, filled):
    # A call that is new is asked here too, or said to be open.
    assert operations(described(control)) == asked() | OPEN
    project = filled[0]
    before = everything(control, project)
    wrong = [None, "", "x", ADMIN_KEY[:-1], ADMIN_KEY + "x", "custody_" + "0" * 64, "root:Milvus"]
    for method, path, body, _ in calls(*filled):
        for token in wrong:
            assert control.refused(method, path, body, token=token).status == 401, (method, path, token)
        encoded = None if body is None else json.dumps(body).encode()
        for header in ({"Authorization": f"Basic {ADMIN_KEY}"}, {"Cookie": "custody_session=" + "0" * 64}):
            assert control.raw(method, path, encoded, token=None, headers=header)[0] == 401, (method, path)
    assert everything(control, project) == before


def test_a_reader_and_another_projects_admin_are_refused_and_change_nothing(control, filled):
    project = filled[0]
    other = control.create_project("other")
    reader = control.create_api_key("ProjectReadOnly", project)
    writer = control.create_api_key("ProjectReadWrite", project)
    stranger = control.create_api_key("ProjectAdmin", other)
    before = everything(control, project)
    for method, path, body, guarded in calls(*filled):
        for token in (reader, writer):
            if guarded:
                assert control.refused(method, path, body, token=token).status == 403, (method, path)
            else:
                control.call(method, path, body, token=token)
        if any(it in path for it in (project, *filled[3:])) or path.endswith("createDedicated"):
            assert control.refused(method, path, body, token=stranger).status == 404, (method, path)
        elif guarded:
            # Users and API keys are an owner's, of whatever project.
            assert control.refused(method, path, body, token=stranger).status == 403, (method, path)
    assert everything(control, project) == before
    seen = control.call("GET", "/v2/projects", token=stranger)
    assert [it["projectId"] for it in seen] == [other]


def test_a_key_custodian_manages_keys_and_a_project_admin_does_not(control, filled):
    project, key, *_ = filled
    custodian, admin = (control.create_api_key(role, project) for role in ("KeyCustodian", "ProjectAdmin"))
    path = f"/v2/projects/{project}/cmek/keys/{key}"
    refused = control.refused("PATCH", path, {"grace": "0s"}, token=admin)
    assert refused.status == 403 and "KeyCustodian" in refused.message
    assert control.call("GET", path, token=admin)["graceSeconds"] == 3600
    assert control.call("PATCH", path, {"grace": "0s"}, token=custodian)["graceSeconds"] == 0
    assert control.refused("PATCH", f"/v2/projects/{project}/plan", {"plan": "Free"}, token=custodian).status == 403


def sign_in(control, name: str, password: str) -> dict:
    """What a browser of theirs sends with every request."""
    body = json.dumps({"name": name, "password": password}).encode()
    status, headers, text = control.raw("POST", "/v2/session", body, token=None)
    assert status == 200, text
    return {"Cookie": headers["set-cookie"].split(";")[0], "X-CSRF-Token": json.loads(text)["data"]["csrfToken"]}


def test_a_project_admin_who_is_given_that_role_too_manages_keys_until_it_is_taken(control, make_local_kms):
    project = control.create_project()
    key = add_key(control, project, make_local_kms(control).create_key())
    body = {"name": "ann", "password": "correct-horse", "role": "ProjectAdmin", "projectId": project}
    ann = control.call("POST", "/v2/users", body)
    shown = sign_in(control, "ann", "correct-horse")
    renamed = json.dumps({"name": "hers"}).encode()

    def rename() -> int:
        return control.raw("PATCH", f"/v2/projects/{project}/cmek/keys/{key}", renamed, token=None, headers=shown)[0]

    assert rename() == 403
    path = f"/v2/users/{ann}/grants/KeyCustodian?projectId={project}"
    # Not by herself, and not by anybody else who is no owner.
    assert control.raw("PUT", path, token=None, headers=shown)[0] == 403
    for role in ("ProjectAdmin", "KeyCustodian"):
        token = control.create_api_key(role, project)
        assert [control.refused(method, path, token=token).status for method in ("PUT", "DELETE")] == [403, 403]
    assert rename() == 403

    def roles(user: dict) -> set[str]:
        assert {it["projectId"] for it in user["grants"]} == {project}
        return {it["role"] for it in user["grants"]}

    assert roles(control.call("PUT", path)) == {"ProjectAdmin", "KeyCustodian"}
    assert rename() == 200, "from the next request on, in a session that was open before"
    assert roles(control.call("DELETE", path)) == {"ProjectAdmin"}
    assert rename() == 403 and control.refused("DELETE", path).status == 404
    told = [(it["action"], it["subject"], it["detail"]) for it in control.call("GET", f"/v2/projects/{project}/activities")]
    assert [it for it in told if "Role" in it[0]] == [
        ("user.takeRole", ann, "KeyCustodian"),
        ("user.giveRole", ann, "KeyCustodian"),
    ]
    for words, status, refused in [
        ("no role", 400, f"/v2/users/{ann}/grants/King"),
        ("every project", 400, f"/v2/users/{ann}/grants/Owner?projectId={project}"),
        ("project", 404, f"/v2/users/{ann}/grants/KeyCustodian?projectId=proj-none"),
        ("user", 404, f"/v2/users/user-none/grants/KeyCustodian?projectId={project}"),
    ]:
        found = control.refused("PUT", refused)
        assert found.status == status and words in found.message, (refused, found)


def test_who_finds_a_session_open_can_not_guess_its_password(control):
    ann = control.call("POST", "/v2/users", {"name": "ann", "password": "correct-horse", "role": "ProjectReadOnly"})
    shown, path = sign_in(control, "ann", "correct-horse"), f"/v2/users/{ann}/password"

    def change(old: str) -> int:
        body = json.dumps({"oldPassword": old, "newPassword": "battery-staple"}).encode()
        return control.raw("PUT", path, body, token=None, headers=shown)[0]

    statuses = []
    while 429 not in statuses:
        statuses.append(change("wrong"))
        assert len(statuses) < 12, "who guesses is never slowed down"
    assert set(statuses[:-1]) == {400}
    assert change("correct-horse") == 429, "nor does a right guess count meanwhile"
    control.call("PUT", path, {"newPassword": "battery-staple"})


def test_a_key_of_another_project_is_not_found_in_this_one(control, filled):
    _, key, *_ = filled
    other = control.create_project("other")
    for method, rest in [("GET", ""), ("POST", "/check"), ("GET", "/ledger"), ("DELETE", "")]:
        assert control.refused(method, f"/v2/projects/{other}/cmek/keys/{key}{rest}").status == 404


def test_an_api_key_that_was_deleted_lets_nobody_in(control):
    project = control.create_project()
    made = control.call("POST", "/v2/apiKeys", {"name": "ci", "role": "ProjectReadOnly", "projectId": project})
    assert control.call("GET", f"/v2/projects/{project}", token=made["apiKey"])["projectName"] == "project"
    listed = next(it for it in control.call("GET", "/v2/apiKeys") if it["apiKeyId"] == made["apiKeyId"])
    assert listed["grants"] == [{"projectId": project, "role": "ProjectReadOnly"}] and listed["lastUsedAt"]
    control.call("DELETE", f"/v2/apiKeys/{made['apiKeyId']}")
    assert control.refused("GET", f"/v2/projects/{project}", token=made["apiKey"]).status == 401
    for body, words in [
        ({"name": "x", "role": "King"}, "KeyCustodian"),
        ({"name": "x", "role": "Owner", "projectId": project}, "every project"),
        ({"name": "", "role": "Owner"}, "1 to 200"),
        ({"name": "x", "role": "Owner", "expiresAt": 1}, "past"),
    ]:
        refused = control.refused("POST", "/v2/apiKeys", body)
        assert refused.status == 400 and words in refused.message, (body, refused)


def test_a_browser_signs_in_and_another_site_can_not_use_that(control):
    def sign_in(password: str):
        body = json.dumps({"name": "admin", "password": password}).encode()
        return control.raw("POST", "/v2/session", body, token=None)

    assert sign_in("wrong-password")[0] == 401
    # Nor can it sign the browser in as whom it likes.
    right = json.dumps({"name": "admin", "password": ADMIN_PASSWORD}).encode()
    for more in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Host": "evil.example"}):
        status, headers, _ = control.raw("POST", "/v2/session", right, token=None, headers=more)
        assert status == 403 and "set-cookie" not in {name.lower() for name in headers}
    status, headers, text = sign_in(ADMIN_PASSWORD)
    assert status == 200
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    shown = {"Cookie": cookie.split(";")[0]}
    csrf = json.loads(text)["data"]["csrfToken"]
    assert control.raw("GET", "/v2/projects", token=None, headers=shown)[0] == 200
    forged = json.dumps({"projectName": "forged", "plan": "Free"}).encode()
    for more in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": "0" * 64}):
        assert control.raw("POST", "/v2/projects", forged, token=None, headers=shown | more)[0] == 403
    assert control.call("GET", "/v2/projects") == []
    meant = shown | {"X-CSRF-Token": csrf}
    assert control.raw("POST", "/v2/projects", forged, token=None, headers=meant)[0] == 200
    assert control.raw("DELETE", "/v2/session", token=None, headers=meant)[0] == 200
    assert control.raw("GET", "/v2/projects", token=None, headers=shown)[0] == 401
    for _ in range(10):
        if sign_in("wrong-password")[0] == 429:
            break
    else:
        raise AssertionError("who guesses is never slowed down")


def test_requests_that_can_not_be_meant_get_a_4xx_in_the_envelope(control):
    project = control.create_project()
    keys = f"/v2/projects/{project}/cmek/keys"
    bodies = [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"{" * 10_000, b'{"projectName": 7, "plan": "Free"}', b"x" * 70_000]
    bodies += [json.dumps({"projectName": "x", "plan": "Free", "regionIds": "y"}).encode()]
    for body in bodies:
        for path in ("/v2/projects", keys, "/v2/apiKeys", "/v2/session"):
            status, headers, text = control.raw("POST", path, body)
            assert 400 <= status < 500 and json.loads(text)["code"] == status, (path, body[:40], status)
    paths = [
        "/v2/projects/%ff",
        "/v2/projects/..%2f..%2fetc",
        "/v2/projects/%00",
        f"/v2/projects/{'a' * 5_000}",
        "/v2//projects",
        "/v2/projects/x/../y",
        f"{keys}/'%20OR%201=1--",
        "/v2/regions?cloudId=evil",
        "/nothing",
        "/v2/projects/%F0%9F%94%91",
    ]
    for path in paths:
        status, _, text = control.raw("GET", path)
        assert 400 <= status < 500 and json.loads(text)["message"], (path, status, text)
    for method in ("PUT", "PATCH", "TRACE", "FOO"):
        status, _, text = control.raw(method, "/v2/projects")
        assert 400 <= status < 500, (method, status)
    assert [it["projectId"] for it in control.call("GET", "/v2/projects")] == [project]


def test_each_answer_is_as_the_description_says(control, filled):
    """On a project that has one of everything: on an empty one most lists prove nothing."""
    project, key, _, cluster, job, _ = filled
    document = described(control)

    def judge(method: str, path: str, answer: dict, body: dict | None = None) -> None:
        template = next(it for it in document["paths"] if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", it), path.split("?")[0]))
        said = document["paths"][template][method.lower()]
        for what, value in [(said["responses"]["200"], answer), *([(said["requestBody"], body)] if body else [])]:
            schema = what["content"]["application/json"]["schema"]
            whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "components": document["components"]}
            errors = jsonschema_rs.validator_for(whole).iter_errors(value)
            wrong = [f"{list(it.instance_path)}: {it.message}" for it in errors]
            assert wrong == [], f"{method} {path}: {wrong}"

    def ask(method: str, path: str, body: dict | None = None):
        answer = {"code": 0, "data": control.call(method, path, body)}
        judge(method, path, answer, body)
        return answer["data"]

    made = ask("POST", f"/v2/projects/{project}/alerts", {"name": "pager", "url": "https://hooks.example.com/"})
    keys = f"/v2/projects/{project}/cmek/keys"
    given = {"provider": "local", "regionId": "local-dev", "keyArn": ask("GET", f"{keys}/{key}")["keyArn"]}
    assert ask("POST", f"{keys}/validate", given)["valid"]
    ask("POST", f"{keys}/{key}/check")
    ask("PATCH", f"{keys}/{key}", {"name": "renamed"})
    ask("POST", "/v2/apiKeys", {"name": "another", "role": "Owner"})
    user = ask("POST", "/v2/users", {"name": "another", "password": "password-1", "role": "Owner"})
    ask("PUT", f"/v2/users/{user}/grants/KeyCustodian?projectId={project}")
    ask("DELETE", f"/v2/users/{user}/grants/KeyCustodian?projectId={project}")
    ask("POST", "/v2/projects", {"projectName": "another", "plan": "Free"})
    ask("POST", f"/v2/clusters/{cluster}/seal")
    ask("POST", f"/v2/clusters/{cluster}/unseal")
    ask("POST", f"/v2/clusters/{cluster}/modify", {"cuSize": 2})
    control.wait_for("an alert of the seal", lambda: control.call("GET", f"/v2/projects/{project}/alerts")["alerts"])
    # Nor does a call take another body than the one that is described for it.
    ask("POST", "/v2/clusters/createDedicated", new_cluster(project))
    for method, path, _, _ in calls(*filled):
        if method == "GET":
            told = ask(method, path)
            assert told or path.endswith("cmek/roles"), f"{path} answers with nothing, which would be as described whatever it says"
    assert ask("GET", f"/v2/jobs/{job}")["status"] == "SUCCESSFUL" and made["secret"]

    def status() -> str:
        return control.call("GET", f"/v2/clusters/{cluster}")["status"]

    ask("POST", f"/v2/clusters/{cluster}/suspend")
    control.wait_for("the cluster to be suspended", lambda: status() == "SUSPENDED")
    ask("POST", f"/v2/clusters/{cluster}/resume")
    control.wait_for("the cluster to serve", lambda: status() == "RUNNING")
    ask("DELETE", f"/v2/clusters/{cluster}/drop?waitDays=1")
    ask("POST", f"/v2/clusters/{cluster}/undrop")
    # What proves nothing unless it can fail.
    with pytest.raises(AssertionError, match="clusterName"):
        judge("GET", f"/v2/clusters/{cluster}", {"code": 0, "data": {"clusterId": cluster}})


def invent_requests(control, directory, *arguments: str) -> None:
    """Requests as the description allows them and as it does not; none may bring a 5xx, or an answer that is not described."""
    done = subprocess.run(
        [
            os.path.join(os.path.dirname(sys.executable), "schemathesis"),
            "run",
            f"http://127.0.0.1:{control.port}/openapi.json",
            *("--header", f"Authorization: Bearer {control.create_api_key('Owner')}"),
            *("--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"),
            *("--request-timeout", str(PATIENCE)),
            *("--seed", "4"),
            "--no-color",
            *arguments,
        ],
        env=clean_environment(),
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=10 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]


@pytest.mark.long
def test_no_request_brings_a_5xx_or_an_answer_that_is_not_described(control, tmp_path):
    invent_requests(control, tmp_path, "--max-examples", "10")


@pytest.mark.long
def test_nor_does_one_about_what_there_is(control, filled, tmp_path):
    """Under invented ids hardly anything is reached but 404. What deletes would leave only that, after a while."""
    project, key, _, cluster, job, backup = filled
    user = control.call("POST", "/v2/users", {"name": "spare", "password": "password-1", "role": "ProjectReadOnly"})
    ids = {"projectId": project, "keyId": key, "clusterId": cluster, "jobId": job, "backupId": backup, "userId": user}
    lines = [f'"path.{name}" = "{value}"' for name, value in ids.items()]
    (tmp_path / "schemathesis.toml").write_text("\n".join(["[parameters]", *lines, ""]))
    invent_requests(control, tmp_path, "--max-examples", "5", "--exclude-method", "DELETE", "--phases", "coverage,fuzzing")
    figures = control.raw("GET", "/metrics")[2].decode()
    answered = {status: int(count) for status, count in re.findall(r'^custody_control_requests\w*{status="(\d+)"} (\d+)', figures, re.M)}
    print(answered)
    assert answered["200"] > 100 and answered["409"] > 0, "hardly anything was reached"


def test_refusals_that_take_more_than_one_request_are_described(make_control, make_local_kms):
    control = make_control(arguments=("--key-limit", "1", "--key-check-interval", "10m")).start()
    kms, project = make_local_kms(control), control.create_project()
    add_key(control, project, kms.create_key())
    tenant = add_key(control, project, kms.create_key(), allow={"clusters": [], "databases": ["*"]})
    paths, place = described(control)["paths"], "/v2/projects/{projectId}/cmek"
    everything = {"allow": {"clusters": ["*"], "databases": ["*"]}}
    for status, method, path, query, body in [
        # Whom a role has to trust is not known without credentials of ours.
        (503, "GET", f"{place}/setup", "?provider=aws", None),
        (409, "PATCH", f"{place}/keys/{{keyId}}", "", everything),
    ]:
        assert control.refused(method, path.format(projectId=project, keyId=tenant) + query, body).status == status
        assert str(status) in paths[path][method.lower()]["responses"], path
    # Proven above.
    assert "429" in paths["/v2/users/{userId}/password"]["put"]["responses"]


def test_the_first_credentials_are_made_once_and_only_their_owner_can_read_them(make_control):
    control = make_control(env={"CUSTODY_ADMIN_API_KEY": "x", "CUSTODY_ADMIN_PASSWORD": "x"})
    for name in ("CUSTODY_ADMIN_API_KEY", "CUSTODY_ADMIN_PASSWORD"):
        del control.env[name]
    control.start()
    file = control.data_dir / "admin-credentials"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    lines = dict(line.rsplit(maxsplit=1) for line in file.read_text().splitlines())
    key, password = lines["API key"], lines["console password"]
    assert control.call("GET", "/v2/projects", token=key) == []
    assert key not in control.output() and password not in control.output()
    for path, content in contents(control.data_dir).items():
        assert path == file or (key[8:].encode() not in content and password.encode() not in content), path
    file.unlink()
    control.stop()
    control.start()
    assert not file.exists() and control.call("GET", "/v2/projects", token=key) == []


def test_credentials_that_others_could_guess_are_refused_where_others_can_try(tmp_path):
    base = ["serve", "--data-dir", tmp_path / "data", "--listen", "0.0.0.0:0", "--insecure", "--allow-swap"]
    done = custody(*base, env={"CUSTODY_ADMIN_API_KEY": "short"})
    assert done.returncode != 0 and "20 characters" in done.stderr, done.stderr
    done = custody(*base[:-2], env={})
    assert done.returncode != 0 and "without TLS" in done.stderr, done.stderr


def test_the_activity_log_can_be_checked_and_a_change_shows(control):
    import sqlite3

    project = control.create_project()
    control.create_api_key("ProjectReadOnly", project)

    def verify(*more: str):
        return custody("audit", "verify", "--data-dir", control.data_dir, *more)

    file = control.data_dir / "storage" / "control" / "audit-head"
    control.wait_for(
        "the log's head to lie in the storage",
        lambda: file.exists() and verify().stdout.split()[-1] == file.read_text().strip(),
    )
    control.stop()
    whole = verify()
    assert whole.returncode == 0, whole.stderr
    head = whole.stdout.split()[-1]
    assert verify("--expect", head).returncode == 0
    database = sqlite3.connect(control.data_dir / "control.db")
    database.execute("DROP TRIGGER activities_are_not_changed")
    database.execute("UPDATE activities SET actor = 'nobody' WHERE seq = 2")
    database.commit()
    changed = verify()
    assert changed.returncode != 0 and "entry 2" in changed.stderr, changed.stderr
    database.execute("DROP TRIGGER activities_are_not_removed")
    database.execute("DELETE FROM activities WHERE seq >= 2")
    database.commit()
    database.close()
    assert verify().returncode == 0, "a log that is cut at its end is whole in itself"
    cut = verify("--expect", head)
    assert cut.returncode != 0 and "cut off" in cut.stderr, cut.stderr
