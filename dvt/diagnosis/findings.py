"""Which kind of artifact the scores show, in words, with the numbers that led to it.

The thresholds were chosen on two ViTs at 224 px and 100 ImageNet images (`docs/scores.md` has the tables): AugReg
ViT-Ti, whose four corner tokens are outliers from block 7 on, and DeiT-Ti, which has almost no artifacts. Each
threshold is well between the two, and between what the tests plant and what they do not. Only the last third of the
blocks and the output are judged: early blocks of every ViT with position embeddings contain the position (a quarter of
the variance in both).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from torch import Tensor

from dvt.diagnosis.layers import Layer
from dvt.diagnosis.scores import ArtifactReport
from dvt.shapes import Bool

POSITION = (0.05, 0.2)
"""Position share from which a pattern is mild, and strong. Late blocks of DeiT-Ti: at most 0.017; of AugReg 0.8, and
0.012 without the corners. At 0.2 the position moves tokens half as far as the content does."""
PATCH = 0.2
"""What position explains at one patch, in units of the mean variance of a token, from which the patch counts as locked.
Corners of AugReg's output: 0.38; the largest of DeiT-Ti: 0.11 in block 8, 0.06 at the output."""
OUTLIER_ENERGY = (0.05, 0.25)
"""Share of all squared norms in outliers, from which they are mild, and strong. Late blocks of DeiT-Ti: 0.02 to 0.09,
of AugReg 0.92 to 0.97. Two percent of the tokens with four times the norm have 0.25."""
RAMP = 0.7
"""Share of a pattern in the lowest frequencies from which it is called a ramp. A straight ramp has 0.99, noise 0.03,
four corners 0.08."""
FIXED = 0.5
"""Share of the outliers on patches that are outliers in most images, from which they belong to the position."""
_NUM_NAMED = 4
"""Largest number of patches that are named one by one."""


class ArtifactKind(str, Enum):
    """Kinds of artifacts."""

    none = "none"
    """No artifact that the scores can detect."""
    outliers = "high-norm outliers"
    """A few tokens with a norm far above the others."""
    pattern = "static pattern"
    """A contribution of the position, the same in all images, in fine detail or at a few patches."""
    ramp = "low-frequency ramp"
    """A contribution of the position that changes slowly over the grid."""

    def __str__(self) -> str:
        return self.value


