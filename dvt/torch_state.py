"""Settings of torch that hold for a whole process do not reach from the caller into dvt."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

_AUTOCAST_DEVICES = ("cpu", "cuda", "mps")


@contextmanager
def own_torch_state() -> Iterator[None]:
    """Compute as in a fresh process, whatever the caller has set; its settings are back afterwards.

    Put aside are autocast, inference mode, disabled gradients, the default dtype and device, and the precision of
    float32 matrix products. Deterministic algorithms stay as they are: they change no result, and torch refuses what
    it has none for.

    Examples:
        >>> import torch
        >>> @own_torch_state()
        ... def half() -> torch.Tensor:
        ...     return torch.ones(2) / 2
        >>> with torch.inference_mode(), torch.device("meta"):
        ...     half()
        tensor([0.5000, 0.5000])
    """
    dtype, precision = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if not torch.is_grad_enabled():
            stack.enter_context(torch.enable_grad())
        for kind in _AUTOCAST_DEVICES:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if dtype != torch.float32:
            torch.set_default_dtype(torch.float32)
            stack.callback(torch.set_default_dtype, dtype)
        if precision != "highest":
            torch.set_float32_matmul_precision("highest")
            stack.callback(torch.set_float32_matmul_precision, precision)
        yield
