"""Backup and restore beside a plain copy of the same bytes, in one run.

    target/venv/bin/python bench/backup.py [--binary target/release/custody] [--mib 512] [--rounds 3]

Everything is on one disk, and every copy is synced to it. Each figure is the median of the rounds; a command's whole time
counts, with the start of its process and its calls to the local development KMS.
"""

import argparse
import os
import pathlib
import shutil
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import numpy as np  # noqa: E402

DIMENSION = 1_024
BATCH = 1_000
NAME = "points"


def main() -> None:
    parser = argparse.ArgumentParser(description="Backup and restore beside a plain copy")
    parser.add_argument("--binary", default=str(ROOT / "target" / "release" / "custody"))
    parser.add_argument("--mib", type=int, default=512, help="about how many bytes the cluster has")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    os.environ["CUSTODY_BIN"] = os.path.abspath(arguments.binary)
    with tempfile.TemporaryDirectory(prefix="custody-bench-") as scratch:
        print_table(measure(pathlib.Path(scratch), arguments), arguments)


def measure(scratch: pathlib.Path, arguments) -> dict[str, list[float]]:
    """Bytes a second of each measure, round by round."""
    from helpers.kms import LocalKms
    from helpers.node import Node, files_under

    kms = LocalKms(scratch / "cluster" / "data")
    key, other = kms.create_key(), kms.create_key()
    node = Node(scratch / "cluster", key_arn=key, cluster_id="in01-bench", log="warn")
    fill(node.start(), arguments.mib)
    node.close_clients()
    node.stop()
    rates: dict[str, list[float]] = {}
    for number in range(arguments.rounds):
        storage, backups = node.storage_dir(), scratch / "backups"
        run = Commands(kms, node, backups, rates)
        run.timed("backup", "backup", key, "--backup", f"b{number}")
        pool = files_under(backups / "backups" / "in01-bench" / "pool")
        size = sum(file.stat().st_size for file in pool)
        run.settle("backup", size)
        run.copy("plain copy", pool, scratch / "copy", size)
        source = ("--from-cluster", "in01-bench", "--from-backup", f"b{number}", "--from-key-arn", key, "--no-load")
        for what, cluster, to, more in [
            ("restore under another key", "in01-rekey", other, ()),
            ("restore, sealed anew", "in01-anew", other, ("--reencrypt",)),
            ("restore without a key", "in01-plain", None, ()),
        ]:
            run.timed(what, "restore", to, *source, *more, cluster=cluster)
            run.settle(what, size)
            shutil.rmtree(storage.with_name(cluster))
        shutil.rmtree(backups)
        print(f"round {number + 1} of {arguments.rounds}: {size / 2**20:.0f} MiB in {len(pool)} files", file=sys.stderr)
    return rates


def fill(node, mib: int) -> None:
    client = node.client()
    client.create_collection(NAME, dimension=DIMENSION, metric_type="L2")
    client.release_collection(NAME)
    rng = np.random.default_rng(7)
    for start in range(0, mib * 2**20 // (DIMENSION * 4), BATCH):
        vectors = rng.random((BATCH, DIMENSION), dtype=np.float32)
        client.insert(NAME, [{"id": start + row, "vector": vector.tolist()} for row, vector in enumerate(vectors)])
    client.flush(NAME)


class Commands:
    """The program's commands, timed."""

    def __init__(self, kms, node, backups: pathlib.Path, rates: dict[str, list[float]]):
        self.kms, self.node, self.backups, self.rates = kms, node, backups, rates
        self.took = 0.0

    def timed(self, what: str, command: str, key: str | None, *more: str, cluster: str = "in01-bench") -> None:
        from helpers.program import custody

        under = ("--key-arn", key) if key else ("--unencrypted",)
        os.sync()
        began = time.monotonic()
        done = custody(
            *(command, "--cluster-id", cluster, "--data-dir", self.node.data_dir, "--backup-storage", self.backups),
            *("--allow-swap", "--log", "warn", *under, *more),
        )
        self.took = time.monotonic() - began
        assert done.returncode == 0, f"{what}: {done.stderr}"

    def settle(self, what: str, size: int) -> None:
        self.rates.setdefault(what, []).append(size / self.took)

    def copy(self, what: str, files: list[pathlib.Path], to: pathlib.Path, size: int) -> None:
        """Copies each file and syncs it, as the program's own storage does."""
        os.sync()
        began = time.monotonic()
        to.mkdir()
        for number, file in enumerate(files):
            with file.open("rb") as source, (to / str(number)).open("wb") as target:
                shutil.copyfileobj(source, target, 8 << 20)
                target.flush()
                os.fsync(target.fileno())
        self.took = time.monotonic() - began
        self.settle(what, size)
        shutil.rmtree(to)


def print_table(rates: dict[str, list[float]], arguments) -> None:
    plain = statistics.median(rates["plain copy"])
    print(f"`{os.path.relpath(arguments.binary)}`, {os.cpu_count()} cores, {arguments.rounds} rounds\n")
    print("| measure | MiB/s | beside the plain copy |")
    print("|---|---:|---:|")
    for what, all_rounds in rates.items():
        rate = statistics.median(all_rounds)
        print(f"| {what} | {rate / 2**20:,.0f} | {rate / plain:.2f} |")


if __name__ == "__main__":
    main()
