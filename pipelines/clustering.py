"""Groups of embeddings that are one voice: of clips by average linkage, of windows by their spectrum."""

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


def unit(vectors: Vectors) -> Vectors:
    """The vectors (the last axis) at length 1."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-9), dtype=np.float32)


def linked(vectors: NDArray[np.float64] | Vectors, *, same_cosine: float) -> list[int]:
    """Average-linkage clusters of unit vectors, cut where the mean cosine falls below `same_cosine`."""
    if len(vectors) < 2:
        return [0] * len(vectors)
    from scipy.cluster.hierarchy import fcluster, linkage

    tree = linkage(np.asarray(vectors, dtype=np.float64), method="average", metric="cosine")
    return [int(label) for label in fcluster(tree, t=1 - same_cosine, criterion="distance")]


def split_gain(vectors: Vectors, *, spread: float) -> float:
    """How far apart the voices before and after the best cut lie: 1 less their cosine, less what few windows vary.

    `vectors`: windows in order of time, two at least; `spread`: see `models.frozen.Split`.
    """
    sums = np.cumsum(vectors, axis=0, dtype=np.float64)
    before, after = sums[:-1], sums[-1] - sums[:-1]
    norms = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    cosines = (before * after).sum(axis=1) / np.maximum(norms, 1e-9)
    count = np.arange(1, len(vectors))
    return float((1 - cosines - spread / np.sqrt(np.minimum(count, len(vectors) - count))).max())
