"""A crew of real workers in this process, which die when the test says so: fast, and in a known order."""

import random
from dataclasses import dataclass, field

from dvt.cluster.crew import Death, Heard
from dvt.cluster.worker import Worker


@dataclass
class InProcessCrew:
    """Asks workers in a random order; a worker that dies forgets what it has not committed."""

    job: object
    token: object
    images: object
    dies: object = lambda crew, worker, chunk: False
    """Whether a worker dies on a call; before its answer, with the first half of the images decomposed."""
    seed: int = 0
    workers: dict[str, Worker] = field(default_factory=dict)
    calls: dict[str, list] = field(default_factory=dict)
    hired: int = 0

    def hire(self, worker):
        self.hired += 1
        self.workers[worker] = Worker(self.job, worker, self.token, self.images, patience_s=0.0)
        self.calls[worker] = [(Worker.start, None)]

    def survey(self, worker, part):
        self.calls[worker].append((lambda worker: worker.survey(part), None))

    def work(self, worker, chunk):
        self.calls[worker].append((Worker.work, chunk))

    def stop(self, worker):
        self.workers[worker].stop()

    def dismiss(self, worker):
        del self.workers[worker], self.calls[worker]

    def hear(self, timeout_s=None):
        ready = sorted(worker for worker, calls in self.calls.items() if calls)
        if not ready:
            return None
        worker = random.Random(self.seed).choice(ready)
        self.seed += 1
        method, chunk = self.calls[worker].pop(0)
        if self.dies(self, worker, chunk):
            if chunk is not None and len(chunk.files) > 1:
                self.workers[worker].work(chunk.files[: len(chunk.files) // 2])
            self.calls[worker].clear()
            return Heard(worker, Death("killed by the test"))
        arguments = () if chunk is None else (chunk.files,)
        return Heard(worker, method(self.workers[worker], *arguments), chunk)
