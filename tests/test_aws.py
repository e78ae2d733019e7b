"""A cluster under a customer's key in AWS (a stand-in on loopback), reached through the customer's role."""

import pytest

from helpers import life
from helpers.aws import KMS_ACTIONS, REGION, Customer
from helpers.node import Node, files_under
from helpers.raw import Raw


@pytest.fixture
def aws_node(make_node, customer):
    """Makes nodes that reach the customer's key as our own user; they are not started."""

    def make(*, key_arn: str | None = None, external_id: str | None = None, storage: str | None = None) -> Node:
        return make_node(
            key_arn=key_arn or customer.key_arn,
            arguments=customer.node_arguments(external_id=external_id),
            env=customer.service.environment(),
            storage=storage,
        )

    return make


def test_a_cluster_under_an_aws_key_lives_its_whole_life(aws_node):
    life.whole_life(aws_node().start())


def test_a_cluster_under_an_aws_key_lives_its_whole_life_in_a_bucket(aws_node, customer):
    bucket = customer.create_bucket()
    node = aws_node(storage=f"s3://{bucket}/some/prefix").start()
    life.whole_life(node)
    node.stop()
    objects = customer.objects(bucket)
    assert objects and all(key.startswith(f"some/prefix/clusters/{node.cluster_id}/") for key in objects)
    assert not any("ünïcödé".encode() in body for body in objects.values())
    assert not files_under(node.data_dir, node.tmp_dir), "a cluster in a bucket leaves nothing on the disk"


def test_a_revoked_aws_key_darkens_the_cluster_and_an_enabled_one_brings_it_back(aws_node, customer):
    node = aws_node().start()
    client = node.client()
    client.create_collection("points", dimension=2, metric_type="L2")
    client.insert("points", [{"id": 1, "vector": [1, 0]}])
    raw = Raw(node, "points", 2)
    pid = node.pid
    customer.kms.disable_key(KeyId=customer.key_arn)
    node.wait_for("the cluster to go dark", lambda: "disabled" in (raw.query() or ""))
    customer.kms.enable_key(KeyId=customer.key_arn)
    node.wait_for("the cluster to come back", lambda: raw.query() is None)
    assert node.pid == pid
    raw.close()


# --- what keeps a cluster from being made, and is named -----------------------------------------------------------


def refused_and_nothing_left(node: Node, *causes: str) -> None:
    """The node says why it doesn't start, and leaves no file."""
    said = node.start_refused().lower()
    for cause in causes:
        assert cause.lower() in said, f"'{cause}' is not named in:\n{said}"
    assert files_under(node.data_dir, node.tmp_dir) == []


def test_a_wrong_external_id_is_refused(aws_node):
    refused_and_nothing_left(aws_node(external_id="external-of-someone-else"), "external id")


@pytest.mark.parametrize("missing", KMS_ACTIONS)
def test_a_missing_permission_is_named(aws_node, customer, missing):
    customer.grant(customer.key_arn, tuple(action for action in KMS_ACTIONS if action != missing))
    refused_and_nothing_left(aws_node(), missing)


def test_a_permission_on_another_key_is_none(aws_node, customer):
    customer.grant(customer.create_key())
    refused_and_nothing_left(aws_node(), "missing permission")


def test_a_disabled_key_is_refused(aws_node, customer):
    customer.kms.disable_key(KeyId=customer.key_arn)
    refused_and_nothing_left(aws_node(), "disabled")


def test_a_key_that_is_pending_deletion_is_refused(aws_node, customer):
    customer.kms.schedule_key_deletion(KeyId=customer.key_arn, PendingWindowInDays=7)
    refused_and_nothing_left(aws_node(), "pending deletion")


def test_a_key_of_another_region_is_refused(aws_node, customer):
    elsewhere = customer.key_arn.replace(REGION, "eu-central-1")
    customer.grant(elsewhere)
    refused_and_nothing_left(aws_node(key_arn=elsewhere), "another region", "eu-central-1", REGION)


def test_a_key_that_does_not_exist_is_refused(aws_node, customer):
    key_id = customer.key_arn.rsplit("/", 1)[1]
    missing = customer.key_arn.replace(key_id, "00000000-0000-0000-0000-000000000000")
    customer.grant(missing)
    refused_and_nothing_left(aws_node(key_arn=missing), "no such key")


@pytest.mark.parametrize(
    ("usage", "spec"),
    [("GENERATE_VERIFY_MAC", "HMAC_256"), ("SIGN_VERIFY", "RSA_2048"), ("ENCRYPT_DECRYPT", "RSA_2048")],
)
def test_a_key_that_is_not_for_symmetric_encryption_is_refused(aws_node, customer, usage, spec):
    key = customer.create_key(KeyUsage=usage, KeySpec=spec)
    customer.grant(key)
    refused_and_nothing_left(aws_node(key_arn=key), "ENCRYPT_DECRYPT")


@pytest.mark.parametrize("name", ["alias/mine", "not-an-arn", "arn:aws:kms:us-west-2:222222222222:key/"])
def test_a_key_that_is_not_named_by_its_full_arn_is_refused(aws_node, name):
    refused_and_nothing_left(aws_node(key_arn=name), "arn")


def test_nothing_is_written_to_a_bucket_under_a_key_that_is_refused(aws_node, customer):
    bucket = customer.create_bucket()
    customer.kms.disable_key(KeyId=customer.key_arn)
    refused_and_nothing_left(aws_node(storage=f"s3://{bucket}/x"), "disabled")
    assert customer.objects(bucket) == {}


def test_another_customers_key_does_not_open_a_cluster(aws_node, make_node, customer, aws_endpoint):
    node = aws_node().start()
    node.stop()
    before = {path: path.read_bytes() for path in files_under(node.data_dir)}
    thief = Customer(aws_endpoint)
    other = make_node(
        "thief",
        key_arn=thief.key_arn,
        cluster_id=node.cluster_id,
        data_dir=node.data_dir,
        arguments=thief.node_arguments(),
        env=thief.service.environment(),
    )
    assert "key" in other.start_refused()
    assert {path: path.read_bytes() for path in files_under(node.data_dir)} == before
    node.start()
