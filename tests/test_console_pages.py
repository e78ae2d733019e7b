"""The console's pages: what stands on them, whatever things are called, on any screen, for any reader."""

import contextlib
import re
import sqlite3

import pytest
from playwright.sync_api import expect

from helpers.aws import REGION
from helpers.clusters import add_key, count, fill, roll_back
from helpers.console import PHONE, AddKey, create_user, rows
from helpers.control import ADMIN_PASSWORD, Cluster

SCRIPT = "<script>document.title='taken'</script>"
HOSTILE = (SCRIPT, "\"><img src=x onerror=document.title='taken'>", "'); alert(1); ('", "{{7*7}}", "&lt;b&gt; & </td>", "W" * 200, "ünï ☃ 名前")


@pytest.fixture
def control(make_control):
    return make_control().start()


def test_a_cluster_is_made_and_shown_with_its_credentials_once(control, make_local_kms, visit):
    me = visit(control).sign_in()
    project = me.make_project("payments")
    me.add_development_key("mine")
    expect(me.row("mine")).to_contain_text("development")
    other = control.create_project("other")
    me.go("Clusters")
    me.page.get_by_role("link", name="+ Cluster", exact=True).click()
    me.arrived("Create cluster")
    # Off unless it is switched on; on without a key is refused, and what was typed stays.
    me.fill("Cluster name", "vectors")
    expect(me.page.locator("#keys")).to_be_hidden()
    me.page.get_by_role("switch").check()
    me.click("Create Cluster")
    expect(me.page.get_by_role("alert")).to_contain_text("no key is chosen")
    expect(me.page.get_by_label("Cluster name", exact=True)).to_have_value("vectors")
    # A key of another region can't be chosen, and it is said why.
    me.page.get_by_label("Cloud provider", exact=True).select_option("aws")
    expect(me.page.get_by_role("radio", name="mine")).to_be_disabled()
    expect(me.page.locator(".choice.key")).to_contain_text("a cluster's key must be in its region")
    me.page.get_by_label("Cloud provider", exact=True).select_option("local")
    me.page.get_by_role("radio", name="mine").check()
    expect(me.page.locator("#sum-cmek")).to_have_text("On, under mine")
    # How a key is may change while the form is filled in. What was typed and chosen stays.
    kms = make_local_kms(control)
    [key] = kms.states()
    kms.disable(key)
    expect(me.page.locator(".choice.key")).to_contain_text("It is REVOKED")
    expect(me.page.locator("#sum-cmek")).to_have_text("On: choose a key")
    kms.enable(key)
    expect(me.page.locator("#sum-cmek")).to_have_text("On, under mine")
    expect(me.page.get_by_label("Cluster name", exact=True)).to_have_value("vectors")
    me.click("Create Cluster")
    shown = {it: me.page.locator(f"#{it}").inner_text() for it in ("endpoint", "username", "new-password")}
    expect(me.page.get_by_role("progressbar")).to_be_visible()
    for tab in ("pymilvus", "Rust", "curl"):
        me.page.get_by_role("tab", name=tab).click()
        expect(me.page.get_by_role("tabpanel")).to_contain_text(shown["endpoint"])
    command = me.copied("code-curl")
    cluster = me.to_cluster()
    assert shown["new-password"] not in me.page.content()
    import subprocess

    answer = subprocess.run(["sh", "-c", command.replace("curl ", "curl -s ")], capture_output=True, text=True, check=True)
    assert '"code":0' in answer.stdout, answer
    # A cluster of one project is no page of another.
    me.open(f"/projects/{other}/clusters/{cluster}")
    expect(me.heading("There is no such page")).to_be_visible()
    assert control.call("GET", f"/v2/clusters/{cluster}")["projectId"] == project


