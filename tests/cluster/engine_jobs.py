"""The work of these tests, for workers in any process: a tiny untrained ViT, and workers that come to harm."""

import os
import signal
from pathlib import Path

from dvt.backbone.config import BackboneConfig
from dvt.cluster.job import Job
from dvt.decomposition.quality import load_quality
from dvt.decomposition.run_list import ListOptions
from dvt.errors import ConfigError

VIT = BackboneConfig(timm="vit_tiny_patch16_224", weights="random", image_size=64)
CONFIG = load_quality("tiny", {"num_views": 4})
NUM_IMAGES = 9


def make_job(store, kind=Job, **changes):
    work = {"backbone": VIT, "device": "cpu", "store": str(store), "config": CONFIG, "options": ListOptions()}
    return kind(**work | changes)


def folder_of(job):
    """Where workers leave notes for the test: beside the store."""
    return Path(job.store).parent


class Telling(Job):
    """Its workers leave, beside the store, which process did which image."""

    def load(self):
        backbone, method = Job.load(self)
        return backbone, Signing(method, folder_of(self))


class Around:
    """A method with something done before each image."""

    def __init__(self, method):
        self._method = method

    def __getattr__(self, name):
        return getattr(self._method, name)


class Signing(Around):
    def __init__(self, method, folder):
        super().__init__(method)
        self._folder = folder

    def __call__(self, image, key):
        (self._folder / f"{key}.pid").write_text(str(os.getpid()))
        return self._method(image, key)


class Poisoned(Job):
    """The image 3.png kills the process that decomposes it."""

    def load(self):
        backbone, method = Job.load(self)
        return backbone, Poison(method, self.harm)

    @staticmethod
    def harm():
        os.kill(os.getpid(), signal.SIGKILL)


class Faulty(Poisoned):
    """On the image 3.png the worker's GPU fails, or so it says; the process goes on."""

    @staticmethod
    def harm():
        raise RuntimeError("CUDA error: an illegal instruction was encountered")


class Poison(Around):
    """Comes to harm on the image 3.png."""

    def __init__(self, method, harm):
        super().__init__(method)
        self._harm = harm

    def __call__(self, image, key):
        if key == "3.png":
            self._harm()
        return self._method(image, key)


class Crashing(Job):
    """The worker of shard 1 meets a fault of ours."""

    def load(self):
        if self.options.shard.index == 1:
            raise RuntimeError("the sky fell")
        return Job.load(self)


class Refused(Job):
    """No worker finds its device."""

    def load(self):
        raise ConfigError("device=cuda does not exist on this machine.")
