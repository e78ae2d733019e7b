"""The console in headless Chromium, used as people use it: by clicks and typing."""

import json
import os
import re
import shutil
import time

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Error, Locator, Page, Playwright, expect

from .control import ADMIN_PASSWORD, Control
from .dialog import Shell
from .program import PATIENCE

# Nothing that a browser does by itself, and nothing that a container lacks.
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# How long something on a page may take that takes a second on a machine of its own, or some when a process has to start for it.
SOON = 60_000
PHONE = {"width": 380, "height": 800}
DESKTOP = {"width": 1280, "height": 860}


def launch(playwright: Playwright) -> Browser:
    """Debian's Chromium, or the one that CUSTODY_TEST_CHROMIUM names."""
    program = os.environ.get("CUSTODY_TEST_CHROMIUM") or shutil.which("chromium")
    assert program, "chromium is missing, and the console's tests need it: apt-get install chromium"
    expect.set_options(timeout=SOON)
    return playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS), timeout=PATIENCE * 1000)


class Visit:
    """A person at a browser of their own."""

    def __init__(self, browser: Browser, control: Control, **context):
        self.control, self.origin = control, f"http://127.0.0.1:{control.port}"
        self.context = browser.new_context(**{"viewport": DESKTOP, "locale": "en-GB", "timezone_id": "Europe/Berlin", **context})
        self.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=self.origin)
        self.context.set_default_timeout(SOON)
        # What the browser says of a page by itself.
        self.log: list[str] = []
        self.page = self.new_page()

    def new_page(self) -> Page:
        page = self.context.new_page()
        page.on("console", lambda message: self.log.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.log.append(f"exception: {error}"))
        return page

    def violations(self) -> list[str]:
        """What the page's policy forbade, and what a script of ours fell over."""
        return [line for line in self.log if "Content Security Policy" in line or line.startswith("exception: ")]

    def text(self) -> str:
        """What stands on the page, for the report of a test that failed."""
        try:
            return self.page.locator("body").inner_text(timeout=5_000)
        except Error as error:
            return f"it can't be read: {error}"

    def close(self) -> None:
        self.context.close()

    # Going about

    def open(self, path: str) -> "Visit":
        self.page.goto(self.origin + path)
        return self

    def sign_in(self, name: str = "admin", password: str = ADMIN_PASSWORD) -> "Visit":
        self.open("/")
        expect(self.page).to_have_url(f"{self.origin}/sign-in")
        self.fill("User name", name)
        self.fill("Password", password)
        self.click("Sign in")
        self.arrived("Projects")
        return self

    def go(self, entry: str) -> "Visit":
        """An entry of the navigation at the left."""
        self.page.get_by_role("navigation", name="Project").get_by_role("link", name=entry, exact=True).click()
        self.arrived(entry)
        return self

    def arrived(self, heading: str) -> None:
        """Waits for a page by its heading, and for its scripts."""
        expect(self.heading(heading)).to_be_visible()
        self.ready()

    def ready(self) -> None:
        """Waits for the scripts of the page that is there. They run once it is read to its end: a button that is pressed before
        does nothing, and a form leaves by itself."""
        self.page.wait_for_load_state("domcontentloaded")

    def heading(self, text: str) -> Locator:
        return self.page.get_by_role("heading", name=text, exact=True)

    def button(self, name: str, within: Locator | None = None) -> Locator:
        return (within or self.page).get_by_role("button", name=name, exact=True)

    def click(self, name: str, within: Locator | None = None) -> None:
        self.button(name, within).click()

    def fill(self, label: str, text: str, within: Locator | None = None) -> None:
        (within or self.page).get_by_label(label, exact=True).fill(text)

    def row(self, text: str) -> Locator:
        return self.page.get_by_role("row").filter(has_text=text)

    def dialog(self) -> Locator:
        return self.page.get_by_role("dialog")

    def send(self, name: str) -> None:
        """Sends off the dialog that is open, and waits for the page that comes after it: until then the old one is there."""
        self.click(name, self.dialog())
        expect(self.dialog()).to_be_hidden()
        self.ready()

    def copied(self, source: str) -> str:
        """What a copy button puts into the clipboard."""
        button = self.page.locator(f'[data-copy="{source}"]').first
        self.page.evaluate("navigator.clipboard.writeText('')")
        button.click()
        # Not by what the page says of it: that is gone again after some seconds.
        deadline = time.monotonic() + PATIENCE
        while not (text := self.page.evaluate("navigator.clipboard.readText()")):
            assert time.monotonic() < deadline, f"{source} is not copied"
            self.page.wait_for_timeout(50)
        return text

    @property
    def path(self) -> str:
        return self.page.url.removeprefix(self.origin).split("#")[0]

    def csrf(self) -> str:
        return self.page.locator("meta[name=csrf]").get_attribute("content")

    def cookie(self) -> str:
        return "; ".join(f"{it['name']}={it['value']}" for it in self.context.cookies())

    # What people do

    def make_project(self, name: str, plan: str = "Business Critical") -> str:
        """Makes a project and is at its home; returns its id."""
        self.click("+ Project")
        self.fill("Name", name, self.dialog())
        self.dialog().get_by_role("radio", name=re.compile(f"^{plan}")).check()
        self.click("Create project", self.dialog())
        self.arrived("Clusters")
        return self.path.split("/")[2]

    def add_development_key(self, name: str = "development") -> None:
        self.go("CMEK")
        self.click("+ Development key")
        made = self.page.get_by_role("link", name="development", exact=True)
        expect(self.page.get_by_role("row").filter(has=made).get_by_text("AVAILABLE")).to_be_visible()
        if name != "development":
            made.click()
            self.fill("Name", name)
            self.ready()
            self.click("Save")
            expect(self.page.get_by_role("heading", level=1)).to_contain_text(name)
            self.go("CMEK")
        expect(self.row(name).get_by_text("AVAILABLE")).to_be_visible()

    def create_cluster(self, name: str, key: str | None = None, *, provider: str | None = None) -> dict:
        """Makes a cluster and waits until it serves; returns its credentials as they were shown."""
        self.go("Clusters")
        self.page.get_by_role("link", name="+ Cluster", exact=True).click()
        self.arrived("Create cluster")
        self.fill("Cluster name", name)
        if provider:
            self.page.get_by_label("Cloud provider", exact=True).select_option(provider)
        if key:
            self.page.get_by_role("switch").check()
            self.page.get_by_role("radio", name=re.compile(f"^{re.escape(key)}")).check()
        self.click("Create Cluster")
        shown = {it: self.page.locator(f"#{it}").inner_text() for it in ("endpoint", "username", "new-password")}
        return {**shown, "id": self.to_cluster()}

    def to_cluster(self) -> str:
        """From the progress of a cluster that is made, or restored, to its page; returns its id."""
        # The link is there once it serves.
        self.page.get_by_role("link", name="To the cluster", exact=True).click(timeout=PATIENCE * 1000)
        self.serves()
        self.ready()
        return self.path.split("/")[4]

    def serves(self) -> None:
        """Waits until the cluster of the page does: a process may have to start for it."""
        expect(self.page.locator("#status")).to_contain_text("RUNNING", timeout=PATIENCE * 1000)

    def connect(self, user: str, password: str) -> None:
        """Gives the page the cluster's credential."""
        self.fill("Cluster user", user)
        self.page.locator("#node-password").fill(password)
        self.click("Connect")
        expect(self.page.locator("#connected")).to_be_visible()

    # What is looked at

    def axe(self) -> list[str]:
        """What axe finds wrong with the page, of what is serious or worse. The context has to bypass the page's policy."""
        found = Axe().run(self.page).response["violations"]
        grave = [it for it in found if it["impact"] in ("serious", "critical")]
        return [f"{it['id']}: {it['help']}: {[node['html'][:200] for node in it['nodes']]}" for it in grave]

    def overflows(self) -> int:
        """By how many pixels the page, or a dialog that is open on it, is wider than what it has to fit into. A dialog lies
        above the page, which is as wide as it was, and scrolls by itself."""
        script = """() => {
            const screen = document.documentElement;
            const wide = [screen.scrollWidth - screen.clientWidth];
            for (const it of document.querySelectorAll("dialog[open]")) {
                const {left, right} = it.getBoundingClientRect();
                wide.push(it.scrollWidth - it.clientWidth, Math.ceil(right) - screen.clientWidth, Math.ceil(-left));
            }
            return Math.max(...wide);
        }"""
        return self.page.evaluate(script)

    def faults(self) -> list[str]:
        """What axe finds in light and in dark, and whether it fits a phone: all of a state that is not reached twice."""
        found = []
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)
            found += [f"{scheme}: {it}" for it in self.axe()]
        self.page.set_viewport_size(PHONE)
        found += [f"{pixels} pixels too wide for a phone" for pixels in [self.overflows()] if pixels]
        self.page.set_viewport_size(DESKTOP)
        return found

    def fetch(self, method: str, path: str, **headers: str):
        """A request of the page's own script: status and text."""
        script = """async ([method, path, headers]) => {
            const answer = await fetch(path, {method, headers, redirect: "manual"});
            return [answer.status, await answer.text()];
        }"""
        return tuple(self.page.evaluate(script, [method, path, headers]))


