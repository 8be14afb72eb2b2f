"""DecomposedImage: what stage 1 knows of an image in the end."""

from dataclasses import dataclass

from dvt.grid import PatchGrid
from dvt.shapes import FeatureMap


@dataclass(frozen=True, slots=True, eq=False)
class DecomposedImage:
    """The full view of one image, decomposed: raw = clean + artifact + residual.

    All maps are (H, W, C) float32 on the CPU; rows, columns and centres of the patches are those of `grid`.
    """

    raw: FeatureMap
    """Features of the backbone."""
    clean: FeatureMap
    """F at the places that the patches of the full view look at."""
    artifact: FeatureMap
    """G, one vector per patch position, shared by all views; its mean over the positions is zero."""
    grid: PatchGrid
    """The patches of the full view."""
    diagnostics: dict[str, float]
    """Numbers about the run.

    `extract_s`, `solve_s`: seconds. `num_views`: random crops. As shares of the variance of the tokens:
    `artifact_share` (mean square of G), `full_view_error` (of F + G on the full view), and, with
    `views.held_out_views` above 0, `held_out_error` (of F + G on those views, of their own variance). Closed form:
    `nodes`, `turned_down` (share of tokens taken for outliers). Gradient: `final_distance`, the loss of the last batch.
    """

    @property
    def residual(self) -> FeatureMap:
        """(H, W, C) what neither F nor G explains of the raw features."""
        return self.raw - self.clean - self.artifact
