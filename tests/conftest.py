"""Helpers that several test folders share: a tiny real ViT, small pictures."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "decomposition")]
