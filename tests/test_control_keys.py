"""Customers' keys in the control plane, on the stand-in for AWS: two accounts, ours and the customer's. What the dialog shows
is run as it stands."""

import itertools
import json
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from helpers.aws import CUSTOMER_ACCOUNT, REGION, SERVICE_ACCOUNT, Account, Customer, Trail
from helpers.dialog import REGION_ID, SetUp
from helpers.program import PATIENCE


@pytest.fixture
def control(make_control, service):
    return make_control(env=service.service.environment()).start()


@pytest.fixture
def set_up(control, quick_shell) -> SetUp:
    return SetUp(control, quick_shell, control.create_project())


def test_what_the_dialog_shows_makes_a_key_that_validates_and_is_added(control, service, shell):
    set_up = SetUp(control, shell, control.create_project())
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
        "clock",
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
    # The key's own policy names the role as it is: with its path, and wherever it lies.
    elsewhere = "arn:aws:iam::444455556666:role/a/path/of/roles"
    statement = json.loads(set_up.shown(keyArn=set_up.key_arn, roleArn=elsewhere)["keyPolicyStatement"])
    assert statement["Principal"] == {"AWS": elsewhere}
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

    def any_id() -> str:
        policy = json.loads(trust)
        policy["Statement"][0]["Condition"] = {"StringLike": {"sts:ExternalId": "*"}}
        return json.dumps(policy)

    broken = [
        ("assumeRole", "external id", lambda: set_up.set_trust(trust.replace(external_id, "another-id")), "trust"),
        ("externalId", "without an external id", open_trust, "trust"),
        ("externalId", "under a random external id", lambda: set_up.set_trust(any_id()), "trust"),
        ("assumeRole", "trust policy", lambda: set_up.set_trust(trust.replace("user/", "user/not-")), "trust"),
        ("describeKey", "kms:DescribeKey", without("kms:DescribeKey"), "policy"),
        ("encrypt", "kms:Encrypt", without("kms:Encrypt"), "policy"),
        ("decrypt", "kms:Decrypt", without("kms:Decrypt"), "policy"),
        ("describeKey", "disabled", lambda: set_up.aws("disable-key"), "enabled"),
    ]

    def is_named(name: str, words: str) -> None:
        """That check alone fails, in these words, and in the same words the key is not added. A key that is no good for anything
        can't encrypt either, and says so after its description did."""
        # Side by side: a denial is tried again two seconds later, in each of them.
        with ThreadPoolExecutor() as pool:
            validation, addition = pool.submit(set_up.validate), pool.submit(set_up.refused)
        found, refused = validation.result(), addition.result()
        failed = [check for check in found["checks"] if not check["ok"] and not check.get("skipped")]
        first, *rest = [check["name"] for check in failed]
        assert not found["valid"] and first == name and words in failed[0]["message"], found
        assert rest == [] or (rest == ["encrypt"] and "kms:" not in words and name == "describeKey"), found
        assert refused.status == 400 and words in refused.message, refused

    for name, words, break_it, mend in broken:
        break_it()
        is_named(name, words)
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
        for path in (set_up.path("/validate"), set_up.path()):
            refused = control.refused("POST", path, set_up.body(**changed))
            assert refused.status == 400 and words in refused.message, (path, changed, refused)

    def made(arguments: str) -> str:
        return set_up.shell.run(f"aws kms create-key --region {REGION} {arguments}")["KeyMetadata"]["Arn"]

    right = set_up.key_arn
    for arn, words in [
        (made("--key-spec RSA_2048 --key-usage ENCRYPT_DECRYPT"), "RSA_2048"),
        (made("--key-spec HMAC_256 --key-usage GENERATE_VERIFY_MAC"), "HMAC_256"),
        (f"{right.rsplit('/', 1)[0]}/{uuid.uuid4()}", "no such key in its region"),
    ]:
        # The role may use it: what is wrong is the key alone.
        set_up.key_arn = arn
        set_up.put_policy()
        is_named("describeKey", words)
    set_up.key_arn = right
    set_up.aws("schedule-key-deletion --pending-window-in-days 7")
    is_named("describeKey", "pending deletion")
    assert set_up.keys() == []
    activities = control.call("GET", f"/v2/projects/{project}/activities")
    assert [activity["action"] for activity in activities] == ["project.create"]


