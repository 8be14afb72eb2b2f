"""Decomposition: the result of stage 1 for one image."""

from dataclasses import dataclass

from dvt.field import Field
from dvt.grid import PatchGrid
from dvt.shapes import FeatureMap, FineMap


@dataclass(frozen=True, slots=True, eq=False)
class Decomposition:
    """Decomposition of the full view of one image: raw = clean + artifact + residual.

    All maps are float32 on the CPU: (H, W, C) at the patches of `grid`, and `fine` at the cells of `fine_grid`.
    """

    raw: FeatureMap
    """Features of the backbone."""
    clean: FeatureMap
    """F on the full view."""
    artifact: FeatureMap
    """G, one vector per patch position, shared by all views; its mean over the positions is zero."""
    field: Field
    """F itself, on the device of the solver: `field.read(grid)` evaluates it at any grid, `field.read(xy)` at any
    position. With the closed form it has the values `field.values` on the nodes `field.nodes`."""
    grid: PatchGrid
    """The patches of the full view."""
    fine: FineMap
    """(H fine, W fine, C) F at the cells of `fine_grid`; with `fine=1` the clean map."""
    fine_grid: PatchGrid
    """`grid.finer(fine)`: the cells, `fine` per patch along each side."""
    diagnostics: dict[str, float]
    """Measurements of the run.

    `extract_s`, `solve_s`: seconds. `num_views`: random crops. As shares of the variance of the tokens:
    `artifact_share` (mean square of G), `full_view_error` (of F + G on the full view), and, with
    `views.held_out_views` above 0, `held_out_error` (of F + G on those views, of their own variance). Closed form:
    `nodes`, `turned_down` (share of tokens treated as outliers). Gradient: `final_distance` (loss of the last batch).
    """

    @property
    def residual(self) -> FeatureMap:
        """(H, W, C) the part of the raw features that neither F nor G explains."""
        return self.raw - self.clean - self.artifact

    def _repr_html_(self) -> str | None:
        """An explorer of the terms, for notebooks; None where they do not fit: the notebook then shows text."""
        from dvt.viz.explorer.notebook import decomposition_html

        return decomposition_html(self.raw, self.clean, self.artifact, self.residual, self.fine, self.grid)
