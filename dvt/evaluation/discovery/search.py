"""From pictures to objects: features of pictures of many sizes, and one algorithm on all of them."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from dvt.evaluation.discovery.config import Algorithm, ObjectsConfig
from dvt.evaluation.discovery.found import FoundObject
from dvt.evaluation.discovery.lost import lost
from dvt.evaluation.discovery.tokencut import tokencut
from dvt.evaluation.patches import finite_features, fitting_hw
from dvt.grid import PatchGrid
from dvt.methods.method import Method
from dvt.progress import Reporter
from dvt.shapes import FeatureMap, ImageTensor

BATCH_SIZE = 4
"""Pictures of one size that are handed to a method at once; they are large."""

Truth = TypeVar("Truth")


def found_objects(
    method: Method, pictures: Iterable[tuple[Truth, ImageTensor]], config: ObjectsConfig, reporter: Reporter, count: int
) -> Iterator[tuple[Truth, FoundObject, PatchGrid]]:
    """One object a picture, in the order of the pictures. No picture is kept.

    Args:
        method: makes the features.
        pictures: with what belongs to them, handed on; neighbours of one size go to the method together.
        config: the algorithm and the size.
        reporter: shows the progress.
        count: how many pictures there are at most.

    Raises:
        EvaluationError: features that are not finite, or a map that is too large for the algorithm.
    """
    done, batch = 0, list[tuple[Truth, ImageTensor]]()
    reporter.start(count, "images", f"{method.name} features")
    for truth, picture in pictures:
        if batch and (len(batch) == BATCH_SIZE or picture.shape != batch[0][1].shape):
            yield from _search(method, batch, config)
            done += len(batch)
            reporter.advance(len(batch))
            batch = []
        batch.append((truth, picture))
    if batch:
        yield from _search(method, batch, config)
    reporter.advance(count - done)


def find_object(patches: FeatureMap, config: ObjectsConfig) -> FoundObject:
    """The object in a feature map, by the algorithm of the options."""
    match config.algorithm:
        case Algorithm.lost:
            return lost(patches, centre=config.centred, seed=config.seed, num_candidates=config.num_candidates)
        case Algorithm.tokencut:
            return tokencut(patches, centre=config.centred, tau=config.tau, eps=config.eps)


def looked_at_hw(method: Method, picture_hw: tuple[int, int], short_side: int | None) -> tuple[int, int]:
    """The size that a picture is squashed to: its own or in its aspect, each side rounded to the nearest that fits.

    Args:
        method: whose patches have to fit.
        picture_hw: height and width of the picture.
        short_side: the shorter of height and width; None leaves the size.

    Raises:
        GeometryError: no size nearby fits.
    """
    scale = 1.0 if short_side is None else short_side / min(picture_hw)
    wanted = (max(1, round(picture_hw[0] * scale)), max(1, round(picture_hw[1] * scale)))
    below, above = (fitting_hw(method, wanted, larger=larger) for larger in (False, True))
    height, width = (
        low if side - low <= high - side else high for side, low, high in zip(wanted, below, above, strict=True)
    )
    return height, width


def algorithm_protocol(config: ObjectsConfig) -> dict[str, Any]:
    """The options that bear on the algorithm, and the size, as plain JSON."""
    about: dict[str, Any] = {"algorithm": config.algorithm.value, "features": "output, not keys"}
    about["mean subtracted"] = config.centred
    match config.algorithm:
        case Algorithm.lost:
            about |= {"seed": config.seed.value, "candidates": config.num_candidates}
        case Algorithm.tokencut:
            about |= {"tau": config.tau, "eps": config.eps}
    return about | {"short side": "own" if config.image_size is None else config.image_size}


def _search(
    method: Method, batch: list[tuple[Truth, ImageTensor]], config: ObjectsConfig
) -> Iterator[tuple[Truth, FoundObject, PatchGrid]]:
    height, width = batch[0][1].shape[1:]
    image_hw = looked_at_hw(method, (height, width), config.image_size)
    features = finite_features(method, [picture for _, picture in batch], image_hw)
    for (truth, _), patches in zip(batch, features.patches.cpu(), strict=True):
        yield truth, find_object(patches, config), features.grid
