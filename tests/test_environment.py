"""Secrets in variables are taken out of the environment before anything else is done. Root alone may look at a process that
holds keys, and so runs these."""

import os
import pathlib
import subprocess

import pytest

from helpers.control import ADMIN_KEY, ADMIN_PASSWORD
from helpers.node import API_KEY, PASSWORD
from helpers.program import PATIENCE, binary, clean_environment

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="an undumpable process shows its environment to root alone")


def environment(pid: int) -> dict[str, str]:
    text = pathlib.Path(f"/proc/{pid}/environ").read_bytes().decode()
    return dict(pair.split("=", 1) for pair in text.split("\0") if "=" in pair)


def left_in_memory(pid: int) -> list[bytes]:
    """What the nameless memory holds in which secrets pass from one image to the next."""
    directory = pathlib.Path(f"/proc/{pid}/fd")
    names = [file for file in directory.iterdir() if "custody-secrets" in os.readlink(file)]
    return [file.read_bytes() for file in names]


def assert_clean(pid: int, *secrets: str) -> dict[str, str]:
    found = environment(pid)
    for name, value in found.items():
        assert not any(secret in value for secret in secrets), name
    command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    assert not any(secret.encode() in command for secret in secrets)
    return found


def test_the_control_planes_environment_holds_no_credential_while_it_runs(make_control):
    control = make_control().start()
    pid = control.process.pid
    found = assert_clean(pid, ADMIN_KEY, ADMIN_PASSWORD)
    assert "CUSTODY_ADMIN_API_KEY" not in found and "CUSTODY_ADMIN_PASSWORD" not in found
    # Everything else is as it was, and so is the process: its id, its command line, its signals.
    assert found["RUST_LOG"] == "info" and found["PATH"] == control.env["PATH"]
    command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]
    assert command == control.command
    # What it starts later would inherit the descriptor: nothing is left in it.
    assert left_in_memory(pid) == [b""]
    control.create_project()
    control.stop()


def test_a_nodes_environment_holds_no_credential_also_after_it_was_sealed_and_opened_again(
    encrypted_node, local_kms
):
    node = encrypted_node

    def assert_it_is_clean():
        found = assert_clean(node.pid, PASSWORD, API_KEY)
        assert "CUSTODY_ROOT_PASSWORD" not in found and "CUSTODY_API_KEY" not in found

    pid = node.pid
    assert_it_is_clean()
    for token in (None, API_KEY):
        assert node.client(token=token).list_databases() == ["default"]
    node.close_clients()
    local_kms.disable(node.key_arn)
    node.wait_for("the stub", lambda: "CUSTODY_SEALED" in environment(pid))
    assert_it_is_clean()
    local_kms.enable(node.key_arn)
    node.wait_until_ready()
    assert_it_is_clean()
    assert node.pid == pid
    # They are still known.
    for token in (None, API_KEY):
        assert node.client(token=token).list_databases() == ["default"]
    node.stop()


def test_output_and_input_stay_what_they_were(tmp_path):
    """A start that fails says so where it always did, and reads nothing of its input."""
    read, write = os.pipe()
    os.write(write, b"untouched")
    os.close(write)
    env = clean_environment(CUSTODY_ADMIN_PASSWORD="short-1", CUSTODY_ADMIN_API_KEY="short-2")
    done = subprocess.run(
        [binary(), "serve", "--data-dir", str(tmp_path), "--listen", "0.0.0.0:0", "--insecure", "--allow-swap"],
        env=env,
        stdin=read,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1 and "has under 20 characters" in done.stderr, done
    assert "short-" not in done.stderr + done.stdout
    assert os.read(read, 100) == b"untouched"
    os.close(read)
