"""zilliz-cli drives an encrypted node over REST, and curl's way works as the guide shows it.

The program asks a control plane for a cluster's address only if it is not told one: `zilliz context set --endpoint` points it
straight at the node, so that no control plane and no stand-in for one is needed here.
"""

import json
import time
import urllib.error
import urllib.request

import pytest

from helpers.node import API_KEY, Node
from helpers.program import PATIENCE
from helpers.zilliz import Zilliz


@pytest.fixture
def zilliz(encrypted_node, tmp_path) -> Zilliz:
    """The program as root of an encrypted cluster."""
    return Zilliz(tmp_path / "zilliz", encrypted_node)


def post(node: Node, path: str, body: bytes, token: str = API_KEY) -> tuple[int, dict]:
    """Status and answer of a call without any client; status 0 if the connection was lost."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{node.port}/v2/vectordb/{path}", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except OSError:
        return 0, {}


def heard(node: Node, *call, **more) -> tuple[int, dict]:
    """The same of a node that may be changing its process image, which takes connections with it: asked until it answers."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := post(node, *call, **more))[0]:
        assert time.monotonic() < deadline, "no connection is answered"
        time.sleep(0.05)
    return answer


def rows(count: int) -> list[dict]:
    return [{"id": number, "vector": [number, 0, 0.5], "colour": f"c{number % 3}"} for number in range(count)]


def test_collections_are_made_described_renamed_loaded_and_dropped(zilliz):
    assert zilliz("collection", "list") == []
    assert zilliz("collection", "create", "--name", "quick", "--dimension", 3, "--metric-type", "L2") == {}
    told = zilliz("collection", "describe", "--name", "quick")
    assert (told["load"], told["enableDynamicField"], told["indexes"][0]["metricType"]) == ("LoadStateLoaded", True, "L2")
    assert [(field["name"], field["type"]) for field in told["fields"]] == [("id", "Int64"), ("vector", "FloatVector")]

    words = ("--dimension", 4, "--id-type", "VarChar", "--auto-id", "true")
    zilliz("collection", "create", "--name", "words", *words, "--primary-field", "key", "--vector-field", "place")
    fields = zilliz("collection", "describe", "--name", "words")["fields"]
    assert [(field["name"], field["type"], field["autoId"]) for field in fields] == [
        ("key", "VarChar", True),
        ("place", "FloatVector", False),
    ]

    # The program writes `params` as Milvus' `elementTypeParams`, and always sends a metric.
    schema = {
        "fields": [
            {"fieldName": "id", "dataType": "Int64", "isPrimary": True},
            {"fieldName": "word", "dataType": "VarChar", "params": {"max_length": 20}},
            {"fieldName": "v", "dataType": "FloatVector", "params": {"dim": 2}},
        ]
    }
    body = {"schema": schema, "indexParams": [{"fieldName": "v", "metricType": "IP", "indexType": "HNSW"}]}
    zilliz("collection", "create", "--name", "typed", "--body", body)
    told = zilliz("collection", "describe", "--name", "typed")
    assert (told["indexes"], told["enableDynamicField"]) == (
        [{"fieldName": "v", "indexName": "v", "metricType": "IP"}],
        False,
    )

    assert sorted(zilliz("collection", "list")) == ["quick", "typed", "words"]
    zilliz("collection", "rename", "--name", "quick", "--new-name", "slow")
    assert zilliz("collection", "has", "--name", "quick") == {"has": False}
    assert zilliz("collection", "has", "--name", "slow") == {"has": True}
    zilliz("collection", "release", "--name", "slow", "--yes")
    assert zilliz("collection", "get-load-state", "--name", "slow")["loadState"] == "LoadStateNotLoad"
    zilliz("collection", "load", "--name", "slow")
    assert zilliz("collection", "get-load-state", "--name", "slow")["loadState"] == "LoadStateLoaded"
    zilliz("vector", "insert", "--collection", "slow", "--data", rows(4))
    assert zilliz("collection", "flush", "--name", "slow") == {}
    assert "compactionID" in zilliz("collection", "compact", "--name", "slow")
    assert zilliz("collection", "get-stats", "--name", "slow") == {"rowCount": 4}
    for name in ("slow", "typed", "words"):
        zilliz("collection", "drop", "--name", name, "--yes")
    assert zilliz("collection", "list") == []
    assert zilliz.refused("collection", "describe", "--name", "slow")["code"] == 100


