"""Customers' keys in the control plane, on the stand-in for AWS: two accounts, ours and the customer's. What the dialog shows
is run as it stands."""

import json
import pathlib
import subprocess
import sys
import threading
import uuid

import pytest

from helpers.aws import REGION, Account, CUSTOMER_ACCOUNT, Customer
from helpers.program import PATIENCE, clean_environment

REGION_ID = f"aws-{REGION}"


class Shell:
    """The customer's terminal, in a directory of its own."""

    def __init__(self, directory: pathlib.Path, account: Account):
        directory.mkdir(exist_ok=True)
        programs = pathlib.Path(sys.executable).parent
        self.directory = directory
        # Another region than the key's: the commands name theirs.
        self.env = clean_environment(**account.environment(), AWS_DEFAULT_REGION="eu-central-1")
        del self.env["AWS_REGION"]
        self.env["PATH"] = f"{programs}:{self.env['PATH']}"

    def run(self, command: str):
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self.directory,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    def write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)


@pytest.fixture
def service(aws_endpoint) -> Customer:
    """Only its side that is ours is used: the user that roles have to trust."""
    return Customer(aws_endpoint)


@pytest.fixture
def control(make_control, service):
    return make_control(env=service.service.environment()).start()


@pytest.fixture
def shell(tmp_path, aws_endpoint) -> Shell:
    return Shell(tmp_path / "terminal", Account(aws_endpoint, CUSTOMER_ACCOUNT))


class SetUp:
    """A customer who does what the dialog shows, step by step."""

    def __init__(self, control, shell: Shell, project: str, *, role_arn: str | None = None):
        self.control, self.shell, self.project = control, shell, project
        self.role = role_arn.rsplit("/", 1)[1] if role_arn else f"custody=role+{uuid.uuid4().hex[:8]}"
        self.role_arn = role_arn or self.create_role()
        made = shell.run(self.shown()["createKeyCommand"])
        self.key_arn = made["KeyMetadata"]["Arn"]
        self.put_policy()

    def shown(self, **more: str) -> dict:
        query = {"provider": "aws", "regionId": REGION_ID, "roleName": self.role.replace("+", "%2B"), **more}
        text = "&".join(f"{name}={value}" for name, value in query.items())
        return self.control.call("GET", f"/v2/projects/{self.project}/cmek/setup?{text}")

    def create_role(self) -> str:
        shown = self.shown()
        self.shell.write(shown["trustPolicyFile"], shown["trustPolicy"])
        return self.shell.run(shown["createRoleCommand"])["Role"]["Arn"]

    def put_policy(self) -> None:
        shown = self.shown(keyArn=self.key_arn)
        self.shell.write(shown["rolePolicyFile"], shown["rolePolicy"])
        self.shell.run(shown["putRolePolicyCommand"])

    def body(self, **changed) -> dict:
        body = {"provider": "aws", "regionId": REGION_ID, "keyArn": self.key_arn, "roleArn": self.role_arn}
        return body | changed

    def path(self, rest: str = "") -> str:
        return f"/v2/projects/{self.project}/cmek/keys{rest}"

    def validate(self, **changed) -> dict:
        return self.control.call("POST", self.path("/validate"), self.body(**changed))

    def add(self, **changed) -> str:
        return self.control.call("POST", self.path(), self.body(**changed))["keyId"]

    def refused(self, **changed):
        return self.control.refused("POST", self.path(), self.body(**changed))

    def keys(self) -> list[dict]:
        return self.control.call("GET", self.path())["keys"]

    def key(self, key_id: str) -> dict:
        return self.control.call("GET", self.path(f"/{key_id}"))

    def aws(self, command: str):
        return self.shell.run(f"aws kms {command} --region {REGION} --key-id {self.key_arn}")

    def set_trust(self, policy: str) -> None:
        self.shell.write("changed.json", policy)
        self.shell.run(
            f"aws iam update-assume-role-policy --role-name {self.role} --policy-document file://changed.json"
        )

    def delete_policies(self) -> None:
        for name in self.shell.run(f"aws iam list-role-policies --role-name {self.role}")["PolicyNames"]:
            self.shell.run(f"aws iam delete-role-policy --role-name {self.role} --policy-name {name}")


