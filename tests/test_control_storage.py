"""Clusters of the control plane in a bucket: each node reaches its own cluster's part of it, in sessions of a role that the
operator names, and holds no credential of ours."""

import json
import os
import time
import uuid

import pytest

from helpers.aws import SERVICE_ACCOUNT, Account
from helpers.clusters import add_key, count, fill, has_in_memory, kill_node
from helpers.program import custody


class Bucket:
    """A bucket of ours, and the role by which nodes reach it."""

    def __init__(self, service):
        self.service, self.name = service, service.create_bucket()
        self.root = Account(service.service.endpoint, SERVICE_ACCOUNT)
        self.role = f"custody-storage-{uuid.uuid4().hex[:8]}"
        iam = self.root.client("iam")
        trust = {"Effect": "Allow", "Principal": {"AWS": service.service_arn}, "Action": "sts:AssumeRole"}
        made = iam.create_role(RoleName=self.role, AssumeRolePolicyDocument=policy(trust))
        self.role_arn = made["Role"]["Arn"]
        self.grant()

    def grant(self) -> None:
        objects = {"Effect": "Allow", "Action": "s3:*", "Resource": [f"arn:aws:s3:::{self.name}", f"arn:aws:s3:::{self.name}/*"]}
        self.root.client("iam").put_role_policy(RoleName=self.role, PolicyName="bucket", PolicyDocument=policy(objects))

    def withdraw(self) -> None:
        self.root.client("iam").delete_role_policy(RoleName=self.role, PolicyName="bucket")

    def arguments(self, prefix: str = "prod") -> tuple[str, ...]:
        return ("--storage", f"s3://{self.name}/{prefix}", "--storage-role", self.role_arn)

    def names(self) -> list[str]:
        return self.service.object_names(self.name)


def policy(statement: dict) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture
def bucket(service) -> Bucket:
    return Bucket(service)


@pytest.fixture
def control(make_control, service, bucket):
    return make_control(arguments=bucket.arguments(), env=service.service.environment()).start()


def test_clusters_live_in_a_bucket_and_go_from_it(control, bucket, service, make_local_kms):
    kms = make_local_kms(control)
    project, arn = control.create_project(), kms.create_key()
    add_key(control, project, arn)
    cluster, other = (control.create_cluster(project, arn, name) for name in ("one", "two"))
    for it in (cluster, other):
        fill(it.client())
    places = {path.split("/")[2] for path in bucket.names() if path.startswith("prod/clusters/")}
    assert places == {cluster.id, other.id}
    assert not (control.data_dir / "storage").exists()
    # Every start reads what the last process wrote, also where it ended without a word, and where its key was away.
    kill_node(cluster)
    cluster.wait_for_status("RUNNING")
    assert count(cluster.client()) == 20
    kms.disable(arn)
    cluster.wait_for_status("ABNORMAL")
    kms.enable(arn)
    cluster.wait_for_status("RUNNING")
    assert count(cluster.client()) == 20
    control.stop()
    control.start()
    cluster.wait_for_status("RUNNING")
    assert count(cluster.client()) == 20
    dropped = cluster.drop(0)
    receipt = control.job(dropped["jobId"], "SUCCESSFUL")["receipt"]
    assert receipt["keyrings"] > 0 and "versions" in json.dumps(receipt)
    assert not [path for path in bucket.names() if cluster.id in path]
    other.wait_for_status("RUNNING")
    assert count(other.client()) == 20
    control.wait_for("the log's head to lie in the bucket", lambda: "prod/control/audit-head" in bucket.names())


def test_a_node_reaches_its_own_part_of_the_bucket_with_nothing_of_ours(control, bucket, service, make_local_kms):
    kms = make_local_kms(control)
    project, arn = control.create_project(), kms.create_key()
    add_key(control, project, arn)
    cluster = control.create_cluster(project, arn)
    fill(cluster.client())
    if os.geteuid() != 0:
        pytest.skip("only root can look into another process's memory; custody-kms/src/aws/bucket.rs has the policy")
    secret = service.service.environment()["AWS_SECRET_ACCESS_KEY"].encode()
    assert has_in_memory(control.process.pid, secret), "the search finds what is there"
    assert not has_in_memory(cluster.pid, secret)


def test_where_the_role_lets_nobody_in_no_cluster_is_made_and_none_is_lost(control, bucket, make_local_kms):
    kms = make_local_kms(control)
    project, arn = control.create_project(), kms.create_key()
    add_key(control, project, arn)
    cluster = control.create_cluster(project, arn)
    fill(cluster.client())
    control.stop()
    bucket.withdraw()
    control.start()
    refused = control.ask_cluster(project, arn, "another")
    job = control.job(refused.made["jobId"], "FAILED")
    assert "AccessDenied" in job["message"] or "denied" in job["message"].lower(), job
    assert [it["clusterId"] for it in control.clusters()] == [cluster.id]
    time.sleep(2)
    shown = cluster.describe()
    assert shown["status"] == "ABNORMAL", shown
    bucket.grant()
    cluster.wait_for_status("RUNNING", 120)
    assert count(cluster.client()) == 20


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--storage", "s3://vectors/prod"), "--storage-role has to name a role"),
        (("--storage", "s3://vectors/prod", "--storage-role", "arn:aws:iam::1:user/x"), "storage_role"),
        (("--storage", "s3://vec*rs/prod", "--storage-role", "arn:aws:iam::111111111111:role/x"), "can't be named in a policy"),
        (("--storage-role", "arn:aws:iam::111111111111:role/x"), "leave one of them out"),
        (("--storage", "gs://vectors"), "only file:// and s3://"),
    ],
)
def test_a_storage_that_can_not_be_meant_is_refused_at_the_start(tmp_path, arguments, words):
    base = ["serve", "--data-dir", tmp_path / "data", "--listen", "127.0.0.1:0", "--allow-swap"]
    done = custody(*base, *arguments, env={"AWS_REGION": "us-west-2", "AWS_EC2_METADATA_DISABLED": "true"})
    assert done.returncode != 0 and words in done.stderr, done.stderr
