"""Loggers of a run: CSV, TensorBoard, Weights & Biases."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from numpy.typing import NDArray

from dvt.errors import ConfigError
from dvt.training.config import LoggerConfig, LoggerKind

_WANDB_RUN = "wandb_run"


def make_logger(config: LoggerConfig, out: Path) -> Logger | None:
    """The logger of the options; every start of a run has its own folder below `<out>/logs`.

    Raises:
        ConfigError: it is not installed, or wandb has no account here.
    """
    start = time.strftime("%Y-%m-%dT%H-%M-%S")
    match config.kind:
        case LoggerKind.none:
            return None
        case LoggerKind.csv:
            return CSVLogger(save_dir=out, name="logs", version=start)
        case LoggerKind.tensorboard:
            if find_spec("tensorboard") is None:
                raise ConfigError(
                    "logger=tensorboard is not installed: pip install 'denoising-vit[tensorboard]', or logger=csv."
                )
            return TensorBoardLogger(save_dir=out, name="logs", version=start)
        case LoggerKind.wandb:
            return _wandb(config, out)


def log_image(logger: Logger | None, name: str, image: NDArray[Any], step: int) -> None:
    """Log an image where the logger supports images.

    Args:
        logger: the logger of the run.
        name: of the image.
        image: (y, x, 3) uint8.
        step: updates done.
    """
    if isinstance(logger, WandbLogger):
        logger.log_image(name, [image], step=step)
    elif isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(name, image, step, dataformats="HWC")


@contextmanager
def closing(logger: Logger | None) -> Iterator[None]:
    """Finish the run of wandb when the block ends, so that the next run of this process gets its own curves."""
    try:
        yield
    finally:
        if isinstance(logger, WandbLogger):
            import wandb

            wandb.finish()


def _wandb(config: LoggerConfig, out: Path) -> WandbLogger:
    import wandb

    if not config.offline and wandb.Settings().mode in (None, "online") and not wandb.api.api_key:
        raise ConfigError(
            "logger=wandb has no account here: run `wandb login`, or keep the files here with logger.offline=true."
        )
    out.mkdir(parents=True, exist_ok=True)
    kept = out / _WANDB_RUN  # a resumed run continues the same curves
    run_id = kept.read_text().strip() if kept.is_file() else token_hex(4)
    kept.write_text(run_id + "\n")
    return WandbLogger(
        project=config.project,
        name=config.name or out.name,
        save_dir=out,
        id=run_id,
        resume="allow",
        offline=config.offline,
    )
