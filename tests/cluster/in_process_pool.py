"""A pool of workers in this process, which die when the test says so: fast, and in a known order."""

import random
from dataclasses import dataclass, field

from dvt.cluster.pool import Reply, WorkerCrashed
from dvt.errors import DvtError


@dataclass
class InProcessPool:
    """Runs the calls of its workers in a random order; a worker that dies forgets what it has not committed."""

    make_worker: object
    """make_worker(name) -> an object with the methods of `Worker`."""
    dies: object = lambda pool, worker, method, argument: False
    """Whether a worker dies in a call, before it does anything."""
    seed: int = 0
    workers: dict = field(default_factory=dict)
    calls: dict = field(default_factory=dict)
    log: list = field(default_factory=list)
    """(worker, method, argument) of every call that ended."""

    @property
    def num_added(self):
        return len({worker for worker, method, _ in self.log if method == "added"})

    def add(self, worker):
        self.log.append((worker, "added", None))
        self.workers[worker] = self.make_worker(worker)
        self.calls[worker] = [("start", ())]

    def call(self, worker, method, *arguments):
        self.calls[worker].append((method, arguments))

    def remove(self, worker):
        del self.workers[worker], self.calls[worker]

    def pick(self):
        """The worker whose call ends next; None when there are no calls."""
        ready = sorted(worker for worker, calls in self.calls.items() if calls)
        self.seed += 1
        return random.Random(self.seed).choice(ready) if ready else None

    def next_reply(self, timeout_s=None):
        worker = self.pick()
        if worker is None:
            return None
        method, arguments = self.calls[worker].pop(0)
        argument = arguments[0] if arguments else None
        if self.dies(self, worker, method, argument):
            self.log.append((worker, "died", argument))
            self.calls[worker].clear()
            return Reply(worker, error=WorkerCrashed("killed by the test\nsecond line"))
        self.log.append((worker, method, argument))
        try:
            return Reply(worker, getattr(self.workers[worker], method)(*arguments))
        except DvtError as error:
            return Reply(worker, error=error)
