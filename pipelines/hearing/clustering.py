"""Which embeddings are one voice: groups by average linkage or by their spectrum, joined while they are too alike."""

import numpy as np
from numpy.typing import NDArray

from models.frozen import Split

Vectors = NDArray[np.float32]

FEWEST_BETWEEN = 2
"""Windows of another voice in the middle of a clip: one alone, of 81 clips of one voice, was as far off in two."""
SURE_SECONDS = 1.0
"""Windows of less join a voice, but found none."""


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


def spectral(vectors: Vectors, *, most: int, kept_share: float = 0.02, fewest_kept: int = 6) -> list[int]:
    """Clusters by the spectrum of the graph of cosines, as many as the widest gap between its eigenvalues says.

    Each vector keeps its nearest neighbors only (3D-Speaker's p-pruning): `kept_share` of all, `fewest_kept` at least.
    """
    from scipy.linalg import eigh
    from sklearn.cluster import KMeans

    count = len(vectors)
    if count < 3:
        return [0] * count
    graph = (vectors @ vectors.T).astype(np.float64)
    kept = min(count, max(fewest_kept, round(kept_share * count)))
    np.put_along_axis(graph, np.argsort(graph, axis=1, kind="stable")[:, : count - kept], 0.0, axis=1)
    graph = np.maximum((graph + graph.T) / 2, 0)
    np.fill_diagonal(graph, 0)
    laplacian = np.diag(graph.sum(axis=1)) - graph
    values, basis = eigh(laplacian, subset_by_index=[0, min(most, count - 1)])
    groups = int(np.argmax(np.diff(values))) + 1
    if groups == 1:
        return [0] * count
    return [int(label) for label in KMeans(groups, n_init=10, random_state=0).fit_predict(basis[:, :groups])]


def joined(vectors: Vectors, labels: list[int], *, weights: NDArray[np.float64], split: Split) -> list[int]:
    """The two groups that are most too alike to be two voices join, again and again.

    Means of few windows vary more than means of many: the cosine of two voices is below 1 - limit - spread / sqrt(n),
    n the weight of the smaller group; `split` says how much for an embedder.
    """
    found = np.asarray(labels).copy()
    names = [int(name) for name in np.unique(found)]
    sums = np.stack([(vectors * weights[:, None])[found == name].sum(axis=0) for name in names])
    counts = np.array([weights[found == name].sum() for name in names])
    while len(names) > 1:
        centroids = unit(sums)
        smaller = np.minimum(counts[:, None], counts[None])
        excess = centroids @ centroids.T - (1 - split.limit - split.spread / np.sqrt(np.maximum(smaller, 1e-3)))
        np.fill_diagonal(excess, -np.inf)
        one, other = sorted(int(at) for at in np.unravel_index(int(excess.argmax()), excess.shape))
        if excess[one, other] < 0:
            break
        found[found == names[other]] = names[one]
        sums[one] += sums[other]
        counts[one] += counts[other]
        del names[other]
        sums, counts = np.delete(sums, other, axis=0), np.delete(counts, other)
    return [names.index(int(label)) for label in found]


def voices_of(
    vectors: Vectors, *, seconds: NDArray[np.float64], split: Split, method: str, most: int
) -> tuple[list[int], Vectors]:
    """The voice of each window, numbered from 0, and the voices' centroids.

    Windows of a second and more found the voices; then each goes to the nearest one. Of more than `most` voices, those
    heard longest stay.
    """
    founders = np.flatnonzero(seconds >= SURE_SECONDS)
    founders = founders if len(founders) else np.arange(len(vectors))
    sure, weights = vectors[founders], seconds[founders] / split.window_seconds
    start = spectral(sure, most=most) if method == "spectral" else linked(sure, same_cosine=split.certain)
    labels = np.array(joined(sure, start, weights=weights, split=split))
    heard = np.bincount(labels, weights=weights)
    kept = np.sort(np.argsort(-heard, kind="stable")[:most])
    centroids = unit(np.stack([(sure * weights[:, None])[labels == voice].sum(axis=0) for voice in kept]))
    return [int(voice) for voice in (vectors @ centroids.T).argmax(axis=1)], centroids


def split_gain(vectors: Vectors, *, spread: float) -> float:
    """How far apart two voices lie at the best place: before and after a cut, or in and around an interval, as where
    another says a few words in between. It is 1 less their cosine, less what few windows vary.

    `vectors`: windows in order of time, two at least; `spread`: see `models.frozen.Split`.
    """
    count = len(vectors)
    sums = np.concatenate([np.zeros((1, vectors.shape[1])), np.cumsum(vectors, axis=0, dtype=np.float64)])
    start, end = np.triu_indices(count + 1, k=1)
    size = end - start
    counts = (size < count) & ((start == 0) | ((size >= FEWEST_BETWEEN) & (end < count)))
    start, end, size = start[counts], end[counts], size[counts]
    inside = sums[end] - sums[start]
    outside = sums[-1] - inside
    norms = np.linalg.norm(inside, axis=1) * np.linalg.norm(outside, axis=1)
    cosines = (inside * outside).sum(axis=1) / np.maximum(norms, 1e-9)
    return float((1 - cosines - spread / np.sqrt(np.minimum(size, count - size))).max())
