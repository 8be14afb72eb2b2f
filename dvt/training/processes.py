"""Several processes in one training: equal weights are checked, and all end when one fails."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import Popen
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities import rank_zero_only
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn

from dvt.errors import DvtError, TrainingError

_GRACE_S = 10.0
"""Seconds that a failed process may take to end."""
_USAGE = 2
"""Exit code of `dvt` for a user-fixable error, which it has printed."""


def is_main_process() -> bool:
    """Whether this is the first process of a training, which writes files and reports."""
    return bool(getattr(rank_zero_only, "rank", 0) == 0)


def check_replicas(trainer: L.Trainer, network: nn.Module) -> None:
    """Compare the weights of all processes bit by bit, where each holds the whole network.

    Raises:
        TrainingError: they differ, in all processes at once.
    """
    if trainer.world_size == 1 or not isinstance(trainer.strategy, DDPStrategy):
        return
    found = trainer.strategy.all_gather(bit_sums(network))
    if not bool((found == found[0]).all()):
        raise TrainingError(
            f"after step {trainer.global_step} the {trainer.world_size} processes hold different weights: their"
            " gradients were not averaged. No checkpoint of this is written. Train with trainer.devices=1, or"
            " another trainer.strategy."
        )


def bit_sums(network: nn.Module) -> Tensor:
    """(number of parameters,) int64: the sum of the bytes of each; nearly any change of a value changes it."""
    sums = [
        parameter.detach().contiguous().flatten().view(torch.uint8).sum(dtype=torch.int64)
        for parameter in network.parameters()
    ]
    return torch.stack(sums)


@contextmanager
def end_together(trainer: L.Trainer) -> Iterator[None]:
    """If this process fails, end those that Lightning started here: they would wait for it forever.

    An error in a data worker is raised as if this process had raised it.

    Raises:
        TrainingError: another process of the training ended on an error, which it has printed.
        KeyboardInterrupt: a second Ctrl-C, which Lightning turns into an exit.
    """
    try:
        yield
    except SystemExit as error:
        _end(trainer)
        raise KeyboardInterrupt from error
    except DvtError as error:
        _end(trainer)
        if str(error).startswith("Caught "):
            raise type(error)(_original_text(error)) from None
        raise
    except BaseException as error:
        if _reason_was_printed(trainer):
            raise TrainingError("a process of this training ended on the error above.") from error
        _end(trainer)
        raise
    finally:
        _children(trainer).clear()  # Lightning watches this list, and kills this process if one in it failed


def _children(trainer: L.Trainer) -> list[Popen[Any]]:
    """Processes that Lightning started on this machine, in its own list."""
    found: list[Popen[Any]] = getattr(trainer.strategy.launcher, "procs", [])
    return found


def _end(trainer: L.Trainer) -> None:
    for child in _children(trainer):
        child.kill()


def _reason_was_printed(trainer: L.Trainer) -> bool:
    """Wait for failing processes to end; whether one printed a user-fixable error."""
    children, until_s = _children(trainer), time.monotonic() + _GRACE_S
    while any(child.poll() is None for child in children) and time.monotonic() < until_s:
        if any(child.poll() == _USAGE for child in children):
            break
        time.sleep(0.1)
    printed = any(child.returncode == _USAGE for child in children)
    _end(trainer)
    return printed


def _original_text(error: DvtError) -> str:
    """The text of an error in a data worker: PyTorch passes on its whole traceback."""
    kind = type(error)
    return str(error).rpartition(f"{kind.__module__}.{kind.__qualname__}: ")[2].rstrip("\n")