def test_a_replica_in_another_region_is_another_key(control, set_up):
    shell, elsewhere = set_up.shell, "eu-west-1"
    primary = shell.run(f"aws kms create-key --region {REGION} --multi-region")["KeyMetadata"]["Arn"]
    copied = shell.run(f"aws kms replicate-key --region {REGION} --key-id {primary} --replica-region {elsewhere}")
    replica = copied["ReplicaKeyMetadata"]["Arn"]
    assert replica.rsplit("/", 1)[1] == primary.rsplit("/", 1)[1], "one key id, in two regions"
    ids = {}
    for arn, region in ((primary, REGION), (replica, elsewhere)):
        set_up.key_arn, set_up.region_id = arn, f"aws-{region}"
        set_up.put_policy()
        ids[arn] = set_up.add()
        assert set_up.refused().status == 409, "that one is there now"
    assert {(key["keyArn"], key["regionId"]) for key in set_up.keys()} == {(primary, REGION_ID), (replica, f"aws-{elsewhere}")}
    # One that is disabled takes nothing from the other.
    shell.run(f"aws kms disable-key --region {elsewhere} --key-id {replica}")
    states = {arn: control.call("POST", set_up.path(f"/{key}/check"))["status"] for arn, key in ids.items()}
    assert states == {primary: "AVAILABLE", replica: "REVOKED"}


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


def unanswered(call: dict) -> bool:
    """Whether a call of the ledger had no answer in time: it has no id, and AWS may have seen it all the same."""
    return call["outcome"] == "unreachable" and "requestId" not in call


def test_the_ledger_lists_every_call_with_awss_request_id(control, set_up):
    key_id = set_up.add()
    control.call("POST", set_up.path(f"/{key_id}/check"))
    calls = control.call("GET", set_up.path(f"/{key_id}/ledger"))["calls"]
    calls = [call for call in calls if not unanswered(call)]
    assert {call["action"] for call in calls} == {"sts:AssumeRole", "kms:DescribeKey", "kms:Encrypt", "kms:Decrypt"}
    for call in calls:
        assert call["requestId"] and call["keyArn"] == set_up.key_arn and call["roleArn"] == set_up.role_arn, call
        assert call["outcome"] == "ok" or call["action"] == "sts:AssumeRole", call
    # The two strangers that the role must turn away.
    assert sum(call["outcome"] == "denied" for call in calls) >= 2
    # Page by page the same, while checks go on and more come before them.
    read, query = [], ""
    while query is not None:
        listed = control.call("GET", set_up.path(f"/{key_id}/ledger?limit=5{query}"))
        read += listed["calls"]
        query = f"&before={listed['next']}" if "next" in listed else None
    whole = control.call("GET", set_up.path(f"/{key_id}/ledger?limit=10000"))
    assert len(read) >= len(calls) and read == whole["calls"][-len(read) :] and "next" not in whole


def as_in_the_ledger(call: dict) -> tuple:
    """A call as both sides can tell it: which, AWS's id, by which session, about what, under which context."""
    session = call.get("session")
    context = dict(pair.split("=", 1) for pair in call["context"].split(",")) if call.get("context") else {}
    return call["action"], call["requestId"], session.rsplit("/", 1)[1] if session else None, call["keyArn"], context


def as_in_the_trail(set_up: SetUp, event: dict) -> tuple:
    asked = event["requestParameters"]
    if event["eventSource"].startswith("sts"):
        return f"sts:{asked['Action']}", event["requestID"], asked["RoleSessionName"], None, {}
    name = f"kms:{event['eventName']}"
    return name, event["requestID"], "custody-control", asked["KeyId"], asked.get("EncryptionContext", {})


def had_ended(call: dict, other: dict) -> bool:
    """Whether a call of the ledger had ended when another one began. Times are cut to milliseconds."""
    return call["at"] + call["tookMs"] + 1 < other["at"]


