"""One number or one label per patch, from feature vectors; and the checks of feature maps."""

import warnings
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dvt.errors import DvtError
from dvt.shapes import FeatureMap, Float, Int64

MapOfAnySize: TypeAlias = Float[Tensor, "_ _ _"]
"""A feature map (H, W, C); other maps of the same call may have other numbers of rows and columns."""


def norm_map(feature_map: FeatureMap) -> Float[Tensor, "H W"]:
    """Norm of the feature vector of each patch, float32, on the CPU.

    Raises:
        DvtError: not a finite feature map.
    """
    require_map(feature_map, "the feature map")
    norms: Tensor = torch.linalg.vector_norm(feature_map.detach().cpu().float(), dim=-1)
    return norms


def similarity_map(feature_map: FeatureMap, row: int, column: int) -> Float[Tensor, "H W"]:
    """Cosine between each patch and the one at (row, column), in [-1, 1], float32, on the CPU.

    The similarity of zero vectors is 0.

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
    """Cluster the directions of feature vectors by k-means, over all maps together.

    Labels are ordered by cluster size, largest first; clusters of equal size are ordered by their centres. There are
    fewer labels if there are fewer distinct directions.

    Args:
        feature_maps: (H, W, C) each; H and W may differ, C may not.
        num_clusters: at least 1.
        seed: seed of the k-means initialisation.

    Returns:
        Labels counted from 0, one (H, W) map for each feature map.

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


def require_map(feature_map: Tensor, name: str) -> None:
    """Check that a tensor is a finite (rows, columns, channels) map of floats.

    Raises:
        DvtError: wrong shape or type, empty, or values that are NaN or infinite; the message has `name` and the place.
    """
    shape = tuple(feature_map.shape)
    if feature_map.ndim != 3 or feature_map.numel() == 0 or not feature_map.is_floating_point():
        raise DvtError(
            f"{name} has shape {shape} and type {feature_map.dtype}."
            " Expected a feature map of floats, (rows, columns, channels), without a batch dimension."
        )
    broken = (~feature_map.isfinite()).any(dim=-1).nonzero()
    if len(broken):
        row, column = broken[0].tolist()
        raise DvtError(
            f"{name} has values that are NaN or infinite in {len(broken)} of {shape[0] * shape[1]} patches"
            f" (the first at row {row}, column {column}). Check how it is computed."
        )


def require_maps(feature_maps: Sequence[Tensor], names: Sequence[str] | None = None) -> None:
    """Check that there are maps, all finite and with the same number of channels.

    Raises:
        DvtError: the message names the map; without `names`, maps are counted from 1.
    """
    if not feature_maps:
        raise DvtError("no feature maps were given. Give at least one.")
    if names is None:
        names = [f"map {number} of {len(feature_maps)}" for number in range(1, len(feature_maps) + 1)]
    for feature_map, name in zip(feature_maps, names, strict=True):
        require_map(feature_map, name)
        if feature_map.shape[-1] != feature_maps[0].shape[-1]:
            raise DvtError(
                f"{names[0]} has {feature_maps[0].shape[-1]} channels and {name} has {feature_map.shape[-1]}."
                " Maps that share colours must come from the same features."
            )


def require_patch(feature_map: Tensor, row: int, column: int) -> None:
    """Check that a patch is on the map.

    Raises:
        DvtError: the message has the numbers of rows and columns.
    """
    rows, columns = feature_map.shape[:2]
    if not (0 <= row < rows and 0 <= column < columns):
        raise DvtError(
            f"there is no patch at row {row}, column {column}: the map has {rows} rows and {columns} columns."
            " Count from 0."
        )
