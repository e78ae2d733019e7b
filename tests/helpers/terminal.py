"""A terminal in which AWS's program is not started anew for each command: that alone takes longer than most of what it does. For
tests that are about something else than what is typed."""

import json
import pathlib
import shlex
import subprocess
import sys
import threading

from .dialog import Shell
from .program import clean_environment


class AwsProgram:
    """AWS's program, in a process of its own that goes on: it changes its environment and its directory."""

    def __init__(self):
        command = [sys.executable, "-P", pathlib.Path(__file__).with_name("aws_program.py")]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env=clean_environment(), **pipes)
        self.lock = threading.Lock()

    def run(self, words: list[str], directory, env: dict[str, str]) -> tuple[int, str, str]:
        """Exit code and what was said on both outputs."""
        with self.lock:
            self.process.stdin.write(json.dumps([words, str(directory), env]) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        assert answer, f"AWS's program ended with exit code {self.process.wait()}, at {words}"
        return tuple(json.loads(answer))

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


class QuickShell(Shell):
    """A customer's terminal in which nothing but AWS's program is run."""

    def __init__(self, directory, account, program: AwsProgram):
        super().__init__(directory, account)
        self.program = program

    def run(self, command: str):
        name, *words = shlex.split(command)
        assert name == "aws", command
        code, said, error = self.program.run(words, self.directory, self.env)
        assert code == 0, f"{command}: {error}"
        return json.loads(said) if said.strip() else None
