"""Data of a training: the split into training and validation images, and the batch of every step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from dvt.errors import ConfigError
from dvt.runtime import seed_for
from dvt.training.config import TrainingConfig

_VAL_BATCH = 32


@dataclass(frozen=True, slots=True)
class Draw:
    """One image of a step."""

    index: int
    """Number of the item in the data set."""
    number: int
    """Images that the run drew before it: the seed of this draw's augmentation."""


class ItemSet(Dataset[dict[str, Any]]):
    """The images of one side of the split, as dicts with their `key`; read by `Draw`, for validation by number."""

    def __len__(self) -> int:
        raise NotImplementedError


class StepBatches(Sampler[list[Draw]]):
    """The batches of a run, step by step, as a function of the seed alone: a resumed run continues the same sequence.

    Every image is drawn once before any is drawn again, in a new order each pass. Each of several processes gets its
    equal part of every step, so the number of processes does not change which images a step has.

    Examples:
        >>> [[draw.index for draw in batch] for batch in StepBatches(num_items=4, batch_size=2, num_steps=3, seed=0)]
        [[1, 3], [2, 0], [1, 2]]
    """

    def __init__(
        self, num_items: int, batch_size: int, num_steps: int, seed: int, *, start_step: int = 0, rank: int = 0,
        world_size: int = 1, one_batch: bool = False,
    ):  # fmt: skip
        """Prepare the batches.

        Args:
            num_items: images of the data set, at least 1.
            batch_size: images per step, over all processes.
            num_steps: steps of the whole run.
            seed: of the order.
            start_step: steps done already.
            rank: number of this process.
            world_size: number of processes.
            one_batch: every step has the batch of the first, with its augmentation.

        Raises:
            ConfigError: the batch cannot be split evenly over the processes.
        """
        if batch_size % world_size:
            raise ConfigError(
                f"batch_size={batch_size} cannot be split over {world_size} processes: give a multiple of {world_size}."
            )
        self.num_items, self.batch_size, self.num_steps, self.seed = num_items, batch_size, num_steps, seed
        self.start_step, self.rank, self.world_size, self.one_batch = start_step, rank, world_size, one_batch

    def __iter__(self) -> Iterator[list[Draw]]:
        share = self.batch_size // self.world_size
        order, order_of = torch.empty(0, dtype=torch.long), -1
        for step in range(self.start_step, self.num_steps):
            first = (0 if self.one_batch else step) * self.batch_size + self.rank * share
            draws = []
            for number in range(first, first + share):
                at_pass, place = divmod(number, self.num_items)
                if at_pass != order_of:
                    rng = torch.Generator().manual_seed(seed_for(self.seed, f"order of pass {at_pass}"))
                    order, order_of = torch.randperm(self.num_items, generator=rng), at_pass
                draws.append(Draw(index=int(order[place]), number=number))
            yield draws


@runtime_checkable
class Prepared(Protocol):
    """A data set that computes something before its first item is read."""

    def prepare(self, device: torch.device) -> None:
        """Compute it; called more than once."""


class StepData(L.LightningDataModule):
    """The steps of a run that are left, and the validation images, for Lightning. Every process validates on all."""

    def __init__(self, train: Dataset[object], val: Dataset[object], config: TrainingConfig, start_step: int):
        super().__init__()
        self._train, self._val, self._config, self._start_step = train, val, config, start_step

    def setup(self, stage: str) -> None:
        """Let the data sets compute what they need, on the device of this process."""
        assert self.trainer is not None
        for data in (self._train, self._val):
            if isinstance(data, Prepared):
                data.prepare(self.trainer.strategy.root_device)

    def train_dataloader(self) -> DataLoader[object]:
        """The batches of the steps that are left."""
        assert self.trainer is not None
        batches = StepBatches(
            len(self._train),  # type: ignore[arg-type]
            self._config.batch_size,
            self._config.num_steps,
            self._config.seed,
            start_step=self._start_step,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
            one_batch=self._config.one_batch,
        )
        return self._loader(self._train, batch_sampler=batches)

    def val_dataloader(self) -> DataLoader[object]:
        """The validation images in order."""
        return self._loader(self._val, batch_size=min(_VAL_BATCH, self._config.batch_size))

    def _loader(self, data: Dataset[object], **options: object) -> DataLoader[object]:
        workers = self._config.num_workers
        return DataLoader(
            data,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.trainer is not None and self.trainer.accelerator.__class__.__name__ == "CUDAAccelerator",
            **options,  # type: ignore[arg-type]
        )


def split_by_key(keys: Sequence[str], num_val: int) -> tuple[list[int], list[int]]:
    """Numbers of the training and of the validation images, ascending; the keys alone decide which is which.

    Args:
        keys: of all images.
        num_val: images kept for validation.
    """
    places = [seed_for(0, f"validation {key}") for key in keys]
    drawn = sorted(range(len(keys)), key=places.__getitem__)
    return sorted(drawn[num_val:]), sorted(drawn[:num_val])


def split_by_share(keys: Sequence[str], share: float, most: int | None = None) -> tuple[list[int], list[int]]:
    """As `split_by_key`, with a share of the images for validation; both sides get at least one image.

    Args:
        keys: of all images, two at least.
        share: of them to keep for validation.
        most: limit on the number of validation images.
    """
    num_val = max(1, round(share * len(keys)))
    return split_by_key(keys, min(num_val, len(keys) - 1, len(keys) if most is None else most))
