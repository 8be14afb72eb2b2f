"""One number or one label per patch, from feature vectors."""

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dvt.errors import DvtError
from dvt.shapes import FeatureMap
from dvt.viz.check import MapOfAnySize, require_map, require_maps, require_patch


def norm_map(feature_map: FeatureMap) -> Float[Tensor, "H W"]:
    """Length of the feature vector of each patch, float32, on the CPU.

    Raises:
        DvtError: not a finite feature map.
    """
    require_map(feature_map, "the feature map")
    norms: Tensor = torch.linalg.vector_norm(feature_map.detach().cpu().float(), dim=-1)
    return norms


def similarity_map(feature_map: FeatureMap, row: int, column: int) -> Float[Tensor, "H W"]:
    """Cosine between each patch and the one at (row, column), in [-1, 1], float32, on the CPU.

    Vectors of length zero have no direction; their similarity is 0.

    Raises:
        DvtError: not a finite feature map, or no such patch.
    """
    require_map(feature_map, "the feature map")
    require_patch(feature_map, row, column)
    directions = _directions(feature_map)
    return (directions @ directions[row, column]).float()  # single precision rounds 1 + 2e-16 to 1


def cluster_map(
    feature_maps: Sequence[MapOfAnySize], num_clusters: int = 5, seed: int = 0
) -> list[Int64[Tensor, "rows columns"]]:
    """Group the directions of feature vectors by k-means, over all maps together.

    Label 0 is the largest cluster over all maps, and so on; clusters of one size are ordered by their centres. There
    are fewer labels when there are fewer different directions.

    Args:
        feature_maps: (H, W, C) each; H and W may differ, C may not.
        num_clusters: at least 1.
        seed: of the k-means start.

    Returns:
        Labels from 0, one map of (H, W) for each given.

    Raises:
        DvtError: no maps, different C, a map that is not finite, or more clusters than patches.
    """
    require_maps(feature_maps)
    tokens = torch.cat([_directions(feature_map).flatten(0, 1) for feature_map in feature_maps]).numpy()
    if not 1 <= num_clusters <= len(tokens):
        raise DvtError(f"{num_clusters} clusters of {len(tokens)} patches cannot be made. Give 1 to {len(tokens)}.")
    labels = torch.from_numpy(_kmeans(tokens, num_clusters, seed))
    sizes = [feature_map.shape[0] * feature_map.shape[1] for feature_map in feature_maps]
    return [
        part.reshape(feature_map.shape[:2])
        for part, feature_map in zip(torch.split(labels, sizes), feature_maps, strict=True)
    ]


def _directions(feature_map: Tensor) -> Tensor:
    return torch.nn.functional.normalize(feature_map.detach().cpu().double(), dim=-1)


def _kmeans(tokens: npt.NDArray[np.float64], num_clusters: int, seed: int) -> npt.NDArray[np.int64]:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    kmeans = KMeans(num_clusters, n_init=4, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different directions than clusters
        labels = kmeans.fit_predict(tokens)
    sizes = np.bincount(labels, minlength=num_clusters)
    by_size = sorted(range(num_clusters), key=lambda label: (-sizes[label], tuple(kmeans.cluster_centers_[label])))
    new_label = np.empty(num_clusters, dtype=np.int64)
    new_label[by_size] = np.arange(num_clusters)
    ordered: npt.NDArray[np.int64] = new_label[labels]
    return ordered