def test_names_and_rows_go_from_the_node_to_the_browser_and_never_through_the_control_plane(control, visit):
    me = visit(control).sign_in()
    project = me.make_project("payments")
    me.add_development_key()
    made = me.create_cluster("vectors", "development")
    cluster = Cluster(control, {"clusterId": made["id"], "username": made["username"], "password": made["new-password"]})
    client = cluster.client()
    fill(client, rows=12, name="canary_collection")
    client.create_database("canary_database")
    asked: list[tuple[str, str]] = []
    me.page.on("request", lambda request: asked.append((request.url, request.post_data or "")))
    expect(me.page.locator("[data-zone]").filter(has_text="connect below to see its name")).to_have_count(2)
    me.fill("Cluster user", "root")
    me.page.locator("#node-password").fill("wrong-password")
    me.click("Connect")
    expect(me.page.locator("#data-error")).to_contain_text("refuses this user name or password")
    me.connect("root", made["new-password"])
    databases = me.page.locator("#databases")
    expect(databases.get_by_role("link", name="canary_collection")).to_be_visible()
    listed = {(row[0], row[1]): row[2:] for row in rows(me.page, "#databases")}
    assert listed == {("default", "canary_collection"): ["12", "loaded"], ("canary_database", "–"): ["–", "no collection yet"]}
    # A gap between who is connected and what is shown.
    gap = "document.querySelector('#databases').getBoundingClientRect().top - document.querySelector('#connected').getBoundingClientRect().bottom"
    assert me.page.evaluate(gap) >= 8
    # Each zone's database has its name now, also after the page has kept up with the service.
    for name in ("default", "canary_database", "the cluster's own"):
        expect(me.page.locator("[data-zone]").filter(has_text=name)).to_have_count(1)
    databases.get_by_role("link", name="canary_collection").click()
    expect(me.page.locator("#collection-name")).to_have_text("canary_collection")
    expect(me.page.locator("#schema")).to_contain_text("FloatVector")
    expect(me.page.locator("#facts")).to_contain_text("loaded")
    expect(me.page.locator("#indexes")).to_contain_text("L2")
    expect(me.page.locator("#rows tbody tr")).to_have_count(10)
    me.page.locator("#search-vector").fill("[7, 0, 0, 1]")
    me.page.locator("#search-limit").fill("3")
    me.click("Search")
    expect(me.page.locator("#found")).to_contain_text("3 found")
    assert rows(me.page, "#found")[0][0] == "7" or "7" in rows(me.page, "#found")[0]
    me.page.locator("#search-vector").fill("[1, 2")
    me.click("Search")
    expect(me.page.locator("#search-error")).to_contain_text("no JSON list")
    me.click("Take the first row's")
    me.click("Search")
    expect(me.page.locator("#found")).to_contain_text("3 found")
    # Neither a name nor the credential went to the control plane.
    ours = [it for it in asked if it[0].startswith(me.origin)]
    theirs = [it for it in asked if it[0].startswith(made["endpoint"])]
    assert ours and theirs
    for secret in ("canary", made["new-password"]):
        assert not any(secret in url.split("#")[0] or secret in body for url, body in ours), secret
    database = (control.data_dir / "control.db").read_bytes() + (control.data_dir / "control.db-wal").read_bytes()
    assert b"canary" not in database and made["new-password"].encode() not in database
    assert "canary" not in control.output()
    assert project.encode() in database
    collection = me.page.url
    me.click("Forget")
    expect(me.page.locator("#collection")).to_be_hidden()
    for place in ("#facts", "#schema", "#indexes", "#rows", "#found"):
        expect(me.page.locator(place)).to_be_empty()
    kept = "Object.keys(sessionStorage).filter((name) => name.startsWith('custody.node.'))"
    assert me.page.evaluate(kept) == []
    # Nor does whoever signs in next in this tab find it.
    me.connect("root", made["new-password"])
    expect(me.page.locator("#rows tbody tr")).to_have_count(10)
    assert len(me.page.evaluate(kept)) == 1
    me.click("Sign out")
    expect(me.heading("Sign in")).to_be_visible()
    me.sign_in("reader", create_user(control, "reader", "ProjectReadOnly", project))
    me.page.goto(collection)
    expect(me.button("Connect")).to_be_visible()
    expect(me.page.locator("#collection")).to_be_hidden()
    assert me.page.evaluate(kept) == []


