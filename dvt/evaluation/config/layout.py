"""Layout: ways to show pictures. A light module: it may be imported to print help."""

from enum import Enum


class Layout(str, Enum):
    """How pictures are shown.

    Photographs share a layout (road below, sky above), and a probe gains from knowing the position, so that the removal
    of a position-locked artifact can cost it. The layouts other than the usual one take that gain away.
    """

    usual = "usual"
    """As they are."""
    crops = "crops"
    """Training and test pictures: a random crop of a quarter to a half of the area, half of them upside down. Position
    on the patch grid says next to nothing."""
    upside_down = "upside_down"
    """Training pictures as they are, test pictures upside down: what a probe has learnt about position misleads it."""

    def __str__(self) -> str:
        return self.value
