"""Each page of the console as a picture: `cargo xtask screenshots`. What is shown is real: a project, keys of a stand-in for
AWS, encrypted clusters with rows, one of them with its key disabled."""

import pathlib
import random
import sys
import tempfile
import time

from playwright.sync_api import sync_playwright

from helpers.aws import CUSTOMER_ACCOUNT, REGION, Account, Customer, stand_in
from helpers.backups import back_up
from helpers.clusters import fill
from helpers.console import DESKTOP, PHONE, AddKey, Visit, launch
from helpers.control import Cluster, Control
from helpers.dialog import REGION_ID, SetUp, Shell
from helpers.program import ROOT

SCHEMES = {
    "light": {"viewport": DESKTOP, "color_scheme": "light"},
    "dark": {"viewport": DESKTOP, "color_scheme": "dark"},
    "phone": {"viewport": PHONE, "color_scheme": "light", "device_scale_factor": 2},
}
# The README's four: the page, and what of it.
README = ("cmek-dialog-3", "cmek", "cluster", "create")
# How long clients talk with the cluster before its charts are looked at.
BUSY = 120


def digits(count: int, width: int = 16) -> list[dict]:
    chance = random.Random(7)
    tags = ("invoice", "contract", "mail", "note")
    return [
        {"id": number, "vector": [round(chance.gauss(0, 1), 4) for _ in range(width)], "kind": chance.choice(tags)}
        for number in range(count)
    ]


class Studio:
    """A control plane with something to show."""

    def __init__(self, directory: pathlib.Path, endpoint: str, browser):
        self.browser = browser
        service = Customer(endpoint)
        self.control = Control(directory / "control", env=service.service.environment(), arguments=("--key-check-interval", "2s"))
        self.control.start()
        self.shell = Shell(directory / "terminal", Account(endpoint, CUSTOMER_ACCOUNT))
        self.project = self.control.create_project("Payments")
        self.control.create_project("Sandbox", "Standard")
        self.keys = [self._key(name) for name in ("payments-production", "payments-archive")]
        self.main = self._cluster("document-vectors", self.keys[0])
        self.dark = self._cluster("archive-2025", self.keys[1])
        self.control.ask_cluster(self.project, None, "staging", regionId=REGION_ID)
        self.control.call("POST", f"/v2/projects/{self.project}/alerts", {"name": "On call", "url": "https://hooks.example.com/x"})
        self.control.create_api_key("ProjectReadWrite", self.project)

    def _key(self, name: str) -> SetUp:
        made = SetUp(self.control, self.shell, self.project)
        made.add(name=name)
        return made

    def _cluster(self, name: str, key: SetUp) -> Cluster:
        return self.control.create_cluster(self.project, key.key_arn, name, regionId=REGION_ID)

    def fill(self) -> None:
        client = self.main.client()
        client.create_collection("documents", dimension=16, metric_type="COSINE", auto_id=False)
        rows = digits(2_000)
        for start in range(0, len(rows), 500):
            client.insert("documents", rows[start : start + 500])
        client.create_database("tenant_a")
        client.using_database("tenant_a")
        fill(client, rows=40, name="questions")
        client.using_database("default")
        chance = random.Random(3)
        end = time.monotonic() + BUSY
        while time.monotonic() < end:
            for _ in range(chance.randrange(1, 12)):
                client.search("documents", data=[rows[chance.randrange(len(rows))]["vector"]], limit=10)
            time.sleep(chance.random() / 2)
        self.backup = back_up(self.main, backupName="before the move")
        self.keys[1].aws("disable-key")
        self.dark.wait_for_status("ABNORMAL")

    def shoot(self, scheme: str, out: pathlib.Path) -> None:
        me = Visit(self.browser, self.control, **SCHEMES[scheme], reduced_motion="reduce")
        page, at = me.page, f"/projects/{self.project}"

        def picture(name: str, whole: bool = True) -> None:
            page.wait_for_load_state("networkidle") if "dialog" not in name else page.wait_for_timeout(300)
            page.evaluate("scrollTo(0, 0)")
            page.screenshot(path=out / f"{name}-{scheme}.png", full_page=whole)

        me.open("/sign-in")
        picture("sign-in")
        me.sign_in()
        key = self.control.call("GET", f"/v2/projects/{self.project}/cmek/keys")["keys"][0]["keyId"]
        pages = {
            "projects": "/projects",
            "clusters": at,
            "create": f"{at}/clusters/new",
            "cmek": f"{at}/cmek",
            "key": f"{at}/cmek/{key}",
            "backups": f"{at}/backups",
            "restore": f"{at}/backups/{self.main.id}/{self.backup.id}/restore",
            "jobs": f"{at}/jobs",
            "alerts": f"{at}/alerts",
            "activities": f"{at}/activities",
            "api-keys": f"{at}/api-keys",
            "dark": f"{at}/clusters/{self.dark.id}",
            "nowhere": f"{at}/nowhere",
        }
        for name, path in pages.items():
            me.open(path)
            if name == "create":
                me.fill("Cluster name", "document-vectors-eu")
                page.get_by_role("switch").check()
                page.locator(".choice.key input:enabled").first.check()
            picture(name)
        self.shoot_data(me, picture)
        self.shoot_dialog(me, picture)
        me.close()

    def shoot_data(self, me: Visit, picture) -> None:
        me.open(f"/projects/{self.project}/clusters/{self.main.id}")
        me.connect("root", self.main.made["password"])
        me.page.get_by_role("link", name="documents").wait_for()
        picture("cluster")
        me.page.get_by_role("link", name="documents").click()
        me.page.locator("#rows tbody tr").first.wait_for()
        me.click("Take the first row's")
        me.click("Search")
        me.page.locator("#found table").wait_for()
        picture("collection")

    def shoot_dialog(self, me: Visit, picture) -> None:
        me.open(f"/projects/{self.project}/cmek")
        dialog = AddKey(me, self.shell)
        dialog.create_role(f"custody-payments-{random.randrange(10_000)}")
        me.click("Back", dialog.dialog)
        picture("cmek-dialog-1", whole=False)
        dialog.next("Create a KMS key")
        key = dialog.create_key()
        picture("cmek-dialog-2", whole=False)
        dialog.next("Associate the KMS key with the IAM role")
        dialog.associate(key)
        dialog.validate()
        me.page.locator("#said").evaluate("(it) => (it.textContent = '')")
        picture("cmek-dialog-3", whole=False)
        me.click("Start over", dialog.dialog) if dialog.field("start-over").is_visible() else None


def main(out: pathlib.Path, readme: bool) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, stand_in(pathlib.Path(temporary)) as endpoint, sync_playwright() as playwright:
        browser = launch(playwright)
        studio = None
        try:
            studio = Studio(pathlib.Path(temporary), endpoint, browser)
            studio.fill()
            for scheme in SCHEMES:
                studio.shoot(scheme, out)
        finally:
            if studio:
                studio.control.end()
            browser.close()
    print(f"the pictures are in {out}; region {REGION}")
    if readme:
        for name in README:
            (ROOT / "docs" / "screenshots" / f"{name}.png").write_bytes((out / f"{name}-light.png").read_bytes())


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), "--readme" in sys.argv)