@pytest.fixture
def set_up(control, shell) -> SetUp:
    return SetUp(control, shell, control.create_project())


def test_what_the_dialog_shows_makes_a_key_that_validates_and_is_added(control, service, set_up):
    shown = set_up.shown()
    assert shown["principalArn"] == service.service_arn
    assert shown["externalId"] in shown["trustPolicy"] and len(shown["externalId"]) == 32
    found = set_up.validate()
    assert found["valid"] and [check["name"] for check in found["checks"]] == [
        "assumeRole",
        "externalId",
        "describeKey",
        "encrypt",
        "decrypt",
    ]
    assert set_up.keys() == []
    key_id = set_up.add(name="payments")
    key = set_up.key(key_id)
    assert (key["name"], key["keyArn"], key["regionId"]) == ("payments", set_up.key_arn, REGION_ID)
    assert (key["status"], key["clusters"], key["backups"]) == ("AVAILABLE", [], [])
    roles = control.call("GET", f"/v2/projects/{set_up.project}/cmek/roles")
    assert roles == [set_up.role_arn]
    # A second key of the same role takes nothing from the first (rule 25).
    second = SetUp(control, set_up.shell, set_up.project, role_arn=set_up.role_arn)
    second.add()
    assert control.call("POST", set_up.path(f"/{key_id}/check"))["status"] == "AVAILABLE"
    other = control.create_project("other")
    external_id = control.call("GET", f"/v2/projects/{other}/cmek/setup?provider=aws")["externalId"]
    assert external_id != shown["externalId"]


def test_each_broken_variant_is_named_and_refused_and_nothing_is_stored(control, set_up):
    trust = set_up.shown()["trustPolicy"]
    project, external_id = set_up.project, set_up.shown()["externalId"]
    good = {"trust": lambda: set_up.set_trust(trust), "policy": set_up.put_policy, "enabled": lambda: set_up.aws("enable-key")}

    def without(action: str):
        def change():
            shown = set_up.shown(keyArn=set_up.key_arn)
            set_up.shell.write(shown["rolePolicyFile"], shown["rolePolicy"].replace(f'"{action}"', '"kms:ListAliases"'))
            set_up.shell.run(shown["putRolePolicyCommand"])

        return change

    def open_trust():
        policy = json.loads(trust)
        del policy["Statement"][0]["Condition"]
        set_up.set_trust(json.dumps(policy))

    broken = [
        ("assumeRole", "external id", lambda: set_up.set_trust(trust.replace(external_id, "another-id")), "trust"),
        ("externalId", "without an external id", open_trust, "trust"),
        ("assumeRole", "trust policy", lambda: set_up.set_trust(trust.replace("user/", "user/not-")), "trust"),
        ("describeKey", "kms:DescribeKey", without("kms:DescribeKey"), "policy"),
        ("encrypt", "kms:Encrypt", without("kms:Encrypt"), "policy"),
        ("decrypt", "kms:Decrypt", without("kms:Decrypt"), "policy"),
        ("describeKey", "disabled", lambda: set_up.aws("disable-key"), "enabled"),
    ]
    for name, words, break_it, mend in broken:
        break_it()
        found = set_up.validate()
        first = next(check for check in found["checks"] if not check["ok"] and not check.get("skipped"))
        assert not found["valid"] and first["name"] == name and words in first["message"], found
        refused = set_up.refused()
        assert refused.status == 400 and words in refused.message, refused
        good[mend]()
    assert set_up.keys() == []

    for changed, words in [
        ({"keyArn": "arn:aws:kms:nonsense"}, "names no KMS key"),
        ({"keyArn": set_up.key_arn.replace(REGION, "eu-west-1")}, "eu-west-1"),
        ({"keyArn": "alias/aws/s3"}, "AWS manages"),
        ({"roleArn": "not-a-role"}, "not-a-role"),
        ({"roleArn": None}, "roleArn is missing"),
        ({"regionId": "us-west-2"}, "there is no region"),
        ({"provider": "gcp"}, "unknown KMS provider"),
    ]:
        refused = set_up.refused(**changed)
        assert refused.status == 400 and words in refused.message, (changed, refused)

    for arguments, words in [
        ("--key-spec RSA_2048 --key-usage ENCRYPT_DECRYPT", "RSA_2048"),
        ("--key-spec HMAC_256 --key-usage GENERATE_VERIFY_MAC", "HMAC_256"),
    ]:
        wrong = set_up.shell.run(f"aws kms create-key --region {REGION} {arguments}")["KeyMetadata"]["Arn"]
        set_up.key_arn, right = wrong, set_up.key_arn
        set_up.put_policy()
        refused = set_up.refused()
        assert refused.status == 400 and words in refused.message, refused
        set_up.key_arn = right
    set_up.aws("schedule-key-deletion --pending-window-in-days 7")
    refused = set_up.refused()
    assert refused.status == 400 and "pending deletion" in refused.message, refused
    assert set_up.keys() == []
    activities = control.call("GET", f"/v2/projects/{project}/activities")
    assert [activity["action"] for activity in activities] == ["project.create"]