def test_the_ledger_and_cloudtrail_agree_line_by_line(control, service, set_up, aws_endpoint):
    """Both ways. What the stand-in's CloudTrail leaves out is left out here: calls that a policy of the role refuses (real
    CloudTrail has them). It calls every action of STS "POST.sts" and names the action among the parameters. A call to STS
    stands in our own account's trail, one to KMS in that of the key's owner, as in real AWS."""
    ours, theirs = Trail(Account(aws_endpoint, SERVICE_ACCOUNT)), Trail(set_up.shell.account)
    key_id = set_up.add()
    control.call("POST", set_up.path(f"/{key_id}/check"))
    set_up.aws("disable-key")
    control.wait_for("REVOKED", lambda: set_up.key(key_id)["status"] == "REVOKED")
    set_up.aws("enable-key")
    trust = set_up.shown()["trustPolicy"]
    set_up.set_trust(trust.replace("user/", "user/not-"))
    control.wait_for("the role refused", lambda: "role refused" in set_up.key(key_id).get("reason", ""))
    set_up.set_trust(trust)
    control.wait_for("AVAILABLE", lambda: set_up.key(key_id)["status"] == "AVAILABLE")

    def calls() -> list[dict]:
        return control.call("GET", set_up.path(f"/{key_id}/ledger?limit=10000"))["calls"][::-1]

    def has_all(seen: list[tuple]) -> bool:
        """Whether the ledger has these, by their ids or as calls that had no answer."""
        listed = calls()
        known = ledger([call for call in listed if not unanswered(call)])
        more = Counter(line[0] for line in seen if line not in known)
        return more <= Counter(call["action"] for call in listed if unanswered(call))

    def ledger(listed: list[dict]) -> list[tuple]:
        lines = [as_in_the_ledger(call) for call in listed]
        # CloudTrail has no key in a call to STS, and no session in one that was refused.
        return [(*it[:2], "custody-control", None, {}) if it[0] == "sts:AssumeRole" else it for it in lines]

    def trail() -> list[tuple]:
        asked = [e for e in ours.events() if e["requestParameters"].get("RoleArn") == set_up.role_arn]
        used = [e for e in theirs.events() if e["requestParameters"].get("KeyId") == set_up.key_arn]
        # What the customer does with the key is no call of ours.
        used = [e for e in used if e["userIdentity"]["accessKeyId"] != CUSTOMER_ACCOUNT]
        return [as_in_the_trail(set_up, event) for event in asked + used]

    # Checks go on meanwhile: what the ledger had before is in the trail, and what the trail has is in the ledger soon.
    listed = [call for call in calls() if not unanswered(call)]
    seen = trail()
    before = ledger(listed)
    assert {name for name, *_ in before} == {"sts:AssumeRole", "kms:DescribeKey", "kms:Encrypt", "kms:Decrypt"}
    assert len(before) > 20 and len(set(map(repr, before))) == len(before)
    missing = [line for line in before if line not in seen]
    assert missing == [], "calls of ours that CloudTrail does not know"
    control.wait_for("the ledger to have all that CloudTrail has", lambda: has_all(seen))
    # In one order too, each service by itself: they stand in two accounts. The ledger has calls as they ended and CloudTrail as
    # they came, which is one order where one had ended when the other began.
    for service_name in ("sts", "kms"):
        of = [(call, seen.index(line)) for call, line in zip(listed, before, strict=True) if line[0].startswith(service_name)]
        assert not [pair for pair in itertools.combinations(of, 2) if had_ended(pair[1][0], pair[0][0])], "another order of its own"
        apart = [pair for pair in itertools.combinations(of, 2) if had_ended(pair[0][0], pair[1][0])]
        assert len(apart) >= len(of) > 1, "checks are a second apart"
        assert [pair for pair in apart if pair[0][1] > pair[1][1]] == [], "another order"


def alias_for(set_up: SetUp) -> str:
    """An alias of the key. The stand-in looks for DescribeKey's permission on the alias that the call names; AWS does on the
    key behind it, which is all that the policy shown in the dialog names. Here, and here alone, the role gets both."""
    alias = f"alias/team/{uuid.uuid4().hex[:8]}"
    set_up.shell.run(f"aws kms create-alias --region {REGION} --alias-name {alias} --target-key-id {set_up.key_arn}")
    arn = f"{set_up.key_arn.rsplit(':', 1)[0]}:{alias}"
    policy = {"Effect": "Allow", "Action": "kms:DescribeKey", "Resource": arn}
    set_up.shell.write("alias.json", json.dumps({"Version": "2012-10-17", "Statement": [policy]}))
    set_up.shell.run(
        f"aws iam put-role-policy --role-name {set_up.role} --policy-name for-the-stand-in --policy-document file://alias.json"
    )
    return arn


