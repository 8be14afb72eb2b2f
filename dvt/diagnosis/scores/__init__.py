"""Artifact scores: how much of feature maps belongs to the position on the patch grid and not to the picture.

All take feature maps and know nothing of ViTs or tasks. A low score alone proves nothing, for destroyed features have
one, too: it belongs beside a task. `ArtifactMeter` brings all of them together; `docs/scores.md` has the formulas.
"""

from dvt.diagnosis.scores.meter import ArtifactMeter
from dvt.diagnosis.scores.mic import mic
from dvt.diagnosis.scores.outliers import OutlierNorms, Outliers
from dvt.diagnosis.scores.pattern import LockedPattern
from dvt.diagnosis.scores.position import PositionShare
from dvt.diagnosis.scores.position_mic import position_mic
from dvt.diagnosis.scores.probe import PositionR2, position_r2
from dvt.diagnosis.scores.report import ArtifactReport, plain_map, plain_number
from dvt.diagnosis.scores.sample import TokenSample
from dvt.diagnosis.scores.shift import ShiftError

__all__ = [
    "ArtifactMeter",
    "ArtifactReport",
    "LockedPattern",
    "OutlierNorms",
    "Outliers",
    "PositionR2",
    "PositionShare",
    "ShiftError",
    "TokenSample",
    "mic",
    "plain_map",
    "plain_number",
    "position_mic",
    "position_r2",
]
