"""Who gets into the console, what they are shown, and what other sites can't do with it."""

import json
import re

import pytest
from playwright.sync_api import expect

from helpers.console import create_user, form, message
from helpers.control import ADMIN_PASSWORD
from helpers.program import PATIENCE

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def control(make_control):
    return make_control().start()


def test_one_signs_in_and_out_and_is_brought_back_where_one_was_going(control, visit):
    me = visit(control)
    project = control.create_project("payments")
    me.open(f"/projects/{project}/jobs")
    me.fill("User name", "admin")
    me.fill("Password", "wrong-password")
    me.click("Sign in")
    expect(me.page.get_by_role("alert")).to_contain_text("wrong user name or password")
    me.fill("Password", ADMIN_PASSWORD)
    me.click("Sign in")
    me.arrived("Jobs")
    [cookie] = me.context.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == ("custody_session", True, "Strict", "/")
    me.click("Sign out")
    expect(me.heading("Sign in")).to_be_visible()
    assert me.context.cookies() == []
    shown = {"Cookie": f"{cookie['name']}={cookie['value']}"}
    assert control.raw("GET", "/projects", token=None, headers=shown)[0] == 303, "the session itself has ended"


def test_a_page_leaves_by_itself_when_its_session_ends(control, visit):
    me, other = visit(control).sign_in(), visit(control).sign_in()
    project = me.make_project("payments")
    me.page.evaluate("sessionStorage.setItem('custody.node.in01-1', 'a credential')")
    [user] = control.call("GET", "/v2/users")
    control.call("PUT", f"/v2/users/{user['userId']}/password", {"newPassword": "another-password", "oldPassword": ADMIN_PASSWORD})
    for it in (me, other):
        expect(it.heading("Sign in")).to_be_visible()
    assert f"next=%2Fprojects%2F{project}" in me.page.url
    assert me.page.evaluate("sessionStorage.length") == 0, "whoever signs in next in this tab is somebody else"


def test_a_page_says_how_old_it_is_and_holds_nothing_for_long(control, visit):
    me = visit(control).sign_in()
    project = me.make_project("payments")
    me.add_development_key()
    checked = me.page.locator("#cmek tbody time").first
    # What is selected is held, but not for ever: it hides what has happened since.
    me.page.evaluate("getSelection().selectAllChildren(document.querySelector('#cmek tbody th'))")
    before = checked.inner_text()
    expect(checked).not_to_have_text(before)
    control.stop()
    expect(me.page.locator("#stale")).to_contain_text("Not updated since")
    control.start()
    expect(me.page.locator("#stale")).to_be_hidden()
    # What one may not see any more is no service that can't be reached.
    role = create_user(control, "custodian", "KeyCustodian", project)
    it = visit(control).sign_in("custodian", role).open(f"/projects/{project}/cmek")
    polls = lambda route: "x-console" in route.request.headers  # noqa: E731
    it.page.route("**/cmek", lambda route: route.fulfill(status=403, json={"message": "no"}) if polls(route) else route.continue_())
    with it.page.expect_navigation():
        pass
    expect(it.page.locator("#stale")).to_be_hidden()


