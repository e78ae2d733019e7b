"""The whole life of a collection, each chapter checked against a model in memory."""

import time

import grpc
import numpy as np
from pymilvus import DataType, MilvusClient, MilvusException

from .digits import digits, distances, nearest, recall
from .node import API_KEY, Node

DIM = 8
EVERYTHING = "everything"
# The most rows that a query returns at once.
ALL = 16_384
# How the client tells a refusal: the reply's own status, or that of gRPC.
REFUSALS = (MilvusException, grpc.RpcError)


def plain(row: dict) -> dict:
    """A row as plain Python values, whatever containers the client uses."""
    whole = (str, bytes, dict)
    return {
        name: list(value) if hasattr(value, "__iter__") and not isinstance(value, whole) else value
        for name, value in row.items()
    }


def refused(call, *parts: str) -> Exception:
    """Makes a call that must be refused, with a message that names all of these parts."""
    try:
        answer = call()
    except REFUSALS as error:
        for part in parts:
            assert part.lower() in str(error).lower(), f"'{part}' is not named in: {error}"
        return error
    raise AssertionError(f"the call was not refused: {answer}")


def wait_until_indexed(client: MilvusClient, collection: str, index: str, rows: int) -> None:
    """Waits until an index answers for every row, so that what is measured is the index."""
    deadline = time.monotonic() + 300
    while True:
        state = client.describe_index(collection, index)
        if int(state["indexed_rows"]) >= rows and int(state["pending_index_rows"]) == 0:
            return
        assert time.monotonic() < deadline, f"{rows} rows were to be indexed: {state}"
        time.sleep(0.1)


# --- a collection with every type ---------------------------------------------------------------------------------


def everything_schema(client: MilvusClient):
    """One field of every type, a nullable one, one with a default, and room for undeclared fields."""
    schema = client.create_schema(auto_id=False, enable_dynamic_field=True, description="one of each")
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("flag", DataType.BOOL)
    schema.add_field("tiny", DataType.INT8)
    schema.add_field("small", DataType.INT16)
    schema.add_field("medium", DataType.INT32)
    schema.add_field("large", DataType.INT64)
    schema.add_field("ratio", DataType.FLOAT)
    schema.add_field("exact", DataType.DOUBLE)
    schema.add_field("word", DataType.VARCHAR, max_length=200)
    schema.add_field("doc", DataType.JSON)
    schema.add_field("numbers", DataType.ARRAY, element_type=DataType.INT64, max_capacity=8)
    schema.add_field("words", DataType.ARRAY, element_type=DataType.VARCHAR, max_capacity=8, max_length=50)
    schema.add_field("note", DataType.VARCHAR, max_length=100, nullable=True)
    schema.add_field("level", DataType.INT32, default_value=7)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    return schema


def everything_row(number: int, version: int = 0) -> dict:
    """A row whose every value follows from its number. The floats are exact in 32 bits."""
    return {
        "id": number,
        "flag": number % 2 == 0,
        "tiny": number % 256 - 128,
        "small": number * 3 - 20_000,
        "medium": number * 70_000 - 2_000_000_000,
        "large": number * 10_000_000_000 - 9_000_000_000_000_000_000,
        "ratio": number / 8 - 4,
        "exact": number * 0.1,
        "word": f"word-{number} v{version} ünïcödé ⚙",
        "doc": {"kind": "odd" if number % 2 else "even", "depth": {"n": number}, "tags": [f"t{number % 3}", "all"]},
        "numbers": [number, number + 1, number % 5][: number % 3 + 1],
        "words": [f"w{number % 4}", "x"],
        "note": None if number % 3 == 0 else f"note {number}",
        "level": number % 10,
        "vector": [float((number * (place + 1) + version) % 17) / 4 for place in range(DIM)],
        "colour": ["red", "green", "blue"][number % 3],
        "weight": number * 1.5,
    }