def test_a_plan_without_cmek_shows_the_offer_disabled_with_the_reason(control, visit):
    me = visit(control).sign_in()
    for plan in ("Enterprise", "Free"):
        me.open("/projects")
        me.make_project(plan, plan)
        me.go("CMEK")
        for name in ("+ CMEK", "+ Development key"):
            expect(me.button(name)).to_be_disabled()
        expect(me.page.locator("#why-not")).to_contain_text(f"this project's plan is {plan}")
        project = me.path.split("/")[2]
        me.open(f"/projects/{project}/clusters/new")
        expect(me.page.get_by_role("switch")).to_be_disabled()
        expect(me.page.locator("#no-cmek")).to_contain_text("Business Critical")
    expect(me.button("Create Cluster")).to_be_disabled()
    me.open(f"/projects/{project}")
    expect(me.button("+ Cluster")).to_be_disabled()
    expect(me.page.locator("#no-dedicated")).to_be_visible()
    me.click("Plan: Free")
    me.dialog().get_by_label("Plan", exact=True).select_option("BusinessCritical")
    me.click("Change plan", me.dialog())
    expect(me.page.get_by_role("link", name="+ Cluster", exact=True)).to_be_visible()
    me.go("CMEK")
    expect(me.button("+ CMEK")).to_be_enabled()


def test_a_project_with_all_its_keys_offers_no_further_one_and_says_why(make_control, make_local_kms, visit):
    # Twenty keys that are checked each second would keep the machine busy.
    control = make_control(arguments=("--key-check-interval", "10m")).start()
    me = visit(control).sign_in()
    project = me.make_project("payments")
    kms = make_local_kms(control)
    for number in range(19):
        add_key(control, project, kms.create_key(), name=f"key {number}")
    me.add_development_key("the twentieth")
    for name in ("+ CMEK", "+ Development key"):
        expect(me.button(name)).to_be_disabled()
    expect(me.page.locator("#why-not")).to_contain_text("all the 20 keys")
    expect(me.page.locator("main")).to_contain_text("20 of 20 keys are used")
    # A page that was opened before says it when it is tried.
    me.page.evaluate("document.querySelectorAll('.head button').forEach((it) => (it.disabled = false))")
    before = kms.states()
    me.click("+ Development key")
    expect(me.page.locator("#said")).to_contain_text("a project may have 20")
    assert kms.states() == before, "no key was made that nobody could use"


def test_no_name_breaks_a_page(control, make_local_kms, visit):
    kms = make_local_kms(control)
    me = visit(control, viewport=PHONE).sign_in()
    for number, name in enumerate(HOSTILE):
        project = control.create_project(name)
        key = add_key(control, project, kms.create_key(), name=name)
        [arn] = [it["keyArn"] for it in control.call("GET", f"/v2/projects/{project}/cmek/keys")["keys"]]
        control.call("POST", "/v2/apiKeys", {"name": name, "role": "ProjectReadOnly", "projectId": project})
        control.call("POST", f"/v2/projects/{project}/alerts", {"name": name, "url": "https://hooks.example.com/x"})
        at = f"/projects/{project}"
        pages = ["/projects", at, f"{at}/cmek", f"{at}/cmek/{key}", f"{at}/clusters/new", f"{at}/api-keys", f"{at}/alerts", f"{at}/activities"]
        if number in (0, 5):
            cluster = control.create_cluster(project, arn, name)
            client = cluster.client()
            fill(client, rows=2)
            # What users store is worse than what they call things by: each name as a value, and as a field of its own.
            hostile = {"id": 7, "vector": [7, 0, 0, 1], "text": name} | {it: it for it in HOSTILE}
            client.insert("rows", [hostile])
            client.create_database("b" * 200 if number else "b_1")
            pages += [f"{at}/clusters/{cluster.id}", f"{at}/jobs"]
        for path in pages:
            me.open(path)
            expect(me.page.locator("main h1")).to_be_visible()
            assert me.page.title() != "taken", path
            assert me.overflows() == 0, (path, name)
            if path not in (f"{at}/activities", f"{at}/jobs"):
                assert name in " ".join([me.page.locator("body").inner_text(), *(it.input_value() for it in me.page.locator("input").all())]), path
        if number in (0, 5):
            me.open(f"{at}/clusters/{cluster.id}")
            me.connect("root", cluster.made["password"])
            me.open(f"{at}/clusters/{cluster.id}/collection#db=default&name=rows")
            expect(me.page.locator("#rows tbody tr")).to_have_count(3)
            me.page.locator("#search-vector").fill("[7, 0, 0, 1]")
            me.page.locator("#search-limit").fill("1")
            me.click("Search")
            expect(me.page.locator("#found")).to_contain_text("1 found")
            for place in ("#rows", "#found"):
                written = me.page.locator(place).text_content()
                # As a column, and as what stands in it; long values end early.
                assert all(written.count(it[:100]) >= 2 for it in HOSTILE), place
            assert me.page.title() != "taken" and me.overflows() == 0
    # Signing in under such a name, and being shown in the frame.
    control.call("POST", "/v2/users", {"name": SCRIPT, "password": "password-1", "role": "ProjectReadOnly"})
    it = visit(control).sign_in(SCRIPT, "password-1")
    expect(it.page.locator(".who")).to_contain_text(SCRIPT)
    assert it.page.title() != "taken"