def test_a_reader_sees_no_button_that_would_fail(control, make_local_kms, visit):
    project = control.create_project("payments")
    body = {"provider": "local", "regionId": "local-dev", "keyArn": make_local_kms(control).create_key()}
    control.call("POST", f"/v2/projects/{project}/cmek/keys", body)
    cluster = control.create_cluster(project, body["keyArn"])
    pages = [f"/projects/{project}{rest}" for rest in ("", "/backups", "/jobs", "/alerts", "/activities", f"/clusters/{cluster.id}")]
    me = visit(control).sign_in("reader", create_user(control, "reader", "ProjectReadOnly", project))
    expect(me.button("+ Project")).to_have_count(0)
    for path in pages:
        me.open(path)
        expect(me.page.locator("main h1")).to_be_visible()
        # All that is left: signing out, copying, and what the cluster's own credential opens.
        names = {it.inner_text() for it in me.page.get_by_role("button").all() if it.is_visible()}
        assert names <= {"Sign out", "Copy", "Connect"}, (path, names)
        assert me.page.locator("form[data-form]").count() == 1, path
        for entry in ("CMEK", "API Keys"):
            expect(me.page.get_by_role("link", name=entry, exact=True)).to_have_count(0)
        expect(me.page.get_by_role("link", name="+ Cluster")).to_have_count(0)
    # The icon is there all the same; it leads to a page that the reader may not see, and so nowhere.
    expect(me.page.locator("span#key-icon")).to_be_visible()
    for path in (f"/projects/{project}/cmek", f"/projects/{project}/api-keys", f"/projects/{project}/clusters/new"):
        me.open(path)
        expect(me.heading("You may not do this")).to_be_visible()
    me.open(f"/projects/{control.create_project('other')}")
    expect(me.heading("There is no such page")).to_be_visible()


def test_each_role_sees_its_own_buttons(control, visit):
    project = control.create_project("payments")
    seen = {}
    for role in ("ProjectAdmin", "KeyCustodian"):
        me = visit(control).sign_in(role, create_user(control, role, role, project))
        me.open(f"/projects/{project}/cmek")
        keys = me.button("+ CMEK").count()
        me.open(f"/projects/{project}")
        seen[role] = keys, me.page.get_by_role("link", name="+ Cluster", exact=True).count()
    assert seen == {"ProjectAdmin": (0, 1), "KeyCustodian": (1, 0)}


def everything(control) -> tuple:
    # When a key was used last is written again each minute.
    api_keys = [{**it, "lastUsedAt": 0} for it in control.call("GET", "/v2/apiKeys")]
    return control.call("GET", "/v2/projects"), control.clusters(), api_keys, control.call("GET", "/v2/users")


