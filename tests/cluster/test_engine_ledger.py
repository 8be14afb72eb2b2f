"""Ledger: whatever dies and when, every image ends in the store, as a failure, or given up for a reason."""

import random
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from dvt.cluster.ledger import Chunk, Ledger
from dvt.images import ImageFile


def images(count):
    return [ImageFile(f"{index}.png", Path(f"{index}.png")) for index in range(count)]


class Simulation:
    """Workers that take, answer, commit now and then, and die."""

    def __init__(self, num_images, num_workers, poison, bad, rng):
        self.ledger, self.rng = Ledger(images(num_images)), rng
        self.poison, self.bad = {f"{index}.png" for index in poison}, {f"{index}.png" for index in bad}
        self.names = iter(range(10**6))
        self.chunks, self.pending = {}, {}
        self.committed, self.failed, self.given_up, self.alone = Counter(), set(), [], Counter()
        self.num_deaths = 0
        for _ in range(num_workers):
            self.hire()

    def hire(self):
        worker = str(next(self.names))
        self.chunks[worker], self.pending[worker] = [], []

    def deal(self):
        for worker, chunks in self.chunks.items():
            while (chunk := self.ledger.take(worker, most=3)) is not None:
                chunks.append(chunk)
            assert len(chunks) <= 2 and (len(chunks) == 1 or not any(chunk.alone for chunk in chunks))

    def step(self):
        """The oldest call of some worker is answered, or kills it."""
        worker = self.rng.choice([worker for worker, chunks in self.chunks.items() if chunks])
        chunk = self.chunks[worker][0]
        keys = [file.key for file in chunk.files]
        if self.poison.intersection(keys):
            return self.kill(worker)
        self.chunks[worker].remove(chunk)
        failed = [key for key in keys if key in self.bad]
        done = [key for key in keys if key not in self.bad]
        self.pending[worker] += done
        count = len(self.pending[worker]) if not keys else self.rng.randint(0, len(self.pending[worker]))
        committed, self.pending[worker] = self.pending[worker][:count], self.pending[worker][count:]
        self.committed.update(committed)
        self.failed.update(failed)
        self.ledger.answered(worker, chunk, done, failed, committed)
        assert self.ledger.num_uncommitted(worker) == len(self.pending[worker])

    def kill(self, worker):
        chunks = self.chunks.pop(worker)
        self.alone.update(file.key for chunk in chunks[:1] if chunk.alone for file in chunk.files)
        loss = self.ledger.died(worker)
        assert loss.num_undone == len(self.pending.pop(worker))
        self.given_up += [file.key for file in loss.given_up]
        self.num_deaths += 1
        self.hire()


counts = st.integers(0, 12)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 25), st.integers(1, 5), st.sets(counts, max_size=4), st.sets(counts, max_size=4), counts, st.data()
)
def test_nothing_is_lost_and_nothing_is_done_for_ever(num_images, num_workers, poison, bad, num_kills, data):
    rng = random.Random(data.draw(st.integers(0, 10**6)))
    run = Simulation(num_images, num_workers, poison, bad, rng)
    kills = set(rng.sample(range(40), num_kills))
    for step in range(1000):
        run.deal()
        if run.ledger.finished:
            break
        if step in kills:
            run.kill(rng.choice(sorted(run.chunks)))
        else:
            run.step()
    assert run.ledger.finished
    everything = {file.key for file in images(num_images)}
    ended = [*run.committed, *run.failed - set(run.committed), *run.given_up]
    assert set(ended) == everything and len(run.given_up) == len(set(run.given_up))
    assert run.poison & everything <= set(run.given_up)
    assert all(run.alone[key] == 2 for key in run.given_up)  # never for another image's sake
    if not num_kills:
        assert set(run.given_up) == run.poison & everything and set(run.committed.values()) <= {1}
        assert run.num_deaths <= 3 * len(run.given_up)


def test_chunks_become_small_towards_the_end():
    ledger = Ledger(images(20))
    assert ledger.take("a", most=4).files == tuple(images(20)[:4])
    sizes = []
    for worker in "bcd":
        while (chunk := ledger.take(worker, most=8)) is not None:
            sizes.append(len(chunk.files))
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] == 1


def test_by_hand():
    a, b, c, d = images(4)
    ledger = Ledger([a, b, c, d])
    first, second = ledger.take("x"), ledger.take("x")
    assert (first.files, second.files, ledger.take("x")) == ((a,), (b,), None)
    ledger.answered("x", first, [a.key], [], [])
    third = ledger.take("x")
    assert third.files == (c,) and ledger.num_uncommitted("x") == 1
    loss = ledger.died("x")  # b was in work, c waited, a was done and is lost
    assert (loss.num_undone, loss.num_redealt, loss.given_up) == (1, 3, ())
    alone = ledger.take("y")
    assert alone.files == (b,) and alone.alone and ledger.take("y") is None
    assert ledger.take("z").files == (a,), "others go on meanwhile"
    assert ledger.died("y").num_redealt == 1
    assert ledger.take("w").files == (b,)
    assert ledger.died("w").given_up == (b,)
    assert not ledger.finished


def test_before_a_suspect_a_worker_commits_what_it_has():
    a, b = images(2)
    ledger = Ledger([a, b])
    chunk, other = ledger.take("x"), ledger.take("y")
    ledger.died("y")
    assert other.files == (b,)
    ledger.answered("x", chunk, [a.key], [], [])
    commit = ledger.take("x")
    assert commit.files == () and ledger.take("x") is None
    ledger.answered("x", commit, [], [], [a.key])
    assert ledger.take("x").files == (b,)


def test_images_that_a_worker_was_stopped_before_are_not_forgotten():
    a, b = images(2)
    ledger = Ledger([a, b])
    chunk = ledger.take("x", most=2)
    ledger.take("x", most=2)
    ledger.answered("x", chunk, [], [], [])
    assert not ledger.finished and ledger.take("y").files == chunk.files


def test_a_commit_goes_behind_whatever_a_worker_has():
    ledger = Ledger(images(1))
    ledger.take("x")
    assert ledger.commit("x").files == ledger.commit("idle").files == Chunk().files
    assert ledger.died("x").num_redealt == 1
