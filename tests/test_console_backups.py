"""Backups in the console: made, restored under a key and without one, deleted, made by themselves."""

import os
import re
import signal

import pytest
from playwright.sync_api import expect

from helpers.backups import ask_backup, backups, storage_of
from helpers.clusters import count, fill
from helpers.console import PHONE
from helpers.control import ADMIN_PASSWORD
from helpers.program import PATIENCE


@pytest.fixture
def control(make_control):
    return make_control().start()


def cut_off(me, table: str) -> int:
    """How many pixels of a table are to be scrolled to."""
    return me.page.locator(f"{table} .scroll").evaluate("(it) => it.scrollWidth - it.clientWidth")


def the_key_names_its_backup(me, backup: str) -> None:
    me.go("CMEK")
    expect(me.page.locator("#cmek").get_by_role("link", name=backup)).to_be_visible()
    assert cut_off(me, "#cmek") == 0
    me.page.get_by_role("link", name="development", exact=True).click()
    me.page.get_by_role("link", name=backup).click()
    expect(me.heading("Backups")).to_be_visible()


def test_a_backup_is_made_restored_and_deleted_by_clicks(control, visit):
    me = visit(control).sign_in()
    project = me.make_project("payments")
    me.add_development_key()
    key = control.call("GET", f"/v2/projects/{project}/cmek/keys")["keys"][0]
    cluster = control.create_cluster(project, key["keyArn"])
    cluster.wait_for_status("RUNNING")
    fill(cluster.client())
    me.go("Backups")
    expect(me.page.get_by_text("No backup yet")).to_be_visible()
    me.click("Create backup")
    me.fill("Backup name", "before the move", me.dialog())
    me.send("Create backup")
    row = me.row("before the move")
    # Without a reload.
    expect(row).to_contain_text("AVAILABLE", timeout=PATIENCE * 1000)
    expect(row).to_contain_text(key["keyArn"])
    assert cut_off(me, "#backups") == 0
    the_key_names_its_backup(me, "before the move")
    row.get_by_role("link", name="Restore: before the move").click()
    me.arrived("Restore cluster")
    expect(me.page.get_by_role("switch", name="Encryption at Rest with CMEK")).to_be_checked()
    expect(me.page.locator("#sum-cmek")).to_contain_text("On, under")
    # Nobody is led to keep a body that another account's old key opens: whether it stays is for the keys' owners to say.
    expect(me.page.get_by_role("radio", name="As the keys call for")).to_be_checked()
    me.fill("Cluster name", "moved")
    me.click("Restore Cluster")
    restored = me.to_cluster()
    assert control.call("GET", f"/v2/clusters/{restored}")["keyIdentifier"] == key["keyArn"]
    expect(me.page.locator("#key-icon")).to_be_visible()
    # Without encryption it takes the password again.
    me.go("Backups")
    me.row("before the move").get_by_role("link", name=re.compile("Restore")).click()
    me.arrived("Restore cluster")
    me.page.get_by_text("Encryption at Rest with CMEK", exact=True).first.click()
    me.fill("Cluster name", "decrypted")
    me.click("Restore Cluster")
    expect(me.page.get_by_role("alert").filter(has_text="password")).to_be_visible()
    me.fill("Your password", ADMIN_PASSWORD)
    me.click("Restore Cluster")
    plain = me.to_cluster()
    assert "keyIdentifier" not in control.call("GET", f"/v2/clusters/{plain}")
    some_of_it_is_restored_into_its_cluster(me, cluster)
    nothing_is_decrypted_where_that_is_denied(me, project)
    a_restore_that_failed_is_tried_again_at_its_backup(me, cluster)
    me.go("Backups")
    me.click("Delete: before the move")
    me.fill("Your password", ADMIN_PASSWORD, me.dialog())
    me.click("Delete backup", me.dialog())
    expect(me.page.get_by_text("No backup yet")).to_be_visible(timeout=PATIENCE * 1000)


def to_the_restore(me) -> None:
    me.go("Backups")
    me.row("before the move").get_by_role("link", name=re.compile("Restore")).click()
    me.arrived("Restore cluster")


def some_of_it_is_restored_into_its_cluster(me, cluster) -> None:
    to_the_restore(me)
    me.page.get_by_role("radio", name="An existing cluster").check()
    into = me.page.locator("#into")
    me.page.get_by_label("Into the cluster", exact=True).select_option(cluster.id)
    me.fill("Only these collections", "rows")
    me.click("Restore collections")
    expect(into.get_by_role("alert")).to_contain_text("database/collection")
    me.fill("Only these collections", "default/rows as default/restored")
    me.click("Restore collections")
    me.arrived("Jobs")
    expect(me.row("Restore collections")).to_contain_text("SUCCESSFUL", timeout=PATIENCE * 1000)
    assert count(cluster.client(), "restored") == 20


