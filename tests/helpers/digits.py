"""1,797 handwritten digits: real vectors with a known answer."""

import functools

import numpy as np

from .program import DIGITS


@functools.cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Vectors (64 floats, normalised) and labels."""
    table = np.loadtxt(DIGITS, delimiter=",", dtype=np.float32)
    vectors, labels = table[:, :-1], table[:, -1].astype(int)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), labels


def nearest(stored: np.ndarray, queries: np.ndarray, metric: str, limit: int) -> np.ndarray:
    """The places of the true nearest neighbours, by exact arithmetic in double precision."""
    return np.argsort(distances(stored, queries, metric), axis=1, kind="stable")[:, :limit]


def distances(stored: np.ndarray, queries: np.ndarray, metric: str) -> np.ndarray:
    """How far every stored vector is from each query; smaller is nearer whatever the metric."""
    stored, queries = stored.astype(np.float64), queries.astype(np.float64)
    products = queries @ stored.T
    match metric:
        case "IP":
            return -products
        case "COSINE":
            norms = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(stored, axis=1)[None, :]
            return -products / norms
        case "L2":
            squares = (queries**2).sum(axis=1)[:, None] + (stored**2).sum(axis=1)[None, :]
            return squares - 2 * products
        case other:
            raise ValueError(other)


def recall(found: list[list[int]], truth: np.ndarray) -> float:
    """The share of the true neighbours that were found."""
    hits = sum(len(set(mine) & set(real.tolist())) for mine, real in zip(found, truth, strict=True))
    return hits / truth.size
