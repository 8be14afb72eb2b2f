"""Boxes as in Pascal VOC: one XML file a picture (Everingham et al. 2010)."""

import math
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from dvt.errors import EvaluationError
from dvt.evaluation.discovery.boxes import Box

_SIDES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True, slots=True)
class VocObject:
    """An object in a picture."""

    box: Box
    """In pixels."""
    difficult: bool
    """Marked as hard to recognise."""


def read_voc_objects(path: Path) -> tuple[VocObject, ...]:
    """The objects of an annotation; there may be none.

    Corners are counted from 1 and belong to the box, so that xmin = 1, xmax = width is the whole width: 1 is taken from
    xmin and ymin. Boxes of parts (head, hand) are not objects.

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
    return tuple(_object(element, path) for element in root.findall("object"))


def _object(element: ElementTree.Element, path: Path) -> VocObject:
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
    return VocObject(Box(left - 1, top - 1, right, bottom), element.findtext("difficult", "0").strip() == "1")


def read_voc_list(path: Path) -> list[str]:
    """The names in a list of ImageSets/Main.

    Raises:
        EvaluationError: it cannot be read, is empty, or is the list of one class.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{path} cannot be read ({error}). Expected a list with a name a line.") from error
    names = [line.split() for line in lines if line.strip()]
    if not names:
        raise EvaluationError(f"{path} is empty. Expected a list with a name a line.")
    if any(len(words) > 1 for words in names):
        raise EvaluationError(
            f"{path} has more than a name a line: it is the list of one class. Give a split such as trainval or test."
        )
    return [words[0] for words in names]
