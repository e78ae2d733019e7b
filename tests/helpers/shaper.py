"""Makes and drops databases, collections and indexes while the node may be killed, and knows what there may be."""

import random
import threading

from pymilvus import DataType, MilvusClient

from .node import Node

DIM = 8
OWN = "default"
TENANT = "tenant"
MOST = 4


def filler(number: int) -> dict:
    return {"id": number, "vector": [float((number * (place + 3)) % 11) for place in range(DIM)]}


class Shaper(threading.Thread):
    """One change after another. What is acknowledged has to be there after a kill; of the one in doubt, all or nothing."""

    def __init__(self, tenant_key: str):
        super().__init__(daemon=True)
        self.tenant_key = tenant_key
        # Rows of each collection of each database.
        self.there: dict[str, dict[str, int]] = {OWN: {}}
        self.doubt: tuple | None = None
        self.number = 0
        self.granted = 0
        self.ended = ""

    def prepare(self, node: Node, seed: int, stop: threading.Event) -> "Shaper":
        """The same knowledge, a new thread."""
        fresh = Shaper(self.tenant_key)
        fresh.there, fresh.number = self.there, self.number
        fresh.clients = {name: node.client(db_name="" if name == OWN else name) for name in (OWN,)}
        fresh.node, fresh.random, fresh.stop = node, random.Random(seed), stop
        return fresh

    def client(self, database: str) -> MilvusClient:
        if database not in self.clients:
            self.clients[database] = self.node.client(db_name=database)
        return self.clients[database]

    def run(self) -> None:
        while not self.stop.is_set():
            self.doubt = self.choose()
            try:
                self.ask(*self.doubt)
            except Exception as error:  # noqa: BLE001 - whatever the client makes of a dead server
                self.ended = f"{self.doubt}: {error}"
                return
            self.settle(*self.doubt)
            self.doubt = None
            self.granted += 1

    def choose(self) -> tuple:
        """A change that can be granted."""
        self.number += 1
        everywhere = [(database, name) for database, names in self.there.items() for name in names]
        kinds = ["create", "insert", "insert", "flush"] if everywhere else ["create"]
        if len(everywhere) > 1:
            kinds += ["drop", "index"]
        tenants = [name for name in self.there if name != OWN]
        if len(tenants) < 2:
            kinds.append("create database")
        empty = [name for name in tenants if not self.there[name]]
        if empty and self.random.random() < 0.5:
            kinds = ["drop database"]
        kind = self.random.choice(kinds)
        if kind == "create database":
            return kind, f"{TENANT}_{self.number}", None
        if kind == "drop database":
            return kind, self.random.choice(empty), None
        if kind == "create" and len(everywhere) < MOST:
            return kind, self.random.choice(list(self.there)), f"c_{self.number}"
        if kind == "create":
            kind = "drop"
        return kind, *self.random.choice(everywhere)

    def ask(self, kind: str, database: str, name: str | None) -> None:
        client = self.client(OWN if name is None else database)
        once = {"retry_times": 0}
        match kind:
            case "create database":
                own_key = {"cipher.enabled": "true", "cipher.key": self.tenant_key}
                client.create_database(database, properties=own_key if self.number % 2 else {}, **once)
            case "drop database":
                # A connection to a database that is gone is of no use.
                self.clients.pop(database, None)
                client.drop_database(database, **once)
            case "create":
                schema = client.create_schema()
                schema.add_field("id", DataType.INT64, is_primary=True)
                schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
                client.create_collection(name, schema=schema, **once)
            case "insert":
                rows = self.there[database][name]
                client.insert(name, [filler(number) for number in range(rows, rows + 20)], **once)
            case "flush":
                client.flush(name, **once)
                client.compact(name, **once)
            case "index":
                index = client.prepare_index_params()
                index.add_index("vector", index_type="HNSW", metric_type="L2", params={"M": 8, "efConstruction": 64})
                client.create_index(name, index, **once)
                client.load_collection(name, **once)
            case "drop":
                client.drop_collection(name, **once)

    def settle(self, kind: str, database: str, name: str | None) -> None:
        """Takes over what is now known."""
        match kind:
            case "create database":
                self.there[database] = {}
            case "drop database":
                del self.there[database]
            case "create":
                self.there[database][name] = 0
            case "insert":
                self.there[database][name] += 20
            case "drop":
                del self.there[database][name]

    def check(self, node: Node) -> None:
        """Compares with what the cluster holds, and learns how the change in doubt ended."""
        kind, database, name = self.doubt or (None, None, None)
        databases = set(node.client().list_databases())
        assert databases ^ set(self.there) <= ({database} if name is None else set()), (
            f"databases {databases}, known {set(self.there)}, in doubt {self.doubt}"
        )
        if name is None and database in databases ^ set(self.there):
            self.settle(kind, database, name)
        for held in self.there:
            self._check_collections(node, held)
        self.doubt = None

    def _check_collections(self, node: Node, held: str) -> None:
        kind, database, name = self.doubt or (None, None, None)
        client = node.client(db_name="" if held == OWN else held)
        names = set(client.list_collections()) - {"rows"}
        known = self.there[held]
        assert names ^ set(known) <= ({name} if database == held else set()), (
            f"collections {names} in {held}, known {set(known)}, in doubt {self.doubt}"
        )
        if names ^ set(known):
            self.settle(kind, held, name)
        for collection, rows in known.copy().items():
            self._check_rows(client, held, collection, rows)

    def _check_rows(self, client: MilvusClient, held: str, collection: str, rows: int) -> None:
        if not client.list_indexes(collection):
            index = client.prepare_index_params()
            index.add_index("vector", index_type="FLAT", metric_type="L2")
            client.create_index(collection, index)
        client.load_collection(collection)
        found = client.query(collection, filter="id >= 0", output_fields=["*"], limit=16_384)
        found = [{"id": row["id"], "vector": list(row["vector"])} for row in sorted(found, key=lambda row: row["id"])]
        may_be = {rows} | ({rows + 20} if self.doubt == ("insert", held, collection) else set())
        assert len(found) in may_be, f"{held}.{collection} has {len(found)} rows, may have {may_be}"
        assert found == [filler(number) for number in range(len(found))]
        self.there[held][collection] = len(found)
        if client.describe_index(collection, client.list_indexes(collection)[0])["index_type"] == "FLAT":
            client.release_collection(collection)
            client.drop_index(collection, client.list_indexes(collection)[0])
