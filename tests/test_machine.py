"""Bad days of the machine that a node runs on, with the real program: its own credential ends, it is suspended, and it
starts while KMS does not answer."""

import datetime
import json
import signal
import stat
import sys
import time

import pytest

from helpers import proxy as trouble
from helpers.aws import SERVICE_ACCOUNT, Account
from helpers.node import files_under
from helpers.program import PATIENCE
from helpers.proxy import KMS, STS
from helpers.raw import Raw

GRACE = 6
INTERVAL = 1


@pytest.fixture
def aws_node(make_node, customer, proxy):
    """Makes nodes under the customer's key, which they reach through the proxy."""

    def make(env: dict[str, str] | None = None, without: tuple[str, ...] = ()):
        ours = customer.service.environment() | {"AWS_ENDPOINT_URL": proxy.endpoint}
        env = {name: value for name, value in ours.items() if name not in without} | (env or {})
        return make_node(
            key_arn=customer.key_arn, arguments=customer.node_arguments(), grace=f"{GRACE}s", env=env, log="info"
        )

    return make


def serves(node, raw: Raw) -> None:
    """Waits until rows are answered. A machine that stands still longer than these short leases last ends one for a moment."""
    node.wait_for("rows", lambda: raw.query() is None)


def refuses_for_our_credential(raw: Raw) -> None:
    """Waits until that is the reason. Where a lease ended before a first check had failed, the stub learns it with its next
    look; in no case is it said to be the key's owner."""
    deadline = time.monotonic() + PATIENCE
    while True:
        why = raw.refusal()
        assert "revoked" not in why.lower() and time.monotonic() < deadline, why
        if "base credential" in why:
            return
        time.sleep(0.05)


def filled(node) -> Raw:
    client = node.client()
    client.create_collection("points", dimension=2, metric_type="L2")
    client.insert("points", [{"id": 1, "vector": [1, 0]}])
    node.close_clients()
    return Raw(node, "points", 2)


class BaseCredential:
    """What the machine's own credentials come from: a program that is asked again whenever they are about to expire."""

    def __init__(self, directory, account):
        self.answer, self.asked = directory / "answer.json", directory / "asked"
        self.config = directory / "config"
        program = directory / "credentials.py"
        program.write_text(
            f"#!{sys.executable}\nimport pathlib, sys\n"
            f"pathlib.Path({str(self.asked)!r}).open('a').write('.')\n"
            f"answer = pathlib.Path({str(self.answer)!r})\n"
            "sys.exit('the identity provider is down') if not answer.exists() else print(answer.read_text())\n"
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        self.config.write_text(f"[default]\nregion = {account.region}\ncredential_process = {program}\n")
        self.gives(account)

    def gives(self, account) -> None:
        """Hands out this credential, each time for a few seconds."""
        expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)
        credential = {
            "Version": 1,
            "AccessKeyId": account.access_key,
            "SecretAccessKey": account.secret,
            "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        self.answer.write_text(json.dumps(credential))

    def fails(self) -> None:
        self.answer.unlink()

    def times_asked(self) -> int:
        return len(self.asked.read_text())


@pytest.fixture
def base(tmp_path, customer) -> BaseCredential:
    return BaseCredential(tmp_path, customer.service)


def test_a_base_credential_that_ends_is_our_trouble_and_a_new_one_brings_the_cluster_back(aws_node, base, customer):
    variables = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")
    node = aws_node({"AWS_CONFIG_FILE": str(base.config)}, without=variables).start()
    raw, pid = filled(node), node.pid
    asked = base.times_asked()
    node.wait_for("the credential to be asked for again", lambda: base.times_asked() > asked + 2)
    serves(node, raw)
    base.fails()
    refuses_for_our_credential(raw)
    assert customer.service.secret not in node.output()
    base.gives(customer.service)
    serves(node, raw)
    assert node.pid == pid
    raw.close()


def test_a_base_credential_that_aws_no_longer_knows_is_our_trouble_too(aws_node, customer, aws_endpoint):
    node = aws_node().start()
    raw = filled(node)
    user = customer.service_arn.rsplit("/", 1)[-1]
    root = Account(aws_endpoint, SERVICE_ACCOUNT, region=customer.region)
    root.client("iam").delete_access_key(UserName=user, AccessKeyId=customer.service.access_key)
    refuses_for_our_credential(raw)
    raw.close()


@pytest.mark.parametrize("meanwhile", ["kms hangs", "the key is disabled"])
def test_a_process_that_was_stopped_past_its_lease_answers_nothing_before_it_has_asked(aws_node, customer, proxy, meanwhile):
    node = aws_node().start()
    raw = filled(node)
    serves(node, raw)
    node.process.send_signal(signal.SIGSTOP)
    if meanwhile == "the key is disabled":
        customer.kms.disable_key(KeyId=customer.key_arn)
    else:
        proxy.fault(trouble.hangs, KMS)
        proxy.fault(trouble.hangs, STS)
    # The deadline is the interval and grace away.
    time.sleep(INTERVAL + GRACE + 1)
    node.process.send_signal(signal.SIGCONT)
    refusals = [raw.query() for _ in range(20)]
    assert all(refusals), "rows were answered after the deadline"
    if meanwhile == "the key is disabled":
        customer.kms.enable_key(KeyId=customer.key_arn)
    proxy.heal()
    serves(node, raw)
    raw.close()


def test_a_cluster_is_not_made_while_sts_hangs_and_nothing_is_left(aws_node, proxy):
    node = aws_node()
    proxy.fault(trouble.hangs, STS)
    said = node.start_refused()
    assert "sts:AssumeRole failed" in said and "no answer in time" in said, said
    assert files_under(node.data_dir, node.tmp_dir) == []
    proxy.heal()
    node.start()


def test_a_node_that_starts_while_kms_hangs_ends_with_the_reason_and_changes_nothing(aws_node, proxy):
    node = aws_node().start()
    filled(node).close()
    node.stop()
    before = {path: path.read_bytes() for path in files_under(node.data_dir)}
    proxy.fault(trouble.hangs, KMS)
    said = node.start_refused()
    assert "kms:Decrypt failed" in said and "no answer in time" in said, said
    assert {path: path.read_bytes() for path in files_under(node.data_dir)} == before
    proxy.heal()
    raw = Raw(node.start(), "points", 2)
    serves(node, raw)
    raw.close()
