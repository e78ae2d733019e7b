"""The seed's whole procedure in the console, by clicks and typing, with the commands copied from its pages."""

import json

import pytest
from playwright.sync_api import expect

from helpers.aws import REGION
from helpers.clusters import fill
from helpers.console import AddKey, form, message
from helpers.control import ADMIN_PASSWORD, Cluster
from helpers.dialog import REGION_ID


@pytest.fixture
def control(make_control, service):
    return make_control(env=service.service.environment()).start()


def follow_the_seed(me, dialog: AddKey) -> tuple[str, str]:
    """The seed document's three steps under its own words, each where it says; the ARNs of role and key."""
    shown = dialog.dialog

    def is_at(step: int, title: str, *labels: str) -> None:
        expect(shown.get_by_role("heading", level=3).filter(visible=True)).to_have_text([title])
        expect(shown.locator("[aria-current=step]")).to_have_attribute("data-step", str(step))
        for label in labels:
            expect(shown.get_by_label(label, exact=True)).to_be_visible()

    expect(shown.get_by_role("heading", level=2)).to_have_text("Add CMEK (AWS KMS)")
    expect(shown.get_by_role("tab")).to_have_text(["Existing IAM Role", "New IAM Role"])
    expect(shown.get_by_role("tab", selected=True)).to_have_text("New IAM Role")
    title = "Create an IAM role and add Custody to the role's trust relationships"
    is_at(1, title, "Enter the name of the role to create", "Paste the role's ARN from the command's output")
    expect(dialog.field("trust-file")).to_have_text("role-trust-policy.json")
    for name, there in (("Next", True), ("Back", False), ("Validate", False), ("Add", False)):
        expect(me.button(name, shown)).to_be_visible(visible=there)
    role_arn = dialog.create_role("custody=console+role")
    is_at(2, "Create a KMS key", "Select a cloud region", "Paste the key's ARN from the command's output")
    key_arn = dialog.create_key()
    dialog.next("Associate the KMS key with the IAM role")
    is_at(3, "Associate the KMS key with the IAM role")
    dialog.associate(key_arn)
    for name, there in (("Next", False), ("Back", True), ("Validate", True)):
        expect(me.button(name, shown)).to_be_visible(visible=there)
    expect(me.button("Add", shown)).to_be_disabled()
    assert set(dialog.validate().values()) == {"passed"}
    dialog.add()
    return role_arn, key_arn


