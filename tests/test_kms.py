"""Every way in which KMS can say no, or nothing: what becomes of the data, whose it is, and what the record shows.

The node is the real program; AWS is a stand-in that checks signatures, times, sessions and policies; between them a
proxy makes the trouble that a stand-in can't make by itself.
"""

import datetime
import json
import time
from collections import Counter

import pytest

from helpers import proxy as trouble
from helpers.aws import CUSTOMER_ACCOUNT, Customer
from helpers.node import files_under
from helpers.proxy import KMS, STS, Proxy
from helpers.raw import Raw

DIM = 2
HOUR = datetime.timedelta(hours=1)


class Tenant:
    """A database under a key of a customer's own, who has a role of his own."""

    def __init__(self, node, customer: Customer, database: str):
        self.customer, self.database = customer, database
        self.about = (customer.key_arn, customer.role_arn)
        self.raw = Raw(node, "points", DIM, database)

    def why(self) -> str:
        """Why it is dark, or nothing."""
        return self.raw.query() or ""


def fill(client) -> None:
    client.create_collection("points", dimension=DIM, metric_type="L2")
    client.insert("points", [{"id": 1, "vector": [1, 0]}])


@pytest.fixture
def cluster(make_node, customer, proxy, aws_endpoint):
    """Makes a cluster behind the proxy with a tenant of each of these names: (the node, its own data, the tenants)."""
    open_raws = []

    def make(*names: str, grace: str = "1h"):
        customers = [Customer(aws_endpoint, service=customer) for _ in names]
        keys = [
            ("--tenant-key", f"{it.key_arn} {it.role_arn} {it.external_id}") for it in customers
        ]
        node = make_node(
            key_arn=customer.key_arn,
            arguments=(*customer.node_arguments(), *sum(keys, ()), "--log-json"),
            grace=grace,
            env=customer.service.environment() | {"AWS_ENDPOINT_URL": proxy.endpoint},
            # The record must be there whatever else is logged.
            log="warn",
        )
        node.start()
        client = node.client()
        fill(client)
        for number, it in enumerate(customers):
            client.create_database(f"t{number}", properties={"cipher.key": it.key_arn})
            fill(node.client(db_name=f"t{number}"))
        node.close_clients()
        own = Raw(node, "points", DIM)
        tenants = {name: Tenant(node, it, f"t{i}") for i, (name, it) in enumerate(zip(names, customers))}
        open_raws.extend([own, *(it.raw for it in tenants.values())])
        return node, own, tenants

    yield make
    for raw in open_raws:
        raw.close()


# --- the record, laid beside what AWS saw ---------------------------------------------------------------------------


def ledger(node) -> list[dict]:
    """The calls that the node says it made."""
    lines = [json.loads(line) for line in node.log_file.read_text().splitlines() if line.startswith("{")]
    return [line["fields"] for line in lines if line["target"] == "custody_kms::ledger"]


def began(entry: dict) -> float:
    return datetime.datetime.fromisoformat(entry["at"]).timestamp()


def stop_and_reconcile(node, proxy: Proxy) -> None:
    """Every call that AWS saw and answered is in the record by its request id, and the other way round; calls without
    an answer are in both, without an id. A call that the node gives up as it ends is in its record; how far it had come
    by then, nobody says."""
    told_to_end = time.time()
    node.stop()
    mine = ledger(node)
    silent = [entry for entry in mine if "request_id" not in entry]
    given_up = [
        entry
        for entry in silent
        if entry["outcome"] == "unreachable" and began(entry) + entry["took_ms"] / 1_000 >= told_to_end - 0.01
    ]
    answered = {call.request_id: call for call in proxy.calls if call.answered and call.request_id}
    recorded = {entry["request_id"]: entry for entry in mine if "request_id" in entry}
    assert recorded.keys() <= answered.keys(), "each request id that is recorded, AWS gave"
    unheard = [answered.pop(request_id) for request_id in answered.keys() - recorded.keys()]
    assert len(unheard) <= len(given_up) and all(call.at > told_to_end - 1 for call in unheard), "each that AWS gave is recorded"
    assert len(recorded) == sum("request_id" in entry for entry in mine), "and once"
    for request_id, call in answered.items():
        entry = recorded[request_id]
        assert entry["action"] == call.name
        assert entry.get("code") == call.code
        assert (entry["outcome"] == "ok") == (call.status == 200)
        assert entry["purpose"] in ("create", "open", "renew", "validate")
        assert began(entry) == pytest.approx(call.at, abs=2)
        assert entry.get("session") == call.session
        if call.service == KMS:
            assert entry["key"] == call.key
            context = dict(pair.split("=") for pair in entry["context"].split(",")) if "context" in entry else {}
            assert context == call.context
            assert entry["purpose"] == "validate" or context.get("custody:purpose") != "validate"
        else:
            assert entry["role"] == call.parameters["RoleArn"]
            assert call.parameters["RoleSessionName"] == f"custody-{node.cluster_id}"
            assert call.parameters["DurationSeconds"] == "900"
    told, seen = Counter(entry["action"] for entry in silent), Counter(
        call.name for call in proxy.calls if not (call.answered and call.request_id)
    )
    assert not seen - told and not told - seen - Counter(entry["action"] for entry in given_up)
    assert not any(entry["outcome"] == "ok" for entry in silent)


