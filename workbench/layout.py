"""The joint space on a sheet of paper: PCA by default, UMAP on demand, each with how far to trust it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from workbench.records import Record, Table

METHODS = ("pca", "umap")


@dataclass(frozen=True)
class Layout(Record):
    """Two coordinates per item, xy (N, 2). `trust` is scikit-learn's trustworthiness (1 is perfect) over `neighbours`.

    `explained` is the share of variance of each PCA axis, None for UMAP. Coordinates of UMAP differ between machines:
    compare trust, never positions.
    """

    method: str
    xy: np.ndarray
    trust: float
    neighbours: int
    explained: tuple[float, float] | None = None

    def table(self) -> Table:
        rows = [("items", str(len(self.xy))), (f"trustworthiness, {self.neighbours} neighbours", f"{self.trust:.2f}")]
        if self.explained:
            rows += [("variance shown", f"{100 * sum(self.explained):.0f} %")]
        return Table(f"Layout: {self.method.upper()}", ("what", "value"), tuple(rows))


def layout(vectors: Tensor, *, method: str = "pca", seed: int = 0, neighbours: int = 5) -> Layout:
    """Unit vectors of items (N, d) on two axes. Raises ValueError for an unknown method or fewer than 2·neighbours items."""
    if method not in METHODS:
        raise ValueError(f"method={method!r}; choose one of {', '.join(METHODS)}")
    if vectors.ndim != 2 or len(vectors) <= 2 * neighbours:
        raise ValueError(
            f"vectors {tuple(vectors.shape)}; a layout needs more than {2 * neighbours} items of one width"
        )
    from sklearn.manifold import trustworthiness

    unit = F.normalize(vectors.float(), dim=-1).numpy()
    xy, explained = _pca(unit) if method == "pca" else (_umap(unit, seed), None)
    return Layout(method, xy, float(trustworthiness(unit, xy, n_neighbors=neighbours)), neighbours, explained)


def _pca(unit: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    from sklearn.decomposition import PCA

    pca = PCA(n_components=2, svd_solver="full")  # scikit-learn fixes the signs
    return pca.fit_transform(unit), tuple(map(float, pca.explained_variance_ratio_))


def _umap(unit: np.ndarray, seed: int) -> np.ndarray:
    import umap

    # One job: a seed makes UMAP serial anyway, and saying so keeps it from warning.
    return umap.UMAP(random_state=seed, n_jobs=1, metric="cosine", n_neighbors=min(15, len(unit) - 1)).fit_transform(
        unit
    )
