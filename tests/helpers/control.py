"""A `custody serve` process, and its REST."""

import http.client
import json
import pathlib
import signal
import subprocess
import time
import uuid

from .node import free_port
from .program import PATIENCE, binary, clean_environment

ADMIN_KEY = "admin-key-4b1d8d6f0f0c4f7c9a57"
ADMIN_PASSWORD = "correct-horse-battery"


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
        self.port = free_port()
        self.command = [
            binary(),
            "serve",
            *("--data-dir", str(self.data_dir)),
            *("--listen", f"127.0.0.1:{self.port}"),
            *("--key-check-interval", "1s"),
            *("--validate-patience", "0s"),
            "--allow-swap",
            *arguments,
        ]
        admin = {"CUSTODY_ADMIN_API_KEY": ADMIN_KEY, "CUSTODY_ADMIN_PASSWORD": ADMIN_PASSWORD}
        self.env = clean_environment(RUST_LOG="info", **{**admin, **(env or {})})
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Control":
        """Starts the process and waits until it serves."""
        assert self.process is None, "the control plane runs already"
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.env, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.wait_for("/readyz to say 200", self.is_ready)
        return self

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
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
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
