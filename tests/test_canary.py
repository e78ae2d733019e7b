"""Distinctive values go through everything a cluster does; then every byte it left behind is searched for them."""

import base64
import json
import pathlib
import struct
import uuid
from itertools import pairwise

import numpy as np
import pytest
from pymilvus import DataType

from helpers.life import REFUSALS, wait_until_indexed
from helpers.node import API_KEY, Node, files_under

DIM = 16
# The local KMS stands for AWS: its file is not the cluster's, and it alone may hold root keys.
KMS_FILE = "local-kms.json"


class Canary:
    """What must not be found, by the kind of thing it is."""

    def __init__(self):
        self.mark = uuid.uuid4().hex[:12]

        def text(kind: str) -> str:
            return f"canary_{kind}_{self.mark}"

        self.database, self.collection, self.alias = text("database"), text("collection"), text("alias")
        self.partition, self.field, self.index = text("partition"), text("field"), text("index")
        self.user = text("user")
        self.password, self.user_password = f"canary-root-{self.mark}", f"canary-user-{self.mark}"
        self.description = text("description")
        self.word, self.json, self.dynamic, self.listed = text("word"), text("json"), text("dynamic"), text("listed")
        self.dynamic_name, self.json_name = text("dynamicname"), text("jsonname")
        random = np.random.default_rng(int(self.mark, 16))
        self.vectors = random.uniform(0.1, 1.0, size=(300, DIM)).astype(np.float32)
        self.query = random.uniform(0.1, 1.0, size=DIM).astype(np.float32)

    def names(self) -> list[str]:
        own = [self.database, self.collection, self.alias, self.partition, self.field, self.user, self.index]
        return [*own, self.description, self.dynamic_name, self.json_name]

    def values(self) -> list[str]:
        return [self.word, self.json, self.dynamic, self.listed]

    def secrets(self) -> list[str]:
        return [self.password, self.user_password, API_KEY]

    def needles(self) -> dict[str, list[bytes]]:
        """Every form in which a piece could lie about. Floats are searched in pairs and as doubles: four bytes alone
        would turn up in megabytes of ciphertext by chance."""
        vectors = np.vstack([self.vectors[:20], self.query])
        return {
            "name": [form for name in self.names() for form in forms(name)],
            "value": [form for value in self.values() for form in forms(value)],
            "secret": [form for secret in self.secrets() for form in forms(secret)],
            "vector": [struct.pack("<2f", *pair) for vector in vectors for pair in pairwise(vector)],
            "vector as doubles": [struct.pack("<d", number) for vector in vectors for number in vector],
            "vector in big endian": [struct.pack(">2f", *pair) for vector in vectors for pair in pairwise(vector)],
            # The few that are short, such as 0.5, are in any log's times.
            "vector as text": [text[:11].encode() for it in vectors.flat if len(text := repr(float(it))) >= 11],
        }


def forms(text: str) -> list[bytes]:
    """A text as it is, in capitals, in hex, in base64, in UTF-16."""
    raw = text.encode()
    # At each of the three places at which it can begin in a longer base64 text, less what its neighbours decide.
    inner = [base64.b64encode(b"\0" * shift + raw)[4 if shift else 0 : -4] for shift in range(3)]
    return [raw, text.upper().encode(), raw.hex().encode(), *inner, text.encode("utf-16-le")]


def root_key_material(kms_file: pathlib.Path) -> list[bytes]:
    """The root keys of the local KMS, as bytes and as they stand in its file."""
    found = []
    for key in json.loads(kms_file.read_text())["keys"]:
        found += [
            key["material"].encode(),
            bytes.fromhex(key["material"]),
            base64.b64encode(bytes.fromhex(key["material"])),
        ]
    assert found
    return found


def scan(node: Node, needles: dict[str, list[bytes]]) -> dict[str, set[str]]:
    """Where each kind of thing was found: in which files, in whose names, in the log."""
    found: dict[str, set[str]] = {}
    files = [path for path in files_under(node.data_dir, node.tmp_dir) if path.name != KMS_FILE]
    for path in [*files, node.log_file]:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue  # compaction took it away meanwhile
        content += b"\0" + str(path.relative_to(node.directory)).encode()
        for kind, patterns in needles.items():
            if any(pattern in content for pattern in patterns):
                found.setdefault(kind, set()).add(path.relative_to(node.directory).as_posix())
    return found


