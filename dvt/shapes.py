"""The shape legend and the tensor aliases of public functions.

    B batch   V views   H W patch rows, columns   C channels   P prefix tokens (class, registers)   N tokens
    y x pixels

Features are channel-last everywhere. Coordinates carry their frame in their name: `image_xy` is x then y in [0, 1] of
the image, `patch_index` an integer row-major position on the patch grid, `box_px` pixels.
The aliases document shapes for readers and type checkers. They are checked at run time where jaxtyping was imported
before dvt, as in the tests. Elsewhere an alias is the bare tensor type, and jaxtyping is neither needed nor imported.
"""

import sys
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Bool as Bool
    from jaxtyping import Float as Float
    from jaxtyping import Float32 as Float32
    from jaxtyping import Float64 as Float64
    from jaxtyping import Int as Int
    from jaxtyping import Int64 as Int64
    from jaxtyping import Shaped as Shaped
else:

    class Float:
        """Stand-in for jaxtyping: `Float[Tensor, "H W C"]` is `Tensor`."""

        def __class_getitem__(cls, item: tuple[Any, str]) -> Any:
            """The type of the array, without its shape."""
            return item[0]

    Bool = Float32 = Float64 = Int = Int64 = Shaped = Float

ImageTensor = Float[Tensor, "3 y x"]
"""One RGB image, values in [0, 1]."""
ResizedImage = Float[Tensor, "3 height width"]
"""One RGB image after resizing, values in [0, 1]."""
AnySizeImage = Float[Tensor, "3 _ _"]
"""One RGB image of a list whose sizes may differ, values in [0, 1]."""
ImageBatch = Float[Tensor, "B 3 y x"]
"""RGB images or views of one size, values in [0, 1]."""
ResizedBatch = Float[Tensor, "B 3 height width"]
"""RGB images after resizing to one size."""
FeatureMap = Float[Tensor, "H W C"]
"""One value vector per patch of the grid."""
FineMap = Float[Tensor, "rows columns C"]
"""One vector per cell of a grid that may be finer than the patches."""
FeatureMaps = Float[Tensor, "B H W C"]
"""Feature maps of a batch of images or views."""
DenoiserInput = Float[Tensor, "B H W inputs"]
"""Feature maps of a batch. Maps of earlier blocks, if the denoiser uses them, follow in the last dimension."""
FinerMaps = Float[Tensor, "B _ _ C"]
"""Feature maps of a batch, on patches or on finer cells."""
CellMaps = Float[Tensor, "B rows columns cells"]
"""Features of the cells of every patch, next to each other in the last dimension."""
PatchTokens = Float[Tensor, "B N C"]
"""Patches of a batch of images in a row, in any order."""
SemanticTokens = Float[Tensor, "B L C"]
"""Tokens pooled from the patches of every image of a batch."""
PrefixTokens = Float[Tensor, "B P C"]
"""Class and register tokens."""
Tokens = Float[Tensor, "N C"]
"""Feature vectors without a layout."""
ImageXY = Float32[Tensor, "*dims 2"]
"""Positions in the image, x then y, in [0, 1]. Always float32: half precision cannot separate neighbours."""
PatchIndex = Int64[Tensor, " N"]
"""Row-major position of a token on the patch grid of its view."""
