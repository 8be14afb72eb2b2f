"""Several images' maps of the same kinds, one row each: what a training shows of itself."""

from collections.abc import Mapping, Sequence

from dvt.shapes import FeatureMap
from dvt.viz.panel import Tile
from dvt.viz.pca import PCABasis


def sample_rows(samples: Sequence[tuple[str, Mapping[str, FeatureMap]]]) -> list[list[Tile]]:
    """PCA colours of several images, a row each, for `draw_panel`.

    Args:
        samples: a name and its (H, W, C) maps, under the same names for all; one basis per image, so that its maps
            can be compared.
    """
    rows = []
    for key, maps in samples:
        basis = PCABasis.fit(list(maps.values()))
        rows.append([Tile(f"{name}: PCA   {key}", basis.colours(one)) for name, one in maps.items()])
    return rows
