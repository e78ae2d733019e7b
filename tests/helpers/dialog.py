"""A customer who does what the dialog of a new key shows, in a terminal of their own."""

import json
import pathlib
import subprocess
import sys
import uuid

from .aws import REGION, Account
from .program import PATIENCE, clean_environment

REGION_ID = f"aws-{REGION}"


class Shell:
    """The customer's terminal, in a directory of its own."""

    def __init__(self, directory: pathlib.Path, account: Account):
        directory.mkdir(exist_ok=True)
        programs = pathlib.Path(sys.executable).parent
        self.directory, self.account = directory, account
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


class SetUp:
    """A customer who does what the dialog shows, step by step."""

    def __init__(self, control, shell: Shell, project: str, *, role_arn: str | None = None):
        self.control, self.shell, self.project, self.region_id = control, shell, project, REGION_ID
        self.role = role_arn.rsplit("/", 1)[1] if role_arn else f"custody=role+{uuid.uuid4().hex[:8]}"
        self.role_arn = role_arn or self.create_role()
        made = shell.run(self.shown()["createKeyCommand"])
        self.key_arn = made["KeyMetadata"]["Arn"]
        self.put_policy()

    def shown(self, **more: str) -> dict:
        query = {"provider": "aws", "regionId": self.region_id, "roleName": self.role.replace("+", "%2B"), **more}
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
        body = {"provider": "aws", "regionId": self.region_id, "keyArn": self.key_arn, "roleArn": self.role_arn}
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
