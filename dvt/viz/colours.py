"""Numbers and labels -> colours."""

import difflib

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dvt.errors import DvtError


def colourise(
    values: Float[Tensor, "H W"], low: float, high: float, colormap: str = "inferno"
) -> Float[Tensor, "H W 3"]:
    """Paint numbers with one of matplotlib's colour maps.

    Args:
        values: (H, W), finite.
        low: painted with the first colour, as is everything below.
        high: painted with the last colour, as is everything above. Where it equals `low` all is the middle colour.
        colormap: a name that matplotlib knows.

    Returns:
        (H, W, 3) float32 in [0, 1] on the CPU.

    Raises:
        DvtError: values that are not finite, a range upside down, or an unknown colour map.
    """
    from matplotlib import colormaps

    if not values.isfinite().all():
        raise DvtError("the values to paint are not all finite. Look for NaN or infinity where they are made.")
    if not low <= high:
        raise DvtError(f"the colour range goes from {low:g} to {high:g}. Give low <= high.")
    if colormap not in colormaps:
        near = difflib.get_close_matches(colormap, list(colormaps)) or ["inferno", "viridis", "coolwarm"]
        raise DvtError(f"matplotlib has no colour map {colormap!r}. Did you mean {', '.join(near)}?")
    values = values.detach().cpu().double()
    share = (values - low) / (high - low) if high > low else torch.full_like(values, 0.5)
    return torch.from_numpy(colormaps[colormap](share.numpy())[..., :3]).float()


def colourise_labels(labels: Int64[Tensor, "H W"]) -> Float[Tensor, "H W 3"]:
    """Paint labels 0 to 19, each in a colour of its own that does not depend on which others occur.

    Returns:
        (H, W, 3) float32 in [0, 1] on the CPU.

    Raises:
        DvtError: a label below 0 or above 19; more colours could not be told apart.
    """
    from matplotlib import colormaps

    # Its 20 colours are pairs of dark and light: first all the dark ones.
    palette = torch.from_numpy(colormaps["tab20"]([*range(0, 20, 2), *range(1, 20, 2)])[:, :3]).float()
    if labels.min() < 0 or labels.max() >= len(palette):
        raise DvtError(
            f"labels go from {labels.min()} to {labels.max()}; there are colours for 0 to {len(palette) - 1}."
            " Use fewer clusters."
        )
    return palette[labels.cpu()]
