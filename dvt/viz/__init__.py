"""Arrays in, pictures out: feature maps as colours, tiles and labelled panels. Nothing that computes a result is here.

`PCABasis`, `norm_map`, `similarity_map` and `cluster_map` say something about feature maps; `colourise` and
`colourise_labels` paint it; `decomposition_rows`, `method_rows` and `sample_rows` arrange it; `draw_panel` and
`save_png` put it on paper. matplotlib's colour maps and scikit-learn are imported when they are first used; pyplot
never is.
"""

from dvt.viz.colours import colourise, colourise_labels
from dvt.viz.figure import colour_row, decomposition_rows, method_rows
from dvt.viz.maps import cluster_map, norm_map, similarity_map
from dvt.viz.panel import Tile, draw_panel
from dvt.viz.pca import PCABasis
from dvt.viz.samples import sample_rows
from dvt.viz.save import save_png
from dvt.viz.video import write_video

__all__ = [
    "PCABasis",
    "Tile",
    "cluster_map",
    "colour_row",
    "colourise",
    "colourise_labels",
    "decomposition_rows",
    "draw_panel",
    "method_rows",
    "norm_map",
    "sample_rows",
    "save_png",
    "similarity_map",
    "write_video",
]