FILTERS = [
    ("id < 10", lambda r: r["id"] < 10),
    ("10 <= id < 20", lambda r: 10 <= r["id"] < 20),
    ("id == 7 or id == 9", lambda r: r["id"] in (7, 9)),
    ("id in [1, 2, 3, 1000]", lambda r: r["id"] in (1, 2, 3)),
    ("id not in [1, 2, 3]", lambda r: r["id"] not in (1, 2, 3)),
    ("id != 5 and flag == true", lambda r: r["id"] != 5 and r["flag"]),
    ("not (flag == true)", lambda r: not r["flag"]),
    ("tiny >= -100 && tiny < -90", lambda r: -100 <= r["tiny"] < -90),
    ("small > -19990 || medium < -1999900000", lambda r: r["small"] > -19_990 or r["medium"] < -1_999_900_000),
    ("large <= -8999999900000000000", lambda r: r["large"] <= -8_999_999_900_000_000_000),
    ("ratio > 1.5", lambda r: r["ratio"] > 1.5),
    ("exact < 1.05", lambda r: r["exact"] < 1.05),
    ("id % 7 == 3", lambda r: r["id"] % 7 == 3),
    ("id + 2 > 90", lambda r: r["id"] + 2 > 90),
    ("id * 2 == 44", lambda r: r["id"] * 2 == 44),
    ("word like 'word-1%'", lambda r: r["word"].startswith("word-1")),
    ("word like '%ünïcödé%' and id < 3", lambda r: r["id"] < 3),
    ("word in ['word-4 v0 ünïcödé ⚙']", lambda r: r["word"] == "word-4 v0 ünïcödé ⚙"),
    ("note is null", lambda r: r["note"] is None),
    ("note is not null", lambda r: r["note"] is not None),
    ("level == 3", lambda r: r["level"] == 3),
    ("doc['kind'] == 'odd'", lambda r: r["doc"]["kind"] == "odd"),
    ("doc['depth']['n'] > 95", lambda r: r["doc"]["depth"]["n"] > 95),
    ("json_contains(doc['tags'], 't1')", lambda r: "t1" in r["doc"]["tags"]),
    ("exists doc['missing']", lambda r: False),
    ("colour == 'red'", lambda r: r["colour"] == "red"),
    ("$meta['colour'] in ['red', 'blue']", lambda r: r["colour"] in ("red", "blue")),
    ("weight >= 120.0", lambda r: r["weight"] >= 120.0),
    ("array_contains(numbers, 3)", lambda r: 3 in r["numbers"]),
    ("array_contains_any(numbers, [3, 50])", lambda r: {3, 50} & set(r["numbers"])),
    ("array_contains_all(words, ['w1', 'x'])", lambda r: {"w1", "x"} <= set(r["words"])),
    ("array_length(numbers) == 2", lambda r: len(r["numbers"]) == 2),
    ("numbers[0] >= 98", lambda r: r["numbers"][0] >= 98),
]


class Model:
    """What a collection must hold."""

    def __init__(self, collection: str):
        self.collection = collection
        self.rows: dict = {}

    def wrote(self, rows: list[dict]) -> None:
        self.rows.update({row["id"]: row for row in rows})

    def deleted(self, condition) -> int:
        gone = [key for key, row in self.rows.items() if condition(row)]
        for key in gone:
            del self.rows[key]
        return len(gone)

    def check(self, client: MilvusClient) -> None:
        """Every field of every row, and nothing else."""
        found = client.query(self.collection, filter="id >= 0", output_fields=["*"], limit=ALL)
        assert {row["id"]: plain(row) for row in found} == self.rows
        count = client.query(self.collection, filter="", output_fields=["count(*)"])
        assert count[0]["count(*)"] == len(self.rows)

    def check_filters(self, client: MilvusClient) -> None:
        """Each filter of the table selects exactly what Python's own expression does."""
        for text, condition in FILTERS:
            found = client.query(self.collection, filter=text, output_fields=["id"], limit=ALL)
            expected = sorted(key for key, row in self.rows.items() if condition(row))
            assert sorted(row["id"] for row in found) == expected, text


