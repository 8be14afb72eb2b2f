"""Diagnosis: which kind of artifact the scores show, in words, with the numbers that led to it."""

import math
from collections.abc import Callable, Sequence

from jaxtyping import Bool
from torch import Tensor

from dvt.diagnosis import thresholds
from dvt.diagnosis.examine import Examination
from dvt.diagnosis.finding import Diagnosis, Finding, Kind, Severity
from dvt.diagnosis.layers import Layer
from dvt.diagnosis.scores import ArtifactReport
from dvt.diagnosis.words import percent, span, where


def diagnose(examination: Examination) -> Diagnosis:
    """Say which artifacts the late layers have.

    Outliers are looked for first; patterns and ramps then without the patches that are outliers in most pictures, which
    would hide them. The numbers from which on something counts stand in `dvt.diagnosis.thresholds`.
    """
    late = [
        (layer, report) for layer, report in zip(examination.layers, examination.reports, strict=True) if layer.late
    ]
    found = [finding for look in (_outliers, _spread_pattern, _local_pattern) for finding in look(late)]
    found.sort(key=lambda finding: finding.severity is not Severity.strong)
    return Diagnosis(findings=tuple(found), remarks=tuple(_remarks(examination)))


_Late = Sequence[tuple[Layer, ArtifactReport]]


def _outliers(late: _Late) -> list[Finding]:
    def text(report: ArtifactReport) -> str:
        out = report.outliers
        fixed = out.fixed >= thresholds.FIXED
        place = (
            f"{percent(out.fixed)} of them sit at fixed places: {where(out.places)}"
            if fixed
            else "they lie in other places from picture to picture"
        )
        return (
            f"{percent(out.share)} of the tokens have {out.ratio:.1f} times the median norm"
            f" ({out.ratio * out.median:.0f}; median {out.median:.0f}, outliers begin at {out.threshold:.0f}) and carry"
            f" {percent(out.energy)} of all squared norms; {place}"
        )

    return _one(
        late,
        Kind.outliers,
        amount=lambda report: report.outliers.energy,
        limits=thresholds.OUTLIER_ENERGY,
        text=text,
        fixed=lambda report: report.outliers.fixed >= thresholds.FIXED,
    )


def _spread_pattern(late: _Late) -> list[Finding]:
    """Patterns over the whole grid, ramps and others."""
    found = []
    for kind in (Kind.pattern, Kind.ramp):
        ramp = kind is Kind.ramp
        of_kind = [each for each in late if (each[1].rest_low_frequency >= thresholds.RAMP) == ramp]
        found += _one(
            of_kind,
            kind,
            amount=lambda report: report.rest_share,
            limits=thresholds.POSITION,
            text=lambda report: (
                f"position explains {report.rest_share:.3f} of the variance over random crops and flips"
                f"{', not counting the places of outliers' if bool(report.outliers.places.any()) else ''}, and"
                f" {percent(report.rest_low_frequency)} of that pattern lies in the lowest frequencies"
            ),
            fixed=lambda report: True,
        )
    return found


def _local_pattern(late: _Late) -> list[Finding]:
    """A pattern at a few patches, too few to move the share of the whole grid."""
    few = [
        each for each in late if each[1].rest_share < thresholds.POSITION[0] and bool(_locked_patches(each[1]).any())
    ]

    def text(report: ArtifactReport) -> str:
        locked = _locked_patches(report)
        return (
            f"at {where(locked)}, position explains {float(report.position[locked].mean()):.2f} of the mean variance"
            f" of a token; over the whole grid {report.position_share:.3f}"
        )

    return _one(
        few,
        Kind.pattern,
        amount=lambda report: float(report.position[_locked_patches(report)].max()),
        limits=(thresholds.PATCH, float("inf")),
        text=text,
        fixed=lambda report: True,
    )


def _locked_patches(report: ArtifactReport) -> Bool[Tensor, "H W"]:
    return (report.position >= thresholds.PATCH) & ~report.outliers.places


def _one(
    late: _Late,
    kind: Kind,
    *,
    amount: Callable[[ArtifactReport], float],
    limits: tuple[float, float],
    text: Callable[[ArtifactReport], str],
    fixed: Callable[[ArtifactReport], bool],
) -> list[Finding]:
    """One finding for the layers with at least the lower limit, in the words of the one with most; none without any."""
    having = [each for each in late if amount(each[1]) >= limits[0]]
    if not having:
        return []
    worst, report = max(having, key=lambda each: amount(each[1]))
    severity = Severity.strong if amount(report) >= limits[1] else Severity.mild
    layers = tuple(layer for layer, _ in having)
    most = f" (most in {worst.name})" if len(layers) > 1 else ""
    sentence = f"{span(layers)}{most}: {text(report)}."
    return [Finding(kind, severity, layers, layers[-1] == late[-1][0], fixed(report), sentence)]


def _remarks(examination: Examination) -> list[str]:
    """What else the numbers of the last layer and of the early ones say."""
    layer, report = examination.layers[-1], examination.reports[-1]
    remarks = [
        f"Layout: in {layer.name} position explains {report.upright_share:.3f} of the variance of whole pictures as"
        f" they were taken, and {report.position_share:.3f} over random crops and flips: the difference belongs to the"
        " photographers."
    ]
    if math.isfinite(report.shift_error) and math.isfinite(report.shift_locked):
        remarks.append(
            f"Shift: tokens of {layer.name} on the same content, seen from windows a third of the grid apart, differ by"
            f" {report.shift_error:.2f} (1: as any two tokens); {percent(max(0.0, report.shift_locked))} of that is the"
            " same in all pictures and belongs to the position, the rest comes from what else each window shows."
        )
    early = [
        each
        for each, scores in zip(examination.layers, examination.reports, strict=True)
        if not each.late and scores.rest_share >= thresholds.POSITION[0]
    ]
    if early:
        remarks.append(
            f"Early: {span(early)} hold the position (share {thresholds.POSITION[0]} or more), as in every ViT with"
            " position embeddings; they are not judged."
        )
    return remarks