def walk(me, project: str, key: str, cluster: str):
    """Every page, and every dialog of it."""
    at = f"/projects/{project}"
    rests = ("", "/clusters/new", f"/clusters/{cluster}", f"/clusters/{cluster}/collection#db=default&name=rows", "/backups", "/jobs", "/alerts", "/activities", "/api-keys", "/cmek", f"/cmek/{key}")
    for path in ("/projects", *(at + rest for rest in rests), "/projects/none"):
        me.open(path)
        expect(me.page.locator("main h1")).to_be_visible()
        if "/clusters/new" in path:
            me.page.get_by_role("switch").check()
        yield path
        for dialog in me.page.locator("dialog").all():
            name = dialog.get_attribute("id")
            me.page.evaluate(f"document.getElementById('{name}').showModal()")
            yield f"{path}, dialog {name}"
            me.page.evaluate(f"document.getElementById('{name}').close()")


@pytest.fixture
def filled(control, make_local_kms):
    project = control.create_project("payments")
    arn = make_local_kms(control).create_key()
    key = add_key(control, project, arn, name="customer key")
    cluster = control.create_cluster(project, arn)
    fill(cluster.client())
    control.call("POST", f"/v2/projects/{project}/alerts", {"name": "pager", "url": "https://hooks.example.com/x"})
    return project, key, cluster


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page(control, filled, visit, scheme):
    project, key, cluster = filled
    me = visit(control, bypass_csp=True, color_scheme=scheme)
    me.open("/sign-in")
    wrong = {"/sign-in": me.axe()}
    me.sign_in()
    me.open(f"/projects/{project}/clusters/{cluster.id}")
    me.connect("root", cluster.made["password"])
    for place in walk(me, project, key, cluster.id):
        if "collection" in place:
            expect(me.page.locator("#rows tbody tr").first).to_be_visible()
        # Which table it is, is said by its name.
        names = me.page.locator(".scroll").evaluate_all("(all) => all.map((it) => it.getAttribute('aria-label'))")
        wrong[place] = me.axe() + [name for name in names if name == "Table" or names.count(name) > 1]
    assert {place: found for place, found in wrong.items() if found} == {}


def test_every_page_fits_a_phone(control, filled, visit):
    project, key, cluster = filled
    me = visit(control, viewport=PHONE).sign_in()
    me.open(f"/projects/{project}/clusters/{cluster.id}")
    me.connect("root", cluster.made["password"])
    wide = {place: me.overflows() for place in walk(me, project, key, cluster.id)}
    assert {place: pixels for place, pixels in wide.items() if pixels} == {}


