"""Every byte that a process ever wrote to a file, as the kernel was asked to write it: files that are gone since, too."""

import os
import pathlib
import re
import shutil
import subprocess
import time

from .program import PATIENCE

# What puts bytes into files, and is recorded with all of them.
DATA = ("write", "writev", "pwrite64", "pwritev", "pwritev2", "setxattr", "lsetxattr", "fsetxattr")
# What puts names into directories.
NAMES = (
    *("open", "openat", "openat2", "creat", "mknod", "mknodat", "mkdir", "mkdirat", "rename", "renameat", "renameat2"),
    *("link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat", "bind"),
)
# What could put bytes into files past this record.
UNSEEN = (
    *("copy_file_range", "sendfile", "splice", "tee", "vmsplice", "memfd_create", "io_uring_setup", "io_submit"),
    *("mmap", "ioctl"),
)
OUR_MEMORY = (b"custody-secrets", b"custody-link")
LENGTHS = ("ftruncate", "fallocate")

CALL = re.compile(r"^\d+ +(\w+)\((.*)$")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
DESCRIPTOR = re.compile(r"^\d+<([^<>]*(?:->[^<>]*)?)")
NO_FILE = ("pipe:", "socket:", "anon_inode:")


def bytes_of(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def why_not() -> str | None:
    """Why processes can't be traced here, if so."""
    if not shutil.which("strace"):
        return "strace is not installed (Debian: apt-get install strace)"
    if os.geteuid() != 0:
        return "telling a node's files from its sockets takes root: an encrypted node hides what it has open"
    tried = subprocess.run(["strace", "-f", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    return f"processes may not be traced here: {tried.stderr}" if tried.returncode else None


class Record:
    """The calls of the processes that were run with `prefix`."""

    def __init__(self, file: pathlib.Path):
        self.file = file
        # As a detached grandchild, so that the process is the caller's own child: signals and exit codes are its own.
        # Appended to, for a process that is started again.
        self.prefix = [
            *("strace", "-D", "-f", "--seccomp-bpf", "-yy", "-xx", "-qq", "-A", "-s", str(1 << 24), "-o", str(file)),
            *("-e", "signal=none", "-e", f"trace={','.join((*DATA, *NAMES, *UNSEEN, *LENGTHS))}"),
        ]
        # What went to each file, in order.
        self.content: dict[str, bytearray] = {}
        self.names: set[bytes] = set()
        self.unseen: list[str] = []
        self.calls = 0

    def read(self) -> "Record":
        """Reads what was recorded, once the tracer has written all of it: the processes have ended."""
        self._wait_for_tracer()
        content, names = {}, set()
        self.unseen, self.calls = [], 0
        with self.file.open() as lines:
            for line in lines:
                self._take(line, content, names)
        self.content, self.names = content, names
        return self

    def _wait_for_tracer(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while any(str(self.file) in command for command in commands()):
            assert time.monotonic() < deadline, "the tracer goes on although the process ended"
            time.sleep(0.05)

    def _take(self, line: str, content: dict[str, bytearray], names: set[bytes]) -> None:
        found = CALL.match(line)
        if not found:
            # The end of a call whose arguments stood on an earlier line, or of a process.
            assert re.match(r"^\d+ +(<\.\.\. \w+ resumed>|\+\+\+ |\?\?\?\?)", line), line[:300]
            return
        name, rest = found.groups()
        self.calls += 1
        if name in UNSEEN:
            if leads_past(name, rest):
                self.unseen.append(line[:2_000])
            return
        texts = TEXT.findall(rest)
        assert not any(cut for _, cut in texts), f"cut off: {line[:300]}"
        data = [bytes_of(text) for text, _ in texts]
        if name in NAMES or name in ("setxattr", "lsetxattr"):
            names.update(data)
        elif name not in LENGTHS:
            file = file_of(rest)
            if file is not None:
                content.setdefault(file, bytearray()).extend(b"".join(data))


def commands() -> list[str]:
    """The command lines of all processes."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


def file_of(arguments: str) -> str | None:
    """The file behind a call's first argument; none if that is a socket or the like."""
    found = DESCRIPTOR.match(arguments)
    assert found, f"it can't be told what this is: {arguments[:300]}"
    what = found.group(1)
    if not what.startswith("\\x"):
        return None  # sockets are shown by their protocol
    name = bytes_of(what).decode()
    return None if name.startswith(NO_FILE) else name


def leads_past(name: str, arguments: str) -> bool:
    """Whether a call can put bytes into a file that the record doesn't show."""
    # Memory of ours without a name, to outlast a change of image. What is written into it is in this record as any file's is.
    if name == "memfd_create" and (found := TEXT.search(arguments)) and bytes_of(found[1]) in OUR_MEMORY:
        return False
    match name:
        case "mmap":
            # Anonymous memory has no file.
            return "PROT_WRITE" in arguments and "MAP_SHARED" in arguments and "MAP_ANONYMOUS" not in arguments
        case "ioctl":
            return "FICLONE" in arguments or "FIDEDUPE" in arguments
        case _:
            return True
