"""Weights of a network that is not of timm, from a file with the names of its library."""

import logging
from collections.abc import Mapping

from torch import Tensor, nn

from dvt.errors import WeightsError
from dvt.weights.read import key_report, refuse_other_than_floats

_log = logging.getLogger(__name__)


def fill_network(
    network: nn.Module, state: Mapping[str, Tensor], *, source: str, name: str, behind: tuple[str, ...] = ()
) -> None:
    """Copy the tensors of a file into a network, by the names of its library.

    The file may hold the network alone or inside a larger model, such as one with a classifier: the names may then have
    a prefix, and what does not have it is laid aside and named in the log.

    Args:
        network: the network.
        state: names and tensors of the file.
        source: the file, for errors and the log.
        name: full name of the ViT, for errors.
        behind: names of tensors behind the tokens, which the network does not have.

    Raises:
        WeightsError: a key is missing, unexpected or of another shape.
    """
    model = network.state_dict()
    inside, prefix = min(
        ((_under(state, prefix), prefix) for prefix in _prefixes(state)),
        key=lambda each: (len(key_report(model, each[0]).missing), "student" in each[1]),  # a teacher, where both fit
    )
    aside = sorted(key for key in state if not key.startswith(prefix))
    aside += sorted(f"{prefix}{key}" for key in behind if inside.pop(key, None) is not None)
    refuse_other_than_floats(inside, model, source=source)
    report = key_report(model, inside)
    if not report.ok:
        raise WeightsError(f"{source} does not fit {name}: give weights of this very model.\n{report}")
    network.load_state_dict(dict(inside))
    if aside:
        _log.warning("%s: laid aside, as no part of the ViT: %s.", source, ", ".join(aside[:8]))


def _prefixes(state: Mapping[str, Tensor]) -> list[str]:
    """Prefixes that the names of the network may have in a file: none first, so that it wins a tie."""
    parts = {".".join(key.split(".")[:depth]) + "." for key in state for depth in (1, 2) if key.count(".") >= depth}
    return ["", *sorted(parts)]


def _under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
