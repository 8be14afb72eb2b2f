"""Reporters for tests: one collects what it is told, one acts at a step."""

import os
import signal

from dvt.progress import SilentReporter


class Collect(SilentReporter):
    """Keeps the notes, the tasks begun, and how many units of the last task are done."""

    def __init__(self):
        self.notes, self.tasks, self.num_done = [], [], 0

    def start(self, total, unit, task=""):
        self.tasks.append((total, unit, task))
        self.num_done = 0

    def advance(self, count=1, note=""):
        self.num_done += count

    def note(self, text):
        self.notes.append(text)


def terminate():
    """SIGTERM to this process."""
    os.kill(os.getpid(), signal.SIGTERM)


class ActAt(Collect):
    """Calls `action` after the given number of training steps, or of other units, of a run."""

    def __init__(self, step, action=terminate, unit="steps"):
        super().__init__()
        self._step, self._action, self._unit = step, action, unit

    def advance(self, count=1, note=""):
        super().advance(count, note)
        if self.tasks[-1][1] == self._unit and self.num_done == self._step:
            self._action()
