"""The local development KMS, driven by `custody kms`."""

import contextlib
import os
import pathlib

from .program import custody


class LocalKms:
    """Keys in a file of the data directory."""

    def __init__(self, data_dir: pathlib.Path):
        self.data_dir = data_dir

    def run(self, *command: str) -> str:
        """Runs a command; it must succeed."""
        done = custody("kms", "--data-dir", self.data_dir, *command)
        assert done.returncode == 0, f"custody kms {' '.join(command)}: {done.stderr}"
        return done.stdout

    def refused(self, *command: str) -> str:
        """Runs a command; it must fail. Returns why."""
        done = custody("kms", "--data-dir", self.data_dir, *command)
        assert done.returncode != 0, f"custody kms {' '.join(command)} was not refused: {done.stdout}"
        return done.stderr

    def create_key(self) -> str:
        """Makes a key and returns its ARN."""
        return self.run("create-key").strip()

    def disable(self, arn: str) -> None:
        self.run("disable", arn)

    def enable(self, arn: str) -> None:
        self.run("enable", arn)

    @contextlib.contextmanager
    def cut_off(self):
        """It gives no answer meanwhile: its file can't be read. What stands for it is put in its place at once, and so is the file
        again: there is no moment without a file, which would be a KMS without any key."""
        file = self.data_dir / "local-kms.json"
        away, nothing, there = (file.with_suffix(suffix) for suffix in (".away", ".nothing", ".there"))
        os.link(file, away)
        nothing.mkdir()
        there.symlink_to(nothing)
        there.replace(file)
        yield
        away.replace(file)
        nothing.rmdir()

    def states(self) -> dict[str, str]:
        """Each key's state."""
        return dict(line.split(maxsplit=1) for line in self.run("list").splitlines())
