"""A node's record of its calls to KMS, as it stands in a log of JSON, and what else is told there with its time."""

import datetime
import json


def lines(node) -> list[dict]:
    """What the node has logged. Its last line may still be under way."""
    return [json.loads(line) for line in node.said().split("\n")[:-1] if line.startswith("{")]


def ledger(node) -> list[dict]:
    """The calls that the node says it made."""
    return [line["fields"] for line in lines(node) if line["target"] == "custody_kms::ledger"]


def seconds(told: str) -> float:
    return datetime.datetime.fromisoformat(told).timestamp()


def began(entry: dict) -> float:
    return seconds(entry["at"])


def ended(entry: dict) -> float:
    """The end of a call, to the millisecond."""
    return began(entry) + entry["took_ms"] / 1_000
