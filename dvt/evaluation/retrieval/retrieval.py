"""Retrieval and k-NN classification of whole pictures: what do pooled features know of the class?"""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from dvt.backbone.load import image_hw
from dvt.errors import EvaluationError
from dvt.evaluation.retrieval.class_folders import ClassPicture, find_class_folders
from dvt.evaluation.retrieval.config import Pooling, RetrievalConfig
from dvt.evaluation.retrieval.descriptors import describe
from dvt.evaluation.retrieval.koleo import koleo
from dvt.evaluation.retrieval.ranking import Ranking, rank
from dvt.evaluation.task import Metric, Scores
from dvt.methods.method import Method
from dvt.progress import SILENT, Reporter
from dvt.shapes import Tokens

_RANKS: Final = (1, 5, 10)


class Retrieval:
    """For every query, the database is ranked by the cosine similarity of pooled features. Nothing is trained."""

    name: Final = "retrieval"

    def __init__(self, config: RetrievalConfig, data: str | Path):
        """List the pictures.

        Args:
            config: all options.
            data: a folder with class folders, or with a training and a validation folder of such.

        Raises:
            EvaluationError: something is missing, or there are too few pictures.
            ConfigError: options that do not go together.
            ImageError: a class folder without images.
        """
        self._config = config
        self._image_hw = image_hw(config.image_size)
        found = find_class_folders(config, Path(data))
        self._class_names, self._database = found.class_names, found.database
        self._leave_one_out, self._notes = found.queries is None, found.notes
        sizes = Counter(each.label for each in self._database)
        alone = [label for label, size in sizes.items() if size == 1] if self._leave_one_out else []
        self._alone = [self._class_names[label] for label in alone]
        self._queries = found.queries or tuple(each for each in self._database if each.label not in alone)
        if not self._queries:
            raise EvaluationError(f"data={data}: every class has one picture. Give at least two of one class.")
        searched = len(self._database) - self._leave_one_out
        if config.num_neighbours > searched:
            raise EvaluationError(
                f"num_neighbours={config.num_neighbours}, but only {searched} pictures are searched."
                f" Give at most {searched}."
            )

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What it measures, for every pooling."""
        return tuple(metric for pooling in self._config.pooling for metric in _metrics(pooling.label))

    @property
    def protocol(self) -> dict[str, Any]:
        """How it is measured."""
        config = self._config
        about: dict[str, Any] = {
            "queries": len(self._queries),
            "database": f"the other {len(self._database) - 1}" if self._leave_one_out else len(self._database),
            "classes": len(self._class_names),
            "image size": list(self._image_hw),
            "fit": "central part" if config.crop else "squashed",
            "neighbours": config.num_neighbours,
            "temperature": "none" if config.temperature is None else config.temperature,
        }
        return about | ({"GeM power": config.gem_power} if Pooling.gem in config.pooling else {})

    def evaluate(self, method: Method, reporter: Reporter = SILENT) -> Scores:
        """Score a method; nothing is drawn at random, so that every metric has one value.

        Args:
            method: makes the features.
            reporter: shows the progress.

        Raises:
            DvtError: a picture cannot be read, or features are not finite.
        """
        pictures = self._database if self._leave_one_out else (*self._database, *self._queries)
        descriptors = describe(method, pictures, self._config, self._image_hw, reporter)
        values: dict[str, tuple[float, ...]] = {}
        by_class: dict[str, dict[str, float]] = {}
        notes = [*self._notes]
        if self._alone:
            notes.append(f"classes with one picture are searched but not asked for: {', '.join(self._alone)}")
        for pooling in self._config.pooling:
            if pooling not in descriptors:
                values |= {metric.name: (math.nan,) for metric in _metrics(pooling.label)}
                notes.append("the features have no class token: there are no values for it")
                continue
            ranking = self._rank(descriptors[pooling])
            entropy, num_twins = koleo(descriptors[pooling][: len(self._database)])
            values |= self._values(pooling.label, ranking, entropy)
            by_class[pooling.label] = self._by_class(ranking)
            if num_twins:
                notes.append(
                    f"KoLeo {pooling.label} leaves out {num_twins} pictures that share their descriptor with another"
                )
        return Scores(values=values, notes=tuple(notes), details={"top-1 by class": by_class})

    def _rank(self, descriptors: Tokens) -> Ranking:
        labels, query_labels = _labels(self._database), _labels(self._queries)
        database = descriptors[: len(self._database)]
        own = None
        queries = descriptors[len(self._database) :]
        if self._leave_one_out:
            positions = {each: number for number, each in enumerate(self._database)}
            own = torch.tensor([positions[each] for each in self._queries])
            queries = database[own]
        return rank(
            queries,
            query_labels,
            database,
            labels,
            num_neighbours=self._config.num_neighbours,
            temperature=self._config.temperature,
            own=own,
        )

    def _values(self, label: str, ranking: Ranking, entropy: float) -> dict[str, tuple[float, ...]]:
        right = ranking.voted == _labels(self._queries)
        shares = {
            f"top-1 {label}": right,
            **{f"recall@{k} {label}": ranking.first_hit <= k for k in _RANKS},
            f"mAP {label}": ranking.average_precision,
        }
        values: dict[str, tuple[float, ...]] = {
            name: (100 * float(each.double().mean()),) for name, each in shares.items()
        }
        return values | {f"KoLeo {label}": (entropy,)}

    def _by_class(self, ranking: Ranking) -> dict[str, float]:
        labels = _labels(self._queries)
        right = (ranking.voted == labels).double()
        return {
            name: 100 * float(right[labels == number].mean())
            for number, name in enumerate(self._class_names)
            if (labels == number).any()
        }


def _labels(pictures: Sequence[ClassPicture]) -> Tensor:
    return torch.tensor([each.label for each in pictures])


def _metrics(label: str) -> tuple[Metric, ...]:
    """All metrics of one pooling."""
    recalls = (
        Metric(f"recall@{k} {label}", "%", True, f"Share of the queries with one of their class among the first {k}.")
        for k in _RANKS
    )
    return (
        Metric(
            f"top-1 {label}", "%", True, "Share of the queries whose class the nearest neighbours vote for, as in DINO."
        ),
        *recalls,
        Metric(f"mAP {label}", "%", True, "Mean over the queries of the average precision of the whole ranking."),
        Metric(
            f"KoLeo {label}",
            "",
            None,
            "-(1/N) sum log of the distance to the nearest other descriptor of the database (El-Nouby et al. 2021): the"
            " smaller, the more evenly they are spread.",
        ),
    )