def write_everything(client: MilvusClient, rows: int = 100) -> Model:
    """Creates the collection with a flat index, loads it, and fills it."""
    index = client.prepare_index_params()
    index.add_index("vector", index_type="FLAT", metric_type="L2")
    client.create_collection(EVERYTHING, schema=everything_schema(client), index_params=index)
    model = Model(EVERYTHING)
    batch = [everything_row(number) for number in range(rows)]
    for number in (4, 5):
        # One row leaves out what has a default, one what may be null.
        batch[number] = {name: value for name, value in batch[number].items() if name not in ("level", "note")}
    answer = client.insert(EVERYTHING, batch)
    assert answer["insert_count"] == rows
    assert list(answer["ids"]) == list(range(rows))
    for number in (4, 5):
        batch[number] = {**batch[number], "level": 7, "note": None}
    model.wrote(batch)
    return model


def change_everything(client: MilvusClient, model: Model) -> None:
    """Upserts over old rows and new ones, deletes by key and by filter."""
    rows = [everything_row(number, version=1) for number in range(90, 120)]
    assert client.upsert(EVERYTHING, rows)["upsert_count"] == len(rows)
    model.wrote(rows)
    assert client.delete(EVERYTHING, ids=[0, 1, 115])["delete_count"] == 3
    model.deleted(lambda row: row["id"] in (0, 1, 115))
    answer = client.delete(EVERYTHING, filter="id % 10 == 6 and colour == 'green'")
    assert answer["delete_count"] == model.deleted(lambda row: row["id"] % 10 == 6 and row["colour"] == "green") > 0


def check_description(client: MilvusClient) -> None:
    """The schema comes back as it was given."""
    told = client.describe_collection(EVERYTHING)
    fields = {field["name"]: field for field in told["fields"]}
    assert told["enable_dynamic_field"] is True and told["description"] == "one of each"
    assert fields["id"]["is_primary"] and fields["id"]["type"] == DataType.INT64
    assert fields["tiny"]["type"] == DataType.INT8
    assert fields["vector"]["type"] == DataType.FLOAT_VECTOR and int(fields["vector"]["params"]["dim"]) == DIM
    assert fields["words"]["element_type"] == DataType.VARCHAR
    assert int(fields["word"]["params"]["max_length"]) == 200
    assert fields["note"]["nullable"] is True
    assert client.list_indexes(EVERYTHING) == ["vector"]
    index = client.describe_index(EVERYTHING, "vector")
    assert index["index_type"] == "FLAT" and index["metric_type"] == "L2"


def check_reading(client: MilvusClient, model: Model) -> None:
    """Get, pages, output fields, parameters, and search under a filter."""
    got = client.get(EVERYTHING, ids=[10, 11], output_fields=["word", "colour"])
    assert sorted((row["id"], row["word"], row["colour"]) for row in got) == [
        (key, model.rows[key]["word"], model.rows[key]["colour"]) for key in (10, 11)
    ]
    pages = []
    for offset in range(0, len(model.rows) + 10, 40):
        page = client.query(EVERYTHING, filter="id >= 0", output_fields=["id"], limit=40, offset=offset)
        assert len(page) == max(0, min(40, len(model.rows) - offset))
        pages += [row["id"] for row in page]
    assert sorted(pages) == sorted(model.rows)
    only = client.query(EVERYTHING, filter="id == 12", output_fields=["level"])
    assert [plain(row) for row in only] == [{"id": 12, "level": model.rows[12]["level"]}]
    ids = client.query(EVERYTHING, filter="id in {wanted}", filter_params={"wanted": [20, 21]}, output_fields=["id"])
    assert sorted(row["id"] for row in ids) == [20, 21]
    count = client.query(EVERYTHING, filter="id < 50", output_fields=["count(*)"])
    assert count[0]["count(*)"] == sum(key < 50 for key in model.rows)

    stored = {key: np.array(row["vector"]) for key, row in model.rows.items() if row["flag"]}
    wanted = np.array(model.rows[42]["vector"])
    truth = sorted(((float(((vector - wanted) ** 2).sum()), key) for key, vector in stored.items()))[:5]
    hits = client.search(
        EVERYTHING, data=[wanted.tolist()], limit=5, filter="flag == true", output_fields=["word", "colour"]
    )[0]
    assert [hit["distance"] for hit in hits] == [distance for distance, _ in truth]
    for hit in hits:
        row = model.rows[hit["id"]]
        assert row["flag"] and (hit["entity"]["word"], hit["entity"]["colour"]) == (row["word"], row["colour"])


