"""All artifact scores of one kind of features: maps of pairs of windows in, numbers and maps out."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dvt.diagnosis.scores.outliers import OutlierNorms
from dvt.diagnosis.scores.pattern import LockedPattern
from dvt.diagnosis.scores.position_mic import position_mic
from dvt.diagnosis.scores.probe import position_r2
from dvt.diagnosis.scores.report import ArtifactReport
from dvt.diagnosis.scores.sample import TokenSample
from dvt.diagnosis.scores.shift import ShiftError
from dvt.errors import EvaluationError
from dvt.shapes import FeatureMaps


class ArtifactMeter:
    """Collects feature maps of pairs of windows, and of whole pictures.

    Memory: sums of the size of about 20 maps in float64, the sample of `TokenSample`, and 4 bytes a token.
    """

    def __init__(self, name: str, num_pictures: int, *, seed: int = 0):
        """Begin.

        Args:
            name: of the features, for messages.
            num_pictures: how many pictures there will be.
            seed: of the sample of tokens.
        """
        self._name = name
        self._pattern, self._upright = LockedPattern(), LockedPattern()
        self._outliers, self._shift = OutlierNorms(), ShiftError()
        self._sample = TokenSample(2 * num_pictures, seed=seed)

    def update(
        self,
        first: FeatureMaps,
        second: FeatureMaps,
        shifts: Sequence[tuple[int, int]],
        whole: FeatureMaps,
        pictures: Sequence[int],
    ) -> None:
        """Add some pictures.

        Args:
            first: (B, H, W, C) features of the first window of each.
            second: those of the second.
            shifts: by how many patches the second window lies further down and to the right, for each.
            whole: features of the whole pictures.
            pictures: their numbers.

        Raises:
            EvaluationError: features that are not finite.
        """
        for maps in (first, second, whole):
            self._require_finite(maps)
        for maps in (first, second):
            self._pattern.update(maps, pictures)
            self._outliers.update(maps)
            self._sample.update(maps, pictures)
        self._upright.update(whole, pictures)
        for shift in sorted(set(shifts)):
            same = [place for place, each in enumerate(shifts) if each == shift]
            self._shift.update(first[same], second[same], shift, [pictures[place] for place in same])

    def result(self) -> ArtifactReport:
        """The scores of what was added: four pictures or more, even and odd numbers among them for every shift."""
        outliers = self._outliers.result
        pattern, shift = self._pattern, self._shift
        rest = ~outliers.places
        return ArtifactReport(
            position_share=pattern.share,
            upright_share=self._upright.share,
            low_frequency=pattern.low_frequency,
            position=pattern.map,
            rest_share=pattern.share_over(rest),
            rest_low_frequency=pattern.low_frequency_over(rest),
            outliers=outliers,
            norm=self._outliers.norms.median(dim=0).values,
            shift_error=shift.value,
            shift_cosine=shift.cosine,
            shift_locked=shift.locked,
            shift=shift.map,
            probe=position_r2(self._sample),
            mic=position_mic(self._sample),
        )

    def _require_finite(self, maps: Tensor) -> None:
        if not bool(torch.isfinite(maps).all()):
            raise EvaluationError(
                f"the features of {self._name} are not all finite, so they cannot be scored. With fp16 they may have"
                " overflowed: give backbone.precision=fp32. Otherwise look at the weights."
            )