def live(node: Node, canary: Canary):
    """A life that touches everything, with a stop after each part."""
    client = node.client()
    client.create_user(canary.user, canary.user_password)
    client.create_database(canary.database)
    client = node.client(db_name=canary.database)
    schema = client.create_schema(enable_dynamic_field=True, description=canary.description)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field(canary.field, DataType.VARCHAR, max_length=200, nullable=True)
    schema.add_field("doc", DataType.JSON)
    schema.add_field("words", DataType.ARRAY, element_type=DataType.VARCHAR, max_capacity=4, max_length=200)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    index = client.prepare_index_params()
    index.add_index(
        "vector", index_type="HNSW", metric_type="L2", index_name=canary.index, params={"M": 16, "efConstruction": 64}
    )
    client.create_collection(canary.collection, schema=schema, index_params=index)
    client.create_alias(canary.collection, canary.alias)
    client.create_partition(canary.collection, canary.partition)
    yield

    rows = [
        {
            "id": number,
            canary.field: canary.word,
            "doc": {canary.json_name: canary.json},
            "words": [canary.listed],
            "vector": vector,
            canary.dynamic_name: canary.dynamic,
        }
        for number, vector in enumerate(canary.vectors.tolist())
    ]
    client.insert(canary.collection, rows[:200])
    client.insert(canary.collection, rows[200:], partition_name=canary.partition)
    yield

    text = f"{canary.field} == '{canary.word}' and {canary.dynamic_name} == '{canary.dynamic}'"
    for _ in range(3):
        hits = client.search(canary.alias, data=[canary.query.tolist()], limit=10, filter=text, output_fields=["*"])
        assert len(hits[0]) == 10
        assert len(client.query(canary.collection, filter=text, output_fields=["*"], limit=300)) == 300
    for broken in (f"{canary.field} === '{canary.word}'", f"{canary.field} == '{canary.word}' and", f"'{canary.word}"):
        with pytest.raises(REFUSALS):
            client.query(canary.collection, filter=broken)
    with pytest.raises(REFUSALS):
        client.search(canary.collection, data=[[*canary.query.tolist(), 1.0]], limit=1)
    with pytest.raises(REFUSALS):
        client.query(canary.word, filter="id > 0")
    for wrong in (f"root:{canary.user_password}", f"{canary.user}:{canary.password}"):
        with pytest.raises(REFUSALS):
            node.client(token=wrong).list_collections()
    yield

    client.upsert(canary.collection, rows[:50])
    client.flush(canary.collection)
    client.compact(canary.collection)
    wait_until_indexed(client, canary.collection, canary.index, len(canary.vectors))
    yield

    client.delete(canary.collection, ids=list(range(100)))
    client.delete(canary.collection, filter=f"{canary.field} == '{canary.word}' and id < 150")
    client.release_collection(canary.collection)
    client.load_collection(canary.collection)
    node.restart()
    client = node.client(db_name=canary.database)
    assert client.query(canary.collection, filter="", output_fields=["count(*)"])[0]["count(*)"] == 150
    yield

    node.kill()
    node.close_clients()
    yield


def test_nothing_of_an_encrypted_cluster_can_be_read_from_what_it_leaves(make_node, local_kms):
    canary = Canary()
    node = make_node(key_arn=local_kms.create_key(), log="trace", password=canary.password).start()
    needles = canary.needles() | {"root key": root_key_material(node.data_dir / KMS_FILE)}
    parts = 0
    for parts, _ in enumerate(live(node, canary), 1):
        assert scan(node, needles) == {}, f"after part {parts}"
    assert parts == 6
    sealed = files_under(node.storage_dir())
    assert len(sealed) > 10 and sum(path.stat().st_size for path in sealed) > canary.vectors.nbytes
    assert "custody_kms::ledger" in node.log_file.read_text(), "the log was kept, and searched"
    assert not files_under(node.tmp_dir), "nothing decrypted, and nothing else, is put into temporary files"


def test_the_same_search_finds_the_same_things_in_an_unencrypted_cluster(make_node):
    canary = Canary()
    node = make_node(log="trace", password=canary.password).start()
    for _ in live(node, canary):
        pass
    found = scan(node, canary.needles())
    assert {"name", "value", "vector"} <= set(found)
    # Even here passwords are kept as hashes, and logs hold neither names nor values.
    assert "secret" not in found
    log = node.log_file.relative_to(node.directory).as_posix()
    assert not any(log in places for places in found.values())


def test_the_search_sees_each_form_in_a_file_in_its_name_and_in_the_log(make_node):
    canary = Canary()
    node = make_node()
    needles = canary.needles()
    node.data_dir.mkdir()
    for place in (node.data_dir / "file", node.tmp_dir / "file", node.log_file):
        for kind, patterns in needles.items():
            for pattern in (patterns[0], patterns[-1]):
                place.write_bytes(b"before" + pattern + b"after")
                assert kind in scan(node, needles)
                place.unlink()
    (node.data_dir / canary.word).touch()
    assert set(scan(node, needles)) == {"value"}