def test_no_state_of_the_dialog_nor_a_page_that_comes_once_is_at_fault(make_control, service, shell, visit):
    """What `walk` does not come by: it takes a key in AWS, something that was just made, or something that is refused."""
    control = make_control(env=service.service.environment()).start()
    me = visit(control, bypass_csp=True).sign_in()
    project = me.make_project("payments")
    me.go("CMEK")
    wrong: dict[str, list[str]] = {}
    dialog = AddKey(me, shell)
    expect(dialog.field("trust-policy")).to_contain_text("sts:AssumeRole")
    wrong["step 1"] = me.faults()
    dialog.create_role("custody-console-looked-at")
    wrong["step 2"] = me.faults()
    key_arn = dialog.create_key()
    dialog.next("Associate the KMS key with the IAM role")
    # The role has no policy yet.
    assert "failed" in dialog.validate().values()
    wrong["step 3, with a check that failed"] = me.faults()
    dialog.associate(key_arn)
    assert set(dialog.validate().values()) == {"passed"}
    wrong["step 3, with all that passed"] = me.faults()
    dialog.add()
    expect(me.row(key_arn)).to_be_visible()
    AddKey(me, shell).field("tab-existing").click()
    expect(dialog.field("role-existing")).to_be_visible()
    wrong["the tab of an existing role"] = me.faults()
    me.click("Close", dialog.dialog.locator(".dialog-foot"))

    [key] = control.call("GET", f"/v2/projects/{project}/cmek/keys")["keys"]
    me.go("Clusters")
    me.page.get_by_role("link", name="+ Cluster", exact=True).click()
    me.arrived("Create cluster")
    me.fill("Cluster name", "vectors")
    me.page.get_by_role("switch").check()
    me.page.get_by_role("radio", name=key["name"]).check()
    me.click("Create Cluster")
    expect(me.page.locator("#new-password")).to_be_visible()
    wrong["the credentials of a new cluster"] = me.faults()
    progress = me.page.locator("#progress").get_attribute("data-live")
    me.to_cluster()
    at = me.path
    me.open(progress)
    wrong["its progress"] = me.faults()
    shell.run(f"aws kms disable-key --region {REGION} --key-id {key_arn}")
    me.go("API Keys")
    me.click("+ API Key")
    me.fill("Name", "reporting", me.dialog())
    me.fill("Your password", ADMIN_PASSWORD, me.dialog())
    me.click("Create API key", me.dialog())
    expect(me.page.locator("#secret")).to_be_visible()
    wrong["a secret that is shown once"] = me.faults()
    me.open(at)
    expect(me.page.locator("#banner")).to_contain_text("The key is REVOKED")
    wrong["a cluster whose key is refused"] = me.faults()
    reader = visit(control, bypass_csp=True).sign_in("reader", create_user(control, "reader", "ProjectReadOnly", project))
    reader.open(f"/projects/{project}/cmek")
    expect(reader.heading("You may not do this")).to_be_visible()
    wrong["a page that is refused"] = reader.faults()
    assert {place: found for place, found in wrong.items() if found} == {}


