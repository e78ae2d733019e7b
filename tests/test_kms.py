"""Every way in which KMS can say no, or nothing: what becomes of the data, whose it is, and what the record shows.

The node is the real program; AWS is a stand-in that checks signatures, times, sessions and policies; between them a
proxy makes the trouble that a stand-in can't make by itself.
"""

import datetime
import time
from collections import Counter

import pytest

from helpers import proxy as trouble
from helpers.aws import CUSTOMER_ACCOUNT, Customer
from helpers.ledger import began, ended, ledger, lines, seconds
from helpers.node import files_under
from helpers.program import PATIENCE
from helpers.proxy import KMS, STS, Call, Proxy
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
    """Makes a cluster behind the proxy with a tenant of each of these names: (the node, its own data, the tenants). A grace in
    seconds is what a machine of its own needs: it is longer on one on which the customers took longer to set up."""
    open_raws = []

    def make(*names: str, grace: int | None = None, **more):
        began = time.monotonic()
        customers = [Customer(aws_endpoint, service=customer) for _ in names]
        took = time.monotonic() - began
        keys = [
            ("--tenant-key", f"{it.key_arn} {it.role_arn} {it.external_id}") for it in customers
        ]
        node = make_node(
            key_arn=customer.key_arn,
            arguments=(*customer.node_arguments(), *sum(keys, ()), "--log-json"),
            grace=f"{max(grace, round(2 * took))}s" if grace else "1h",
            env=customer.service.environment() | {"AWS_ENDPOINT_URL": proxy.endpoint},
            # The record must be there whatever else is logged.
            log="warn",
            **more,
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


# How far apart two looks at one clock may be told.
MOMENT = 0.01
# How long a node waits for the answer to a call.
CALL_TIMEOUT = 8


def is_within(call: Call, entry: dict) -> bool:
    """Whether AWS saw the call while the node made it."""
    return began(entry) - MOMENT <= call.at <= ended(entry) + MOMENT


def each_was_made(calls: list[Call], entries: list[dict]) -> bool:
    """Whether each call has an entry of its own action, which began before AWS saw it, and no other call has that."""
    for action in {call.name for call in calls}:
        seen = sorted(call.at for call in calls if call.name == action)
        made = sorted(began(entry) for entry in entries if entry["action"] == action)
        if len(made) < len(seen) or not all(one <= at + MOMENT for one, at in zip(made, seen)):
            return False
    return True


def stop_and_reconcile(node, proxy: Proxy) -> None:
    """Every call that AWS saw and answered is in the record by its request id, and the other way round; calls without
    an answer are in both, without an id. A call that the node gives up, as it ends or because it took too long, is in its
    record; how far it had come by then, nobody says."""
    told_to_end = time.time()
    node.stop()
    mine = ledger(node)
    silent = [entry for entry in mine if "request_id" not in entry]
    at_the_end = [it for it in silent if it["outcome"] == "unreachable" and ended(it) >= told_to_end - MOMENT]
    too_long = [it for it in silent if it["outcome"] == "unreachable" and it["took_ms"] >= 1_000 * CALL_TIMEOUT]
    answered = {call.request_id: call for call in proxy.calls if call.answered and call.request_id}
    recorded = {entry["request_id"]: entry for entry in mine if "request_id" in entry}
    assert recorded.keys() <= answered.keys(), "each request id that is recorded, AWS gave"
    unheard = [answered.pop(request_id) for request_id in answered.keys() - recorded.keys()]
    assert each_was_made(unheard, [it for it in silent if it in at_the_end or it in too_long]), "each that AWS gave is recorded"
    assert len(recorded) == sum("request_id" in entry for entry in mine), "and once"
    for request_id, call in answered.items():
        entry = recorded[request_id]
        assert entry["action"] == call.name
        assert entry.get("code") == call.code
        assert (entry["outcome"] == "ok") == (call.status == 200)
        assert entry["purpose"] in ("create", "open", "renew", "validate")
        assert is_within(call, entry), (call, entry)
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
    without = [call for call in proxy.calls if not (call.answered and call.request_id)] + unheard
    assert each_was_made(without, silent), "each that had no answer is recorded"
    more = Counter(entry["action"] for entry in silent) - Counter(call.name for call in without)
    assert more <= Counter(entry["action"] for entry in at_the_end), "and no other, but what did not get to AWS as the node ended"
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


def failed_checks(node, tenant: Tenant) -> list[str]:
    """What each failed check of a tenant's key came to."""
    told = [line["fields"] for line in lines(node) if line["fields"]["message"] == "key check failed"]
    return [fields["error"] for fields in told if fields["key"] == tenant.customer.key_arn]


def wait_for_each_to_be_met(node, tenants: dict[str, Tenant]) -> None:
    """Waits until a check of each key has failed. Whose has is served all the same, at that moment."""
    left = {it.customer.key_arn: name for name, it in tenants.items()}

    def met() -> bool:
        for line in lines(node):
            fields = line["fields"]
            if fields["message"] == "key check failed" and fields["key"] in left:
                name = left.pop(fields["key"])
                assert tenants[name].why() == "", f"{name}: not served on grace"
        return not left

    node.wait_for("every trouble to be met", met)


@pytest.mark.long
def test_each_trouble_runs_on_grace_then_seals_one_tenant_alone_and_ends_by_itself(cluster, proxy):
    """One tenant for each trouble, all at once: what each sees is its own key's."""
    names = ("untroubled", "a slow answer", "the session expires", *TROUBLES)
    # There are many keys: each is checked every other second, so that a slow machine has the time to.
    node, own, tenants = cluster(*names, grace=GRACE, check_interval="2s")
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
    # A call that hangs has not failed by the end of grace.
    wait_for_each_to_be_met(node, {name: tenants[name] for name in troubled if name not in HANGS})
    assert {name: tenants[name].why() for name in serving} == dict.fromkeys(serving, "")
    node.wait_for("grace to end", lambda: all(tenants[name].why() for name in troubled), 3 * PATIENCE)
    for name in troubled:
        why, words = tenants[name].why(), TROUBLES.get(name, (0, 0, 0, "ours", "session"))[4]
        assert why.startswith("UNAVAILABLE") and "sealed" in why and "revoked" not in why, f"{name}: {why}"
        if name in HANGS:
            assert words in why.lower(), f"{name}: {why}"
        else:
            # On a machine that is too slow for it a check may have had no answer in time, and if that was the last, that is why.
            told = failed_checks(node, tenants[name])
            assert any(words in error.lower() for error in told), f"{name}: {told}"
            assert any(error in why for error in told), f"{name}: {why}"
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


@pytest.mark.long
def test_each_revocation_by_an_owner_seals_that_owners_data_alone_and_taking_it_back_mends_it(cluster, proxy):
    node, own, tenants = cluster("untouched", *REVOCATIONS)
    pid = node.pid
    for name, (revoke, _, _) in REVOCATIONS.items():
        revoke(tenants[name].customer)
    # An owner may need two steps for it, and a check between them finds the first.
    for name, (_, _, words) in REVOCATIONS.items():
        node.wait_for(f"{name}: to go dark for '{words}'", lambda it=tenants[name], words=words: words in it.why().lower())
        assert "revoked" in tenants[name].why().lower(), f"{name}: {tenants[name].why()}"
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
    node, own, _ = cluster(grace=8)
    pid, stub = node.pid, "this process holds no key"
    with proxy.refusing():
        node.wait_for("a check to fail", lambda: "key check failed" in node.said() or stub in node.said())
        served = own.query() is None
        until = max(began(entry) for entry in ledger(node) if entry["outcome"] == "ok") + 8
        assert served or time.time() > until, "served on grace"
        node.wait_for("grace to end", lambda: "no connection" in (own.query() or ""))
        node.wait_for("the stub", lambda: stub in node.said())
        [sealed] = [line for line in lines(node) if stub in line["fields"]["message"]]
        assert seconds(sealed["timestamp"]) > until, "grace was cut short"
    node.wait_for("the cluster to come back", lambda: own.query() is None)
    assert node.pid == pid