def test_the_seeds_whole_procedure(control, shell, visit):
    me = visit(control).sign_in()
    project = me.make_project("payments")
    me.go("CMEK")
    dialog = AddKey(me, shell)
    role_arn, key_arn = follow_the_seed(me, dialog)

    # The key in the table, with all that the table says of a key.
    [key] = control.call("GET", f"/v2/projects/{project}/cmek/keys")["keys"]
    assert (key["keyArn"], key["roleArn"], key["regionId"]) == (key_arn, role_arn, REGION_ID)
    row = me.page.locator(f'tr[data-key="{key["keyId"]}"]')
    for text in (key["name"], "AVAILABLE", key_arn, role_arn, "AWS KMS", REGION_ID, "next"):
        expect(row).to_contain_text(text)

    made = me.create_cluster("vectors", key["name"])
    assert me.path == f"/projects/{project}/clusters/{made['id']}"
    cluster = Cluster(control, {"clusterId": made["id"], "username": made["username"], "password": made["new-password"]})
    fill(cluster.client())

    # The key icon stands right of the name, and leads to the key.
    icon = me.page.locator("#key-icon")
    # In one look: the page keeps up with the service, and puts both anew.
    place = "document.querySelector('{}').getBoundingClientRect().{}"
    assert me.page.evaluate(f"{place.format('#key-icon', 'left')} - {place.format('h1 .with-key > .name', 'right')}") >= 0
    assert icon.get_attribute("href") == f"/projects/{project}/cmek/{key['keyId']}"
    zones = me.page.locator("[data-zone]")
    expect(zones).to_have_count(2)
    expect(me.page.get_by_role("region", name="Encryption zones")).to_contain_text("AVAILABLE")
    expect(me.page.locator("#banner")).to_be_hidden()

    # Delete is refused while the key is used: no button that would fail, and no request that gets through.
    keys = visit(control).sign_in().open(f"/projects/{project}/cmek")
    row = keys.page.locator(f'tr[data-key="{key["keyId"]}"]')
    expect(row.get_by_role("link", name="vectors")).to_be_visible()
    expect(keys.button(f"Delete: {key['name']}", row)).to_be_disabled()
    expect(row).to_contain_text("In use")
    path = f"/projects/{project}/cmek/{key['keyId']}/delete"
    shown = {"Cookie": keys.cookie(), "Content-Type": "application/x-www-form-urlencoded", "X-Console": "form"}
    body = form(csrf=keys.csrf(), password=ADMIN_PASSWORD)
    status, _, text = control.raw("POST", path, body, token=None, headers=shown)
    assert status == 409 and "vectors" in message(text), text

    # Key, cluster and banner change by themselves: nothing is loaded again from here on.
    loads: list[str] = []
    for it in (me, keys):
        it.page.on("load", lambda page: loads.append(page.url))
    shell.run(f"aws kms disable-key --region {REGION} --key-id {key_arn}")
    expect(row).to_contain_text("REVOKED")
    # Why stands below it, in words for people who see which key it is.
    told = keys.page.locator(f'tr[data-key="{key["keyId"]}"] + tr.told')
    expect(told).to_contain_text("the key is disabled")
    assert key_arn not in told.inner_text() and "`" not in told.inner_text()
    expect(me.page.locator("#status")).to_contain_text("ABNORMAL")
    expect(me.page.locator("#banner")).to_contain_text("It comes back by itself")
    shell.run(f"aws kms enable-key --region {REGION} --key-id {key_arn}")
    expect(row).to_contain_text("AVAILABLE")
    expect(me.page.locator("#status")).to_contain_text("RUNNING")
    expect(me.page.locator("#banner")).to_be_hidden()
    assert loads == []

    # Once nothing uses it, it can be deleted, with the password.
    me.click("Drop")
    me.fill("Days to wait, 0 to 30", "0", me.dialog())
    me.page.locator("#drop-name").fill("vectors")
    me.fill("Your password", "not the password", me.dialog())
    me.click("Drop cluster", me.dialog())
    expect(me.dialog()).to_contain_text("the password is wrong")
    assert cluster.describe()["status"] == "RUNNING"
    me.page.locator("#drop-name").fill("vector")
    me.fill("Your password", ADMIN_PASSWORD, me.dialog())
    me.click("Drop cluster", me.dialog())
    expect(me.dialog()).to_contain_text("not the cluster's name")
    me.page.locator("#drop-name").fill("vectors")
    me.fill("Your password", ADMIN_PASSWORD, me.dialog())
    me.click("Drop cluster", me.dialog())
    control.wait_for("the cluster to be gone", lambda: not control.clusters())
    # One ends where it is told, and where one finds the receipt.
    expect(me.heading("Clusters")).to_be_visible()
    expect(me.page.locator("#destroyed")).to_contain_text(f"The cluster {made['id']} was destroyed")
    me.page.locator("#destroyed").get_by_role("link", name="Jobs").click()
    expect(me.row("Drop cluster")).to_contain_text("Receipt")
    delete = keys.button(f"Delete: {key['name']}", row)
    expect(delete).to_be_enabled()
    delete.click()
    keys.fill("Your password", ADMIN_PASSWORD, keys.dialog())
    keys.click("Delete key", keys.dialog())
    expect(keys.heading("No key yet")).to_be_visible()
    assert control.call("GET", f"/v2/projects/{project}/cmek/keys")["keys"] == []