def test_an_alias_is_resolved_and_its_keys_own_arn_is_stored(control, service, set_up):
    arn = alias_for(set_up)
    alias = arn.rsplit(":", 1)[1]
    found = set_up.validate(keyArn=f' "{alias}" ')
    assert found["valid"] and found["keyArn"] == set_up.key_arn, found
    assert [check["name"] for check in found["checks"]][:2] == ["assumeRole", "alias"]
    key_id = set_up.add(keyArn=alias)
    key = set_up.key(key_id)
    assert (key["keyArn"], key["alias"]) == (set_up.key_arn, arn)
    # One key, whatever it is called.
    for name in (alias, arn, set_up.key_arn, set_up.key_arn.rsplit("/", 1)[1]):
        refused = set_up.refused(keyArn=name)
        assert refused.status == 409 and f"already, as {key_id}" in refused.message, (name, refused)
    # The alias goes elsewhere; the key stays the one that was proven.
    other = set_up.shell.run(f"aws kms create-key --region {REGION}")["KeyMetadata"]["Arn"]
    set_up.shell.run(f"aws kms update-alias --region {REGION} --alias-name {alias} --target-key-id {other}")
    assert control.call("POST", set_up.path(f"/{key_id}/check"))["status"] == "AVAILABLE"
    assert set_up.key(key_id)["keyArn"] == set_up.key_arn
    # What was asked by the alias stands in the key's ledger, with AWS's ids.
    calls = control.call("GET", set_up.path(f"/{key_id}/ledger?limit=1000"))["calls"]
    by_alias = [call for call in calls if call["keyArn"] == arn]
    assert {call["action"] for call in by_alias} == {"sts:AssumeRole", "kms:DescribeKey"}
    assert all(call["requestId"] for call in by_alias if not unanswered(call))
    # And the other way round: a key that is there already is found under an alias that is made later.
    control.call("DELETE", set_up.path(f"/{key_id}"))
    key_id = set_up.add()
    assert "alias" not in set_up.key(key_id)
    assert f"already, as {key_id}" in set_up.refused(keyArn=alias_for(set_up)).message


def test_an_alias_that_leads_to_no_key_is_told_by_a_check_of_its_own(control, set_up):
    def failed(name: str, alias: str) -> str:
        found = set_up.validate(keyArn=alias)
        bad = [check for check in found["checks"] if not check["ok"] and not check.get("skipped")]
        assert [check["name"] for check in bad] == [name] and not found["valid"] and "keyArn" not in found, found
        assert set_up.refused(keyArn=alias).status == 400
        return bad[0]["message"]

    arn = alias_for(set_up)
    alias = arn.rsplit(":", 1)[1]
    set_up.delete_policies()
    said = failed("alias", alias)
    assert "kms:DescribeKey" in said and "on the key itself" in said
    alias_for(set_up)
    set_up.shell.run(f"aws kms delete-alias --region {REGION} --alias-name {alias}")
    # Nobody may know of an alias that is not there, unless the role may ask for any.
    policy = {"Effect": "Allow", "Action": "kms:*", "Resource": "*"}
    set_up.shell.write("all.json", json.dumps({"Version": "2012-10-17", "Statement": [policy]}))
    set_up.shell.run(
        f"aws iam put-role-policy --role-name {set_up.role} --policy-name all --policy-document file://all.json"
    )
    assert failed("alias", alias)
    trust = set_up.shown()["trustPolicy"]
    set_up.set_trust(trust.replace("user/", "user/not-"))
    assert "trust policy" in failed("assumeRole", alias)
    refused = set_up.refused(keyArn=f"alias/aws/{alias.rsplit('/', 1)[1]}")
    assert "AWS manages" in refused.message
    shown = set_up.control.refused("GET", f"/v2/projects/{set_up.project}/cmek/setup?provider=aws&regionId={REGION_ID}&keyArn={arn}")
    assert f"aws kms describe-key --region {REGION} --key-id {arn}" in shown.message
    assert set_up.keys() == []


