"""Feature maps as colours, tiles, labelled panels, image files and videos. No result is computed here.

`maps` has one number or label per patch, `colours` turns maps into colours, `rows` arranges them as tiles, `panel`
draws the tiles, `save` writes images and videos, `page` writes HTML, and `explorer` a page that compares maps in the
browser. matplotlib's colour maps and scikit-learn are imported on first use; pyplot is never imported.
"""

from dvt.viz.colours import PCABasis, colourise, colourise_labels
from dvt.viz.maps import cluster_map, norm_map, similarity_map
from dvt.viz.panel import Tile, draw_panel
from dvt.viz.rows import colour_row, decomposition_rows, kept_row, method_rows, sample_rows
from dvt.viz.save import save_png, write_video

__all__ = [
    "PCABasis",
    "Tile",
    "cluster_map",
    "colour_row",
    "colourise",
    "colourise_labels",
    "decomposition_rows",
    "draw_panel",
    "kept_row",
    "method_rows",
    "norm_map",
    "sample_rows",
    "save_png",
    "similarity_map",
    "write_video",
]
