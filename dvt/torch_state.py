"""Settings of torch that hold for a process or a thread do not reach from the caller into dvt."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

_AUTOCAST_DEVICES = ("cpu", "cuda", "mps")


@contextmanager
def own_torch_state() -> Iterator[None]:
    """Compute as in a fresh process, whatever the caller has set; its settings are back afterwards.

    Autocast, inference mode, disabled gradients, the default dtype and device, and reduced precision of float32 matrix
    products (TF32) are put aside. Deterministic algorithms stay as they are: they may change the last digits on a GPU,
    and torch refuses what it has none for. The default dtype and the precision of products belong to the whole process:
    another thread that sets them meanwhile meets these values.

    Examples:
        >>> import torch
        >>> @own_torch_state()
        ... def half() -> torch.Tensor:
        ...     return torch.ones(2) / 2
        >>> with torch.inference_mode(), torch.device("meta"):
        ...     half()
        tensor([0.5000, 0.5000])
    """
    dtype = torch.get_default_dtype()
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
        for products in (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul):  # type: ignore[attr-defined]
            precision = products.fp32_precision  # torch refuses its older functions where this one was used
            products.fp32_precision = "ieee"
            stack.callback(setattr, products, "fp32_precision", precision)
        yield
