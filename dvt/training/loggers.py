"""Loggers of a run: CSV, TensorBoard, Weights & Biases."""

import inspect
import os
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
from dvt.training.processes import is_main_process

_WANDB_RUN = "wandb_run"


def make_logger(config: LoggerConfig, out: Path) -> Logger | None:
    """The logger of the options, which `check_logger` has passed; every start has its own folder below `<out>/logs`."""
    start = time.strftime("%Y-%m-%dT%H-%M-%S")
    match config.kind:
        case LoggerKind.none:
            return None
        case LoggerKind.csv:
            return CSVLogger(save_dir=out, name="logs", version=start)
        case LoggerKind.tensorboard:
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


def check_logger(config: LoggerConfig) -> None:
    """Refuse a logger that could not work, before anything is computed.

    Raises:
        ConfigError: it is not installed, or wandb has no account here.
    """
    if config.kind is LoggerKind.tensorboard and find_spec("tensorboard") is None:
        raise ConfigError(
            "logger=tensorboard is not installed: pip install 'denoising-vit[tensorboard]', or logger=csv."
        )
    if config.kind is LoggerKind.wandb and not config.offline and is_main_process() and not _can_send():
        raise ConfigError(
            "logger=wandb has no account here: run `wandb login`, or keep the files here with logger.offline=true or"
            " WANDB_MODE=offline."
        )


def _can_send() -> bool:
    """Whether wandb has an account, or needs none as its environment variables are."""
    import wandb

    settings = wandb.Settings()
    settings.update_from_env_vars(dict(os.environ))
    if settings.mode not in (None, "online"):
        return True
    if "prompt" in inspect.signature(wandb.login).parameters:
        return bool(wandb.login(prompt=False, verify=False))
    return bool(wandb.api.api_key)  # before 0.31


def _wandb(config: LoggerConfig, out: Path) -> WandbLogger:
    out.mkdir(parents=True, exist_ok=True)
    kept = out / _WANDB_RUN  # a resumed run continues the same curves
    run_id = kept.read_text().strip() if kept.is_file() else os.environ.get("WANDB_RUN_ID") or token_hex(4)
    kept.write_text(run_id + "\n")
    return WandbLogger(
        project=config.project or os.environ.get("WANDB_PROJECT") or "dvt",
        name=config.name or os.environ.get("WANDB_NAME") or out.name,
        save_dir=os.environ.get("WANDB_DIR") or out,
        id=run_id,
        resume="allow",
        offline=config.offline,
    )
