"""All artifact scores of one kind of features: maps of pairs of windows in, numbers and maps out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor

from dvt.backbone.features import require_finite
from dvt.diagnosis.mic import position_mic
from dvt.diagnosis.outliers import OutlierNorms, Outliers
from dvt.diagnosis.position import LockedPattern
from dvt.diagnosis.probe import PositionR2, TokenSample, position_r2
from dvt.diagnosis.shift import ShiftError
from dvt.files import plain
from dvt.shapes import FeatureMaps, Float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArtifactReport:
    """The scores; `docs/scores.md` has the formulas."""

    position_share: float
    """Share of the variance that position explains, over random crops and flips (`LockedPattern`)."""
    upright_share: float
    """The same over whole images as taken: artifact and layout."""
    low_frequency: float
    """Share of the energy of the position-locked pattern in the lowest frequencies; NaN without a pattern."""
    position: Float[Tensor, "H W"]
    """What position explains at each patch, in units of the mean variance of a token."""
    rest_share: float
    """`position_share` without the patches that are outliers in most images."""
    rest_low_frequency: float
    """`low_frequency` without them."""
    outliers: Outliers
    """Tokens with a norm far above the others."""
    norm: Float[Tensor, "H W"]
    """Median norm at each patch."""
    shift_error: float
    """Squared difference of tokens on the same content in two windows, over twice the variance."""
    shift_cosine: float
    """Mean of 1 - cosine of these tokens."""
    shift_locked: float
    """Share of their squared difference that is the same in all images."""
    shift: Float[Tensor, "H W"]
    """`shift_error` at each patch."""
    probe: PositionR2
    """How well a linear probe predicts the position from a token."""
    mic: float
    """The position score of the DVT paper."""

    def numbers(self) -> dict[str, float]:
        """The `SCORES` by name; NaN where there is no value."""
        return {name: score.value(self) for name, score in SCORES.items()}

    def maps(self) -> dict[str, Float[Tensor, "H W"]]:
        """The scores at each patch, by name; NaN where there is no value."""
        return {
            "norm": self.norm,
            "position share": self.position,
            "outliers": self.outliers.rate,
            "shift error": self.shift,
            "position R2": self.probe.map,
        }

    def to_json(self) -> dict[str, dict[str, Any]]:
        """`scores` and `maps` by name, as plain JSON with five significant digits; None where there is no value."""
        maps = {name: [[_rounded(each) for each in row] for row in one.tolist()] for name, one in self.maps().items()}
        scores = {name: _rounded(value) for name, value in self.numbers().items()}
        return {"scores": plain(scores), "maps": plain(maps)}


@dataclass(frozen=True, slots=True)
class Score:
    """How one number of a report is shown."""

    head: str
    """Head of its column in the table of layers."""
    digits: int
    """Digits after the point in that table."""
    lower_is_better: bool
    """False for a diagnostic, where neither is better."""
    meaning: str
    """One sentence."""
    value: Callable[[ArtifactReport], float]
    """Reads it from a report."""


SCORES: Final = {
    "position share": Score(
        "position", 3, True, "Share of token variance explained by position, in random crops and flips.",
        lambda report: report.position_share,
    ),
    "upright share": Score(
        "upright", 3, False, "Position share of whole images: artifact and the layout that images share.",
        lambda report: report.upright_share,
    ),
    "low frequency": Score(
        "low freq", 2, False, "Share of the position-locked pattern in the lowest frequencies: 1 is a ramp.",
        lambda report: report.low_frequency,
    ),
    "position R2": Score(
        "R2", 2, False, "R^2 of a linear probe from a token to its position, on unseen images.",
        lambda report: report.probe.value,
    ),
    "MIC": Score(
        "MIC", 2, False, "Position score of the DVT paper (s. 5.1): largest MIC of a channel with x and y.",
        lambda report: report.mic,
    ),
    "shift error": Score(
        "shift", 3, True, "Squared difference of tokens of the same content in two windows, normed.",
        lambda report: report.shift_error,
    ),
    "shift cosine": Score(
        "cosine", 3, True, "Mean of 1 - cosine of these tokens.", lambda report: report.shift_cosine
    ),
    "shift locked": Score(
        "locked", 2, True, "Share of that difference that is the same in all images.",
        lambda report: report.shift_locked,
    ),
    "outliers": Score(
        "outliers", 4, True, "Tokens with a norm above median + 6 robust deviations and twice the median.",
        lambda report: report.outliers.share,
    ),
    "outlier ratio": Score(
        "x median", 1, True, "Mean norm of the outliers over the median.", lambda report: report.outliers.ratio
    ),
    "outlier energy": Score(
        "energy", 3, True, "Share of all squared norms that outliers carry.", lambda report: report.outliers.energy
    ),
}  # fmt: skip
"""The numbers of a report by name."""


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


class ArtifactMeter:
    """Collects feature maps of pairs of windows and of whole images.

    Memory: sums of the size of about 20 maps in float64, the sample of `TokenSample`, and 4 bytes per token.

    Args:
        name: name of the features, for error messages.
        num_images: number of images that will be added.
        seed: seed for the sample of tokens.
    """

    def __init__(self, name: str, num_images: int, *, seed: int = 0):
        self._name = name
        self._pattern, self._upright = LockedPattern(), LockedPattern()
        self._outliers, self._shift = OutlierNorms(), ShiftError()
        self._sample = TokenSample(2 * num_images, seed=seed)

    def update(
        self,
        first: FeatureMaps,
        second: FeatureMaps,
        shifts: Sequence[tuple[int, int]],
        whole: FeatureMaps,
        images: Sequence[int],
    ) -> None:
        """Add some images.

        Args:
            first: (B, H, W, C) features of the first window of each.
            second: (B, H, W, C) features of the second window.
            shifts: for each, the patches from the first window down and right to the second.
            whole: (B, H, W, C) features of the whole images.
            images: their numbers.

        Raises:
            EvaluationError: features that are not finite.
        """
        require_finite(self._name, first, second, whole)
        for maps in (first, second):
            self._pattern.update(maps, images)
            self._outliers.update(maps)
            self._sample.update(maps, images)
        self._upright.update(whole, images)
        for shift in sorted(set(shifts)):
            same = [place for place, each in enumerate(shifts) if each == shift]
            self._shift.update(first[same], second[same], shift, [images[place] for place in same])

    def result(self) -> ArtifactReport:
        """The scores of what was added: at least four images, with even and odd numbers for every shift."""
        outliers, pattern, shift = self._outliers.result, self._pattern, self._shift
        rest = ~outliers.places
        return ArtifactReport(
            position_share=pattern.share(),
            upright_share=self._upright.share(),
            low_frequency=pattern.low_frequency(),
            position=pattern.map,
            rest_share=pattern.share(rest),
            rest_low_frequency=pattern.low_frequency(rest),
            outliers=outliers,
            norm=self._outliers.norms.median(dim=0).values,
            shift_error=shift.value,
            shift_cosine=shift.cosine,
            shift_locked=shift.locked,
            shift=shift.map,
            probe=position_r2(self._sample),
            mic=position_mic(self._sample),
        )
