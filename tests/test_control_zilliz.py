"""zilliz-cli as its users run it, against the control plane: projects, clusters and jobs, and through a cluster's node what it
holds."""

import pytest

from helpers.zilliz import Refused, ZillizCloud


@pytest.fixture
def control(make_control):
    return make_control().start()


@pytest.fixture
def zilliz(control, tmp_path) -> ZillizCloud:
    return ZillizCloud(tmp_path / "zilliz", control)


def create(zilliz, project: str) -> dict:
    unit = ("--cu-type", "Performance-optimized", "--cu-size", 1)
    place = ("--project-id", project, "--region", "aws-us-west-2")
    return zilliz("cluster", "create", "--name", "vectors", "--type", "dedicated", *place, *unit)


def test_projects_are_made_listed_described_and_upgraded(control, zilliz):
    project = zilliz("project", "create", "--name", "one", "--plan", "Standard")
    project = project["projectId"] if isinstance(project, dict) else project
    assert [it["projectName"] for it in zilliz("project", "list")] == ["one"]
    told = zilliz("project", "describe", "--project-id", project)
    assert (told["projectId"], told["plan"], told["instanceCount"]) == (project, "Standard", 0)
    zilliz("project", "upgrade", "--project-id", project, "--plan", "Enterprise")
    assert control.call("GET", f"/v2/projects/{project}")["plan"] == "Enterprise"
    assert "no project" in zilliz.refused("project", "describe", "--project-id", "proj-none")["message"]
    assert [it["cloudId"] for it in zilliz("cluster", "providers")] == ["aws", "local"]
    assert "aws-us-west-2" in [it["regionId"] for it in zilliz("cluster", "regions", "--cloud-id", "aws")]


def test_a_cluster_is_made_used_suspended_resumed_modified_and_deleted(control, zilliz):
    project = control.create_project(plan="Enterprise")
    made = create(zilliz, project)
    cluster = made["clusterId"]
    assert (made["username"], len(made["password"])) == ("root", 32)
    job = zilliz("job", "describe", "--job-id", made["jobId"], "--wait", "--interval", 1)
    assert (job["status"], job["progress"], job["type"]) == ("SUCCESSFUL", 100, "CREATE_CLUSTER")
    told = zilliz("cluster", "describe", "--cluster-id", cluster)
    assert (told["status"], told["clusterName"], told["regionId"]) == ("RUNNING", "vectors", "aws-us-west-2")
    listed = zilliz("cluster", "list")
    listed = listed["clusters"] if isinstance(listed, dict) else listed
    assert [it["clusterId"] for it in listed] == [cluster]
    # The address and the plan come from the control plane, and the same API key opens the node.
    assert told["connectAddress"] in zilliz.text("context", "set", "--cluster-id", cluster, "--database", "default")
    zilliz("database", "create", "--name", "library")
    assert sorted(zilliz("database", "list")) == ["default", "library"]
    zilliz("collection", "create", "--name", "words", "--dimension", 3, "--metric-type", "L2")
    rows = [{"id": number, "vector": [number, 0, 0]} for number in range(5)]
    assert zilliz("vector", "insert", "--collection", "words", "--data", rows)["insertCount"] == 5
    found = zilliz("vector", "search", "--collection", "words", "--data", [[2, 0, 0]], "--limit", 1)
    assert found[0]["id"] == 2
    zilliz("partition", "create", "--collection", "words", "--partition", "part")
    assert "part" in zilliz("partition", "list", "--collection", "words")
    zilliz("alias", "create", "--collection", "words", "--alias", "spoken")
    assert zilliz("alias", "list", "--database", "default") == ["spoken"]
    assert zilliz("index", "list", "--collection", "words") == ["vector"]
    zilliz("cluster", "modify", "--cluster-id", cluster, "--cu-size", 2)
    assert zilliz("cluster", "describe", "--cluster-id", cluster)["cuSize"] == 2
    assert "replica" in zilliz.refused("cluster", "modify", "--cluster-id", cluster, "--replica", 3)["message"]
    zilliz("cluster", "suspend", "--cluster-id", cluster)
    assert zilliz("cluster", "describe", "--cluster-id", cluster)["status"] == "SUSPENDED"
    with pytest.raises(Refused):
        zilliz("collection", "list")
    zilliz("cluster", "resume", "--cluster-id", cluster)
    control.wait_for(
        "it to run", lambda: zilliz("cluster", "describe", "--cluster-id", cluster)["status"] == "RUNNING"
    )
    assert zilliz("collection", "list") == ["words"]
    dropped = zilliz("cluster", "delete", "--cluster-id", cluster, "--yes")
    job = zilliz("job", "describe", "--job-id", dropped["jobId"], "--wait", "--interval", 1)
    assert (job["status"], job["type"]) == ("SUCCESSFUL", "DROP_CLUSTER")
    assert "no cluster" in zilliz.refused("cluster", "describe", "--cluster-id", cluster)["message"]


def test_a_readers_key_sees_and_changes_nothing(control, tmp_path):
    project = control.create_project(plan="Enterprise")
    cluster = control.create_cluster(project)
    zilliz = ZillizCloud(tmp_path / "reader", control, control.create_api_key("ProjectReadOnly", project))
    assert zilliz("cluster", "describe", "--cluster-id", cluster.id)["status"] == "RUNNING"
    for command in ("suspend", "resume", "delete"):
        extra = ("--yes",) if command == "delete" else ()
        assert "may not" in zilliz.refused("cluster", command, "--cluster-id", cluster.id, *extra)["message"]
    zilliz.text("context", "set", "--cluster-id", cluster.id, "--database", "default")
    assert zilliz("collection", "list") == []
    with pytest.raises(Refused):
        zilliz("collection", "create", "--name", "words", "--dimension", 3)
