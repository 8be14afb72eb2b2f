"""What to do about the artifacts that `dvt doctor` found, as commands."""

from collections.abc import Sequence

from dvt.calibration.config import Method
from dvt.calibration.ways import Way, best_way
from dvt.diagnosis.findings import OUTLIER_ENERGY, ArtifactKind, Finding, Severity
from dvt.diagnosis.report import Diagnosis


def advice(diagnosis: Diagnosis, *, backbone: str, images: str) -> list[str]:
    """What to do, as sentences and commands, the cheapest remedy first.

    Args:
        diagnosis: what was found.
        backbone: the options that select the ViT on the command line.
        images: the images, as given on the command line.
    """
    show = f"    dvt show image=PHOTO.jpg method=[raw,decomposed] {backbone}"
    compare = f"    dvt evaluate task=artifact_scores data={images} method=[raw,raw@2x,srt,decomposed] {backbone}"
    if not diagnosis.findings:
        return [
            "There is nothing to remove: use the features as they are, a denoiser could only cost. For finer"
            " features use a larger backbone.image_size or average sub-token shifts, and compare:",
            compare,
        ]
    lines = [*_norm_advice(diagnosis), *_kind_advice(diagnosis)]
    output = diagnosis.layers[-1].name
    at_output = [finding for finding in diagnosis.findings if finding.at_output]
    if not at_output:
        lines += [f"{output} itself has no artifact: if you use that layer, there is nothing to do."]
    elif any(finding.severity is Severity.strong for finding in at_output):
        lines += ["See what the decomposition removes:", show]
    else:
        lines += [f"In {output} it is mild: first check whether it matters, by eye and in numbers.", show, compare]
    if any(finding.fixed for finding in diagnosis.findings):
        lines += [
            "A denoiser removes what belongs to the position, in one pass:",
            f"    dvt decompose images={images} store=runs/store {backbone}",
            "    dvt train store=runs/store out=runs/denoiser",
        ]
    return lines


def has_strong_outliers(findings: Sequence[Finding]) -> bool:
    """Whether there are outliers that are worth moving to a register."""
    return any(each.kind is ArtifactKind.outliers and each.severity is Severity.strong for each in findings)


def ways_advice(ways: Sequence[Way], *, backbone: str, images: str) -> list[str]:
    """What calibrations would do, as a table, and which of them to use.

    Args:
        ways: what `measure_ways` returned; empty: nothing was measured.
        backbone: the options that select the ViT on the command line.
        images: the images, as given on the command line.
    """
    if not ways:
        return []
    best = best_way(ways)
    lines = [
        "",
        "Without training, measured on images that were not used (dvt calibrate):",
        f"    {'':<12}{'position':>10}{'shift':>8}",
        *(f"    {way.name:<12}{way.position_share:>10.3f}{way.shift_error:>8.3f}" for way in ways),
    ]
    if best is ways[0]:
        return [*lines, "None of them improves these scores enough: use the features as they are."]
    cost = "one more token" if best.name == Method.registers.value else "a matrix product"
    lines += [
        f"{best.name} keeps the content and loses the position best of these, at the cost of {cost}:",
        f"    dvt calibrate images={images} out=runs/{best.name} method={best.name} {backbone}",
        f"    dvt show image=PHOTO.jpg method=[raw,denoised] denoiser=runs/{best.name} {backbone}",
    ]
    if best.name == Method.blocks.value:
        lines += ["Its channels are other ones than those of the ViT: heads are trained anew on them."]
    return lines


def _norm_advice(diagnosis: Diagnosis) -> list[str]:
    """The final norm removes high norms; say what it leaves."""
    outliers = [finding for finding in diagnosis.findings if finding.kind is ArtifactKind.outliers]
    if not outliers:
        return []
    if not diagnosis.layers[-1].normed:
        return [
            "Use the features after the final norm (backbone.norm=true, the default) if the model has one: it gives"
            " all tokens nearly the same norm."
        ]
    if diagnosis.reports[-1].outliers.energy >= OUTLIER_ENERGY[0]:
        return []
    sentence = "Use the features after the final norm (backbone.norm=true, the default): they have no outliers."
    if outliers[0].fixed:
        late = [report for layer, report in zip(diagnosis.layers, diagnosis.reports, strict=True) if layer.late]
        worst = max(late, key=lambda report: report.outliers.energy)
        sentence += (
            f" Position explains {diagnosis.reports[-1].position_share:.3f} of the variance instead of"
            f" {worst.position_share:.3f}."
        )
    return [sentence]


def _kind_advice(diagnosis: Diagnosis) -> list[str]:
    lines = []
    if any(finding.kind is ArtifactKind.outliers and not finding.fixed for finding in diagnosis.findings):
        lines.append(
            "The outliers move with the image, so no fixed pattern removes them; a ViT with registers has few"
            " (for example backbone=dinov2_reg_base), and dvt calibrate method=registers moves those of a ViT of timm"
            " to an extra token."
        )
    if any(finding.kind is ArtifactKind.ramp for finding in diagnosis.findings):
        lines.append(
            "A ramp is wider than the shifts of method=srt, which cannot remove it; the decomposition can. Keep raw"
            " features where the position is needed (boxes, counting)."
        )
    return lines
