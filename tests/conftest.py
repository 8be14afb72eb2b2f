"""Helpers that several test folders share: a tiny real ViT, small pictures."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # `from reference import ...`