def test_a_role_that_no_longer_demands_the_external_id_is_noticed_and_told_once(make_control, service, quick_shell):
    control = make_control(
        env=service.service.environment(), arguments=("--external-id-check-interval", "1s")
    ).start()
    set_up = SetUp(control, quick_shell, control.create_project())
    key_id = set_up.add()
    alerts = f"/v2/projects/{set_up.project}/alerts"
    trust = json.loads(set_up.shown()["trustPolicy"])

    def told() -> list[str]:
        return [it["message"] for it in control.call("GET", alerts)["alerts"] if it["kind"] == "externalIdNotRequired"]

    assert "warning" not in set_up.key(key_id)
    for episode, condition in enumerate([None, {"StringLike": {"sts:ExternalId": "*"}}], start=1):
        changed = json.loads(json.dumps(trust))
        del changed["Statement"][0]["Condition"]
        if condition:
            changed["Statement"][0]["Condition"] = condition
        set_up.set_trust(json.dumps(changed))
        control.wait_for("a warning", lambda: "warning" in set_up.key(key_id))
        key = set_up.key(key_id)
        assert "the role let us in" in key["warning"] and key["status"] == "AVAILABLE", key
        # Some more looks tell nothing new.
        looks = len(strangers(control, set_up, key_id))
        control.wait_for("more looks", lambda: len(strangers(control, set_up, key_id)) >= looks + 3)
        assert len(told()) == episode and key_id in told()[0] and "sts:ExternalId" in told()[0], told()
        set_up.set_trust(json.dumps(trust))
        control.wait_for("no warning", lambda: "warning" not in set_up.key(key_id))
    activities = control.call("GET", f"/v2/projects/{set_up.project}/activities")
    said = [it["detail"] for it in activities if it["action"] == "key.externalId" and it["subject"] == key_id]
    assert said == ["required again", "not required"] * 2
    # A role that can't be asked is no role that lets strangers in.
    set_up.set_trust(json.dumps(trust).replace("user/", "user/not-"))
    control.wait_for("REVOKED", lambda: set_up.key(key_id)["status"] == "REVOKED")
    assert len(told()) == 2


def strangers(control, set_up: SetUp, key_id: str) -> list[dict]:
    """The calls to STS about a key, of which each look for strangers makes some besides the checks."""
    calls = control.call("GET", set_up.path(f"/{key_id}/ledger?limit=10000"))["calls"]
    return [call for call in calls if call["action"] == "sts:AssumeRole"]


def live(control, path: str, body: dict):
    """The lines of a validation as they come, each with when it came."""
    for line in control.stream("POST", path, body, accept="application/x-ndjson"):
        ((kind, what),) = json.loads(line).items()
        yield time.monotonic(), kind, what


def test_a_validation_can_be_watched_while_a_denial_is_tried_again(make_control, service, quick_shell):
    control = make_control(env=service.service.environment(), arguments=("--validate-patience", "30s")).start()
    set_up = SetUp(control, quick_shell, control.create_project())
    set_up.delete_policies()
    lines, mended = [], False
    for line in live(control, set_up.path("/validate"), set_up.body()):
        lines.append(line)
        # Mended while it is waited.
        if line[1] == "waiting" and not mended:
            mended = True
            set_up.put_policy()
    kinds = [kind for _, kind, _ in lines]
    assert kinds[-1] == "validation" and kinds.count("validation") == 1 and "error" not in kinds
    found = lines[-1][2]
    assert found["valid"], found
    left = [what["secondsLeft"] for _, kind, what in lines if kind == "waiting"]
    assert left and left[0] <= 30 and left == sorted(left, reverse=True), left
    # They came as it went, and not all at the end.
    first, last = lines[0][0], lines[-1][0]
    assert last - first > 3, lines
    # The last word on each check is what was found.
    latest = {what["name"]: what for _, kind, what in lines if kind == "check"}
    assert [latest[check["name"]] for check in found["checks"]] == found["checks"]
    denied = [what for _, kind, what in lines if kind == "check" and not what["ok"]]
    assert any(what["name"] == "describeKey" and "kms:DescribeKey" in what["message"] for what in denied)
    # Where nothing is wrong, each check is told once and nothing is waited for.
    lines = list(live(control, set_up.path("/validate"), set_up.body()))
    told = [what for _, kind, what in lines if kind == "check"]
    found = lines[-1][2]
    assert [kind for _, kind, _ in lines] == ["check"] * len(told) + ["validation"] and found["valid"]
    assert sorted(told, key=str) == sorted(found["checks"], key=str)
    # Nothing was stored, and whoever does not ask for it gets one answer as before.
    assert set_up.keys() == [] and set_up.validate()["valid"]


def test_a_validation_that_can_not_begin_is_refused_as_everywhere(control, set_up):
    for body, status in [
        (set_up.body(provider="gcp"), 400),
        (set_up.body(keyArn="alias/aws/s3"), 400),
        ({"provider": "aws"}, 400),
    ]:
        encoded = json.dumps(body).encode()
        found, headers, text = control.raw(
            "POST", set_up.path("/validate"), encoded, headers={"Accept": "application/x-ndjson"}
        )
        answer = json.loads(text)
        assert (found, answer["code"]) == (status, status) and answer["message"], answer
        assert {name.lower(): value for name, value in headers.items()}["content-type"] == "application/json"


