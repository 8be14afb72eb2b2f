"""The diagnosis of a ViT: as a table, in words, as JSON, and what to do about it."""

import math
from dataclasses import dataclass
from typing import Any

from dvt.diagnosis.findings import OUTLIER_ENERGY, Finding, Kind, Severity
from dvt.diagnosis.layers import Layer
from dvt.diagnosis.scores import ArtifactReport
from dvt.files import plain
from dvt.grid import PatchGrid

_COLUMNS = (
    ("position", "position share", 3),
    ("upright", "upright share", 3),
    ("low freq", "low frequency", 2),
    ("R2", "position R2", 2),
    ("MIC", "MIC", 2),
    ("shift", "shift error", 3),
    ("locked", "shift locked", 2),
    ("outliers", "outliers", 4),
    ("x median", "outlier ratio", 1),
    ("energy", "outlier energy", 3),
)
"""Head of each column of the table, name of its score, and number of digits."""

LEGEND = """\
position  share of variance that position explains, over random crops and flips; upright: of whole images as taken
low freq  share of that pattern in the lowest frequencies      R2, MIC   how well a token predicts its position
shift     error of tokens on the same content from two windows; locked: its share that is the same in all images
outliers  share of tokens with a very high norm; their norm in medians; their share of all squared norms"""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Diagnosis:
    """What was measured and found."""

    model: str
    """Name of the ViT."""
    grid: PatchGrid
    """Its patches."""
    num_images: int
    """Number of images."""
    layers: tuple[Layer, ...]
    """The measured layers."""
    reports: tuple[ArtifactReport, ...]
    """The scores of each layer."""
    findings: tuple[Finding, ...]
    """The artifacts, strong before mild; empty if there are none."""
    remarks: tuple[str, ...]
    """What else the numbers say: layout, shifts, early blocks."""

    @property
    def kind(self) -> Kind:
        """Kind of the most severe finding."""
        return self.findings[0].kind if self.findings else Kind.none

    def table(self) -> str:
        """The scores of every layer as a table of text."""
        rows = [["layer", *(head for head, _, _ in _COLUMNS)]]
        for layer, report in zip(self.layers, self.reports, strict=True):
            numbers = report.numbers()
            rows.append([layer.name, *(_cell(numbers[name], digits) for _, name, digits in _COLUMNS)])
        first, *others = (max(map(len, column)) for column in zip(*rows, strict=True))
        lines = (
            [row[0].ljust(first), *(cell.rjust(width) for cell, width in zip(row[1:], others, strict=True))]
            for row in rows
        )
        return "\n".join(map("  ".join, lines))

    def words(self) -> str:
        """Findings and remarks, one per line."""
        lines = [f"{finding.severity.capitalize()} {finding.kind} in {finding.text}" for finding in self.findings]
        return "\n".join([*(lines or ["No artifact: none of the late layers reaches a threshold."]), *self.remarks])

    def __str__(self) -> str:
        return f"{self.table()}\n\n{LEGEND}\n\n{self.words()}"

    def to_json(self) -> dict[str, Any]:
        """Everything, with the maps, as plain JSON; None where there is no value."""
        findings = [
            {
                "kind": finding.kind,
                "severity": finding.severity,
                "layers": [layer.name for layer in finding.layers],
                "at_output": finding.at_output,
                "fixed": finding.fixed,
                "text": finding.text,
            }
            for finding in self.findings
        ]
        layers = [
            {"name": layer.name, **plain(layer), **report.to_json()}
            for layer, report in zip(self.layers, self.reports, strict=True)
        ]
        body = {
            "kind": "dvt doctor",
            "model": self.model,
            "grid": {"image_hw": self.grid.image_hw, "patch": self.grid.patch, "hw": self.grid.hw},
            "num_images": self.num_images,
            "diagnosis": {"kind": self.kind, "findings": findings, "remarks": self.remarks},
            "layers": layers,
        }
        return dict(plain(body))

    def advice(self, *, backbone: str, images: str) -> list[str]:
        """What to do, as sentences and commands, the cheapest remedy first.

        Args:
            backbone: the options that select the ViT on the command line.
            images: the images, as given on the command line.
        """
        show = f"    dvt show image=PHOTO.jpg method=[raw,decomposed] {backbone}"
        compare = f"    dvt evaluate task=artifact_scores data={images} method=[raw,raw@2x,srt,decomposed] {backbone}"
        if not self.findings:
            return [
                "There is nothing to remove: use the features as they are, a denoiser could only cost. For finer"
                " features use a larger backbone.image_size or average sub-token shifts, and compare:",
                compare,
            ]
        lines = [*self._norm_advice(), *self._kind_advice()]
        output = self.layers[-1].name
        at_output = [finding for finding in self.findings if finding.at_output]
        if not at_output:
            lines += [f"{output} itself has no artifact: if you use that layer, there is nothing to do."]
        elif any(finding.severity is Severity.strong for finding in at_output):
            lines += ["See what the decomposition removes:", show]
        else:
            lines += [f"In {output} it is mild: first check whether it matters, by eye and in numbers.", show, compare]
        if any(finding.fixed for finding in self.findings):
            lines += [
                "A denoiser removes what belongs to the position, in one pass:",
                f"    dvt decompose images={images} store=runs/store {backbone}",
                "    dvt train store=runs/store out=runs/denoiser",
            ]
        return lines

    def _norm_advice(self) -> list[str]:
        """The final norm removes high norms; say what it leaves."""
        outliers = [finding for finding in self.findings if finding.kind is Kind.outliers]
        if not outliers:
            return []
        if not self.layers[-1].normed:
            return [
                "Use the features after the final norm (backbone.norm=true, the default) if the model has one: it gives"
                " all tokens nearly the same norm."
            ]
        if self.reports[-1].outliers.energy >= OUTLIER_ENERGY[0]:
            return []
        sentence = "Use the features after the final norm (backbone.norm=true, the default): they have no outliers."
        if outliers[0].fixed:
            late = [report for layer, report in zip(self.layers, self.reports, strict=True) if layer.late]
            worst = max(late, key=lambda report: report.outliers.energy)
            sentence += (
                f" Position explains {self.reports[-1].position_share:.3f} of the variance instead of"
                f" {worst.position_share:.3f}."
            )
        return [sentence]

    def _kind_advice(self) -> list[str]:
        lines = []
        if any(finding.kind is Kind.outliers and not finding.fixed for finding in self.findings):
            lines.append(
                "The outliers move with the image, so no fixed pattern removes them; a ViT with registers has few"
                " (for example backbone=dinov2_reg_base)."
            )
        if any(finding.kind is Kind.ramp for finding in self.findings):
            lines.append(
                "A ramp is wider than the shifts of method=srt, which cannot remove it; the decomposition can. Keep raw"
                " features where the position is needed (boxes, counting)."
            )
        return lines


def _cell(value: float, digits: int) -> str:
    if math.isnan(value):
        return "-"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text