def test_vectors_are_written_searched_read_and_deleted(zilliz):
    zilliz("collection", "create", "--name", "points", "--dimension", 3, "--metric-type", "L2")
    here = ("--collection", "points")
    assert zilliz("vector", "insert", *here, "--data", rows(10)) == {"insertCount": 10, "insertIds": list(range(10))}
    found = zilliz("vector", "search", *here, "--data", [[7.2, 0, 0.5]], "--limit", 3, "--output-fields", ["colour"])
    assert [(row["id"], row["colour"]) for row in found] == [(7, "c1"), (8, "c2"), (6, "c0")]
    assert found[0]["distance"] == pytest.approx(0.04, abs=1e-5)
    found = zilliz("vector", "search", *here, "--data", [[0, 0, 0.5]], "--anns-field", "vector", "--filter", "colour == 'c2'")
    assert [row["id"] for row in found] == [2, 5, 8]

    found = zilliz("vector", "query", *here, "--filter", "id > 7", "--output-fields", ["id", "colour"])
    assert found == [{"id": 8, "colour": "c2"}, {"id": 9, "colour": "c0"}]
    assert zilliz("vector", "query", *here, "--filter", "id >= 0", "--output-fields", ["count(*)"]) == [{"count(*)": 10}]
    assert zilliz("vector", "get", *here, "--id", [3]) == [{"id": 3, "vector": [3.0, 0.0, 0.5], "colour": "c0"}]

    large = 9_223_372_036_854_775_807
    row = {"id": large, "vector": [1, 1, 1], "count": 9_007_199_254_740_993, "nested": {"a": [1, {"b": None}]}}
    assert zilliz("vector", "upsert", *here, "--data", [row]) == {"upsertCount": 1, "upsertIds": [large]}
    assert zilliz("vector", "get", *here, "--id", [str(large)]) == [row]
    assert zilliz("vector", "delete", *here, "--filter", f"id in [0, {large}]", "--yes") == {"deleteCount": 2}
    assert zilliz("collection", "get-stats", "--name", "points") == {"rowCount": 9}

    wrong = zilliz.refused("vector", "insert", *here, "--data", [{"id": 1, "vector": [1, 2]}])
    assert wrong["code"] == 1100 and "'vector'" in wrong["message"]
    search = [{"data": [[1, 1, 1]], "annsField": "vector", "limit": 1}]
    missing = zilliz.refused("vector", "hybrid-search", *here, "--search", search, "--rerank", {"strategy": "rrf"})
    assert "entities/hybrid_search is not implemented by Custody" in missing["message"]


def test_databases_partitions_indexes_and_aliases(zilliz):
    zilliz("database", "create", "--name", "tenant")
    assert zilliz("database", "list") == ["default", "tenant"]
    told = zilliz("database", "describe", "--name", "tenant")
    assert {"key": "cipher.enabled", "value": "true"} in told["properties"]
    here = ("--database", "tenant")
    zilliz("collection", "create", "--name", "points", "--dimension", 3, "--metric-type", "L2", *here)
    assert (zilliz("collection", "list"), zilliz("collection", "list", *here)) == ([], ["points"])
    of = ("--collection", "points", *here)

    zilliz("partition", "create", *of, "--partition", "west")
    assert zilliz("partition", "list", *of) == ["_default", "west"]
    assert zilliz("partition", "has", *of, "--partition", "west") == {"has": True}
    zilliz("vector", "upsert", *of, "--partition", "west", "--data", rows(2))
    zilliz("vector", "insert", *of, "--data", [{"id": 9, "vector": [0, 0, 0]}])
    assert zilliz("partition", "get-stats", *of, "--partition", "west") == {"rowCount": 2}
    zilliz("partition", "load", *of, "--names", ["west"])
    zilliz("partition", "release", *of, "--names", ["west"], "--yes")
    zilliz("partition", "drop", *of, "--partition", "west", "--yes")
    assert zilliz("partition", "has", *of, "--partition", "west") == {"has": False}
    assert zilliz("collection", "get-stats", "--name", "points", *here) == {"rowCount": 1}

    assert zilliz("index", "list", *of) == ["vector"]
    told = zilliz("index", "describe", *of, "--index-name", "vector")[0]
    assert (told["indexType"], told["metricType"], told["fieldName"]) == ("AUTOINDEX", "L2", "vector")
    zilliz("collection", "release", "--name", "points", *here, "--yes")
    zilliz("index", "drop", *of, "--index-name", "vector", "--yes")
    assert zilliz("index", "list", *of) == []
    params = [{"fieldName": "vector", "indexName": "graph", "metricType": "COSINE", "indexType": "HNSW"}]
    zilliz("index", "create", *of, "--body", {"indexParams": params})
    assert zilliz("index", "describe", *of, "--index-name", "graph")[0]["metricType"] == "COSINE"
    refusal = zilliz.refused("index", "create", *of, "--body", {"indexParams": [{**params[0], "indexType": "IVF_PQ"}]})
    assert "IVF_PQ" in refusal["message"]

    zilliz("alias", "create", *of, "--alias", "live")
    assert zilliz("alias", "list", *here) == ["live"]
    told = zilliz("alias", "describe", "--alias", "live", *here)
    assert told == {"dbName": "tenant", "aliasName": "live", "collectionName": "points"}
    zilliz("collection", "create", "--name", "other", "--dimension", 3, *here)
    zilliz("alias", "alter", "--collection", "other", "--alias", "live", *here)
    assert zilliz("alias", "list", *here, "--collection", "other") == ["live"]
    zilliz("alias", "drop", "--alias", "live", *here, "--yes")
    assert zilliz("alias", "list", *here) == []
    for name in ("points", "other"):
        zilliz("collection", "drop", "--name", name, *here, "--yes")
    zilliz("database", "drop", "--name", "tenant", "--yes")
    assert zilliz("database", "list") == ["default"]
    assert zilliz.refused("database", "describe", "--name", "tenant")["code"] == 800


