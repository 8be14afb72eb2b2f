"""Artifact scores: how much of feature maps belongs to the position on the patch grid and not to the picture.

All take feature maps and know nothing of ViTs or tasks. A low score alone proves nothing, for destroyed features have
one, too: it belongs beside a task.
"""

from dvt.scores.position import PositionShare

__all__ = ["PositionShare"]
