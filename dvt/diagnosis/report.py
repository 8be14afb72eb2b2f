"""The diagnosis of a ViT: as a table, in words, as JSON."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dvt.diagnosis.findings import ArtifactKind, Finding
from dvt.diagnosis.layers import Layer
from dvt.diagnosis.scores import SCORES, ArtifactReport
from dvt.files import plain
from dvt.grid import PatchGrid

_COLUMNS = {name: score for name, score in SCORES.items() if name != "shift cosine"}

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
    failed: Mapping[str, str]
    """Key and reason of images that could not be read."""

    @property
    def kind(self) -> ArtifactKind:
        """ArtifactKind of the most severe finding."""
        return self.findings[0].kind if self.findings else ArtifactKind.none

    def table(self) -> str:
        """The scores of every layer as a table of text."""
        rows = [["layer", *(score.head for score in _COLUMNS.values())]]
        for layer, report in zip(self.layers, self.reports, strict=True):
            rows.append([layer.name, *(_cell(score.value(report), score.digits) for score in _COLUMNS.values())])
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
            "failed": dict(self.failed),
            "diagnosis": {"kind": self.kind, "findings": findings, "remarks": self.remarks},
            "layers": layers,
        }
        return dict(plain(body))


def _cell(value: float, digits: int) -> str:
    if math.isnan(value):
        return "-"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text
