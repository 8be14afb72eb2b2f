"""Boxes as in Pascal VOC, one XML file per image, and its lists of images (Everingham et al. 2010)."""

import math
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from dvt.errors import EvaluationError
from dvt.evaluation.boxes import Box

_SIDES = ("xmin", "ymin", "xmax", "ymax")


class VocObject(NamedTuple):
    """An object of an annotation."""

    name: str
    """Its class; empty where the file has none."""
    difficult: bool
    """Whether it is marked as difficult: it does not count in the evaluation of VOC."""
    box: Box
    """Where it is."""


def read_voc_objects(path: Path) -> tuple[VocObject, ...]:
    """The objects of an annotation; there may be none.

    Corners count from 1 and are inclusive (xmin = 1, xmax = width is the whole width), so 1 is subtracted from xmin
    and ymin. Boxes of parts (head, hand) are ignored.

    Raises:
        EvaluationError: the file cannot be read, or a box has no corners.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:  # the last two: unknown encodings
        raise EvaluationError(
            f"{path} cannot be read as XML ({error}). Expected an annotation as in Pascal VOC; copy it again."
        ) from error
    if root.tag != "annotation":
        raise EvaluationError(f"{path} holds <{root.tag}>; expected <annotation> as in Pascal VOC.")
    return tuple(
        VocObject(
            name=element.findtext("name", "").strip(),
            difficult=element.findtext("difficult", "0").strip() == "1",
            box=_box(element, path),
        )
        for element in root.findall("object")
    )


def _box(element: ElementTree.Element, path: Path) -> Box:
    texts = [element.findtext(f"bndbox/{side}", "") for side in _SIDES]
    try:
        left, top, right, bottom = (float(text) for text in texts)
    except ValueError:
        left = top = right = bottom = math.nan
    if not (left <= right and top <= bottom and math.isfinite(left + top + right + bottom)):
        name = element.findtext("name", "without a name")
        raise EvaluationError(
            f"{path}: the object {name} has the box {', '.join(map(repr, texts))}; expected {' '.join(_SIDES)} with"
            " xmin <= xmax and ymin <= ymax."
        )
    return Box(left - 1, top - 1, right, bottom)


def read_voc_list(path: Path) -> list[str]:
    """The image names in a list of ImageSets.

    Raises:
        EvaluationError: it cannot be read, is empty, or is the list of one class.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{path} cannot be read ({error}). Expected a list with one name per line.") from error
    names = [line.split() for line in lines if line.strip()]
    if not names:
        raise EvaluationError(f"{path} is empty. Expected a list with one name per line.")
    if any(len(words) > 1 for words in names):
        raise EvaluationError(
            f"{path} has more than one name per line: it is the list of one class. Give a split such as trainval or"
            " test."
        )
    return [words[0] for words in names]
