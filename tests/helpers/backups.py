"""What tests do with backups of a cluster of the control plane."""

import pathlib

from .control import Cluster, Control
from .node import contents, files_under


class Backup:
    """A backup of a cluster."""

    def __init__(self, cluster: Cluster, asked: dict):
        self.control, self.cluster, self.asked, self.id = cluster.control, cluster, asked, asked["backupId"]
        self.path = f"{cluster.path}/backups/{self.id}"

    def describe(self) -> dict:
        return self.control.call("GET", self.path)

    def made(self) -> "Backup":
        """Waits until it is complete."""
        self.control.job(self.asked["jobId"], "SUCCESSFUL")
        assert self.describe()["status"] == "AVAILABLE"
        return self

    def delete(self) -> dict:
        """Deletes it and waits until it is gone."""
        return self.control.job(self.control.call("DELETE", self.path)["jobId"], "SUCCESSFUL")

    def body(self, project: str, key_arn: str | None, name: str, **more) -> dict:
        key = {"keyIdentifier": key_arn} if key_arn else {}
        wanted = {"projectId": project, "clusterName": name, "cuSize": 1, "collectionStatus": "LOADED"}
        return {**wanted, **key, **more}

    def ask_restore(self, project: str, key_arn: str | None = None, name: str = "restored", **more) -> Cluster:
        body = self.body(project, key_arn, name, **more)
        return Cluster(self.control, self.control.call("POST", f"{self.path}/restoreCluster", body))

    def restore(self, project: str, key_arn: str | None = None, name: str = "restored", **more) -> Cluster:
        """Restores it into a new cluster, and waits until that serves."""
        cluster = self.ask_restore(project, key_arn, name, **more)
        self.control.job(cluster.made["jobId"], "SUCCESSFUL")
        cluster.wait_for_status("RUNNING")
        return cluster

    def refused(self, project: str, key_arn: str | None = None, name: str = "restored", *, token=None, **more):
        """Why a restore is refused; it must be."""
        kept = {} if token is None else {"token": token}
        return self.control.refused("POST", f"{self.path}/restoreCluster", self.body(project, key_arn, name, **more), **kept)


def ask_backup(cluster: Cluster, **body) -> Backup:
    asked = cluster.control.call("POST", f"{cluster.path}/backups/create", {"backupType": "CLUSTER", **body})
    return Backup(cluster, asked)


def back_up(cluster: Cluster, **body) -> Backup:
    """Has a backup made."""
    return ask_backup(cluster, **body).made()


def backups(control: Control, **wanted: str) -> list[dict]:
    query = "&".join(f"{name}={value}" for name, value in wanted.items())
    return control.call("GET", f"/v2/backups?{query}")["backups"]


def storage_of(cluster: Cluster) -> pathlib.Path:
    """Where a cluster's backups are."""
    return cluster.control.data_dir / "storage" / "backups" / cluster.id


def objects(cluster: Cluster, part: str = "") -> dict[str, bytes]:
    """What is stored of a cluster's backups, or of a part of that."""
    root = storage_of(cluster)
    return {str(path.relative_to(root)): content for path, content in contents(root / part).items()}


def object_names(cluster: Cluster, part: str = "") -> set[str]:
    """What it is called."""
    root = storage_of(cluster)
    return {str(path.relative_to(root)) for path in files_under(root / part)}
