"""A reporter that remembers what it was given."""


class Recorder:
    """`works` has [unit, done, total] of every piece of work, in order; `notes` the notes."""

    def __init__(self):
        self.works, self.notes = [], []

    def start(self, total, unit, task=""):
        self.works.append([unit, 0, total])

    def advance(self, count=1, note=""):
        self.works[-1][1] += count

    def note(self, text):
        self.notes.append(text)

    def done(self):
        pass