def test_a_key_that_its_owner_takes_away_is_revoked_and_comes_back(control, set_up):
    key_id = set_up.add()

    def status(wanted: str):
        control.wait_for(f"status {wanted}", lambda: set_up.key(key_id)["status"] == wanted)
        return set_up.key(key_id).get("reason")

    trust = set_up.shown()["trustPolicy"]
    for take, give, words in [
        (lambda: set_up.aws("disable-key"), lambda: set_up.aws("enable-key"), "disabled"),
        (set_up.delete_policies, set_up.put_policy, "kms:"),
        (lambda: set_up.set_trust(trust.replace("user/", "user/not-")), lambda: set_up.set_trust(trust), "role refused"),
    ]:
        take()
        assert words in status("REVOKED")
        give()
        assert status("AVAILABLE") is None
    activities = control.call("GET", f"/v2/projects/{set_up.project}/activities")
    told = [activity["detail"] for activity in activities if activity["action"] == "key.status"]
    assert told == ["AVAILABLE", "REVOKED"] * 3


def test_the_ledger_lists_every_call_with_awss_request_id(control, set_up):
    key_id = set_up.add()
    control.call("POST", set_up.path(f"/{key_id}/check"))
    calls = control.call("GET", set_up.path(f"/{key_id}/ledger"))["calls"]
    assert {call["action"] for call in calls} == {"sts:AssumeRole", "kms:DescribeKey", "kms:Encrypt", "kms:Decrypt"}
    for call in calls:
        assert call["requestId"] and call["keyArn"] == set_up.key_arn and call["roleArn"] == set_up.role_arn, call
        assert call["outcome"] == "ok" or call["action"] == "sts:AssumeRole", call
    # The two strangers that the role must turn away.
    assert sum(call["outcome"] == "denied" for call in calls) >= 2


def local(control, project: str, arn: str, **more):
    body = {"provider": "local", "regionId": "local-dev", "keyArn": arn, **more}
    return control.call("POST", f"/v2/projects/{project}/cmek/keys", body)["keyId"]


@pytest.fixture
def local_control(make_control):
    return make_control().start()


def test_twenty_keys_fit_also_when_thirty_come_at_once(local_control, make_local_kms):
    control, kms = local_control, make_local_kms(local_control)
    project = control.create_project()
    arns = [kms.create_key() for _ in range(30)]
    added, refused = [], []

    def add(arn: str) -> None:
        try:
            added.append(local(control, project, arn))
        except Exception as error:  # noqa: BLE001 - looked at below
            refused.append(error)

    threads = [threading.Thread(target=add, args=(arn,)) for arn in arns]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(set(added)) == 20 and len(refused) == 10
    for error in refused:
        assert error.status == 409 and "may have 20" in error.message, error
    keys = control.call("GET", f"/v2/projects/{project}/cmek/keys")["keys"]
    assert len(keys) == 20
    control.call("DELETE", f"/v2/projects/{project}/cmek/keys/{keys[0]['keyId']}")
    local(control, project, next(arn for arn in arns if arn not in {key["keyArn"] for key in keys}))


