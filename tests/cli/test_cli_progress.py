"""How far a run is: a bar on a terminal, a line now and then elsewhere."""

from dvt.cli import progress as module
from dvt.cli.progress import ProgressLine
from dvt.decomposition.outcome import Outcome


def test_elsewhere_a_line_every_ten_seconds_and_the_scan_of_the_store_does_not_count(capsys, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with ProgressLine() as line:
        now[0] += 500  # the store is scanned
        run = Outcome(total=110, skipped=10)
        line.update(run, "")
        for _ in range(50):
            now[0] += 0.5
            run.done += 1
            line.update(run, "key")
    assert capsys.readouterr().err.splitlines() == [
        "30/110 2.00 images/s, 0:00:40 left",
        "50/110 2.00 images/s, 0:00:30 left",
    ]


def test_on_a_terminal_a_bar(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with ProgressLine() as line:
        run = Outcome(total=4, skipped=1)
        line.update(run, "")
        for _ in range(3):
            run.done += 1
            line.update(run, "key")
    shown = capsys.readouterr().err
    assert "4/4" in shown and "images/s" in shown and "0:00:00 left" in shown
