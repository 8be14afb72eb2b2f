"""Retrieval and k-NN classification of whole images: how much do pooled features know about the class?"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from dvt.errors import EvaluationError
from dvt.evaluation.config.retrieval import HeadKind, Pooling, RetrievalConfig
from dvt.evaluation.datasets.class_folders import ClassImage, find_class_folders
from dvt.evaluation.datasets.scenes import few
from dvt.evaluation.patches import features_of
from dvt.evaluation.probes.image_ranking import Ranking, koleo, pool, rank
from dvt.evaluation.probes.retrieval_head import train_head
from dvt.evaluation.task import Metric, Scores
from dvt.grid import image_hw
from dvt.images.read import read_image
from dvt.methods.method import Method
from dvt.progress import SILENT, Reporter
from dvt.shapes import ImageTensor, ResizedImage, Tokens

_RANKS: Final = (1, 5, 10)


class Retrieval:
    """For every query, the database is ranked by the cosine similarity of pooled features.

    With `head.kind=linear` also after a head that was trained on other classes.
    """

    name: Final = "retrieval"

    def __init__(self, config: RetrievalConfig, data: str | Path):
        """List the images below `data`: class folders, or a training and a validation folder of such.

        Raises:
            EvaluationError: something is missing, or there are too few images.
            ConfigError: options that do not fit together.
            ImageError: a class folder without images.
        """
        self._config = config
        self._image_hw = image_hw(config.image_size)
        found = find_class_folders(config, Path(data))
        self._class_names, self._database, self._notes = found.class_names, found.database, found.notes
        self._training, self._training_names = found.training, found.training_names
        self._head = config.head if config.head.kind == HeadKind.linear else None
        if self._head is not None:
            self._check_training()
        self._own: Tensor | None = None
        if found.queries is not None:
            self._queries = found.queries
        else:  # leave-one-out
            sizes = Counter(each.label for each in self._database)
            own = [number for number, each in enumerate(self._database) if sizes[each.label] > 1]
            if not own:
                raise EvaluationError(f"data={data}: every class has one image. Give at least two of one class.")
            self._own, self._queries = torch.tensor(own), tuple(self._database[number] for number in own)
            if alone := [self._class_names[label] for label, size in sizes.items() if size == 1]:
                self._notes += (f"classes with one image are searched but not asked for: {', '.join(alone)}",)
        searched = len(self._database) - (self._own is not None)
        if config.num_neighbours > searched:
            raise EvaluationError(
                f"num_neighbours={config.num_neighbours}, but only {searched} images are searched."
                f" Give at most {searched}."
            )

    def _check_training(self) -> None:
        size, batch_size = len(self._training), self._config.head.batch_size
        if batch_size > size:
            raise EvaluationError(
                f"head.batch_size={batch_size}, but {size} images train the head. Give at most {size}."
            )
        if len({each.label for each in self._training}) == size:
            raise EvaluationError(
                f"{size} images of {size} classes train the head: at least two have to be of one class. Give a larger"
                " head.num_train, or more images."
            )

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """All metrics, for every pooling; those of the head come before those without it."""
        labels = [label for pooling in self._config.pooling for label in self._columns(pooling)]
        return tuple(metric for label in labels for metric in _metrics(label))

    def _columns(self, pooling: Pooling) -> tuple[str, ...]:
        return (pooling.label,) if self._head is None else (f"{pooling.label} head", pooling.label)

    @property
    def protocol(self) -> dict[str, Any]:
        """How it is measured."""
        config, size = self._config, len(self._database)
        about: dict[str, Any] = {
            "queries": len(self._queries),
            "database": size if self._own is None else f"the other {size - 1}",
            "classes": len(self._class_names),
            "image_size": list(self._image_hw),
            "fit": "central part" if config.crop else "squashed",
            "num_neighbours": config.num_neighbours,
            "temperature": "none" if config.temperature is None else config.temperature,
        }
        about |= {"GeM power": config.gem_power} if Pooling.gem in config.pooling else {}
        if self._head is not None:
            head, start = self._head, "from the identity"
            if self._head.dimensions is not None:
                start = f"to {head.dimensions} dimensions, from principal axes"
            about |= {
                "head": f"linear, {start}, on frozen features",
                "head trained on": f"{len(self._training)} images of {len(self._training_names)} classes that are not"
                f" searched ({few([*self._training_names], 5)})",
                "head loss": f"contrastive, margin {head.margin}, memory {head.memory}, KoLeo {head.koleo_weight}",
                "head steps": f"{head.num_steps} of {head.batch_size} images, learning rate {head.learning_rate},"
                f" weight decay {head.weight_decay}",
                "head seeds": head.seeds,
            }
        return about

    def evaluate(self, method: Method, reporter: Reporter = SILENT) -> Scores:
        """Score a method; every metric has one value, with a head one value per head."""
        pooled = self._pooled(method, reporter)
        values: dict[str, tuple[float, ...]] = {}
        by_class: dict[str, dict[str, float]] = {}
        notes = [*self._notes]
        for pooling in self._config.pooling:
            if pooling not in pooled:
                values |= {metric.name: (math.nan,) for label in self._columns(pooling) for metric in _metrics(label)}
                notes.append("the features have no class token: there are no values for it")
                continue
            training, searched = pooled[pooling].tensor_split([len(self._training)])
            sides = [[functional.normalize(searched, dim=1)]]
            if self._head is not None:
                labels, head = _labels(self._training), self._head
                heads = [train_head(training, labels, head, seed) for seed in range(head.seeds)]
                sides.insert(0, [trained(searched) for trained in heads])
            for label, descriptors in zip(self._columns(pooling), sides, strict=True):
                scored = [self._scored(each, label) for each in descriptors]
                values |= {name: tuple(each.values[name] for each in scored) for name in scored[0].values}
                by_class[label] = {name: fmean(each.by_class[name] for each in scored) for name in scored[0].by_class}
                if most := max(each.num_duplicates for each in scored):
                    notes.append(f"KoLeo {label} leaves out {most} images that share their descriptor with another")
        details: dict[str, Any] = {"top-1 by class": by_class}
        if self._head is not None:
            details["classes that train the head"] = [*self._training_names]
        return Scores(values=values, notes=tuple(notes), details=details)

    def _scored(self, descriptors: Tokens, label: str) -> "_Scored":
        """Rank descriptors of length 1, of the database and then of the queries."""
        labels, query_labels = _labels(self._database), _labels(self._queries)
        database, queries = descriptors.tensor_split([len(self._database)])
        ranking = rank(
            queries if self._own is None else database[self._own],
            query_labels,
            database,
            labels,
            num_neighbours=self._config.num_neighbours,
            temperature=self._config.temperature,
            own=self._own,
        )
        right = (ranking.voted == query_labels).double()
        entropy, num_duplicates = koleo(database)
        by_class = {
            name: 100 * float(right[query_labels == number].mean())
            for number, name in enumerate(self._class_names)
            if (query_labels == number).any()
        }
        return _Scored(_values(label, ranking, right) | {f"KoLeo {label}": entropy}, by_class, num_duplicates)

    def _pooled(self, method: Method, reporter: Reporter) -> dict[Pooling, Tokens]:
        """(N, C) float64 on the CPU, for every pooling the features allow: training images, database, queries."""
        files = [*self._training, *self._database, *(self._queries if self._own is None else ())]
        parts: dict[Pooling, list[Tensor]] = {}
        reporter.start(len(files), "images", f"{method.name} features")
        for features in features_of(method, self._images(files), len(files), self._image_hw, reporter):
            for pooling in self._config.pooling:
                pooled = pool(features, pooling, self._config.gem_power)
                if pooled is not None:
                    parts.setdefault(pooling, []).append(pooled.double().cpu())
        return {pooling: torch.cat(each) for pooling, each in parts.items()}

    def _images(self, files: Sequence[ClassImage]) -> Iterator[ImageTensor]:
        for each in files:
            image = read_image(each.path)
            yield central_part(image, self._image_hw) if self._config.crop else image


@dataclass(frozen=True, slots=True)
class _Scored:
    """The scores of one set of descriptors."""

    values: dict[str, float]
    by_class: dict[str, float]
    num_duplicates: int


def central_part(image: ImageTensor, image_hw: tuple[int, int]) -> ResizedImage:
    """The largest central part of an image with the aspect of `image_hw`, to the nearest pixel."""
    height, width = image.shape[1:]
    scale = min(height / image_hw[0], width / image_hw[1])
    rows, columns = (max(1, round(side * scale)) for side in image_hw)
    top, left = (height - rows) // 2, (width - columns) // 2
    return image[:, top : top + rows, left : left + columns]


def _labels(images: Sequence[ClassImage]) -> Tensor:
    return torch.tensor([each.label for each in images])


def _values(label: str, ranking: Ranking, right: Tensor) -> dict[str, float]:
    shares = {
        f"top-1 {label}": right,
        **{f"recall@{k} {label}": ranking.first_hit <= k for k in _RANKS},
        f"mAP {label}": ranking.average_precision,
    }
    return {name: 100 * float(each.double().mean()) for name, each in shares.items()}


def _metrics(label: str) -> tuple[Metric, ...]:
    """All metrics of one pooling."""
    return (
        Metric(
            f"top-1 {label}", "%", True, "Share of the queries whose class the nearest neighbours vote for, as in DINO."
        ),
        *(
            Metric(f"recall@{k} {label}", "%", True, f"Share of the queries with a hit among the first {k}.")
            for k in _RANKS
        ),
        Metric(f"mAP {label}", "%", True, "Mean over the queries of the average precision of the whole ranking."),
        Metric(
            f"KoLeo {label}",
            "",
            None,
            "-(1/N) sum log of the distance to the nearest other descriptor of the database (El-Nouby et al. 2021): the"
            " smaller, the more evenly they are spread.",
        ),
    )
