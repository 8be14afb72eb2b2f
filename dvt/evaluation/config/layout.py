"""Layout: how images are shown to a probe."""

from dvt.options import Choice


class Layout(Choice):
    """How images are shown to a probe.

    Images share a layout (road below, sky above), and a probe gains from knowing the position. Removing an artifact
    that marks the position can therefore cost score. The layouts other than `usual` take that gain away.
    """

    usual = "usual"
    """As they are."""
    crops = "crops"
    """Training and test images are random crops of a quarter to a half of the area, half of them upside down."""
    upside_down = "upside_down"
    """Training images as they are, test images upside down: what a probe learned about position misleads it."""
