"""The queue: order, place, cancellation, failures that stop nothing, what is kept."""

import logging
import threading
import time

import pytest

from dvt.errors import ImageError
from dvt.view import jobs as module
from dvt.view.jobs import Job, Jobs, QueueFullError, State
from dvt.view.offer import Choice

CHOICE = Choice("vit", (5,), (64, 64), ("raw",))


class Steps:
    """Work whose every step waits for a permit: `steps.go()` lets one more happen."""

    def __init__(self):
        self.permits, self.begun = threading.Semaphore(0), []

    def go(self, count=1):
        for _ in range(count):
            self.permits.release()

    def __call__(self, job):
        self.begun.append(job.name)
        job.start(2, "steps", "stage 1")
        for step in range(2):
            self.permits.acquire()
            if job.name == "broken":
                raise ImageError("broken is no image.")
            if job.name == "fault":
                raise ZeroDivisionError
            yield {"step": step}
            job.advance()


def until(condition):
    """Wait for a condition; after a minute it has failed."""
    end_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.005)


@pytest.fixture
def steps():
    return Steps()


@pytest.fixture
def jobs(steps):
    made = Jobs(steps)
    yield made
    steps.go(100)
    made.close()
    assert not made._thread.is_alive()


def submitted(jobs, name, content=b"x"):
    job = Job(name=name, content=content, choice=CHOICE)
    jobs.submit(job)
    return job


def test_one_at_a_time_in_order_and_each_knows_its_place(jobs, steps):
    first, second, third = (submitted(jobs, name) for name in "abc")
    until(lambda: steps.begun)
    assert [jobs.status(each)["ahead"] for each in (first, second, third)] == [0, 1, 2]
    assert [each.state for each in (first, second, third)] == [State.running, State.waiting, State.waiting]
    steps.go(2)
    until(lambda: second.state is State.running)
    assert first.state is State.done and jobs.status(third)["ahead"] == 1
    steps.go(4)
    until(lambda: third.state is State.done)
    assert steps.begun == ["a", "b", "c"]


def test_results_and_progress(jobs, steps):
    job = submitted(jobs, "a")
    until(lambda: job.task)
    assert (job.version, job.completed, job.total, job.unit, job.task) == (0, 0, 2, "steps", "stage 1")
    steps.go()
    until(lambda: job.completed == 1)
    assert job.version == 1 and job.result == b'{"step":0}'
    steps.go()
    until(lambda: job.state is State.done)
    assert job.version == 2 and job.result == b'{"step":1}'


def test_a_running_job_is_cancelled_and_keeps_what_it_has(jobs, steps):
    job, other = submitted(jobs, "a"), submitted(jobs, "b")
    steps.go()
    until(lambda: job.version == 1)
    jobs.cancel(job)
    steps.go()
    until(lambda: job.state is State.cancelled)
    assert job.result
    steps.go(2)
    until(lambda: other.state is State.done)


def test_a_waiting_job_is_cancelled_and_never_begins(jobs, steps):
    first, second, third = (submitted(jobs, name) for name in "abc")
    jobs.cancel(second)
    assert second.state is State.cancelled
    steps.go(4)
    until(lambda: third.state is State.done)
    assert steps.begun == ["a", "c"] and first.state is State.done


def test_a_job_can_take_the_place_of_another(jobs, steps):
    running, waiting = submitted(jobs, "a"), submitted(jobs, "b")
    until(lambda: running.state is State.running)
    new, newer = (Job(name=name, content=b"", choice=CHOICE) for name in "cd")
    jobs.submit(new, instead=waiting)
    jobs.submit(newer, instead=running)
    assert waiting.state is State.cancelled and running.stopped.is_set() and jobs.status(newer)["ahead"] == 2
    steps.go(5)
    until(lambda: newer.state is State.done)
    assert running.state is State.cancelled and new.state is State.done


def test_a_failure_stops_nothing(jobs, steps, caplog):
    broken, fault, good = (submitted(jobs, name) for name in ("broken", "fault", "good"))
    steps.go(4)
    with caplog.at_level(logging.ERROR):
        until(lambda: good.state is State.done)
    assert broken.state is fault.state is State.failed
    assert broken.error == "broken is no image." and "fault of dvt" in fault.error
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]


def test_the_queue_has_an_end_and_a_refused_job_replaces_none(jobs):
    made = []
    for number in range(1 + module.MAX_WAITING):
        made.append(submitted(jobs, str(number)))
        until(lambda number=number: number or made[0].state is State.running)
    running, last = made[0], made[-1]
    with pytest.raises(QueueFullError, match="16 images wait already"):
        jobs.submit(Job(name="too many", content=b"", choice=CHOICE), instead=running)
    assert not running.stopped.is_set()
    jobs.submit(Job(name="in its place", content=b"", choice=CHOICE), instead=last)
    assert last.state is State.cancelled


@pytest.mark.parametrize(("limit", "value"), [("MAX_KEPT", 2), ("MAX_KEPT_BYTES", 350)])
def test_the_oldest_jobs_are_forgotten(jobs, steps, monkeypatch, limit, value):
    monkeypatch.setattr(module, limit, value)
    steps.go(100)
    made = []
    for number in range(5):
        made.append(submitted(jobs, str(number), bytes(100)))
        until(lambda: made[-1].state is State.done)
    submitted(jobs, "last", bytes(100))
    kept = [jobs.get(job.id) is not None for job in made]
    assert kept == [False] * 3 + [True] * 2
    assert jobs.get("unknown") is None


def test_identities_cannot_be_guessed():
    made = {Job(name="a", content=b"", choice=CHOICE).id for _ in range(100)}
    assert len(made) == 100 and all(len(each) >= 16 for each in made)