def nothing_is_decrypted_where_that_is_denied(me, project: str) -> None:
    path = f"/v2/projects/{project}/decryptedRestore"
    me.control.call("PATCH", path, {"decryptedRestore": "deny"})
    to_the_restore(me)
    switch = me.page.get_by_role("switch", name="Encryption at Rest with CMEK")
    expect(switch).to_be_checked()
    expect(switch).to_be_disabled()
    expect(me.page.locator("#must-encrypt")).to_contain_text("does not allow restores without encryption")
    # Those without encryption are none that it could come into.
    expect(me.page.locator("#into-cluster option")).to_have_count(2)


def a_restore_that_failed_is_tried_again_at_its_backup(me, cluster) -> None:
    here = me.path
    [manifest] = storage_of(cluster).glob("backup-*/zones/*/backups/*.json")
    text = manifest.read_bytes()
    manifest.write_bytes(text[:-1])
    me.fill("Cluster name", "torn")
    me.click("Restore Cluster")
    again = me.page.get_by_role("link", name="Try again")
    expect(again).to_have_attribute("href", here, timeout=PATIENCE * 1000)
    manifest.write_bytes(text)


def test_a_backup_of_some_collections_and_one_that_failed_or_is_taken_back(control, visit):
    me = visit(control).sign_in()
    project = me.make_project("payments")
    cluster = control.ask_cluster(project)
    me.go("Backups")
    # What can be done changes with the clusters, while the page is there.
    cluster.wait_for_status("RUNNING")
    expect(me.button("Create backup")).to_be_enabled()
    fill(cluster.client())
    fill(cluster.client(), name="other")
    for name, collection in ("lacking", "nowhere"), ("some", "rows"):
        me.click("Create backup")
        me.fill("Backup name", name, me.dialog())
        me.fill("Only these collections", f"default/{collection}", me.dialog())
        me.send("Create backup")
        failed = me.page.locator("#failed-backup")
        if name == "lacking":
            expect(failed).to_contain_text("nowhere", timeout=PATIENCE * 1000)
            expect(failed.get_by_role("link", name="Jobs")).to_be_visible()
    expect(me.row("some")).to_contain_text("AVAILABLE", timeout=PATIENCE * 1000)
    # It is told of until there is one that did not.
    expect(failed).to_be_hidden()
    assert [it["collectionCount"] for it in backups(control)] == [1]
    # The node stands still: what it is to do is not done before it is taken back.
    os.kill(cluster.pid, signal.SIGSTOP)
    jobs = [ask_backup(cluster, backupName=name).asked["jobId"] for name in ("first", "second")]
    me.click("Cancel: first")
    me.go("Jobs")
    # At hand, on a screen of the usual width.
    assert cut_off(me, "#jobs") == 0 and me.overflows() == 0
    me.click(f"Cancel: Create backup {jobs[1]}")
    os.kill(cluster.pid, signal.SIGCONT)
    for job in jobs:
        expect(me.row(job)).to_contain_text("CANCELED", timeout=PATIENCE * 1000)
        expect(me.row(job).get_by_role("button")).to_have_count(0)
    assert [it["backupName"] for it in backups(control)] == ["some"]


def test_automatic_backups_are_switched_on_and_the_pages_hold_at_a_phones_width(control, visit):
    me = visit(control, bypass_csp=True).sign_in()
    project = me.make_project("payments")
    cluster = control.create_cluster(project)
    cluster.wait_for_status("RUNNING")
    me.go("Backups")
    policies = me.page.locator("#policies")
    policies.locator("summary").click()
    policies.get_by_text("Make backups by itself").click()
    policies.get_by_label("Days", exact=True).select_option("1,3,5")
    between = policies.get_by_label("Between, UTC")
    between.fill("3 o'clock")
    me.click("Save", policies)
    expect(policies.get_by_role("alert")).to_contain_text("such as 02:00-04:00")
    between.fill("03:00-05:00")
    policies.get_by_label("Kept for days").fill("5")
    me.click("Save", policies)
    expect(policies.locator("summary")).to_contain_text("Mon, Wed, Fri at 03:00-05:00 UTC, kept for 5 days")
    policy = control.call("GET", f"{cluster.path}/backups/policy")
    assert policy["enabled"] and policy["frequency"] == "1,3,5" and policy["retentionDays"] == 5
    me.ready()
    # The form shows what holds: saved again, it changes nothing.
    policies.locator("summary").click()
    with me.page.expect_navigation():
        me.click("Save", policies)
    assert control.call("GET", f"{cluster.path}/backups/policy") == policy
    me.click("Create backup")
    me.send("Create backup")
    expect(me.page.locator("[data-backup]")).to_contain_text("AVAILABLE", timeout=PATIENCE * 1000)
    for scheme in ("light", "dark"):
        me.page.emulate_media(color_scheme=scheme)
        assert me.axe() == []
    me.page.set_viewport_size(PHONE)
    assert not me.overflows()
    me.page.get_by_role("link", name=re.compile("^Restore")).click()
    me.arrived("Restore cluster")
    # With all that it is drawn with.
    me.page.wait_for_load_state("load")
    assert not me.overflows() and me.axe() == []
