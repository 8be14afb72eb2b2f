"""The option `report`: whether a verb writes a page beside its other output."""

from enum import Enum


class Report(str, Enum):
    """Written beside the other output."""

    none = "none"
    """Nothing."""
    html = "html"
    """One self-contained page."""
