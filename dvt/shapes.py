"""The shape legend and the tensor aliases of public functions.

    B batch   V views   H W patch rows, columns   C channels   P prefix tokens (class, registers)   N tokens
    y x pixels

Features are channel-last everywhere. Coordinates carry their frame in their name: `image_xy` is x then y in [0, 1] of
the image, `patch_index` an integer row-major position on the patch grid, `box_px` pixels.
The aliases are documentation for people and type checkers; tests turn them into run-time checks.
"""

from jaxtyping import Float, Float32, Int64
from torch import Tensor

ImageTensor = Float[Tensor, "3 y x"]
"""One RGB picture, values in [0, 1]."""
ImageBatch = Float[Tensor, "B 3 y x"]
"""RGB pictures or views of one size, values in [0, 1]."""
FeatureMap = Float[Tensor, "H W C"]
"""One value vector per patch of the grid."""
FeatureMaps = Float[Tensor, "B H W C"]
"""Feature maps of a batch of images or views."""
PrefixTokens = Float[Tensor, "B P C"]
"""Class and register tokens."""
Tokens = Float[Tensor, "N C"]
"""Feature vectors without a layout."""
ImageXY = Float32[Tensor, "*dims 2"]
"""Positions in the image, x then y, [0, 1]; float32 always (half precision cannot tell neighbours apart)."""
PatchIndex = Int64[Tensor, " N"]
"""Row-major position of a token on the patch grid of its view."""
