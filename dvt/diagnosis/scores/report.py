"""All artifact scores of one kind of features, as numbers and maps."""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from dvt.diagnosis.scores.outliers import Outliers
from dvt.diagnosis.scores.probe import PositionR2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArtifactReport:
    """The scores; `dvt.diagnosis.scores` says what each is."""

    position_share: float
    """Share of the variance that position explains, over random crops and flips (`LockedPattern`)."""
    upright_share: float
    """The same over whole pictures as they were taken: artifact and layout."""
    low_frequency: float
    """Share of the position-locked pattern's energy in the lowest frequencies; NaN where there is no pattern."""
    position: Float[Tensor, "H W"]
    """What position explains at each patch, in units of the mean variance of a token."""
    rest_share: float
    """`position_share` without the patches that are outliers in most pictures."""
    rest_low_frequency: float
    """`low_frequency` without them."""
    outliers: Outliers
    """Tokens with a norm far above the others."""
    norm: Float[Tensor, "H W"]
    """Median norm at each patch."""
    shift_error: float
    """Squared difference of tokens that look at the same content from two windows, over twice the variance."""
    shift_cosine: float
    """Mean of 1 - cosine of them."""
    shift_locked: float
    """Share of their squared difference that is the same in all pictures."""
    shift: Float[Tensor, "H W"]
    """`shift_error` at each patch."""
    probe: PositionR2
    """How well a linear probe reads the position off a token."""
    mic: float
    """The position score of the DVT paper."""

    def numbers(self) -> dict[str, float]:
        """The scores by name; NaN where there is no value."""
        return {
            "position share": self.position_share,
            "upright share": self.upright_share,
            "low frequency": self.low_frequency,
            "shift error": self.shift_error,
            "shift cosine": self.shift_cosine,
            "shift locked": self.shift_locked,
            "position R2": self.probe.value,
            "MIC": self.mic,
            "outliers": self.outliers.share,
            "outlier ratio": self.outliers.ratio,
            "outlier energy": self.outliers.energy,
        }

    def maps(self) -> dict[str, Float[Tensor, "H W"]]:
        """Where on the grid, by name of the score; NaN where there is no value."""
        return {
            "norm": self.norm,
            "position share": self.position,
            "outliers": self.outliers.rate,
            "shift error": self.shift,
            "position R2": self.probe.map,
        }


def plain_number(value: float) -> float | None:
    """A number for JSON, with five significant digits; None where there is none."""
    return float(f"{value:.5g}") if math.isfinite(value) else None


def plain_map(values: Float[Tensor, "H W"]) -> list[list[float | None]]:
    """A map for JSON, row by row."""
    return [[plain_number(each) for each in row] for row in values.tolist()]
