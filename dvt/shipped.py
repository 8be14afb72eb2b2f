"""Folders that ship beside the code: configs, checkpoints."""

from pathlib import Path


def shipped(name: str) -> Path:
    """The folder of that name: at the top of a source checkout, else inside the installed package."""
    package = Path(__file__).parent
    checkout = package.parent / name
    return checkout if (package.parent / "pyproject.toml").is_file() and checkout.is_dir() else package / name