def test_users_are_managed_and_roles_are_said_to_be_missing(zilliz, encrypted_node, tmp_path):
    zilliz("user", "create", "--user", "ada", "--password", "first-one")
    assert zilliz("user", "list") == ["ada", "root"]
    assert zilliz("user", "describe", "--user", "ada") == []
    ada = Zilliz(tmp_path / "ada", encrypted_node, token="ada:first-one")
    assert ada("collection", "list") == []
    assert ada.refused("user", "list")["code"] == 1401
    ada("user", "update-password", "--user", "ada", "--password", "first-one", "--new-password", "second-one")
    assert ada.refused("collection", "list")["code"] == 1800
    assert "roles/list is not implemented by Custody" in zilliz.refused("role", "list")["message"]
    zilliz("user", "drop", "--user", "ada", "--yes")
    assert zilliz("user", "list") == ["root"]
    assert Zilliz(tmp_path / "key", encrypted_node, token=API_KEY)("database", "list") == ["default"]


def test_what_rest_wrote_is_what_grpc_reads_and_it_outlives_the_process(zilliz, encrypted_node):
    zilliz("collection", "create", "--name", "points", "--dimension", 3, "--metric-type", "L2")
    zilliz("vector", "insert", "--collection", "points", "--data", rows(5))
    encrypted_node.kill()
    encrypted_node.start()
    client = encrypted_node.client()
    assert client.get("points", [4])[0]["colour"] == "c1"
    client.insert("points", [{"id": 5, "vector": [5, 0, 0.5], "colour": "grpc"}])
    assert zilliz("vector", "get", "--collection", "points", "--id", [5])[0]["colour"] == "grpc"


def test_a_sealed_cluster_answers_503_with_the_reason_and_comes_back(encrypted_node, local_kms):
    node = encrypted_node
    created = post(node, "collections/create", b'{"collectionName": "points", "dimension": 2}')
    assert created == (200, {"code": 0, "data": {}})
    local_kms.disable(node.key_arn)
    node.wait_for("the cluster to be sealed", lambda: post(node, "collections/list", b"{}")[0] == 503)
    # Whoever holds a credential of the settings learns why, whichever process answers.
    status, told = heard(node, "collections/list", b"{}")
    assert (status, told["code"]) == (503, 2) and "sealed" in told["message"] and told["message"] != "sealed"
    assert heard(node, "collections/list", b"{}", token="root:wrong") == (503, {"code": 2, "message": "sealed"})
    local_kms.enable(node.key_arn)
    node.wait_for("the cluster to come back", lambda: post(node, "collections/list", b"{}")[0] == 200)
    assert heard(node, "collections/list", b"{}")[1]["data"] == ["points"]


def test_no_body_ends_the_process(encrypted_node):
    """Whatever is sent to any call, the answer is JSON and the next call is answered."""
    bodies = [
        b"",
        b"{",
        b"[" * 1_000_000,
        b'{"a":' * 500_000,
        b'{"collectionName":' + b"[" * 300_000 + b"]" * 300_000 + b"}",
        b'{"collectionName": "c", "data": ' + b"[" * 300_000 + b"]" * 300_000 + b"}",
        b'{"collectionName": "c", "filter": "' + b"(" * 300_000 + b'"}',
        b'{"collectionName": "c", "schema": {"fields": [{}]}, "indexParams": [[]]}',
        b'{"collectionName": "\\ud800", "data": "\\u0000", "limit": 1e999, "dimension": -1}',
        b"\xff\xfe\x00",
    ]
    for path in ["collections/create", "entities/insert", "entities/search", "entities/query", "entities/get"]:
        for body in bodies:
            status, answer = post(encrypted_node, path, body)
            assert status in (200, 400) and answer["code"] != 0, f"{path} {body[:40]!r}: {status} {answer}"
            assert len(answer["message"]) < 1_200
    assert post(encrypted_node, "collections/list", b"{}") == (200, {"code": 0, "data": []})
