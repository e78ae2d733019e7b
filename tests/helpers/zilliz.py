"""zilliz-cli, run as its users run it."""

import importlib.util
import json
import pathlib
import shutil
import subprocess
import sys

from .control import ADMIN_KEY, Control
from .node import Node
from .program import PATIENCE, clean_environment


# Where the program looks for its control plane.
CLOUD = "https://api.cloud.zilliz.com"


class Refused(AssertionError):
    """The program ended with an error: what it said."""


class Program:
    """The program with a configuration of its own."""

    def __init__(self, directory: pathlib.Path, api_key: str, **env: str):
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.env = clean_environment(
            ZILLIZ_CONFIG_DIR=str(directory / "config"), ZILLIZ_API_KEY=api_key, HOME=str(directory), **env
        )

    def _run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        program = pathlib.Path(sys.executable).parent / "zilliz"
        assert program.exists(), f"{program} is not there: install tests/requirements.txt"
        return subprocess.run(
            [program, *map(str, arguments)],
            env=self.env,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def text(self, *arguments: object) -> str:
        """What a command prints; it must succeed."""
        done = self._run(*arguments)
        if done.returncode != 0:
            raise Refused(f"zilliz {' '.join(map(str, arguments))}: {done.stderr}{done.stdout}")
        return done.stdout

    def __call__(self, *arguments: object):
        """The data that a command prints as JSON. Lists and objects among the arguments go in as JSON."""
        plain = [json.dumps(word) if isinstance(word, (list, dict)) else word for word in arguments]
        return json.loads(self.text(*plain, "--output", "json"))

    def refused(self, *arguments: object) -> dict:
        """The error of a command that must fail."""
        plain = [json.dumps(word) if isinstance(word, (list, dict)) else word for word in arguments]
        done = self._run(*plain, "--output", "json")
        assert done.returncode != 0, f"zilliz {arguments} was not refused: {done.stdout}"
        return json.loads(done.stderr[done.stderr.index("{") :])["error"]


class Zilliz(Program):
    """The program with its context pointed straight at a node."""

    def __init__(self, directory: pathlib.Path, node: Node, token: str | None = None):
        super().__init__(directory, token or f"root:{node.password}")
        endpoint = f"http://127.0.0.1:{node.port}"
        self.text("context", "set", "--cluster-id", node.cluster_id, "--endpoint", endpoint, "--database", "default")


class ZillizCloud(Program):
    """The program with a control plane. Where that is stands in files of the program's own: here, in a copy of them."""

    def __init__(self, directory: pathlib.Path, control: Control, api_key: str = ADMIN_KEY):
        found = importlib.util.find_spec("zilliz_cli")
        assert found and found.submodule_search_locations, "install tests/requirements.txt"
        copy = directory / "copy" / "zilliz_cli"
        shutil.copytree(found.submodule_search_locations[0], copy, ignore=shutil.ignore_patterns("__pycache__"))
        for file in [*copy.rglob("*.py"), *copy.rglob("*.json")]:
            text = file.read_text()
            if CLOUD in text:
                file.write_text(text.replace(CLOUD, f"http://127.0.0.1:{control.port}"))
        super().__init__(directory, api_key, PYTHONPATH=str(copy.parent))