def test_the_console_works_by_keyboard_alone(control, visit):
    me = visit(control)
    me.open("/sign-in")
    keyboard = me.page.keyboard
    # Where one begins, without a click.
    expect(me.page.get_by_label("User name", exact=True)).to_be_focused()
    keyboard.type("admin")
    keyboard.press("Tab")
    keyboard.type(ADMIN_PASSWORD)
    keyboard.press("Enter")
    me.arrived("Projects")

    def tab_to(name: str):
        for _ in range(60):
            keyboard.press("Tab")
            focused = me.page.evaluate("document.activeElement.innerText || document.activeElement.id || document.activeElement.name")
            if focused == name:
                return
        raise AssertionError(f"{name} can't be reached by Tab")

    me.page.keyboard.press("Tab")
    assert me.page.evaluate("document.activeElement.innerText") == "Skip to the content"
    tab_to("+ Project")
    keyboard.press("Enter")
    tab_to("project-name")
    keyboard.type("by keyboard")
    keyboard.press("Enter")
    me.arrived("Clusters")
    tab_to("CMEK")
    keyboard.press("Enter")
    me.arrived("CMEK")
    tab_to("+ Development key")
    keyboard.press("Enter")
    expect(me.row("development").get_by_text("AVAILABLE")).to_be_visible()
    # What keeps up with the service keeps the focus.
    tab_to("Check now")
    checked = me.page.locator("#cmek tbody time").first.inner_text()
    expect(me.page.locator("#cmek tbody time").first).not_to_have_text(checked)
    assert me.page.evaluate("document.activeElement.innerText") == "Check now"
    # So does a form that was sent, a button that says something else meanwhile, and a table that is scrolled.
    keyboard.press("Enter")
    expect(me.page.locator("#said")).to_have_text("Done")
    assert me.page.evaluate("document.activeElement.innerText") == "Check now"
    for place in ("#cmek .copy", "#cmek .scroll"):
        checked = me.page.locator("#cmek tbody time").first.inner_text()
        me.page.locator(place).first.focus()
        keyboard.press("Enter")
        expect(me.page.locator("#cmek tbody time").first).not_to_have_text(checked)
        assert me.page.evaluate("(place) => document.activeElement.matches(place)", place), place


def test_nobody_is_taken_back_by_an_answer_that_comes_after_they_went_elsewhere(control, visit):
    me = visit(control).sign_in()
    project = me.make_project("payments")
    me.add_development_key()
    me.page.get_by_role("link", name="development", exact=True).click()
    me.fill("Name", "renamed")
    me.ready()
    key = me.path
    # The answer to Save comes while the page that was asked for after it is on its way.
    saves, pages = [], []
    me.page.route("**/change", lambda route: saves.append(route))
    # The first alone: that page keeps up with the service, and asks for itself again.
    me.page.route("**/activities", lambda route: route.continue_() if pages else pages.append(route))
    me.click("Save")
    me.page.get_by_role("link", name="Activities", exact=True).click(no_wait_after=True)
    control.wait_for("both to be under way", lambda: me.page.wait_for_timeout(50) or (saves and pages))
    saves[0].continue_()
    name = lambda: control.call("GET", f"/v2/projects/{project}/cmek/keys")["keys"][0]["name"]  # noqa: E731
    control.wait_for("it to be saved", lambda: name() == "renamed")
    # What the page makes of the answer.
    me.page.wait_for_timeout(1_000)
    pages[0].continue_()
    me.arrived("Activities")
    assert me.path.endswith("/activities")
    me.open(key)
    expect(me.page.get_by_label("Name", exact=True)).to_have_value("renamed")


def test_times_are_the_viewers(control, visit):
    project = control.create_project("payments")
    cluster = control.create_cluster(project)
    cluster.drop(3)
    [told] = re.findall(r"\S+Z(?=;)", cluster.describe()["statusReason"])
    shown = []
    for zone in ("America/Los_Angeles", "Asia/Tokyo"):
        me = visit(control, timezone_id=zone).sign_in().open(f"/projects/{project}/activities")
        shown.append(me.page.locator("main time").first.inner_text())
        # What stands within a sentence too, with what the service said in its title, and nothing else of it changed.
        me.open(f"/projects/{project}/clusters/{cluster.id}")
        reason = me.page.locator("#overview > .reason")
        time = reason.locator("time")
        assert time.get_attribute("title") == told
        expect(reason).to_have_text(f"it is destroyed at {time.inner_text()}; undrop takes it back until then")
        shown.append(time.inner_text())
        assert told not in me.page.locator("main").inner_text()
    assert len(set(shown)) == 4
    me.open(f"/projects/{project}/activities?before=0")
    expect(me.heading("No older activity")).to_be_visible()