def local(control, project: str, arn: str, **more):
    body = {"provider": "local", "regionId": "local-dev", "keyArn": arn, **more}
    return control.call("POST", f"/v2/projects/{project}/cmek/keys", body)["keyId"]


@pytest.fixture
def local_control(make_control):
    return make_control().start()


def test_twenty_keys_fit_also_when_thirty_come_at_once(make_control, make_local_kms):
    # Twenty keys that are checked each second would keep the machine busy; as in the next test.
    control = make_control(arguments=("--key-check-interval", "10m")).start()
    kms, project = make_local_kms(control), control.create_project()
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


def test_how_many_keys_a_project_may_have_is_the_operators_to_say(make_control, make_local_kms):
    control = make_control(arguments=("--key-limit", "2", "--key-check-interval", "10m")).start()
    kms, project = make_local_kms(control), control.create_project()
    for _ in range(2):
        local(control, project, kms.create_key())
    body = {"provider": "local", "regionId": "local-dev", "keyArn": kms.create_key()}
    refused = control.refused("POST", f"/v2/projects/{project}/cmek/keys", body)
    assert refused.status == 409 and "may have 2:" in refused.message
    control.stop()
    control.command[control.command.index("--key-limit") + 1] = "22"
    control.start()
    for _ in range(20):
        local(control, project, kms.create_key())
    assert "may have 22:" in control.refused("POST", f"/v2/projects/{project}/cmek/keys", body).message


def test_development_keys_are_off_where_others_than_this_machine_come_in(make_control, make_local_kms):
    control = make_control().start()
    kms, project = make_local_kms(control), control.create_project()
    key_id = local(control, project, kms.create_key())
    path = f"/v2/projects/{project}/cmek/keys"
    control.stop()
    control.command[control.command.index("--listen") + 1] = f"0.0.0.0:{control.port}"
    control.command.append("--insecure")
    control.start()
    body = {"provider": "local", "regionId": "local-dev", "keyArn": kms.create_key()}
    for rest in ("", "/validate"):
        refused = control.refused("POST", path + rest, body)
        assert refused.status == 400 and "listens on this machine alone" in refused.message, refused
    # One that is there already protects nothing any more.
    control.wait_for("MISCONFIGURED", lambda: control.call("GET", f"{path}/{key_id}")["status"] == "MISCONFIGURED")
    assert "not enabled here" in control.call("GET", f"{path}/{key_id}")["reason"]


def test_whom_roles_trust_is_what_the_operator_says_or_what_aws_says(make_control, service):
    said = "arn:aws:iam::999988887777:role/path/custody"
    for arguments, principal in [((), service.service_arn), (("--principal-arn", said), said)]:
        control = make_control(f"control-{len(arguments)}", env=service.service.environment(), arguments=arguments).start()
        shown = control.call("GET", f"/v2/projects/{control.create_project()}/cmek/setup?provider=aws")
        assert shown["principalArn"] == principal and json.loads(shown["trustPolicy"])["Statement"][0]["Principal"] == {
            "AWS": principal
        }


def test_a_session_of_a_role_does_not_pass_for_whom_roles_have_to_trust(make_control, service, aws_endpoint):
    """Under a role's session, its name alone can't be told from the ARN: nothing is shown that would trust the wrong one."""
    customer = Customer(aws_endpoint, service=service)
    assumed = service.service.client("sts").assume_role(
        RoleArn=customer.role_arn, RoleSessionName="i-0abc", ExternalId=customer.external_id
    )["Credentials"]
    env = Account(aws_endpoint, assumed["AccessKeyId"], assumed["SecretAccessKey"]).environment()
    control = make_control(env=env | {"AWS_SESSION_TOKEN": assumed["SessionToken"]}).start()
    refused = control.refused("GET", f"/v2/projects/{control.create_project()}/cmek/setup?provider=aws")
    assert refused.status == 503 and "principal_arn" in refused.message


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
    # What it was since it was added, and why.
    listed = control.call("GET", f"{path}/statuses")
    assert [it["status"] for it in listed["statuses"]] == ["AVAILABLE", "REVOKED", "AVAILABLE"] and "next" not in listed
    assert ["disabled" in it.get("reason", "") for it in listed["statuses"]] == [False, True, False]
    newest = control.call("GET", f"{path}/statuses?limit=1")
    assert newest["statuses"] == listed["statuses"][:1]
    older = control.call("GET", f"{path}/statuses?before={newest['next']}")
    assert older["statuses"] == listed["statuses"][1:]