def test_one_key_is_added_once_also_when_it_comes_ten_times_at_once_or_under_another_name(
    local_control, make_local_kms
):
    control, kms = local_control, make_local_kms(local_control)
    project, arn = control.create_project(), kms.create_key()
    added, refused = [], []

    def add(name: str) -> None:
        try:
            added.append(local(control, project, name))
        except Exception as error:  # noqa: BLE001 - looked at below
            refused.append(error)

    names = [arn, arn.rsplit("/", 1)[1], f' "{arn}" ', f"\u200b{arn}", arn] * 2
    threads = [threading.Thread(target=add, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(added) == 1 and len(refused) == 9, refused
    assert all(error.status == 409 and "already" in error.message for error in refused), refused
    # A development key is one project's.
    other = control.create_project("other")
    path, body = f"/v2/projects/{other}/cmek/keys", {"provider": "local", "regionId": "local-dev", "keyArn": arn}
    assert "another project" in control.refused("POST", path, body).message


@pytest.mark.parametrize("plan", ["Free", "Serverless", "Standard", "Enterprise"])
def test_every_other_plan_is_refused_the_offer(local_control, make_local_kms, plan):
    control, arn = local_control, make_local_kms(local_control).create_key()
    project = control.create_project(plan=plan)
    body = {"provider": "local", "regionId": "local-dev", "keyArn": arn}
    for method, path, sent in [
        ("POST", "keys", body),
        ("POST", "keys/validate", body),
        ("GET", "setup?provider=local", None),
    ]:
        refused = control.refused(method, f"/v2/projects/{project}/cmek/{path}", sent)
        assert refused.status == 403 and "BusinessCritical" in refused.message, refused
    control.call("PATCH", f"/v2/projects/{project}/plan", {"plan": "BusinessCritical"})
    local(control, project, arn)
    refused = control.refused("PATCH", f"/v2/projects/{project}/plan", {"plan": plan})
    assert refused.status == 409 and "1 customer-managed keys" in refused.message


def test_what_its_owner_decides_about_a_key(local_control, make_local_kms):
    control, project = local_control, local_control.create_project()
    key_id = local(control, project, make_local_kms(control).create_key())
    path = f"/v2/projects/{project}/cmek/keys/{key_id}"
    changed = control.call("PATCH", path, {"name": "new", "grace": "90s", "recovery": "manual"})
    assert (changed["name"], changed["graceSeconds"], changed["recovery"]) == ("new", 90, "manual")
    assert control.call("GET", path)["graceSeconds"] == 90
    for body, words in [
        ({"grace": "25h"}, "24h"),
        ({"grace": "soon"}, "no length of time"),
        ({"recovery": "never"}, "recovery"),
        ({"allow": {"clusters": ["in01-none"], "databases": []}}, "no cluster of this project"),
        ({"colour": "red"}, "colour"),
    ]:
        refused = control.refused("PATCH", path, body)
        assert refused.status == 400 and words in refused.message, (body, refused)
    assert control.call("GET", path)["graceSeconds"] == 90


def test_keys_survive_a_restart_and_kill_9(local_control, make_local_kms):
    control, kms = local_control, make_local_kms(local_control)
    project, arn = control.create_project(), kms.create_key()
    key_id = local(control, project, arn)
    control.kill()
    control.start()
    kms.disable(arn)
    path = f"/v2/projects/{project}/cmek/keys/{key_id}"
    control.wait_for("REVOKED", lambda: control.call("GET", path)["status"] == "REVOKED")
    control.stop()
    control.start()
    kms.enable(arn)
    control.wait_for("AVAILABLE", lambda: control.call("GET", path)["status"] == "AVAILABLE")
