"""A `custody serve` process, and its REST."""

import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import uuid

from pymilvus import MilvusClient

from .ports import free_port, free_ports
from .program import PATIENCE, binary, clean_environment

ADMIN_KEY = "admin-key-4b1d8d6f0f0c4f7c9a57"
ADMIN_PASSWORD = "correct-horse-battery"


def own_address() -> str | None:
    """An address of this machine that is not loopback's, if it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent: only the way there is looked up.
            probe.connect(("203.0.113.1", 9))
        except OSError:
            return None
        address = probe.getsockname()[0]
    return None if address.startswith("127.") else address


class Refused(AssertionError):
    """An answer that is an error."""

    def __init__(self, status: int, message: str):
        super().__init__(f"HTTP {status}: {message}")
        self.status, self.message = status, message


class Control:
    """The control plane, with its own data directory."""

    def __init__(self, directory: pathlib.Path, *, arguments: tuple[str, ...] = (), env: dict[str, str] | None = None):
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self.data_dir = directory, directory / "data"
        self.log_file = directory / f"control-{uuid.uuid4().hex[:6]}.log"
        self.host, self.port = "127.0.0.1", free_port()
        self.node_ports = free_ports(8)
        self.clients: list[MilvusClient] = []
        usual = {
            "--data-dir": str(self.data_dir),
            "--listen": f"127.0.0.1:{self.port}",
            "--node-ports": self.node_ports,
            "--key-check-interval": "1s",
            "--validate-patience": "0s",
        }
        # What a test says itself counts in place of it.
        flags = [word for name, value in usual.items() if name not in arguments for word in (name, value)]
        self.command = [binary(), "serve", *flags, "--allow-swap", *arguments]
        admin = {"CUSTODY_ADMIN_API_KEY": ADMIN_KEY, "CUSTODY_ADMIN_PASSWORD": ADMIN_PASSWORD}
        self.env = clean_environment(RUST_LOG="info", **{**admin, **(env or {})})
        self.process: subprocess.Popen[bytes] | None = None
        # Who it runs as, if not as we do.
        self.user: dict = {}

    def start(self) -> "Control":
        """Starts the process and waits until it serves."""
        assert self.process is None, "the control plane runs already"
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=self.env,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self.user,
            )
        self.wait_for("/readyz to say 200", self.is_ready)
        return self

    def start_at(self, address: str) -> "Control":
        """The same, for one that listens beyond loopback: it is talked to at one of this machine's other addresses."""
        listen = self.command[self.command.index("--listen") + 1]
        self.host, self.port = address, int(listen.rsplit(":", 1)[1])
        return self.start()

    def is_ready(self) -> bool:
        try:
            return self.raw("GET", "/readyz", token=None)[0] == 200
        except OSError:
            return False

    def wait_for(self, what: str, condition, patience: float = PATIENCE):
        """Waits until something holds, and returns it; the process must live meanwhile."""
        deadline = time.monotonic() + patience
        while True:
            assert self.process is not None and self.process.poll() is None, f"it ended: {self.output()}"
            found = condition()
            if found:
                return found
            assert time.monotonic() < deadline, f"waited {patience} s for {what}:\n{self.output()}"
            time.sleep(0.05)

    def stop(self) -> None:
        """SIGTERM: the process must end cleanly."""
        process, self.process = self.process, None
        assert process is not None
        process.send_signal(signal.SIGTERM)
        code = process.wait(PATIENCE)
        assert code == 0, f"the control plane stopped with exit code {code}:\n{self.output()}"

    def kill(self) -> None:
        """kill -9."""
        if self.process is None:
            return
        process, self.process = self.process, None
        process.kill()
        process.wait()

    def output(self, characters: int = 20_000) -> str:
        return self.log_file.read_text(errors="replace")[-characters:] if self.log_file.exists() else ""

    def raw(self, method: str, path: str, body: bytes | None = None, *, token: str | None = ADMIN_KEY, headers=None):
        """Status, headers and bytes of an answer."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE)
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def stream(self, method: str, path: str, body, *, accept: str):
        """The lines of an answer as they come."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE)
        sent = {"Authorization": f"Bearer {ADMIN_KEY}", "Content-Type": "application/json", "Accept": accept}
        try:
            connection.request(method, path, body=json.dumps(body).encode(), headers=sent)
            answer = connection.getresponse()
            assert answer.status == 200 and answer.headers["Content-Type"] == accept, answer.read()
            while line := answer.readline():
                yield line
        finally:
            connection.close()

    def call(self, method: str, path: str, body=None, *, token: str | None = ADMIN_KEY):
        """The data of an answer; an error is raised as `Refused`."""
        encoded = None if body is None else json.dumps(body).encode()
        status, _, text = self.raw(method, path, encoded, token=token)
        answer = json.loads(text)
        if status == 200:
            assert answer["code"] == 0, answer
            return answer["data"]
        assert answer["code"] != 0 and answer["message"], answer
        raise Refused(status, answer["message"])

    def refused(self, method: str, path: str, body=None, *, token: str | None = ADMIN_KEY) -> Refused:
        """Why a call is refused; it must be."""
        try:
            data = self.call(method, path, body, token=token)
        except Refused as refused:
            return refused
        raise AssertionError(f"{method} {path} was not refused: {data}")

    def create_project(self, name: str = "project", plan: str = "BusinessCritical") -> str:
        return self.call("POST", "/v2/projects", {"projectName": name, "plan": plan})

    def create_api_key(self, role: str, project: str | None = None) -> str:
        body = {"name": role, "role": role} | ({"projectId": project} if project else {})
        return self.call("POST", "/v2/apiKeys", body)["apiKey"]

    def create_cluster(self, project: str, key_arn: str | None = None, name: str = "cluster", **more) -> "Cluster":
        """Asks for a cluster and waits until it serves."""
        cluster = self.ask_cluster(project, key_arn, name, **more)
        cluster.wait_for_status("RUNNING")
        return cluster

    def ask_cluster(self, project: str, key_arn: str | None = None, name: str = "cluster", **more) -> "Cluster":
        body = {
            "clusterName": name,
            "projectId": project,
            "regionId": "local-dev",
            "cuType": "Performance-optimized",
            "cuSize": 1,
            **({"keyIdentifier": key_arn} if key_arn else {}),
            **more,
        }
        return Cluster(self, self.call("POST", "/v2/clusters/createDedicated", body))

    def clusters(self) -> list[dict]:
        return self.call("GET", "/v2/clusters")["clusters"]

    def job(self, job_id: str, status: str) -> dict:
        """Waits until a job has a status."""

        def there():
            job = self.call("GET", f"/v2/jobs/{job_id}")
            return job if job["status"] == status else None

        return self.wait_for(f"job {job_id} to be {status}", there)

    def node_processes(self) -> dict[str, int]:
        """The process of each cluster's node, by the cluster's id."""
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if words[1:2] == ["node"] and str(self.data_dir / "link") in words:
                    found[words[words.index("--cluster-id") + 1]] = int(entry.name)
        return found

    def kill_nodes(self) -> None:
        """kill -9 of every node, whoever started it."""
        for pid in self.node_processes().values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def end(self) -> None:
        """Leaves nothing running."""
        for client in self.clients:
            with contextlib.suppress(Exception):
                client.close()
        self.kill()
        self.kill_nodes()

    def node_output(self) -> str:
        logs = sorted(self.data_dir.glob("nodes/*/node.log"))
        return "\n".join(f"{log.parent.name}:\n{log.read_text(errors='replace')[-10_000:]}" for log in logs)


