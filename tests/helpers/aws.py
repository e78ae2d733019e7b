"""A stand-in for AWS on loopback, and what a customer sets up there."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.request
import uuid

import botocore.session
from botocore.config import Config

from .ports import free_port
from .program import PATIENCE, clean_environment

REGION = "us-west-2"
# In the stand-in, an access key id of twelve digits is the root of that account.
SERVICE_ACCOUNT = "111111111111"
CUSTOMER_ACCOUNT = "222222222222"
KMS_ACTIONS = ("kms:Encrypt", "kms:Decrypt", "kms:DescribeKey")


@contextlib.contextmanager
def stand_in(directory: pathlib.Path):
    """The address of a running stand-in: the one that `cargo xtask test` runs, or one of our own. Workers side by side have
    one each: tests look at all that was recorded there."""
    given = os.environ.get("CUSTODY_TEST_AWS_ENDPOINT")
    if given and "PYTEST_XDIST_WORKER" not in os.environ:
        yield given
        return
    port = free_port()
    program = pathlib.Path(sys.executable).with_name("ministack")
    environment = clean_environment(
        AUTH="true",
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",
        GATEWAY_PORT=str(port),
        BIND_HOST="127.0.0.1",
        SFTP_ENABLED="0",
    )
    log = directory / "ministack.log"
    with log.open("wb") as output:
        process = subprocess.Popen([program], env=environment, cwd=directory, stdout=output, stderr=output)
    try:
        endpoint = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + PATIENCE
        while not healthy(endpoint):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield endpoint
    finally:
        process.kill()
        process.wait()


def healthy(endpoint: str) -> bool:
    try:
        with urllib.request.urlopen(f"{endpoint}/_ministack/health", timeout=10) as answer:
            return answer.status == 200
    except OSError:
        return False


class Account:
    """One AWS account, used with its root credentials or a user's."""

    def __init__(self, endpoint: str, access_key: str, secret: str = "test", region: str = REGION):
        self.endpoint, self.access_key, self.secret, self.region = endpoint, access_key, secret, region

    def client(self, service: str, region: str | None = None):
        return botocore.session.Session().create_client(
            service,
            region_name=region or self.region,
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret,
            config=Config(s3={"addressing_style": "path"}),
        )

    def environment(self) -> dict[str, str]:
        """What a program needs to act as this account."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


class Trail:
    """What an account's CloudTrail holds, from now on."""

    def __init__(self, account: Account):
        self.client = account.client("cloudtrail")
        body = json.dumps({"cloudtrail._recording_enabled": "true"}).encode()
        urllib.request.urlopen(urllib.request.Request(f"{account.endpoint}/_ministack/config", body)).read()

    def events(self) -> list[dict]:
        """Every event, oldest first."""
        pages = self.client.get_paginator("lookup_events").paginate()
        found = [json.loads(event["CloudTrailEvent"]) for page in pages for event in page["Events"]]
        return found[::-1]


class Customer:
    """A customer's side: a role that trusts our user under an external id, and a key that the role may use."""

    def __init__(self, endpoint: str, region: str = REGION, service: "Customer | None" = None):
        """With `service`, it is the same user of ours that is trusted as there."""
        self.unique = uuid.uuid4().hex[:8]
        self.account = Account(endpoint, CUSTOMER_ACCOUNT, region=region)
        self.region = region
        self.external_id = f"external-{uuid.uuid4().hex}"
        if service:
            self.service, self.service_arn = service.service, service.service_arn
        else:
            self.service = self._our_user(endpoint)
        self.kms = self.account.client("kms")
        self.iam = self.account.client("iam")
        self.role = f"custody-role-{self.unique}"
        self.create_role()
        self.key_arn = self.create_key()
        self.grant(self.key_arn)

    def _our_user(self, endpoint: str) -> Account:
        root = Account(endpoint, SERVICE_ACCOUNT, region=self.region)
        iam = root.client("iam")
        name = f"custody-service-{self.unique}"
        self.service_arn = iam.create_user(UserName=name)["User"]["Arn"]
        may = [
            {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"},
            {"Effect": "Allow", "Action": "s3:*", "Resource": "*"},
        ]
        policy = json.dumps({"Version": "2012-10-17", "Statement": may})
        iam.put_user_policy(UserName=name, PolicyName="service", PolicyDocument=policy)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return Account(endpoint, key["AccessKeyId"], key["SecretAccessKey"], self.region)

    def trust(self, principal: str | None = None, external_id: str | None = None) -> str:
        """A trust policy: our user under our external id, unless said otherwise."""
        condition = {"StringEquals": {"sts:ExternalId": external_id or self.external_id}}
        statement = {
            "Effect": "Allow",
            "Principal": {"AWS": principal or self.service_arn},
            "Action": "sts:AssumeRole",
            "Condition": condition,
        }
        return json.dumps({"Version": "2012-10-17", "Statement": [statement]})

    def create_role(self) -> None:
        role = self.iam.create_role(RoleName=self.role, AssumeRolePolicyDocument=self.trust())
        self.role_arn = role["Role"]["Arn"]

    def set_trust(self, **changed: str) -> None:
        """Edits the trust policy; without arguments it is what it was at first."""
        self.iam.update_assume_role_policy(RoleName=self.role, PolicyDocument=self.trust(**changed))

    def delete_policy(self) -> None:
        self.iam.delete_role_policy(RoleName=self.role, PolicyName="custody")

    def delete_role(self) -> None:
        self.delete_policy()
        self.iam.delete_role(RoleName=self.role)

    def create_key(self, region: str | None = None, **more) -> str:
        """A key's ARN; symmetric for encryption unless said otherwise."""
        return self.account.client("kms", region).create_key(**more)["KeyMetadata"]["Arn"]

    def grant(self, key_arn: str, actions: tuple[str, ...] = KMS_ACTIONS) -> None:
        """Lets the role do exactly these actions on exactly this key."""
        policy = {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": list(actions), "Resource": key_arn}],
        }
        self.iam.put_role_policy(RoleName=self.role, PolicyName="custody", PolicyDocument=json.dumps(policy))

    def create_bucket(self) -> str:
        """A bucket of ours."""
        bucket = f"custody-{uuid.uuid4().hex[:12]}"
        self.service.client("s3").create_bucket(
            Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": self.region}
        )
        return bucket

    def object_names(self, bucket: str) -> list[str]:
        """What is in a bucket."""
        pages = self.service.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def objects(self, bucket: str) -> dict[str, bytes]:
        """Everything in a bucket, but what is deleted while it is looked at."""
        s3 = self.service.client("s3")
        found = {}
        for name in self.object_names(bucket):
            with contextlib.suppress(s3.exceptions.NoSuchKey):
                found[name] = s3.get_object(Bucket=bucket, Key=name)["Body"].read()
        return found

    def node_arguments(self, *, external_id: str | None = None) -> tuple[str, ...]:
        """What `custody node` is told besides the key."""
        return ("--role-arn", self.role_arn, "--external-id", external_id or self.external_id)