class AddKey:
    """The dialog Add CMEK, and the customer's terminal beside it."""

    def __init__(self, visit: Visit, shell: Shell):
        self.visit, self.shell = visit, shell
        visit.click("+ CMEK")
        self.dialog = visit.dialog()

    def field(self, name: str) -> Locator:
        return self.dialog.locator(f"#{name}")

    def run(self, source: str):
        """Copies a command from the page and runs it."""
        return self.shell.run(self.visit.copied(source))

    def create_role(self, name: str) -> str:
        """Step 1, to its Next."""
        self.shell.write(self.visit.copied("trust-file"), self.visit.copied("trust-policy"))
        self.field("role-name").fill(name)
        expect(self.field("create-role")).to_contain_text(f"--role-name {name}")
        arn = self.run("create-role")["Role"]["Arn"]
        self.field("role-arn").fill(arn)
        self.next("Create a KMS key")
        return arn

    def create_key(self, region: str = "aws-us-west-2") -> str:
        """Step 2, to its Next."""
        self.field("key-region").select_option(region)
        expect(self.field("create-key")).to_contain_text(f"--region {region.removeprefix('aws-')}")
        arn = self.run("create-key")["KeyMetadata"]["Arn"]
        self.field("key-arn").fill(arn)
        return arn

    def next(self, heading: str) -> None:
        self.visit.click("Next", self.dialog)
        expect(self.dialog.get_by_role("heading", name=heading)).to_be_visible()

    def associate(self, key_arn: str) -> None:
        """What step 3 says."""
        expect(self.field("role-policy")).to_contain_text(key_arn)
        self.shell.write(self.visit.copied("policy-file"), self.visit.copied("role-policy"))
        self.run("put-policy")

    def validate(self) -> dict[str, str]:
        """Each check with what it came to, once all have ended."""
        self.visit.click("Validate", self.dialog)
        expect(self.visit.button("Validate", self.dialog)).to_be_enabled()
        items = self.dialog.locator("#checks li").all()
        return {item.get_attribute("id").removeprefix("check-"): item.get_attribute("class") for item in items}

    def said(self, check: str) -> str:
        return self.dialog.locator(f"#check-{check}").inner_text()

    def is_in_sight(self, place: str) -> bool:
        """Whether something is above the dialog's foot, and not below its upper edge."""
        script = """(it) => {
            const [{top, bottom}, dialog] = [it.getBoundingClientRect(), it.closest("dialog")];
            return top >= dialog.getBoundingClientRect().top && bottom <= dialog.querySelector(".dialog-foot").getBoundingClientRect().top;
        }"""
        return self.dialog.locator(place).first.evaluate(script)

    def add(self) -> None:
        self.visit.click("Add", self.dialog)
        expect(self.dialog).to_be_hidden()

    def whole(self, role: str) -> tuple[str, str]:
        """All of it by the tab New IAM Role; the ARNs of role and key."""
        role_arn = self.create_role(role)
        key_arn = self.create_key()
        self.next("Associate the KMS key with the IAM role")
        self.associate(key_arn)
        assert set(self.validate().values()) == {"passed"}
        self.add()
        return role_arn, key_arn


def rows(page: Page, table: str) -> list[list[str]]:
    """The texts of a table's cells."""
    return [[cell.inner_text() for cell in row.locator("th, td").all()] for row in page.locator(f"{table} tbody tr").all()]


def create_user(control: Control, name: str, role: str, project: str | None = None) -> str:
    """A user of the console; returns the password."""
    password = f"password-of-{name}"
    body = {"name": name, "password": password, "role": role, **({"projectId": project} if project else {})}
    control.call("POST", "/v2/users", body)
    return password


def form(**fields: str) -> bytes:
    from urllib.parse import urlencode

    return urlencode(fields).encode()


def message(text: bytes | str) -> str:
    return json.loads(text)["message"]