class Severity(str, Enum):
    """How much of the features an artifact takes."""

    mild = "mild"
    """Measurable; may not matter."""
    strong = "strong"
    """A large part of the variance, or of the norms."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """One artifact."""

    kind: ArtifactKind
    """Which kind."""
    severity: Severity
    """How much."""
    layers: tuple[Layer, ...]
    """Where it was found."""
    at_output: bool
    """Whether the last measured layer has it."""
    fixed: bool
    """Whether it is at the same places in all images; outliers may move."""
    text: str
    """In words, with the numbers of the layer where it is largest."""


_Late = Sequence[tuple[Layer, ArtifactReport]]


def find_artifacts(layers: Sequence[Layer], reports: Sequence[ArtifactReport]) -> tuple[Finding, ...]:
    """The artifacts of the late layers, strong before mild; empty if there are none.

    Outliers come first. Patterns and ramps are judged without the patches that are outliers in most images, which would
    hide them.
    """
    late = [(layer, report) for layer, report in zip(layers, reports, strict=True) if layer.late]
    found = [*_outliers(late), *_spread_pattern(late), *_local_pattern(late)]
    return tuple(sorted(found, key=lambda finding: finding.severity is not Severity.strong))


def _outliers(late: _Late) -> list[Finding]:
    def text(report: ArtifactReport) -> str:
        out = report.outliers
        place = (
            f"{percent(out.fixed)} of them are at fixed places: {where(out.places)}"
            if out.fixed >= FIXED
            else "their places differ from image to image"
        )
        return (
            f"{percent(out.share)} of the tokens have {out.ratio:.1f} times the median norm"
            f" ({out.ratio * out.median:.0f}; median {out.median:.0f}, outliers begin at {out.threshold:.0f}) and carry"
            f" {percent(out.energy)} of all squared norms; {place}"
        )

    return _finding(
        late,
        late,
        ArtifactKind.outliers,
        amount=lambda report: report.outliers.energy,
        limits=OUTLIER_ENERGY,
        text=text,
        fixed=lambda report: report.outliers.fixed >= FIXED,
    )


def _spread_pattern(late: _Late) -> list[Finding]:
    """Patterns over the whole grid: ramps, and others."""

    def text(report: ArtifactReport) -> str:
        rest = ", without the places of outliers" if bool(report.outliers.places.any()) else ""
        return (
            f"position explains {report.rest_share:.3f} of the variance over random crops and flips{rest}, and"
            f" {percent(report.rest_low_frequency)} of that pattern is in the lowest frequencies"
        )

    return [
        finding
        for kind in (ArtifactKind.pattern, ArtifactKind.ramp)
        for finding in _finding(
            late,
            [each for each in late if (each[1].rest_low_frequency >= RAMP) == (kind is ArtifactKind.ramp)],
            kind,
            amount=lambda report: report.rest_share,
            limits=POSITION,
            text=text,
        )
    ]


def _local_pattern(late: _Late) -> list[Finding]:
    """A pattern at a few patches, too few to move the share of the whole grid."""

    def text(report: ArtifactReport) -> str:
        locked = _locked_patches(report)
        return (
            f"at {where(locked)}, position explains {float(report.position[locked].mean()):.2f} of the mean variance"
            f" of a token; over the whole grid {report.position_share:.3f}"
        )

    return _finding(
        late,
        [each for each in late if each[1].rest_share < POSITION[0] and bool(_locked_patches(each[1]).any())],
        ArtifactKind.pattern,
        amount=lambda report: float(report.position[_locked_patches(report)].max()),
        limits=(PATCH, math.inf),
        text=text,
    )


def _locked_patches(report: ArtifactReport) -> Bool[Tensor, "H W"]:
    return (report.position >= PATCH) & ~report.outliers.places


def _finding(
    late: _Late,
    candidates: _Late,
    kind: ArtifactKind,
    *,
    amount: Callable[[ArtifactReport], float],
    limits: tuple[float, float],
    text: Callable[[ArtifactReport], str],
    fixed: Callable[[ArtifactReport], bool] = lambda report: True,
) -> list[Finding]:
    """One finding for the candidates above the lower limit, described by the largest; an empty list without any."""
    having = [each for each in candidates if amount(each[1]) >= limits[0]]
    if not having:
        return []
    worst, report = max(having, key=lambda each: amount(each[1]))
    severity = Severity.strong if amount(report) >= limits[1] else Severity.mild
    layers = tuple(layer for layer, _ in having)
    most = f" (most in {worst.name})" if len(layers) > 1 else ""
    sentence = f"{span(layers)}{most}: {text(report)}."
    return [Finding(kind, severity, layers, layers[-1] == late[-1][0], fixed(report), sentence)]


def remarks(layers: Sequence[Layer], reports: Sequence[ArtifactReport]) -> tuple[str, ...]:
    """What else the numbers of the last layer and of the early layers say."""
    layer, report = layers[-1], reports[-1]
    found = [
        f"Layout: in {layer.name} position explains {report.upright_share:.3f} of the variance of whole images as"
        f" taken, and {report.position_share:.3f} over random crops and flips: the difference is the layout of the"
        " photographs, not an artifact."
    ]
    if math.isfinite(report.shift_error) and math.isfinite(report.shift_locked):
        found.append(
            f"Shift: tokens of {layer.name} on the same content, from windows a third of the grid apart, differ by"
            f" {report.shift_error:.2f} (1: as any two tokens); {percent(max(0.0, report.shift_locked))} of that is the"
            " same in all images and belongs to the position, the rest comes from the context of each window."
        )
    early = [
        each for each, scores in zip(layers, reports, strict=True) if not each.late and scores.rest_share >= POSITION[0]
    ]
    if early:
        found.append(
            f"Early: {span(early)} contain the position (share {POSITION[0]} or more), as in every ViT with position"
            " embeddings; they are not judged."
        )
    return tuple(found)


def percent(share: float) -> str:
    """A share in percent: 0.0193 is 1.9 %, 0.97 is 97 %."""
    return f"{100 * share:.0f} %" if share >= 0.0995 or share == 0 else f"{100 * share:.2g} %"


def span(layers: Sequence[Layer]) -> str:
    """Layers by name, neighbours together: blocks 8 to 11 and block 11 + norm."""
    blocks = [layer.block for layer in layers if not layer.normed]
    names = [layer.name for layer in layers if layer.normed]
    if len(blocks) > 2:
        names.insert(0, f"blocks {blocks[0]} to {blocks[-1]}")
    elif len(blocks) == 2:
        names.insert(0, f"blocks {blocks[0]} and {blocks[1]}")
    elif blocks:
        names.insert(0, f"block {blocks[0]}")
    return " and ".join(names)


def where(patches: Bool[Tensor, "H W"]) -> str:
    """Where some patches are on the grid: 4 of 196 patches, the four corners."""
    rows, columns = patches.shape
    places = [(row, column) for row, column in patches.nonzero().tolist()]
    count = f"{len(places)} of {rows * columns} patches"
    corners = {(0, 0), (0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1)}
    if places and set(places) <= corners:
        return f"{count}, {'the four corners' if len(places) == 4 else 'corners'}"
    if len(places) <= _NUM_NAMED:
        named = ", ".join(f"({row}, {column})" for row, column in places)
        return f"{count}, at row and column {named}"
    border = [place for place in places if place[0] in (0, rows - 1) or place[1] in (0, columns - 1)]
    inside = len(places) - len(border)
    if len(border) >= 0.8 * len(places):
        return f"{count}, nearly all at the border" if inside else f"{count}, at the border"
    return f"{count}, {len(border)} at the border and {inside} inside"
