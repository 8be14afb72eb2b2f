"""Device, precision, seeds and the environment of a run."""

import hashlib
import platform
from enum import Enum
from importlib.metadata import version

import torch

from dvt.errors import ConfigError
from dvt.numbers import takes_numbers
from dvt.version import __version__

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "fp64": torch.float64}


class Precision(str, Enum):
    """Number format of a forward pass."""

    fp32 = "fp32"
    """32 bits: exact, the default."""
    fp16 = "fp16"
    """16 bits, small range: fastest on older GPUs; may overflow on models with very large activations."""
    bf16 = "bf16"
    """16 bits, full range, three significant digits."""
    fp64 = "fp64"
    """64 bits: slow, for comparisons; not on mps."""

    @property
    def dtype(self) -> torch.dtype:
        """The torch dtype."""
        return _DTYPES[self.value]

    @classmethod
    def of(cls, dtype: torch.dtype) -> "Precision":
        """The precision of a torch dtype.

        Raises:
            ConfigError: there is none.
        """
        names = {each: name for name, each in _DTYPES.items()}
        if dtype not in names:
            raise ConfigError(f"a model in {dtype} cannot compute. Give one of {', '.join(map(str, names))}.")
        return cls(names[dtype])

    @classmethod
    def parse(cls, value: str) -> "Precision":
        """The precision of that name.

        Raises:
            ConfigError: the name is unknown.
        """
        try:
            return cls(value)
        except ValueError as error:
            raise ConfigError(f"precision={value} does not exist. Give one of {', '.join(cls)}.") from error

    def __str__(self) -> str:
        return self.value


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """The device with this name.

    Args:
        device: `auto` (cuda, else mps, else cpu), or `cpu`, `mps`, `cuda`, `cuda:<number>`.

    Raises:
        ConfigError: this machine has no such device.
    """
    present = _present_devices()
    if str(device) == "auto":
        return torch.device(next(name for name in ("cuda", "mps", "cpu") if name in present))
    if str(device) not in present:
        raise ConfigError(f"device={device} does not exist on this machine. Give auto or one of {', '.join(present)}.")
    return torch.device(device)


def check_precision(precision: "Precision", device: torch.device) -> None:
    """Refuse a number format that a device does not have.

    Raises:
        ConfigError: fp64 on mps.
    """
    if precision is Precision.fp64 and device.type == "mps":
        raise ConfigError("precision=fp64: mps has no float64. Give device=cpu, or precision=fp32.")


def sum_dtype(device: torch.device) -> torch.dtype:
    """Number format of long sums on a device: float64; float32 on mps, which has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def _present_devices() -> list[str]:
    present = ["cpu"]
    if torch.cuda.is_available():
        present += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        present += ["mps"]
    return present


@takes_numbers
def seed_for(seed: int, key: str) -> int:
    """The seed of one image: 63 bits from the seed of the run and the key of the image.

    The number of workers, the order of images and restarts do not change it.

    Args:
        seed: seed of the run.
        key: key of the image in a store: its relative path with extension.

    Example:
        >>> seed_for(0, "street/0001.jpg") == seed_for(0, "street/0001.jpg")
        True
        >>> seed_for(0, "street/0001.jpg") == seed_for(1, "street/0001.jpg")
        False
    """
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def environment(device: torch.device | None = None) -> dict[str, str]:
    """Versions of dvt, Python, torch and timm, the platform and the device name, for records.

    Args:
        device: the device of the run; the CPU by default.
    """
    return {
        "dvt": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": version("timm"),
        "platform": platform.platform(),
        "device": _device_name(device or torch.device("cpu")),
    }


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.processor() or platform.machine()})"
