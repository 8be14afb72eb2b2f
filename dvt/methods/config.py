"""Options of methods. A light module: imported to print help."""

from dataclasses import dataclass

from dvt.options import Choice


class PositionKind(Choice):
    """What marks the position in features that were cleaned of it."""

    removed = "removed"
    """What the method removed: G of stage 1; of other methods raw minus clean features of the same image."""
    sincos = "sincos"
    """A fixed 2-D sin-cos embedding, as in the DVT paper's detection."""


@dataclass(frozen=True, slots=True)
class Position:
    """How much of which position is added to features."""

    kind: PositionKind
    """What is added."""
    share: float
    """How much of it: above 0, at most 1, with at most four decimals."""

    @property
    def suffix(self) -> str:
        """As in the name of a method.

        Examples:
            >>> Position(PositionKind.removed, 0.5).suffix, Position(PositionKind.sincos, 1.0).suffix
            ('+position0.5', '+sincos1')
        """
        word = "position" if self.kind is PositionKind.removed else "sincos"
        return f"+{word}{self.share:g}"
