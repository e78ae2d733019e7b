"""Fixtures: nodes that end with their test, and whose output is shown when it fails."""

import logging
import os
import pathlib

import pytest

from playwright.sync_api import sync_playwright

from helpers.aws import CUSTOMER_ACCOUNT, Account, Customer, stand_in
from helpers.console import Visit, launch
from helpers.control import Control
from helpers.dialog import Shell
from helpers.kms import LocalKms
from helpers.node import Node
from helpers.proxy import Proxy
from helpers.terminal import AwsProgram, QuickShell
from helpers.webhook import Receiver

# What may be skipped where nothing else may be (CUSTODY_TEST_NO_SKIPS), by how its reason begins: what takes long and belongs to
# a campaign, and what a machine can lack that is root's own: a second address, file systems to mount, enough open files.
MAY_BE_SKIPPED = (
    "takes a minute: set CUSTODY_CAMPAIGN=1",
    "this machine has no address but loopback's",
    "a disk that is full is a small file system of its own, and none can be mounted",
    "this machine allows",
)

# The client logs every refusal with a traceback, and most tests are about refusals.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.skipped and os.environ.get("CUSTODY_TEST_NO_SKIPS") and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not reason.startswith(MAY_BE_SKIPPED):
            report.outcome, report.longrepr = "failed", f"nothing may be skipped here, and this was: {reason}"
    if report.when == "call" and report.failed:
        for node in getattr(item, "custody_nodes", []):
            report.sections.append((f"output of the node {node.cluster_id}", node.output()))
        for control in getattr(item, "custody_controls", []):
            report.sections.append(("output of the control plane", control.output()))
            report.sections.append(("output of its nodes", control.node_output()))
        for visit in getattr(item, "custody_visits", []):
            report.sections.append((f"the browser at {visit.page.url}", "\n".join(visit.log)))
            report.sections.append(("its page", visit.text()))
    return report


def pytest_collection_modifyitems(items):
    """The longest tests first, shared among the workers: one that is begun last is waited for by all. Each worker begins with an
    even share of the list, and takes from the end of another's once it is through."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    long = [it for it in items if it.get_closest_marker("long")]
    short = [it for it in items if not it.get_closest_marker("long")]
    ordered = []
    for number in range(workers):
        mine = long[number::workers]
        room = max(0, (len(items) - len(ordered)) // (workers - number) - len(mine))
        ordered += [*mine, *short[:room]]
        short = short[room:]
    items[:] = [*ordered, *short]


@pytest.fixture
def make_node(request, tmp_path):
    """Makes nodes; those still running when the test ends are killed."""
    nodes: list[Node] = []
    request.node.custody_nodes = nodes

    def make(name: str = "node", *, directory: pathlib.Path | None = None, **more) -> Node:
        node = Node(directory or tmp_path / name, **more)
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.close_clients()
        node.kill()


@pytest.fixture
def make_control(request, tmp_path):
    """Makes control planes; those still running when the test ends are killed."""
    controls: list[Control] = []
    request.node.custody_controls = controls

    def make(name: str = "control", **more) -> Control:
        control = Control(tmp_path / name, **more)
        controls.append(control)
        return control

    yield make
    for control in controls:
        control.end()


@pytest.fixture(scope="module")
def chromium():
    """One browser process; each visit has cookies and a log of its own. It ends with the module: its event loop is no
    place for other tests."""
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def visit(request, chromium):
    """Makes visits to a control plane's console. None of them may end with a violation of the pages' policy in its log, or
    with a script that fell over: unless the test says so, by `bypass_csp`, it is looked at for every page of every test."""
    visits: list[Visit] = []
    request.node.custody_visits = visits

    def make(control: Control, **context) -> Visit:
        visits.append(Visit(chromium, control, **context))
        return visits[-1]

    yield make
    wrong = [line for visit in visits for line in visit.violations()]
    for it in visits:
        it.close()
    assert wrong == []


@pytest.fixture
def service(aws_endpoint) -> Customer:
    """Only its side that is ours is used: the user that roles have to trust."""
    return Customer(aws_endpoint)


@pytest.fixture
def shell(tmp_path, aws_endpoint) -> Shell:
    return Shell(tmp_path / "terminal", Account(aws_endpoint, CUSTOMER_ACCOUNT))


@pytest.fixture(scope="session")
def aws_program():
    it = AwsProgram()
    yield it
    it.end()


@pytest.fixture
def quick_shell(tmp_path, aws_endpoint, aws_program) -> QuickShell:
    """For tests that are about something else than what is typed."""
    return QuickShell(tmp_path / "terminal", Account(aws_endpoint, CUSTOMER_ACCOUNT), aws_program)


@pytest.fixture
def make_local_kms():
    """The local KMS of a control plane."""
    return lambda control: LocalKms(control.data_dir)


@pytest.fixture
def local_kms(tmp_path) -> LocalKms:
    """The local KMS of the node named `node`."""
    return LocalKms(tmp_path / "node" / "data")


@pytest.fixture
def encrypted_node(make_node, local_kms) -> Node:
    """A running node with an encrypted cluster under a key of the local KMS."""
    return make_node(key_arn=local_kms.create_key()).start()


@pytest.fixture
def plain_node(make_node) -> Node:
    """A running node with an unencrypted cluster."""
    return make_node().start()


@pytest.fixture
def receiver():
    """A webhook of this machine's."""
    it = Receiver()
    yield it
    it.server.shutdown()


@pytest.fixture(scope="session")
def aws_endpoint(tmp_path_factory) -> str:
    with stand_in(tmp_path_factory.mktemp("aws")) as endpoint:
        yield endpoint


@pytest.fixture
def customer(aws_endpoint) -> Customer:
    """A customer with a role and a key, set up as our instructions say."""
    return Customer(aws_endpoint)


@pytest.fixture
def proxy(aws_endpoint, customer):
    """Between a node and AWS: it makes trouble on request, and records every call."""
    it = Proxy(aws_endpoint, {customer.service.access_key: customer.service.secret})
    yield it
    it.shut()