# --- the other chapters -------------------------------------------------------------------------------------------


def partitions(client: MilvusClient) -> None:
    """Rows of one partition are found there and not in another, and go with it."""
    name = "parted"
    client.create_collection(name, dimension=4, metric_type="L2")
    client.create_partition(name, "north")
    client.create_partition(name, "south")
    assert set(client.list_partitions(name)) == {"_default", "north", "south"}
    assert client.has_partition(name, "north") and not client.has_partition(name, "west")
    rows = [{"id": number, "vector": [number, 0, 0, 1]} for number in range(10)]
    client.insert(name, rows[:6], partition_name="north")
    client.insert(name, rows[6:], partition_name="south")
    north = client.query(name, filter="id >= 0", partition_names=["north"], output_fields=["id"], limit=ALL)
    assert sorted(row["id"] for row in north) == list(range(6))
    hits = client.search(name, data=[[9, 0, 0, 1]], limit=2, partition_names=["north"])[0]
    assert [(hit["id"], hit["distance"]) for hit in hits] == [(5, 16), (4, 25)]
    assert int(client.get_partition_stats(name, "south")["row_count"]) == 4
    client.release_partitions(name, ["south"])
    client.drop_partition(name, "south")
    client.load_collection(name)
    left = client.query(name, filter="id >= 0", output_fields=["id"], limit=ALL)
    assert sorted(row["id"] for row in left) == list(range(6))
    refused(lambda: client.query(name, filter="id >= 0", partition_names=["south"]), "south")
    client.drop_collection(name)


def aliases_and_names(client: MilvusClient) -> None:
    """An alias reads and writes its collection, and moves to another; a collection takes another name."""
    for name, first in (("first", 1), ("second", 100)):
        client.create_collection(name, dimension=4)
        client.insert(name, [{"id": first, "vector": [first, 0, 0, 1]}])
    client.create_alias("first", "current")
    assert client.list_aliases("first")["aliases"] == ["current"]
    assert [row["id"] for row in client.query("current", filter="id > 0", output_fields=["id"])] == [1]
    client.insert("current", [{"id": 2, "vector": [2, 0, 0, 1]}])
    assert [row["id"] for row in client.query("first", filter="id > 1", output_fields=["id"])] == [2]
    client.alter_alias("second", "current")
    assert client.describe_alias("current")["collection_name"] == "second"
    assert [row["id"] for row in client.query("current", filter="id > 0", output_fields=["id"])] == [100]
    refused(lambda: client.create_alias("first", "second"), "second")
    client.drop_alias("current")
    refused(lambda: client.describe_alias("current"), "current")

    client.rename_collection("first", "renamed")
    assert not client.has_collection("first") and client.has_collection("renamed")
    assert len(client.query("renamed", filter="id > 0", output_fields=["id"])) == 2
    refused(lambda: client.rename_collection("renamed", "second"), "second")
    for name in ("renamed", "second"):
        client.drop_collection(name)
        assert not client.has_collection(name)


def databases(node: Node) -> None:
    """Two databases hold collections of one name apart."""
    client = node.client()
    client.create_database("branch")
    assert set(client.list_databases()) == {"default", "branch"}
    branch = node.client(db_name="branch")
    for connection, number in ((client, 1), (branch, 2)):
        connection.create_collection("same_name", dimension=4)
        connection.insert("same_name", [{"id": number, "vector": [number, 0, 0, 1]}])
    for connection, number in ((client, 1), (branch, 2)):
        found = connection.query("same_name", filter="id > 0", output_fields=["id"])
        assert [row["id"] for row in found] == [number]
    assert branch.list_collections() == ["same_name"]
    refused(lambda: client.drop_database("branch"), "branch")
    refused(lambda: client.create_database("branch"), "branch")
    branch.drop_collection("same_name")
    client.drop_database("branch")
    assert client.list_databases() == ["default"]
    client.drop_collection("same_name")


