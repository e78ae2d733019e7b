"""pymilvus drives the whole life of a cluster, encrypted and not."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from pymilvus import DataType

from helpers import life
from helpers.digits import digits
from helpers.life import REFUSALS, refused
from helpers.node import Node, files_under


@pytest.fixture(params=["encrypted", "unencrypted"])
def node(request) -> Node:
    """A running node of each kind."""
    return request.getfixturevalue("encrypted_node" if request.param == "encrypted" else "plain_node")


def test_a_cluster_lives_its_whole_life_and_every_value_is_right(node):
    life.whole_life(node)


@pytest.mark.parametrize("metric", ["L2", "IP", "COSINE"])
@pytest.mark.parametrize("index", ["FLAT", "HNSW", "AUTOINDEX"])
def test_an_index_finds_the_true_neighbours(encrypted_node, index, metric):
    client = encrypted_node.client()
    params = {"M": 16, "efConstruction": 200} if index == "HNSW" else {}
    life.create_digits(client, "digits", index, metric, **params)
    # New rows are searched exactly until the index has them.
    life.check_digits(client, "digits", metric, 0.98)
    life.wait_until_indexed(client, "digits", "graph", 1_797)
    life.check_digits(client, "digits", metric, 0.999 if index == "FLAT" else 0.98)
    life.check_filtered_digits(client, "digits", metric)


def test_many_searches_at_once_all_get_their_answers(encrypted_node):
    """More at once than the machine has cores, on a graph."""
    client = encrypted_node.client()
    life.create_digits(client, "digits", "HNSW", "L2", M=16, efConstruction=200)
    life.wait_until_indexed(client, "digits", "graph", 1_797)
    vectors, _ = digits()

    def ask(number: int) -> list[int]:
        client = encrypted_node.client()
        asked = range(number, 1_797, 61)
        hits = [client.search("digits", data=[vectors[place].tolist()], limit=1)[0] for place in asked]
        return [hit[0]["distance"] for hit in hits]

    with ThreadPoolExecutor(32) as pool:
        for distances in pool.map(ask, range(32)):
            assert max(distances) < 1e-6, "a digit is its own nearest neighbour"


def test_a_range_search_keeps_to_its_bounds(encrypted_node):
    client = encrypted_node.client()
    client.create_collection("points", dimension=2, metric_type="L2")
    client.insert("points", [{"id": number, "vector": [number, 0]} for number in range(20)])
    params = {"radius": 30.0, "range_filter": 4.0}
    hits = client.search("points", data=[[0, 0]], limit=20, search_params={"params": params})[0]
    assert [(hit["id"], hit["distance"]) for hit in hits] == [(2, 4), (3, 9), (4, 16), (5, 25)]


def test_an_iterator_visits_every_row_once(encrypted_node):
    client = encrypted_node.client()
    life.create_digits(client, "digits", "AUTOINDEX", "L2")
    iterator = client.query_iterator("digits", filter="label < 5", output_fields=["id", "label"], batch_size=200)
    seen = []
    while batch := iterator.next():
        seen += [row["id"] for row in batch]
    iterator.close()
    _, labels = digits()
    assert sorted(seen) == [place for place, label in enumerate(labels) if label < 5]


# --- what is refused, and how it says so --------------------------------------------------------------------------


def test_strangers_are_not_let_in(node):
    for token in ("root:wrong-password", "nobody:x", "not-a-key"):
        refused(lambda token=token: node.client(token=token).list_collections())


def test_an_unknown_collection_is_named(node):
    client = node.client()
    refused(lambda: client.describe_collection("no_such_thing"), "no_such_thing")
    refused(lambda: client.query("no_such_thing", filter="id > 0"), "no_such_thing")
    refused(lambda: client.search("no_such_thing", data=[[1.0, 2.0]], limit=1), "no_such_thing")


@pytest.fixture
def points(encrypted_node):
    """A client and a collection of two-dimensional points named `points`."""
    client = encrypted_node.client()
    client.create_collection("points", dimension=2, metric_type="L2")
    client.insert("points", [{"id": 1, "vector": [1, 0]}])
    return client


@pytest.mark.parametrize("text", ["id >", "id == 'text'", "(id > 1", "id > 1 and", "id in 5", "nosuch(id)"])
def test_a_filter_that_makes_no_sense_is_refused(points, text):
    refused(lambda: points.query("points", filter=text, output_fields=["id"]), "filter")
    refused(lambda: points.delete("points", filter=text), "filter")
    assert len(points.query("points", filter="id == 1", output_fields=["id"])) == 1


def test_a_vector_of_the_wrong_dimension_is_refused(points):
    refused(lambda: points.search("points", data=[[1.0, 2.0, 3.0]], limit=1), "dim")
    with pytest.raises(REFUSALS):
        points.insert("points", [{"id": 2, "vector": [1.0, 2.0, 3.0]}])
    assert points.query("points", filter="", output_fields=["count(*)"])[0]["count(*)"] == 1


def test_a_metric_that_is_not_the_indexs_is_refused(points):
    refused(lambda: points.search("points", data=[[1.0, 2.0]], limit=1, search_params={"metric_type": "IP"}), "metric")


def test_a_text_longer_than_its_field_is_refused_and_nothing_of_its_batch_is_kept(encrypted_node):
    client = encrypted_node.client()
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("text", DataType.VARCHAR, max_length=5)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="FLAT", metric_type="L2")
    client.create_collection("short", schema=schema, index_params=index)
    rows = [{"id": 1, "text": "fits", "vector": [1, 0]}, {"id": 2, "text": "too long", "vector": [1, 0]}]
    error = refused(lambda: client.insert("short", rows), "text", "5")
    assert "too long" not in str(error).replace("is too long", ""), "a refusal must not repeat values"
    assert client.query("short", filter="", output_fields=["count(*)"])[0]["count(*)"] == 0


def test_a_call_that_does_not_exist_here_names_itself(node):
    client = node.client()
    refused(lambda: client.create_role("reader"), "CreateRole", "not implemented")
    refused(lambda: client.list_resource_groups(), "ListResourceGroups", "not implemented")


def test_a_kind_of_field_that_does_not_exist_here_is_refused_by_name(node):
    client = node.client()
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("bits", DataType.BINARY_VECTOR, dim=8)
    refused(lambda: client.create_collection("bits", schema=schema), "BinaryVector")
    assert client.list_collections() == []


def test_a_collection_can_not_move_to_another_database_of_an_encrypted_cluster(encrypted_node, points):
    points.create_database("other")
    refused(lambda: points.rename_collection("points", "points", target_db="other"), "database")
    assert points.list_collections() == ["points"]
    assert encrypted_node.client(db_name="other").list_collections() == []


@pytest.mark.parametrize(
    "properties",
    [
        {"cipher.enabled": "false"},
        {"cipher.enabled": "false", "cipher.key": "THE CLUSTER'S"},
        {"cipher.enabled": "true", "cipher.key": "arn:aws:kms:us-west-2:111111111111:key/not-this-clusters"},
        {"cipher.enabled": "true", "cipher.key": "not an ARN"},
        {"cipher.enabled": "perhaps"},
    ],
)
def test_a_database_that_contradicts_its_encrypted_cluster_is_refused_and_leaves_nothing(encrypted_node, properties):
    client = encrypted_node.client()
    given = {name: value.replace("THE CLUSTER'S", encrypted_node.key_arn) for name, value in properties.items()}
    before = zones(encrypted_node)
    refused(lambda: client.create_database("odd", properties=given))
    assert client.list_databases() == ["default"]
    assert zones(encrypted_node) == before
    encrypted_node.restart()
    assert encrypted_node.client().list_databases() == ["default"]
    assert zones(encrypted_node) == before
    client = encrypted_node.client()
    client.create_database("odd")
    assert len(zones(encrypted_node)) == len(before) + 1, "a database that is made leaves a zone behind"


def zones(node: Node) -> set[str]:
    """The zones that have a file."""
    parts = {part for path in files_under(node.storage_dir()) for part in path.relative_to(node.storage_dir()).parts}
    return {part for part in parts if re.fullmatch("[0-9a-f]{32}", part)}


def test_a_database_with_encryption_is_refused_in_an_unencrypted_cluster(plain_node):
    client = plain_node.client()
    refused(lambda: client.create_database("odd", properties={"cipher.enabled": "true"}), "not encrypted")
    assert client.list_databases() == ["default"]