# --- faults of the way to AWS, and our own --------------------------------------------------------------------------

# Name: (service, action, faults, outcome, what the reason says)
TROUBLES = {
    "kms throttles": (KMS, None, [trouble.answers("ThrottlingException")], "unreachable", "throttled"),
    "sts throttles": (STS, None, [trouble.answers("Throttling")], "unreachable", "throttled"),
    "kms fails": (KMS, None, [trouble.answers("KMSInternalException", 500)], "unreachable", "inside the kms"),
    "sts is unavailable": (STS, None, [trouble.answers("ServiceUnavailable", 503)], "unreachable", "inside the kms"),
    "a gateway's page": (KMS, None, [trouble.page(502)], "unreachable", "inside the kms"),
    "a portal's page": (STS, None, [trouble.page(200)], "unreachable", "an answer we do not know"),
    "hung up": (KMS, None, [trouble.closes], "unreachable", "no connection"),
    "half an answer": (KMS, None, [trouble.half], "unreachable", ""),
    "kms hangs": (KMS, None, [trouble.hangs], "unreachable", "not"),
    "sts hangs": (STS, None, [trouble.hangs], "unreachable", "not"),
    "our clock is slow": (STS, None, [trouble.skewed(-HOUR)], "ours", "clock"),
    "our clock is fast for kms": (KMS, None, [trouble.skewed(HOUR)], "ours", "clock"),
    "our credential expired": (STS, None, [trouble.answers("ExpiredToken", 403)], "ours", "base credential"),
    "our credential is unknown": (STS, None, [trouble.answers("InvalidClientTokenId", 403)], "ours", "base credential"),
    "our signature is wrong": (STS, None, [trouble.answers("SignatureDoesNotMatch", 403)], "ours", "signature"),
}
HANGS = ("kms hangs", "sts hangs")
GRACE = 12


def test_each_trouble_runs_on_grace_then_seals_one_tenant_alone_and_ends_by_itself(cluster, proxy):
    """One tenant for each trouble, all at once: what each sees is its own key's."""
    node, own, tenants = cluster("untroubled", "a slow answer", "the session expires", *TROUBLES, grace=f"{GRACE}s")
    pid = node.pid
    for name, (service, action, faults, _, _) in TROUBLES.items():
        for fault in faults:
            proxy.fault(fault, service, action, tenants[name].about)
    proxy.fault(trouble.late(1.5), about=tenants["a slow answer"].about)
    expiring = tenants["the session expires"]
    proxy.fault(trouble.short_session, STS, about=expiring.about)
    proxy.fault(trouble.late(2.5), KMS, about=expiring.about)
    serving = ("untroubled", "a slow answer")
    troubled = [name for name in tenants if name not in serving]

    def known(name: str) -> bool:
        """Its check has failed, as a metric shows it."""
        return name in HANGS or any(
            f'"{tenants[name].customer.key_arn}"' in line and "key check failed" in line
            for line in node.log_file.read_text().splitlines()
        )

    node.wait_for("every trouble to be met", lambda: all(map(known, troubled)))
    assert {name: it.why() for name, it in tenants.items() if name in ("our clock is slow", *serving)} == dict.fromkeys(
        ("untroubled", "a slow answer", "our clock is slow"), ""
    )
    node.wait_for("grace to end", lambda: all(tenants[name].why() for name in troubled))
    for name in troubled:
        why, words = tenants[name].why(), TROUBLES.get(name, (0, 0, 0, "ours", "session"))[4]
        assert why.startswith("UNAVAILABLE") and "sealed" in why and words in why.lower(), f"{name}: {why}"
        assert "revoked" not in why, f"{name}: {why}"
    assert own.query() is None and [tenants[name].why() for name in serving] == ["", ""]
    proxy.heal()
    node.wait_for("all to come back", lambda: not any(it.why() for it in tenants.values()))
    assert node.pid == pid
    stop_and_reconcile(node, proxy)


