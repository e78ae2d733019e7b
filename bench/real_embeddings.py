"""Real embeddings through the real program: an encrypted cluster against an unencrypted one, in one run.

    target/venv/bin/python bench/real_embeddings.py DIRECTORY [--binary target/release/custody]

DIRECTORY holds `debian_packages.parquet` (id, package, section, installed_size_kb, summary, vector) and
`debian_queries.parquet` (query, vector, neighbors: the exact nearest ids by inner product). See bench/README.md.
"""

import argparse
import os
import pathlib
import statistics
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import pyarrow.parquet  # noqa: E402
from pymilvus import DataType, MilvusClient  # noqa: E402

NAME = "packages"
BATCH = 1_000
LIMIT = 10


def main() -> None:
    parser = argparse.ArgumentParser(description="Encrypted against unencrypted, on real embeddings")
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--binary", default=str(ROOT / "target" / "release" / "custody"))
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each search measurement runs")
    parser.add_argument("--threads", type=int, default=4)
    arguments = parser.parse_args()
    os.environ["CUSTODY_BIN"] = os.path.abspath(arguments.binary)

    rows = pyarrow.parquet.read_table(arguments.directory / "debian_packages.parquet").to_pylist()
    queries = pyarrow.parquet.read_table(arguments.directory / "debian_queries.parquet").to_pylist()
    for row in rows:
        row["vector"] = [float(number) for number in row["vector"]]
    print(f"{len(rows)} rows, {len(queries)} queries, {len(rows[0]['vector'])} dimensions", file=sys.stderr)

    results = {}
    with tempfile.TemporaryDirectory(prefix="custody-bench-") as scratch:
        for kind in ("unencrypted", "encrypted"):
            print(f"{kind} cluster", file=sys.stderr)
            results[kind] = measure(pathlib.Path(scratch) / kind, kind == "encrypted", rows, queries, arguments)
    print_table(results, arguments)


def measure(directory: pathlib.Path, encrypted: bool, rows: list, queries: list, arguments) -> dict[str, float]:
    from helpers.kms import LocalKms
    from helpers.node import Node

    key = LocalKms(directory / "data").create_key() if encrypted else None
    node = Node(directory, key_arn=key, log="warn")
    try:
        return measure_node(node.start(), rows, queries, arguments)
    finally:
        node.close_clients()
        node.kill()


def measure_node(node, rows: list, queries: list, arguments) -> dict[str, float]:
    result = {}
    client = node.client()
    create(client)
    began = time.monotonic()
    for start in range(0, len(rows), BATCH):
        client.insert(NAME, rows[start : start + BATCH])
    result["insert, rows/s"] = len(rows) / (time.monotonic() - began)
    wait_until_indexed(client, len(rows))
    result["insert and index, rows/s"] = len(rows) / (time.monotonic() - began)
    client.flush(NAME)
    result["memory after the load, MiB"] = resident(node)
    result["storage, MiB"] = stored(node)

    node.stop()
    began = time.monotonic()
    node.start()
    client = node.client()
    client.load_collection(NAME)
    search(client, queries[0])
    result["restart to first answer, s"] = time.monotonic() - began
    wait_until_indexed(client, len(rows))
    result["restart to whole index, s"] = time.monotonic() - began
    count = client.query(NAME, filter="", output_fields=["count(*)"])[0]["count(*)"]
    assert count == len(rows), f"{count} rows of {len(rows)} came back"

    result["recall@10"] = recall(client, queries)
    result["search, 1 thread, queries/s"], times = throughput(node, queries, 1, arguments.seconds)
    result["search, 1 thread, median ms"] = statistics.median(times) * 1_000
    result["search, 1 thread, 99th percentile ms"] = sorted(times)[int(len(times) * 0.99)] * 1_000
    several = f"search, {arguments.threads} threads, queries/s"
    result[several], _ = throughput(node, queries, arguments.threads, arguments.seconds)
    result["memory after the searches, MiB"] = resident(node)
    return result


def create(client: MilvusClient) -> None:
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("package", DataType.VARCHAR, max_length=200)
    schema.add_field("section", DataType.VARCHAR, max_length=100)
    schema.add_field("installed_size_kb", DataType.INT64)
    schema.add_field("summary", DataType.VARCHAR, max_length=2_000)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=384)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="AUTOINDEX", metric_type="IP")
    client.create_collection(NAME, schema=schema, index_params=index)


def wait_until_indexed(client: MilvusClient, rows: int) -> None:
    while True:
        state = client.describe_index(NAME, "vector")
        if int(state["indexed_rows"]) >= rows and int(state["pending_index_rows"]) == 0:
            return
        time.sleep(0.1)


def search(client: MilvusClient, query: dict) -> list[int]:
    hits = client.search(NAME, data=[query["vector"]], limit=LIMIT, output_fields=["package"])[0]
    return [hit["id"] for hit in hits]


def recall(client: MilvusClient, queries: list) -> float:
    hits = sum(len(set(search(client, query)) & set(query["neighbors"][:LIMIT])) for query in queries)
    return hits / (len(queries) * LIMIT)


def throughput(node, queries: list, threads: int, seconds: float) -> tuple[float, list[float]]:
    """Queries a second, and how long each took."""
    times: list[list[float]] = [[] for _ in range(threads)]
    failures: list[BaseException] = []
    clients = [node.client() for _ in range(threads)]
    for client in clients:
        search(client, queries[0])
    began = time.monotonic()

    def work(number: int) -> None:
        place = number * len(queries) // threads
        try:
            while (asked := time.monotonic()) < began + seconds:
                search(clients[number], queries[place % len(queries)])
                times[number].append(time.monotonic() - asked)
                place += 1
        except BaseException as error:  # noqa: BLE001 - told below, by the thread that can
            failures.append(error)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]
    took = time.monotonic() - began
    all_times = [one for each in times for one in each]
    return len(all_times) / took, all_times


def resident(node) -> float:
    """The process's resident memory."""
    for line in pathlib.Path(f"/proc/{node.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS")


def stored(node) -> float:
    from helpers.node import files_under

    return sum(path.stat().st_size for path in files_under(node.storage_dir())) / 2**20


def print_table(results: dict[str, dict[str, float]], arguments) -> None:
    plain, sealed = results["unencrypted"], results["encrypted"]
    print(f"`{os.path.relpath(arguments.binary)}`, {os.cpu_count()} cores\n")
    print("| measure | unencrypted | encrypted | encrypted / unencrypted |")
    print("|---|---:|---:|---:|")
    for name, value in plain.items():
        other = sealed[name]
        digits = 0 if value >= 100 else 3
        print(f"| {name} | {value:,.{digits}f} | {other:,.{digits}f} | {other / value:.2f} |")


if __name__ == "__main__":
    main()