def users(node: Node) -> None:
    """Users sign in with their own passwords, and no longer when these change; an API key opens the cluster too."""
    root = node.client()
    root.create_user("ada", "first-password-1")
    assert set(root.list_users()) == {"root", "ada"}
    ada = node.client(token="ada:first-password-1")
    ada.list_collections()
    refused(lambda: node.client(token="ada:wrong-password-1").list_collections())
    refused(lambda: node.client(token="nobody:first-password-1").list_collections())
    refused(lambda: ada.create_user("eve", "first-password-1"))
    ada.update_password("ada", "first-password-1", "second-password-2")
    refused(lambda: node.client(token="ada:first-password-1").list_collections())
    node.client(token="ada:second-password-2").list_collections()
    root.drop_user("ada")
    refused(lambda: node.client(token="ada:second-password-2").list_collections())
    assert root.list_users() == ["root"]
    node.client(token=API_KEY).list_collections()
    refused(lambda: node.client(token=API_KEY[:-1]).list_collections())


def generated_keys(client: MilvusClient) -> None:
    """Keys that the server makes are unique, of the field's type, and find their rows."""
    for name, kind, more in (("auto_number", DataType.INT64, {}), ("auto_text", DataType.VARCHAR, {"max_length": 64})):
        schema = client.create_schema(auto_id=True)
        schema.add_field("key", kind, is_primary=True, **more)
        schema.add_field("place", DataType.INT32)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)
        index = client.prepare_index_params()
        index.add_index("vector", index_type="AUTOINDEX", metric_type="COSINE")
        client.create_collection(name, schema=schema, index_params=index)
        answer = client.insert(name, [{"place": place, "vector": [place, 1, 0, 0]} for place in range(20)])
        keys = list(answer["ids"])
        assert len(set(keys)) == 20 and all(isinstance(key, str) == (kind == DataType.VARCHAR) for key in keys)
        got = client.get(name, ids=[keys[7]], output_fields=["place"])
        assert [(row["key"], row["place"]) for row in got] == [(keys[7], 7)]
        client.delete(name, ids=keys[:5])
        left = client.query(name, filter="place >= 0", output_fields=["place"], limit=ALL)
        assert sorted(row["place"] for row in left) == list(range(5, 20))
        client.drop_collection(name)


def text_keys(client: MilvusClient) -> None:
    """A text that the client chooses is a primary key as good as a number."""
    schema = client.create_schema()
    schema.add_field("name", DataType.VARCHAR, is_primary=True, max_length=64)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="HNSW", metric_type="IP", params={"M": 16, "efConstruction": 100})
    client.create_collection("text_keys", schema=schema, index_params=index)
    client.insert("text_keys", [{"name": f"näme {number}", "vector": [number, 1, 0, 0]} for number in range(30)])
    client.upsert("text_keys", [{"name": "näme 3", "vector": [300, 1, 0, 0]}])
    hits = client.search("text_keys", data=[[1, 0, 0, 0]], limit=2, output_fields=["vector"])[0]
    assert [(hit["name"], hit["distance"]) for hit in hits] == [("näme 3", 300), ("näme 29", 29)]
    assert list(hits[0]["entity"]["vector"]) == [300, 1, 0, 0]
    client.delete("text_keys", ids=["näme 3"])
    assert client.get("text_keys", ids=["näme 3"]) == []
    assert client.query("text_keys", filter="", output_fields=["count(*)"])[0]["count(*)"] == 29
    client.drop_collection("text_keys")


