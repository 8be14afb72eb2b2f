"""Which images make up which step: a function of the seed alone, so that a resumed run sees what it would have seen."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.utils.data import Sampler

from dvt.errors import ConfigError
from dvt.runtime import seed_for


@dataclass(frozen=True, slots=True)
class Draw:
    """One image of a step."""

    index: int
    """Which item of the data set."""
    number: int
    """How many images the run drew before it: the seed of this draw's augmentation."""


class StepBatches(Sampler[list[Draw]]):
    """The batches of a run, step by step; every image once before any comes again, in a new order each pass.

    With several processes each gets its equal part of every step's images, so that their number changes nothing.
    """

    def __init__(
        self, num_items: int, batch_size: int, num_steps: int, seed: int, *, start_step: int = 0, rank: int = 0,
        world_size: int = 1,
    ):  # fmt: skip
        """Prepare the batches.

        Args:
            num_items: images of the data set, at least 1.
            batch_size: images per step, over all processes.
            num_steps: steps of the whole run.
            seed: of the order.
            start_step: steps that are done already.
            rank: number of this process.
            world_size: number of processes.

        Raises:
            ConfigError: the batch cannot be split evenly over the processes.
        """
        if batch_size % world_size:
            raise ConfigError(
                f"batch_size={batch_size} cannot be split over {world_size} processes: give a multiple of {world_size}."
            )
        self.num_items, self.batch_size, self.num_steps, self.seed = num_items, batch_size, num_steps, seed
        self.start_step, self.rank, self.world_size = start_step, rank, world_size

    def __iter__(self) -> Iterator[list[Draw]]:
        share = self.batch_size // self.world_size
        order, order_of = torch.empty(0, dtype=torch.long), -1
        for step in range(self.start_step, self.num_steps):
            first = step * self.batch_size + self.rank * share
            draws = []
            for number in range(first, first + share):
                at_pass, place = divmod(number, self.num_items)
                if at_pass != order_of:
                    order, order_of = self._order(at_pass), at_pass
                draws.append(Draw(index=int(order[place]), number=number))
            yield draws

    def _order(self, at_pass: int) -> torch.Tensor:
        rng = torch.Generator().manual_seed(seed_for(self.seed, f"order of pass {at_pass}"))
        return torch.randperm(self.num_items, generator=rng)