# --- what a key's owner does -----------------------------------------------------------------------------------------


def restore_role(customer: Customer) -> None:
    customer.create_role()
    customer.grant(customer.key_arn)


def cancel_deletion(customer: Customer) -> None:
    customer.kms.cancel_key_deletion(KeyId=customer.key_arn)
    customer.kms.enable_key(KeyId=customer.key_arn)


# Name: (what the owner does, how it is taken back, what the reason says). All of it by the stand-in's own enforcement.
REVOCATIONS = {
    "principal removed": (
        lambda it: it.set_trust(principal=f"arn:aws:iam::{CUSTOMER_ACCOUNT}:root"),
        Customer.set_trust,
        "trust policy",
    ),
    "external id changed": (lambda it: it.set_trust(external_id="another-id"), Customer.set_trust, "external id"),
    "role deleted": (Customer.delete_role, restore_role, "the role exists"),
    "policy removed": (Customer.delete_policy, lambda it: it.grant(it.key_arn), "permission kms:decrypt"),
    "one permission removed": (
        lambda it: it.grant(it.key_arn, ("kms:Encrypt", "kms:DescribeKey")),
        lambda it: it.grant(it.key_arn),
        "permission kms:decrypt",
    ),
    "key disabled": (
        lambda it: it.kms.disable_key(KeyId=it.key_arn),
        lambda it: it.kms.enable_key(KeyId=it.key_arn),
        "the key is disabled",
    ),
    "key pending deletion": (
        lambda it: it.kms.schedule_key_deletion(KeyId=it.key_arn, PendingWindowInDays=7),
        cancel_deletion,
        "pending deletion",
    ),
}


def test_each_revocation_by_an_owner_seals_that_owners_data_alone_and_taking_it_back_mends_it(cluster, proxy):
    node, own, tenants = cluster("untouched", *REVOCATIONS)
    pid = node.pid
    for name, (revoke, _, _) in REVOCATIONS.items():
        revoke(tenants[name].customer)
    node.wait_for("all to go dark", lambda: all(tenants[name].why() for name in REVOCATIONS))
    for name, (_, _, words) in REVOCATIONS.items():
        why = tenants[name].why().lower()
        assert "revoked" in why and words in why, f"{name}: {why}"
    assert own.query() is None and tenants["untouched"].why() == ""
    for name, (_, restore, _) in REVOCATIONS.items():
        restore(tenants[name].customer)
    node.wait_for("all to come back", lambda: not any(it.why() for it in tenants.values()))
    assert own.query() is None and node.pid == pid
    stop_and_reconcile(node, proxy)


def test_a_key_that_exists_in_another_region_than_the_clusters_makes_no_cluster(make_node, customer, proxy):
    elsewhere = customer.create_key(region="eu-central-1")
    customer.grant(elsewhere)
    env = customer.service.environment() | {"AWS_ENDPOINT_URL": proxy.endpoint}
    tenant = ("--tenant-key", elsewhere)
    for name, key, more in (("own", elsewhere, ()), ("tenant", customer.key_arn, tenant)):
        node = make_node(name, key_arn=key, arguments=(*customer.node_arguments(), *more), env=env)
        said = node.start_refused()
        assert "another region" in said and "eu-central-1" in said and "us-west-2" in said and elsewhere in said
        assert files_under(node.data_dir, node.tmp_dir) == []
    assert proxy.calls == [], "and nobody was asked"


def test_a_cluster_whose_own_kms_cannot_be_reached_serves_on_grace_goes_dark_and_comes_back(cluster, proxy):
    node, own, _ = cluster(grace="8s")
    pid = node.pid
    with proxy.refusing():
        node.wait_for("a check to fail", lambda: "key check failed" in node.output())
        assert own.query() is None, "served on grace"
        node.wait_for("grace to end", lambda: "no connection" in (own.query() or ""))
    node.wait_for("the cluster to come back", lambda: own.query() is None)
    assert node.pid == pid