def test_a_second_key_by_an_existing_role(control, shell, visit):
    me = visit(control).sign_in()
    project = me.make_project("payments")
    me.go("CMEK")
    dialog = AddKey(me, shell)
    expect(dialog.field("tab-existing")).to_be_disabled()
    role_arn, first = dialog.whole("custody-console-existing")
    # The page knows of the key, and the dialog of the role, without being loaded again.
    expect(me.page.locator("#cmek-head")).to_contain_text("1 of 20 keys are used")
    dialog = AddKey(me, shell)
    dialog.field("tab-existing").click()
    expect(dialog.field("role-existing")).to_have_value(role_arn)
    second = dialog.create_key()
    dialog.associate(second)
    dialog.field("key-label").fill("the second")
    assert set(dialog.validate().values()) == {"passed"}
    dialog.add()
    expect(me.row("the second")).to_contain_text(second)
    keys = control.call("GET", f"/v2/projects/{project}/cmek/keys")["keys"]
    assert {key["keyArn"] for key in keys} == {first, second} and {key["roleArn"] for key in keys} == {role_arn}


def test_each_check_that_fails_is_red_with_its_mend_and_nothing_can_be_added(control, shell, visit):
    me = visit(control).sign_in()
    project = me.make_project("payments")
    me.go("CMEK")
    dialog = AddKey(me, shell)
    trust = me.copied("trust-policy")
    role = "custody-console-broken"
    dialog.create_role(role)
    key_arn = dialog.create_key()
    dialog.next("Associate the KMS key with the IAM role")
    dialog.associate(key_arn)
    policy, put = me.copied("role-policy"), me.copied("put-policy")

    def set_trust(text: str):
        shell.write("trust.json", text)
        shell.run(f"aws iam update-assume-role-policy --role-name {role} --policy-document file://trust.json")

    def set_policy(text: str):
        shell.write("role-policy.json", text)
        shell.run(put)

    def key(action: str):
        shell.run(f"aws kms {action} --region {REGION} --key-id {key_arn}")

    def any_id() -> str:
        policy = json.loads(trust)
        policy["Statement"][0]["Condition"] = {"StringLike": {"sts:ExternalId": "*"}}
        return json.dumps(policy)

    broken = [
        ("assumeRole", "external id", lambda: set_trust(trust.replace('"sts:ExternalId": "', '"sts:ExternalId": "not-')), lambda: set_trust(trust)),
        ("externalId", "under a random external id", lambda: set_trust(any_id()), lambda: set_trust(trust)),
        ("describeKey", "kms:DescribeKey", lambda: set_policy(policy.replace("kms:DescribeKey", "kms:ListAliases")), lambda: set_policy(policy)),
        ("encrypt", "kms:Encrypt", lambda: set_policy(policy.replace("kms:Encrypt", "kms:ListAliases")), lambda: set_policy(policy)),
        ("decrypt", "kms:Decrypt", lambda: set_policy(policy.replace("kms:Decrypt", "kms:ListAliases")), lambda: set_policy(policy)),
        ("describeKey", "disabled", lambda: key("disable-key"), lambda: key("enable-key")),
    ]
    # Too low for all of it at once.
    me.page.set_viewport_size({"width": 1280, "height": 560})
    for name, words, break_it, mend in broken:
        break_it()
        dialog.dialog.evaluate("(it) => it.scrollTo(0, 0)")
        found = dialog.validate()
        assert found[name] == "failed" and words in dialog.said(name), (name, found, dialog.said(name))
        assert dialog.is_in_sight("#checks .failed strong")
        expect(me.button("Add", dialog.dialog)).to_be_disabled()
        mend()
    assert control.call("GET", f"/v2/projects/{project}/cmek/keys")["keys"] == []
    assert set(dialog.validate().values()) == {"passed"}
    # What each came to stands apart from what it is, one below the other.
    ends = dialog.dialog.locator("#checks strong").evaluate_all("(all) => all.map((it) => Math.round(it.getBoundingClientRect().right))")
    assert len(ends) > 3 and len(set(ends)) == 1
    dialog.add()