def test_forged_requests_are_refused_and_change_nothing(control, make_local_kms, visit):
    me = visit(control).sign_in()
    project = me.make_project("payments")
    me.add_development_key()
    [key] = control.call("GET", f"/v2/projects/{project}/cmek/keys")["keys"]
    cluster = control.create_cluster(project, key["keyArn"])
    at, keys = f"/projects/{project}/clusters/{cluster.id}", f"/projects/{project}/cmek/{key['keyId']}"
    csrf, cookie = me.csrf(), me.cookie()
    posts = [
        ("/projects", {"name": "forged", "plan": "Free"}),
        (f"/projects/{project}/plan", {"plan": "Free"}),
        (f"/projects/{project}/delete", {}),
        (f"/projects/{project}/clusters", {"name": "forged", "region": "local-dev", "cu_type": "Performance-optimized", "cu_size": "1"}),
        *((f"{at}/{act}", {}) for act in ("suspend", "resume", "seal", "unseal", "undrop", "open-below-anchor")),
        (f"{at}/protection", {"on": "true"}),
        (f"{at}/drop", {"name": "cluster", "wait_days": "0", "password": ADMIN_PASSWORD}),
        (f"/projects/{project}/cmek/local", {"name": "forged"}),
        (f"{keys}/check", {}),
        (f"{keys}/change", {"name": "forged", "recovery": "manual"}),
        (f"{keys}/grace", {"minutes": "0", "password": ADMIN_PASSWORD}),
        (f"{keys}/delete", {"password": ADMIN_PASSWORD}),
        (f"/projects/{project}/alerts", {"name": "forged", "url": "https://hooks.example.com/"}),
        (f"/projects/{project}/alerts/rule-none/delete", {}),
        (f"/projects/{project}/api-keys", {"name": "forged", "role": "ProjectAdmin", "password": ADMIN_PASSWORD}),
        (f"/projects/{project}/api-keys/apikey-none/delete", {}),
        (f"/projects/{project}/backups", {"cluster": cluster.id, "name": "forged"}),
        (f"/projects/{project}/backups/policy", {"cluster": cluster.id, "frequency": "1", "start_time": "02:00-04:00", "retention": "7"}),
        (f"/projects/{project}/backups/{cluster.id}/backup-none/delete", {"password": ADMIN_PASSWORD}),
        (f"/projects/{project}/backups/{cluster.id}/backup-none/restore", {"name": "forged", "password": ADMIN_PASSWORD}),
        (f"/projects/{project}/backups/{cluster.id}/backup-none/restore-into", {"into": cluster.id, "only": "", "mode": ""}),
        (f"/projects/{project}/jobs/{cluster.made['jobId']}/cancel", {}),
        ("/sign-out", {}),
    ]
    activities = f"/v2/projects/{project}/activities"
    before, done = everything(control), control.call("GET", activities)
    for path, fields in posts:
        for token in (None, "", "0" * 64, cookie.split("=")[1]):
            body = form(**fields, **({} if token is None else {"csrf": token}))
            status, _, text = control.raw("POST", path, body, token=None, headers={**FORM, "Cookie": cookie, "X-Console": "form"})
            assert status == 403 and "CSRF" in message(text), (path, token, text)
        ours = form(**fields, csrf=csrf)
        strangers = [
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": f"http://127.0.0.1:{control.port + 1}"},
            {"Origin": me.origin, "Sec-Fetch-Site": "same-site"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Host": "evil.example"},
            {"Host": f"evil.example:{control.port}", "Origin": f"http://evil.example:{control.port}"},
        ]
        for headers in strangers:
            sent = {**FORM, "Cookie": cookie, "X-Console": "form", **headers}
            status, _, text = control.raw("POST", path, ours, token=None, headers=sent)
            assert status == 403 and "CSRF" not in message(text), (path, headers, text)
        status = control.raw("POST", path, ours, token=None, headers=FORM)[0]
        assert status == 401, path
    # Over REST the cookie is worth no more.
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        sent = {"Cookie": cookie, "X-CSRF-Token": csrf, **headers}
        assert control.raw("POST", "/v2/projects", b'{"projectName": "x", "plan": "Free"}', token=None, headers=sent)[0] == 403
    assert everything(control) == before
    assert control.call("GET", activities) == done


def test_a_session_alone_drops_no_cluster_deletes_no_key_changes_no_grace_and_gives_no_access(control, make_local_kms, visit):
    me = visit(control).sign_in()
    project = me.make_project("payments")
    me.add_development_key()
    [key] = control.call("GET", f"/v2/projects/{project}/cmek/keys")["keys"]
    cluster = control.create_cluster(project)
    sent = {"Cookie": me.cookie(), "X-CSRF-Token": me.csrf()}
    path = f"/v2/projects/{project}/cmek/keys/{key['keyId']}"
    user = {"name": "other", "password": "another-password-of-a-user", "role": "Owner"}
    other = control.call("POST", "/v2/users", user)
    before = everything(control)
    for method, call, body in [
        ("DELETE", f"/v2/clusters/{cluster.id}/drop", None),
        ("DELETE", path, None),
        ("PATCH", path, b'{"grace": "0s"}'),
        # A credential of its own would need no session.
        ("POST", "/v2/apiKeys", b'{"name": "x", "role": "Owner"}'),
        ("POST", "/v2/users", json.dumps({**user, "name": "third"}).encode()),
        ("PUT", f"/v2/users/{other}/password", b'{"newPassword": "chosen-by-a-stranger"}'),
    ]:
        status, _, text = control.raw(method, call, body, token=None, headers=sent)
        assert status == 403 and "password" in message(text), (call, text)
    assert everything(control) == before
    assert control.raw("PATCH", path, b'{"name": "by the session"}', token=None, headers=sent)[0] == 200
    # With the password, on the key's page.
    me.open(f"/projects/{project}/cmek/{key['keyId']}")
    me.fill("Minutes, 0 to 1440", "5")
    me.fill("Your password", "wrong")
    me.click("Change grace")
    expect(me.page.get_by_role("alert").filter(has_text="the password is wrong")).to_be_visible()
    assert control.call("GET", path)["graceSeconds"] == 3600
    me.fill("Your password", ADMIN_PASSWORD)
    me.click("Change grace")
    expect(me.page.locator("#key")).to_contain_text("5 min")
    assert control.call("GET", path)["graceSeconds"] == 300
    # Who guesses is slowed down, here too.
    body = form(csrf=me.csrf(), minutes="0", password="wrong")
    headers = {**FORM, "Cookie": me.cookie(), "X-Console": "form"}
    statuses = [control.raw("POST", f"/projects/{project}/cmek/{key['keyId']}/grace", body, token=None, headers=headers)[0] for _ in range(10)]
    assert statuses[0] == 403 and 429 in statuses, statuses


def test_every_answer_carries_what_defends_it(control, visit):
    me = visit(control).sign_in()
    project = control.create_project("payments")
    cluster = control.create_cluster(project)
    cookie = {"Cookie": me.cookie()}
    at = f"/projects/{project}"
    node = cluster.describe()["connectAddress"]
    pages = ["/projects", "/projects/nowhere/else", at, f"{at}/cmek", f"{at}/clusters/new", f"{at}/jobs", f"{at}/clusters/{cluster.id}", "/sign-in", "/"]
    for path in pages:
        _, headers, _ = control.raw("GET", path, token=None, headers=cookie)
        headers = {name.lower(): value for name, value in headers.items()}
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';"), path
        assert "frame-ancestors 'none'" in policy and "base-uri 'none'" in policy and "unsafe" not in policy
        # Only the page of a cluster may ask its node, and no other address.
        connect = re.search("connect-src ([^;]*)", policy)[1]
        assert connect == (f"'self' {node}" if cluster.id in path else "'self'"), (path, connect)
        assert (headers["x-content-type-options"], headers["referrer-policy"], headers["cache-control"]) == ("nosniff", "no-referrer", "no-store")
        assert "strict-transport-security" not in headers
    for asset in me.open("/projects").page.evaluate("[...document.querySelectorAll('script, link')].map((it) => it.src || it.href)"):
        assert asset.startswith(f"{me.origin}/assets/")
        _, headers, _ = control.raw("GET", asset.removeprefix(me.origin), token=None)
        headers = {name.lower(): value for name, value in headers.items()}
        assert "immutable" in headers["cache-control"] and headers["x-content-type-options"] == "nosniff"


def test_rest_stays_as_it_is_beside_the_console(control):
    status, headers, text = control.raw("GET", "/nowhere", token=None)
    assert status == 404 and message(text) and headers["content-type"] == "application/json"
    assert control.raw("GET", "/v2/projects", token=None)[0] == 401
    assert control.raw("GET", "/", token=None)[1]["location"] == "/sign-in"
    assert control.raw("GET", "/openapi.json", token=None)[0] == 200


def test_another_page_may_not_ask_the_node(control, visit):
    project = control.create_project("payments")
    cluster = control.create_cluster(project)
    host, port = cluster.describe()["connectAddress"].removeprefix("http://").split(":")
    import http.client

    def told(method: str, origin: str, **headers: str) -> dict[str, str]:
        connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
        connection.request(method, "/v2/vectordb/databases/list", headers={"Origin": origin, **headers})
        answer = connection.getresponse()
        return {name.lower(): value for name, value in answer.getheaders()}

    ours = f"http://127.0.0.1:{control.port}"
    asks = {"Access-Control-Request-Method": "POST"}
    for origin in (ours, f"http://localhost:{control.port}"):
        assert told("OPTIONS", origin, **asks)["access-control-allow-origin"] == origin
    for origin in ("http://evil.example", f"http://127.0.0.1:{control.port + 1}", "null", f"https://127.0.0.1:{control.port}"):
        assert "access-control-allow-origin" not in told("OPTIONS", origin, **asks), origin
        assert "access-control-allow-origin" not in told("POST", origin), origin
    assert "access-control-allow-credentials" not in told("OPTIONS", ours, **asks)
