"""An examination and its diagnosis as a table, as words and as JSON."""

import json
import math

from dvt.diagnosis.examine import Examination
from dvt.diagnosis.finding import Diagnosis
from dvt.diagnosis.scores import plain_map, plain_number

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
"""Head of a column, the score in it, and its digits."""

LEGEND = """\
position  share of variance that position explains, over random crops and flips; upright: of whole pictures as taken
low freq  share of that pattern in the lowest frequencies      R2, MIC   how well position can be read off a token
shift     error of tokens on the same content from two windows; locked: its share that is the same in all pictures
outliers  share of tokens with a very high norm; their norm in medians; their share of all squared norms"""


def table(examination: Examination) -> str:
    """The numbers of every layer, for people."""
    rows = [["layer", *(head for head, _, _ in _COLUMNS)]]
    for layer, report in zip(examination.layers, examination.reports, strict=True):
        numbers = report.numbers()
        rows.append([layer.name, *(_cell(numbers[name], digits) for _, name, digits in _COLUMNS)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )


def words(diagnosis: Diagnosis) -> str:
    """What was found, for people."""
    lines = [f"{finding.severity.capitalize()} {finding.kind} in {finding.text}" for finding in diagnosis.findings]
    return "\n".join([*(lines or ["No artifact: none of the late layers reaches a threshold."]), *diagnosis.remarks])


def to_json(examination: Examination, diagnosis: Diagnosis, advice: list[str], environment: dict[str, str]) -> str:
    """Everything, maps among it, as JSON; numbers that are none are null."""
    body = {
        "kind": "dvt doctor",
        "model": examination.model,
        "grid": {"image_hw": examination.grid.image_hw, "patch": examination.grid.patch, "hw": examination.grid.hw},
        "num_images": examination.num_images,
        "diagnosis": {
            "kind": str(diagnosis.kind),
            "findings": [
                {
                    "kind": str(finding.kind),
                    "severity": str(finding.severity),
                    "layers": [layer.name for layer in finding.layers],
                    "at_output": finding.at_output,
                    "fixed": finding.fixed,
                    "text": finding.text,
                }
                for finding in diagnosis.findings
            ],
            "remarks": list(diagnosis.remarks),
            "advice": advice,
        },
        "layers": [
            {
                "name": layer.name,
                "block": layer.block,
                "normed": layer.normed,
                "late": layer.late,
                "scores": {name: plain_number(value) for name, value in report.numbers().items()},
                "maps": {name: plain_map(values) for name, values in report.maps().items()},
            }
            for layer, report in zip(examination.layers, examination.reports, strict=True)
        ],
        "environment": environment,
    }
    return json.dumps(body, allow_nan=False)


def _cell(value: float, digits: int) -> str:
    if math.isnan(value):
        return "-"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text