class Cluster:
    """A cluster of the control plane."""

    def __init__(self, control: Control, made: dict):
        self.control, self.made, self.id = control, made, made["clusterId"]
        self.path = f"/v2/clusters/{self.id}"

    def describe(self) -> dict:
        return self.control.call("GET", self.path)

    def wait_for_status(self, status: str, patience: float = PATIENCE) -> dict:
        shown = {}

        def there():
            shown.update(self.describe())
            return shown if shown["status"] == status else None

        try:
            return self.control.wait_for(f"cluster {self.id} to be {status}", there, patience)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{shown}\n{self.control.node_output()}") from None

    def do(self, action: str, **body) -> dict:
        return self.control.call("POST", f"{self.path}/{action}", body or None)

    def drop(self, wait_days: int | None = None) -> dict:
        query = "" if wait_days is None else f"?waitDays={wait_days}"
        return self.control.call("DELETE", f"{self.path}/drop{query}")

    def client(self, token: str | None = None, **more) -> MilvusClient:
        token = token or f"{self.made['username']}:{self.made['password']}"
        client = MilvusClient(self.describe()["connectAddress"], token=token, dedicated=True, timeout=PATIENCE, **more)
        self.control.clients.append(client)
        return client

    def answer(self, database: str = "default") -> tuple[int, str]:
        """Status and message of a query over REST; 0 if nothing listens, or the connection is lost."""
        host, port = self.describe()["connectAddress"].removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
        body = {"collectionName": "rows", "filter": "id >= 0", "limit": 1, "dbName": database}
        token = f"{self.made['username']}:{self.made['password']}"
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        try:
            connection.request("POST", "/v2/vectordb/entities/query", json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read()).get("message", "")
        except ConnectionRefusedError:
            return 0, "nothing listens"
        except ConnectionError as lost:
            return 0, f"the connection was lost: {lost}"
        finally:
            connection.close()

    @property
    def pid(self) -> int | None:
        return self.control.node_processes().get(self.id)

    @property
    def storage(self) -> pathlib.Path:
        return self.control.data_dir / "storage" / "clusters" / self.id