def create_digits(client: MilvusClient, name: str, index_type: str, metric: str, **params) -> None:
    """A collection of the digits under an index."""
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("label", DataType.INT8)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=64)
    index = client.prepare_index_params()
    index.add_index("vector", index_type=index_type, metric_type=metric, index_name="graph", params=params)
    client.create_collection(name, schema=schema, index_params=index)
    vectors, labels = digits()
    rows = [
        {"id": place, "label": int(label), "vector": vector}
        for place, (vector, label) in enumerate(zip(vectors.tolist(), labels, strict=True))
    ]
    for start in range(0, len(rows), 600):
        client.insert(name, rows[start : start + 600])


def check_digits(client: MilvusClient, name: str, metric: str, at_least: float) -> None:
    """Recall against exact search, true scores, and whether a digit's nearest neighbour is the same digit."""
    vectors, labels = digits()
    queries = vectors[::3]
    truth = nearest(vectors, queries, metric, 10)
    real = distances(vectors, queries, metric)
    found, own = [], 0
    for start in range(0, len(queries), 100):
        batch = queries[start : start + 100]
        hits = client.search(name, data=batch.tolist(), limit=10, output_fields=["label"])
        for place, neighbours in enumerate(hits, start):
            found.append([hit["id"] for hit in neighbours])
            for hit in neighbours:
                score = hit["distance"] if metric == "L2" else -hit["distance"]
                assert abs(score - real[place][hit["id"]]) < 1e-4
                assert hit["entity"]["label"] == labels[hit["id"]]
            other = next(hit["id"] for hit in neighbours if hit["id"] != place * 3)
            own += labels[other] == labels[place * 3]
    assert recall(found, truth) >= at_least
    assert own / len(queries) >= 0.97, "a digit's nearest neighbour is another digit too often"


def check_filtered_digits(client: MilvusClient, name: str, metric: str) -> None:
    """Under filters that leave much and little, the nearest of what is left are found."""
    vectors, labels = digits()
    queries = vectors[:60]
    places = np.arange(len(vectors))
    for text, kept in (
        ("label in [1, 3, 5, 7]", np.isin(labels, [1, 3, 5, 7])),
        ("label == 4 and id < 300", (labels == 4) & (places < 300)),
    ):
        left = places[kept]
        truth = left[nearest(vectors[kept], queries, metric, 10)]
        hits = client.search(name, data=queries.tolist(), limit=10, filter=text)
        found = [[hit["id"] for hit in neighbours] for neighbours in hits]
        assert all(set(mine) <= set(left.tolist()) for mine in found), text
        assert recall(found, truth) >= 0.98, text


def whole_life(node: Node) -> None:
    """Everything above on one node, with restarts in between."""
    client = node.client()
    model = write_everything(client)
    model.check(client)
    check_description(client)
    change_everything(client, model)
    model.check(client)
    create_digits(client, "digits", "HNSW", "L2", M=16, efConstruction=200)

    # What was acknowledged and not flushed is replayed from the log.
    node.restart()
    client = node.client()
    model.check(client)
    model.check_filters(client)
    check_reading(client, model)

    client.flush(EVERYTHING)
    client.flush("digits")
    wait_until_indexed(client, "digits", "graph", 1_797)
    check_digits(client, "digits", "L2", 0.98)
    client.release_collection(EVERYTHING)
    refused(lambda: client.query(EVERYTHING, filter="id >= 0", limit=1), "load")
    client.load_collection(EVERYTHING)
    model.check(client)

    # What was flushed and indexed is read from its files.
    node.restart()
    client = node.client()
    model.check(client)
    check_digits(client, "digits", "L2", 0.98)
    check_filtered_digits(client, "digits", "L2")

    partitions(client)
    aliases_and_names(client)
    generated_keys(client)
    text_keys(client)
    databases(node)
    users(node)
    assert sorted(client.list_collections()) == ["digits", EVERYTHING]
    client.drop_collection("digits")
    client.drop_collection(EVERYTHING)
    node.restart()
    assert node.client().list_collections() == []