def test_what_is_typed_is_checked_and_outlives_back_and_a_closed_dialog(control, shell, visit):
    me = visit(control).sign_in()
    project = me.make_project("payments")
    me.go("CMEK")
    dialog = AddKey(me, shell)
    # Names and ARNs are looked at while they are typed.
    dialog.field("role-name").fill("no name $(touch x)")
    expect(dialog.field("role-name-error")).to_contain_text("can't be the name of an IAM role")
    expect(dialog.field("create-role")).not_to_contain_text("touch")
    dialog.field("role-arn").fill("arn:aws:iam::nonsense")
    expect(dialog.field("role-arn-error")).to_be_visible()
    me.click("Next", dialog.dialog)
    expect(dialog.field("role-name")).to_be_focused()
    dialog.field("role-name").fill("custody-kept")
    expect(dialog.field("role-name-error")).to_be_hidden()
    expect(dialog.field("create-role")).to_contain_text("--role-name custody-kept")
    role_arn = "arn:aws:iam::222222222222:role/custody-kept"
    dialog.field("role-arn").fill(role_arn)
    # A second click is no second step.
    me.button("Next", dialog.dialog).dblclick()
    expect(dialog.field("step-2-title")).to_be_visible()
    me.page.wait_for_timeout(500)
    expect(dialog.field("step-2-title")).to_be_visible()
    dialog.field("key-region").select_option("aws-eu-central-1")
    expect(dialog.field("create-key")).to_contain_text("--region eu-central-1")
    key_arn = f"arn:aws:kms:{REGION}:222222222222:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    dialog.field("key-arn").fill(key_arn)
    expect(dialog.field("key-arn-error")).to_contain_text("choose the key's region")
    dialog.field("key-region").select_option(REGION_ID)
    expect(dialog.field("key-arn-error")).to_be_hidden()
    # Back keeps what was typed.
    me.click("Back", dialog.dialog)
    expect(dialog.field("role-name")).to_have_value("custody-kept")
    dialog.next("Create a KMS key")
    dialog.next("Associate the KMS key with the IAM role")
    # A closed dialog goes on where it was left, also after the page was loaded again.
    me.page.keyboard.press("Escape")
    expect(dialog.dialog).to_be_hidden()
    me.page.reload()
    me.click("+ CMEK")
    expect(me.dialog().get_by_text("You left off here")).to_be_visible()
    expect(dialog.field("role-policy")).to_contain_text(key_arn)
    expect(dialog.field("put-policy")).to_contain_text("--role-name custody-kept")
    me.click("Start over", me.dialog())
    expect(dialog.field("role-name")).to_have_value("")
    expect(dialog.field("step-1-title")).to_be_visible()
    # What was kept of another state of things leads nowhere that there is no way from.
    store = f"custody.cmek.{project}"
    for kept, title in ({"tab": "new", "step": 7}, "step-1-title"), ({"tab": "new", "step": 3, "values": {"role-name": "kept"}}, "step-3-title"):
        me.page.evaluate("([store, kept]) => sessionStorage.setItem(store, kept)", [store, json.dumps(kept)])
        me.page.reload()
        me.click("+ CMEK")
        expect(dialog.field(title)).to_be_visible()
    me.click("Validate", dialog.dialog)
    expect(dialog.field("step-2-title")).to_be_visible()
    expect(dialog.field("key-arn")).to_be_focused()
    expect(dialog.field("key-arn-error")).to_contain_text("Needed")
    assert control.call("GET", f"/v2/projects/{project}/cmek/keys")["keys"] == []


def test_a_validation_shows_each_check_as_it_ends_and_counts_down(make_control, service, shell, visit):
    control = make_control(env=service.service.environment(), arguments=("--validate-patience", "60s")).start()
    me = visit(control).sign_in()
    me.make_project("payments")
    me.go("CMEK")
    dialog = AddKey(me, shell)
    dialog.create_role("custody-console-patience")
    key_arn = dialog.create_key()
    dialog.next("Associate the KMS key with the IAM role")
    # The role may not use the key yet. A dialog that was closed meanwhile works as before once it is open again.
    for again in (True, False):
        me.click("Validate", dialog.dialog)
        expect(dialog.dialog.locator("#check-assumeRole")).to_have_class("passed")
        expect(dialog.field("waiting")).to_contain_text("trying again for")
        if again:
            me.page.keyboard.press("Escape")
            me.click("+ CMEK")
            expect(dialog.field("checks")).to_be_empty()
    dialog.associate(key_arn)
    expect(dialog.dialog.locator("#check-decrypt")).to_have_class("passed")
    expect(me.button("Add", dialog.dialog)).to_be_enabled()