def test_api_keys_and_alert_rules_are_made_shown_once_and_deleted(control, visit):
    me = visit(control).sign_in()
    project = me.make_project("payments")
    me.go("API Keys")
    me.click("+ API Key")
    me.fill("Name", "reporting", me.dialog())
    me.fill("Your password", ADMIN_PASSWORD, me.dialog())
    me.click("Create API key", me.dialog())
    secret = me.copied("secret")
    assert secret.startswith("custody_") and control.call("GET", "/v2/projects", token=secret)[0]["projectId"] == project
    me.page.get_by_role("link", name="Done").click()
    expect(me.row("reporting")).to_contain_text("Project Read-Only")
    me.ready()
    assert secret not in me.page.content()
    # It is asked first.
    me.click("Delete the API key reporting")
    expect(me.dialog()).to_contain_text("Whoever uses the API key reporting")
    me.click("Cancel", me.dialog())
    assert control.call("GET", "/v2/projects", token=secret)
    me.click("Delete the API key reporting")
    me.send("Delete API key")
    expect(me.row("reporting")).to_have_count(0)
    assert control.refused("GET", "/v2/projects", token=secret).status == 401
    me.go("Alerts")
    me.click("+ Alert rule")
    me.fill("Name", "pager", me.dialog())
    me.fill("Webhook", "https://127.0.0.1/", me.dialog())
    me.click("Create rule", me.dialog())
    expect(me.dialog().get_by_role("alert")).not_to_be_empty()
    me.fill("Webhook", "https://hooks.example.com/secret-path", me.dialog())
    me.click("Create rule", me.dialog())
    me.copied("secret")
    me.page.get_by_role("link", name="Done").click()
    expect(me.row("pager")).to_contain_text("hooks.example.com")
    me.ready()
    assert "secret-path" not in me.page.content()
    me.click("Delete the rule pager")
    expect(me.dialog()).to_contain_text("The rule pager")
    expect(me.row("pager")).to_have_count(1)
    me.send("Delete rule")
    expect(me.row("pager")).to_have_count(0)


def test_a_cluster_is_suspended_resumed_sealed_unsealed_dropped_and_taken_back(control, filled, visit):
    project, _, cluster = filled
    me = visit(control).sign_in().open(f"/projects/{project}/clusters/{cluster.id}")
    status = me.page.locator("#status")
    me.click("Suspend")
    me.send("Suspend")
    expect(status).to_contain_text("SUSPENDED")
    me.click("Resume")
    me.serves()
    me.click("Seal")
    me.send("Seal")
    expect(status).to_contain_text("ABNORMAL")
    expect(me.page.locator("#banner")).to_contain_text("sealed until somebody unseals it")
    me.click("Unseal")
    me.serves()
    expect(me.page.locator("#banner")).to_be_hidden()
    me.click("Switch on")
    expect(me.button("Switch off")).to_be_visible()
    me.ready()
    expect(me.button("Drop")).to_be_disabled()
    me.click("Switch off")
    expect(me.button("Switch on")).to_be_visible()
    me.ready()
    me.click("Drop")
    me.page.locator("#drop-name").fill("cluster")
    me.fill("Your password", ADMIN_PASSWORD, me.dialog())
    me.send("Drop cluster")
    expect(status).to_contain_text("DELETING")
    me.page.reload()
    expect(me.button("Switch on")).to_have_count(0)
    me.click("Take the drop back")
    me.serves()
    expect(me.button("Switch on")).to_be_visible()
    # On the page of a cluster that could not be dropped when it was loaded.
    me.click("Drop")
    expect(me.dialog()).to_be_visible()


def test_no_name_and_no_row_of_a_sealed_cluster_stays_on_a_page(control, filled, visit):
    project, _, cluster = filled
    me = visit(control).sign_in().open(f"/projects/{project}/clusters/{cluster.id}")
    me.connect("root", cluster.made["password"])
    databases, error = me.page.locator("#databases"), me.page.locator("#data-error")
    expect(databases).to_contain_text("rows")
    # What says the same as before is not drawn anew: somebody may read there.
    me.page.evaluate("document.querySelector('#databases table').isTheSame = true")
    with me.page.expect_response("**/get_load_state"):
        pass
    me.page.wait_for_timeout(300)
    assert me.page.evaluate("document.querySelector('#databases table').isTheSame")
    cluster.do("seal")
    expect(databases).to_be_empty()
    expect(error).to_contain_text("Nothing is shown")
    expect(me.page.locator("#overview")).not_to_contain_text("default")
    cluster.do("unseal")
    expect(databases.get_by_role("link", name="rows")).to_be_visible()
    databases.get_by_role("link", name="rows").click()
    expect(me.page.locator("#rows tbody tr")).to_have_count(10)
    # The page of a collection keeps up too.
    cluster.client().insert("rows", [{"id": 99, "vector": [0, 0, 0, 1]}])
    expect(me.page.locator("#facts")).to_contain_text("21")
    cluster.do("seal")
    expect(me.page.locator("#banner")).to_contain_text("sealed until somebody unseals it")
    expect(me.page.locator("#collection")).to_be_hidden()
    expect(me.page.locator("#rows")).to_be_empty()


