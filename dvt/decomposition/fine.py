"""Checks of `fine`, cells per patch along each side at which F is read."""

import logging

from dvt.decomposition.config import DecomposeConfig, Solver
from dvt.errors import ConfigError
from dvt.grid import PatchGrid

_log = logging.getLogger(__name__)

_MOST_GB = 8
"""Limit for a fine map of 1000 channels."""


def warn_if_finer_than_nodes(config: DecomposeConfig, name: str) -> None:
    """Warn where the cells are finer than the nodes of F.

    Args:
        config: options of stage 1, with `fine`.
        name: what asks for the cells, for the text.
    """
    nodes = config.closed_form.nodes_per_patch
    if config.solver is Solver.closed_form and config.fine > max(nodes, 1):
        _log.warning(
            "%s: F has %g x %g nodes a patch, so finer cells are interpolated. More detail:"
            " closed_form.nodes_per_patch=%d.",
            name,
            nodes,
            nodes,
            config.fine,
        )


def check_fine_size(grid: PatchGrid) -> None:
    """Check that a map of a fine grid has a sensible size; the channels are not known before the first pass.

    Raises:
        ConfigError: more than 8 GB in float32 for 1000 channels.
    """
    needed_gb = 4 * 1000 * grid.num_patches / 1e9
    if needed_gb > _MOST_GB:
        raise ConfigError(
            f"fine={grid.fine}: {grid} need {needed_gb:.0f} GB for every 1000 channels, more than {_MOST_GB}. Give"
            " fewer cells, or read F in parts: result.field.read(positions)."
        )
