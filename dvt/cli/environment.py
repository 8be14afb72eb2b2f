"""Versions and devices, to paste into a bug report."""

import os
import platform
import re
import shutil
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version

import torch

from dvt.version import __version__

_OPTIONAL = ("tensorboard", "onnx", "onnxruntime", "onnxscript", "tinycudann", "ray", "submitit")
_NAME = re.compile(r"[\w.-]+")
_VARIABLES = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "PYTORCH_CUDA_ALLOC_CONF", "HF_HUB_OFFLINE", "HF_ENDPOINT")
"""Environment variables that change how things run and contain nothing private."""


def machine_report() -> dict[str, str]:
    """Versions, devices, cores and memory by name. No names of users, hosts or folders."""
    return {
        "dvt": __version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": _cores(),
        "memory": _memory(),
        "torch": f"{torch.__version__}, {torch.get_num_threads()} threads",
        "cuda": _cuda(),
        **{f"cuda:{index}": _gpu(index) for index in range(torch.cuda.device_count())},
        "mps": "available" if torch.backends.mps.is_available() else "no",
        **{name: _version(name) for name in _required() if name != "torch"},
        **{name: f"{_version(name)} (optional)" for name in _OPTIONAL},
        **{name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }


def _required() -> list[str]:
    """Packages that dvt needs, extras left out; none where dvt runs without being installed."""
    with suppress(PackageNotFoundError):
        needed = [text for text in requires("denoising-vit") or () if "extra ==" not in text]
        return [match[0] for text in needed if (match := _NAME.match(text))]
    return []


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    with suppress(OSError):  # Linux; platform.processor() is empty on much of it
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 (a device, not a file)
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cores() -> str:
    total = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    return f"{total}" if usable == total else f"{total}, {usable} for this process"


def _memory() -> str:
    with suppress(ValueError, OSError, AttributeError):  # Windows has no sysconf
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return f"{total / 2**30:.1f} GiB"
    return "unknown"


def _cuda() -> str:
    if torch.version.cuda is None:
        return f"torch was built without it; driver {_driver()}"
    state = "available" if torch.cuda.is_available() else "not available"
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return f"{torch.version.cuda}, cuDNN {cudnn}, {state}; driver {_driver()}"


def _driver() -> str:
    """Version of the NVIDIA driver, from nvidia-smi; torch does not know it."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return "none found"
    try:
        query = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return "nvidia-smi does not answer"
    return answer[0] if answer else "no GPU"


def _gpu(index: int) -> str:
    found = torch.cuda.get_device_properties(index)
    return f"{found.name}, {found.total_memory / 2**30:.0f} GiB, capability {found.major}.{found.minor}"
