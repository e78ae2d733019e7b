"""Runs each command of AWS's program that comes in on a line, and tells what it came to. A program of its own, which imports
nothing of ours: it changes its environment and its directory for every command."""

import contextlib
import io
import json
import os
import sys

from awscli.clidriver import create_clidriver

# Where the program's own data is: it is set when that is imported.
OWN = {"AWS_DATA_PATH": os.environ["AWS_DATA_PATH"]}

for line in sys.stdin:
    words, directory, env = json.loads(line)
    os.environ.clear()
    os.environ.update(env | OWN)
    os.chdir(directory)
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(io.StringIO()) as error:
        try:
            code = create_clidriver().main(words)
        except SystemExit as ended:
            code = ended.code
    print(json.dumps([code, said.getvalue(), error.getvalue()]), flush=True)
