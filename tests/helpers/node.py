"""A `custody node` process."""

import contextlib
import os
import pathlib
import signal
import subprocess
import time
import urllib.error
import urllib.request
import uuid

from pymilvus import MilvusClient

from .ports import free_port
from .program import PATIENCE, binary, clean_environment

PASSWORD = "correct-horse-battery-staple"
API_KEY = "ck-test-3b1f2a77c0de4f9a8e5d6c7b8a901234"


class NodeDied(AssertionError):
    """The process ended although it was to serve."""

    def __init__(self, node: "Node", code: int):
        super().__init__(f"the node ended with exit code {code}:\n{node.output()}")
        self.code = code


class Node:
    """One cluster, served by a process of its own with its own data and temporary directories."""

    def __init__(
        self,
        directory: pathlib.Path,
        *,
        key_arn: str | None = None,
        cluster_id: str | None = None,
        data_dir: pathlib.Path | None = None,
        storage: str | None = None,
        arguments: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        log: str = "info",
        grace: str = "1h",
        check_interval: str = "1s",
        password: str = PASSWORD,
    ):
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.data_dir = data_dir or directory / "data"
        self.tmp_dir = directory / "tmp"
        self.tmp_dir.mkdir(exist_ok=True)
        self.log_file = directory / f"node-{uuid.uuid4().hex[:6]}.log"
        self.cluster_id = cluster_id or f"in01-{uuid.uuid4().hex[:12]}"
        self.key_arn = key_arn
        self.password = password
        self.port = free_port()
        key = ("--key-arn", key_arn) if key_arn else ("--unencrypted",)
        place = ("--storage", storage) if storage else ()
        self.command = [
            binary(),
            "node",
            *("--data-dir", str(self.data_dir)),
            *("--cluster-id", self.cluster_id),
            *("--listen", f"127.0.0.1:{self.port}"),
            *("--key-check-interval", check_interval),
            *("--key-grace", grace),
            "--allow-swap",
            *key,
            *place,
            *arguments,
        ]
        self.env = clean_environment(
            CUSTODY_ROOT_PASSWORD=password,
            CUSTODY_API_KEY=API_KEY,
            RUST_LOG=log,
            TMPDIR=str(self.tmp_dir),
            **(env or {}),
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.clients: list[MilvusClient] = []

    def spawn(self) -> "Node":
        """Starts the process without waiting for it."""
        assert self.process is None, "the node runs already"
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.env, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self

    def start(self) -> "Node":
        """Starts the process and waits until it serves."""
        self.spawn()
        self.wait_until_ready()
        return self

    def start_refused(self) -> str:
        """Starts the process, which must end by itself with a failure. Returns what it said."""
        self.spawn()
        assert self.process is not None
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the node was to refuse to start and didn't:\n{self.output()}") from None
        self.process = None
        assert code not in (0, None) and code > 0, f"exit code {code}:\n{self.output()}"
        return self.output()

    def wait_until_ready(self) -> None:
        self.wait_for("/readyz to say 200", lambda: self.http("/readyz")[0] == 200)

    def wait_for(self, what: str, condition, patience: float = PATIENCE) -> None:
        """Waits until something holds; the process must live meanwhile."""
        deadline = time.monotonic() + patience
        while not condition():
            assert self.process is not None
            code = self.process.poll()
            if code is not None:
                self.process = None
                raise NodeDied(self, code)
            assert time.monotonic() < deadline, f"waited {patience} s for {what}:\n{self.output()}"
            time.sleep(0.05)

    def http(self, path: str) -> tuple[int, str]:
        """Status and text of a GET; status 0 if nothing answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=PATIENCE) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    @property
    def pid(self) -> int:
        assert self.process is not None, "the node does not run"
        return self.process.pid

    def stop(self) -> None:
        """SIGTERM: the process must end cleanly."""
        if self.process is None:
            return
        process, self.process = self.process, None
        self.close_clients()
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the node did not stop on SIGTERM:\n{self.output()}") from None
        assert code == 0, f"the node stopped with exit code {code}:\n{self.output()}"

    def kill(self) -> None:
        """kill -9."""
        if self.process is None:
            return
        process, self.process = self.process, None
        process.kill()
        process.wait()

    def restart(self) -> None:
        """Stops cleanly and starts again on the same address."""
        self.stop()
        self.start()

    def client(self, *, token: str | None = None, db_name: str = "", **more) -> MilvusClient:
        """A connection of its own."""
        client = MilvusClient(
            f"http://127.0.0.1:{self.port}",
            token=token or f"root:{self.password}",
            db_name=db_name,
            dedicated=True,
            timeout=more.pop("timeout", PATIENCE),
            **more,
        )
        self.clients.append(client)
        return client

    def close_clients(self) -> None:
        """Closes the connections, so that none reconnects in the background."""
        for client in self.clients:
            client.close()
        self.clients.clear()

    def storage_dir(self) -> pathlib.Path:
        """Where the cluster lies if it is stored on this machine."""
        return self.data_dir / "storage" / "clusters" / self.cluster_id

    def output(self, characters: int = 20_000) -> str:
        """The end of what the process has said."""
        if not self.log_file.exists():
            return ""
        return self.log_file.read_text(errors="replace")[-characters:]

    def said(self, since: int = 0) -> str:
        """All that the process has said, but for so many bytes of its log."""
        with self.log_file.open("rb") as log:
            log.seek(since)
            return log.read().decode(errors="replace")


def contents(*directories: pathlib.Path) -> dict[pathlib.Path, bytes]:
    """What stands in each file under the directories, but in those that go while they are looked at."""
    found = {}
    for path in files_under(*directories):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                found[path] = path.read_bytes()
    return found


def files_under(*directories: pathlib.Path) -> list[pathlib.Path]:
    """Every file under the directories that exist."""
    found = []
    for directory in directories:
        for path, _, names in os.walk(directory):
            found.extend(pathlib.Path(path) / name for name in names)
    return sorted(found)