def test_who_is_at_a_cluster_that_is_destroyed_is_led_to_where_it_is_told(control, visit):
    project = control.create_project("payments")
    first, second = (control.create_cluster(project, name=name) for name in ("first", "second"))
    me = visit(control).sign_in().open(f"/projects/{project}/clusters/{first.id}")
    first.drop(0)
    expect(me.page.locator("#destroyed")).to_contain_text(first.id)
    expect(me.heading("Clusters")).to_be_visible()
    me.go("Jobs")
    receipt = me.row(first.id).get_by_text("Receipt")
    receipt.click()
    # What was opened stays open where it was, whatever comes above it.
    second.drop(0)
    expect(me.row(second.id).get_by_text("Receipt")).to_be_visible()
    expect(me.page.locator("details[open]")).to_have_count(1)
    expect(me.row(first.id).locator("details[open]")).to_be_visible()


def test_a_cluster_that_was_rolled_back_is_opened_once_somebody_takes_the_loss(control, filled, visit):
    project, _, cluster = filled
    fill_more = lambda: cluster.client().insert("rows", [{"id": 99, "vector": [0, 0, 0, 1]}])  # noqa: E731
    me = visit(control).sign_in().open(f"/projects/{project}/clusters/{cluster.id}")
    expect(me.button("Open all the same")).to_have_count(0)
    roll_back(cluster, fill_more)
    expect(me.page.locator("#banner")).to_contain_text("rolled back")
    me.click("Open all the same")
    expect(me.dialog()).to_contain_text("What was written since is lost")
    me.click("Cancel", me.dialog())
    assert cluster.describe()["rolledBack"], "nothing was opened by looking"
    me.click("Open all the same")
    me.send("Open and lose what is missing")
    me.serves()
    expect(me.button("Open all the same")).to_have_count(0)
    assert count(cluster.client()) == 20


def test_charts_are_drawn_from_the_nodes_own_figures(control, filled, visit):
    project, _, cluster = filled
    me = visit(control).sign_in().open(f"/projects/{project}/clusters/{cluster.id}")
    client = cluster.client()
    requests = me.page.get_by_role("img", name="Requests:")

    def busy():
        client.query("rows", filter="id >= 0", limit=3)
        words = requests.get_attribute("aria-label")
        return "no figures" not in words and " 0.0 /s at most" not in words

    control.wait_for("a chart of requests", busy)
    expect(me.page.get_by_role("img", name="Memory:")).not_to_have_accessible_name("Memory: 0 MiB")
    # A minute's calls are drawn once it is over: instead of waiting for that, those that made the cluster are made older.
    with contextlib.closing(sqlite3.connect(control.data_dir / "control.db", timeout=30)) as database, database:
        database.execute("UPDATE kms_calls SET at = at - 180000")
    for chart in ("requests", "latency", "memory", "kms"):
        expect(me.page.locator(f"svg.{chart} path.line")).to_have_count(1)


def test_the_dialog_of_an_aws_key_says_what_is_missing_without_aws(control, visit):
    """Without credentials of ours nobody can be told whom to trust: it is said, not hidden."""
    me = visit(control).sign_in()
    me.make_project("payments")
    me.go("CMEK")
    me.click("+ CMEK")
    expect(me.dialog().locator("#setup-error")).to_contain_text("principal_arn")
