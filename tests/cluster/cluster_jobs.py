"""The work of these tests, for workers in any process: a tiny untrained ViT, and workers that die."""

import os
import signal
from pathlib import Path

from dvt.backbone.config import BackboneConfig
from dvt.cluster.worker import Job
from dvt.decomposition.quality import load_quality
from dvt.decomposition.run_list import ListOptions
from dvt.errors import ConfigError
from dvt.progress import SilentReporter

VIT = BackboneConfig(timm="vit_tiny_patch16_224", weights="random", image_size=64)
CONFIG = load_quality("tiny", {"num_views": 4})
NUM_IMAGES = 9


def make_job(store, kind=Job, **changes):
    work = {"backbone": VIT, "device": "cpu", "store": str(store), "config": CONFIG, "options": ListOptions()}
    return kind(**work | changes)


class Recorder(SilentReporter):
    """Keeps what is reported; calls `then` with the number of images after each advance."""

    def __init__(self, then=lambda count: None):
        self.notes, self.started, self.count, self._then = [], [], 0, then

    def start(self, total, unit, task=""):
        self.started.append((total, unit))

    def advance(self, count=1, note=""):
        self.count += count
        self._then(self.count)

    def note(self, text):
        self.notes.append(text)


class Wrapped:
    """A method with an action before each image."""

    def __init__(self, method, action):
        self._method, self._action = method, action

    def __getattr__(self, name):
        return getattr(self._method, name)

    def __call__(self, image, key):
        self._action(key)
        return self._method(image, key)


class Signing(Job):
    """Its workers write their process id beside the store, for each image."""

    def load(self):
        backbone, method = Job.load(self)
        folder = Path(self.store).parent
        return backbone, Wrapped(method, lambda key: (folder / f"{key}.pid").write_text(str(os.getpid())))


class Killing(Job):
    """The image 3.png kills the process that decomposes it."""

    def load(self):
        backbone, method = Job.load(self)
        return backbone, Wrapped(method, lambda key: key == "3.png" and self.fail())

    @staticmethod
    def fail():
        os.kill(os.getpid(), signal.SIGKILL)


class GpuFailing(Killing):
    """The image 3.png raises what a failing GPU raises; the process survives."""

    @staticmethod
    def fail():
        raise RuntimeError("CUDA error: an illegal instruction was encountered")


class Crashing(Job):
    """The worker of shard 1 has a bug."""

    def load(self):
        if self.options.shard.index == 1:
            raise RuntimeError("the sky fell")
        return Job.load(self)


class NoDevice(Job):
    """No worker finds its device."""

    def load(self):
        raise ConfigError("device=cuda does not exist on this machine.")
