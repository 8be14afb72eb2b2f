"""What to do about a diagnosis, as commands."""

from dvt.diagnosis import thresholds
from dvt.diagnosis.examine import Examination
from dvt.diagnosis.finding import Diagnosis, Kind, Severity


def advise(diagnosis: Diagnosis, examination: Examination, *, backbone: str, images: str) -> list[str]:
    """Sentences and commands, the cheapest remedy first.

    Args:
        diagnosis: what was found.
        examination: what was measured.
        backbone: the options that choose the ViT on the command line.
        images: the pictures as they were given.
    """
    show = f"    dvt show image=PHOTO.jpg method=[raw,decomposed] {backbone}"
    compare = f"    dvt evaluate task=artifact_scores data={images} method=[raw,raw@2x,srt,decomposed] {backbone}"
    if not diagnosis.findings:
        return [
            "There is nothing to remove: use the features as they are, a denoiser could only cost. For finer features"
            " look closer (a larger backbone.image_size) or average sub-token shifts, and see what each brings:",
            compare,
        ]
    lines = [*_norm_advice(diagnosis, examination), *_nature_advice(diagnosis)]
    output = examination.layers[-1].name
    at_output = [finding for finding in diagnosis.findings if finding.at_output]
    if not at_output:
        lines += [f"{output} itself has none of it: where that is what you read, nothing is to be done."]
    elif any(finding.severity is Severity.strong for finding in at_output):
        lines += ["See what the decomposition takes away:", show]
    else:
        lines += [f"In {output} it is mild: look first whether it matters, in a picture and in numbers.", show, compare]
    if any(finding.fixed for finding in diagnosis.findings):
        lines += [
            "A denoiser takes away what belongs to the position, in one pass:",
            f"    dvt decompose images={images} store=runs/store {backbone}",
            "    dvt train store=runs/store out=runs/denoiser",
        ]
    return lines


def _norm_advice(diagnosis: Diagnosis, examination: Examination) -> list[str]:
    """The final norm takes high norms away; what it leaves is said."""
    outliers = [finding for finding in diagnosis.findings if finding.kind is Kind.outliers]
    if not outliers:
        return []
    output, report = examination.layers[-1], examination.reports[-1]
    if not output.normed:
        return [
            "Read the features after the final norm (backbone.norm=true, the default) where the model has one: it"
            " brings all tokens to nearly the same norm."
        ]
    if report.outliers.energy >= thresholds.OUTLIER_ENERGY[0]:
        return []
    sentence = "Read the features after the final norm (backbone.norm=true, the default): there no outliers are left."
    if outliers[0].fixed:
        worst = max(
            (scores for layer, scores in zip(examination.layers, examination.reports, strict=True) if layer.late),
            key=lambda scores: scores.outliers.energy,
        )
        sentence += (
            f" Position explains {report.position_share:.3f} of the variance instead of {worst.position_share:.3f}."
        )
    return [sentence]


def _nature_advice(diagnosis: Diagnosis) -> list[str]:
    """What is special about a kind."""
    lines = []
    if any(finding.kind is Kind.outliers and not finding.fixed for finding in diagnosis.findings):
        lines.append(
            "The outliers move with the picture, so no fixed pattern removes them; a ViT with registers has few"
            " (backbone=dinov2_reg_base and its like)."
        )
    if any(finding.kind is Kind.ramp for finding in diagnosis.findings):
        lines.append(
            "A ramp is wider than the shifts of method=srt, which cannot take it away; the decomposition can. Keep raw"
            " features where the position is wanted (boxes, counting)."
        )
    return lines
