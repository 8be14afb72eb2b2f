"""Processes that work together: they hold the same weights, and where one fails the others end too."""

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
"""How long a process that failed may take to end."""
_SAID_WHY = 2
"""The exit code of `dvt` for an error that the person can mend."""


def is_main_process() -> bool:
    """Whether this process is the first of those that train together, the one that writes files and speaks."""
    return bool(getattr(rank_zero_only, "rank", 0) == 0)


def check_replicas(trainer: L.Trainer, network: nn.Module) -> None:
    """Compare the weights of all processes that hold the whole network, bit by bit.

    Raises:
        TrainingError: they differ, in all processes at once.
    """
    if trainer.world_size == 1 or not isinstance(trainer.strategy, DDPStrategy):
        return
    found = trainer.strategy.all_gather(bit_sums(network))
    if not bool((found == found[0]).all()):
        raise TrainingError(
            f"after step {trainer.global_step} the {trainer.world_size} processes hold different weights: their"
            " gradients were not brought together. No checkpoint of this is written. Train with trainer.devices=1, or"
            " another trainer.strategy."
        )


def bit_sums(network: nn.Module) -> Tensor:
    """(number of parameters,) int64: the sum of the bytes of each, which nearly any change of a value changes."""
    sums = [
        parameter.detach().contiguous().flatten().view(torch.uint8).sum(dtype=torch.int64)
        for parameter in network.parameters()
    ]
    return torch.stack(sums)


@contextmanager
def one_fate(trainer: L.Trainer) -> Iterator[None]:
    """Where this process fails, those that Lightning started here end with it: they would wait for it for ever.

    What a process that reads data refuses comes out as if this one had refused it.

    Raises:
        TrainingError: another process of the training ended on an error, which it has told.
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
            raise type(error)(_as_told(error)) from None
        raise
    except BaseException as error:
        if _told_why(trainer):
            raise TrainingError("a process of this training ended on the error above.") from error
        _end(trainer)
        raise
    finally:
        _children(trainer).clear()  # Lightning watches this list, and kills this process where one in it ended badly


def _children(trainer: L.Trainer) -> list[Popen[Any]]:
    """The processes that Lightning started on this machine, in the list that it keeps itself."""
    found: list[Popen[Any]] = getattr(trainer.strategy.launcher, "procs", [])
    return found


def _end(trainer: L.Trainer) -> None:
    for child in _children(trainer):
        child.kill()


def _told_why(trainer: L.Trainer) -> bool:
    """Wait until those that fail have failed; whether one told an error that the person can mend."""
    children, until_s = _children(trainer), time.monotonic() + _GRACE_S
    while any(child.poll() is None for child in children) and time.monotonic() < until_s:
        if any(child.poll() == _SAID_WHY for child in children):
            break
        time.sleep(0.1)
    told = any(child.returncode == _SAID_WHY for child in children)
    _end(trainer)
    return told


def _as_told(error: DvtError) -> str:
    """The text of an error of a process that reads data: PyTorch hands on its whole traceback."""
    kind = type(error)
    return str(error).rpartition(f"{kind.__module__}.{kind.__qualname__}: ")[2].rstrip("\n")
