"""The `custody` program."""

import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIGITS = ROOT / "crates" / "custody" / "data" / "digits.csv"

# How long anything may take that takes seconds on a machine of its own. Only a hang reaches it.
PATIENCE = 180


def binary() -> str:
    """The program under test: CUSTODY_BIN, or the one that `cargo build` left."""
    path = os.environ.get("CUSTODY_BIN") or str(ROOT / "target" / "debug" / "custody")
    assert os.access(path, os.X_OK), f"{path} is not there: run `cargo build -p custody`, or set CUSTODY_BIN"
    return path


def clean_environment(**extra: str) -> dict[str, str]:
    """This process's environment without anyone's settings, AWS account or proxies. A machine that has an AWS account of its own
    is not asked for it: where nobody listens at that address, it would take seconds to find out."""
    dropped = ("CUSTODY_", "AWS_", "RUST_LOG")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        kept.pop(name, None)
    kept["AWS_EC2_METADATA_DISABLED"] = "true"
    kept.update(extra)
    return kept


def custody(*arguments: object, env: dict[str, str] | None = None, cwd=None) -> subprocess.CompletedProcess[str]:
    """Runs a command of the program to its end."""
    return subprocess.run(
        [binary(), *map(str, arguments)],
        env=clean_environment(**(env or {})),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
