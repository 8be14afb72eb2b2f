"""Wall-clock time of one call: what stage1.py and store.py share."""

import time
from collections.abc import Callable

import torch


def seconds(work: Callable[[], object], device: torch.device | None = None) -> float:
    """With the device, where one is named, idle before and after."""
    _wait_for(device)
    start = time.perf_counter()
    work()
    _wait_for(device)
    return time.perf_counter() - start


def _wait_for(device: torch.device | None) -> None:
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
