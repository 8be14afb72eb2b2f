"""The reporter of the command line: a bar on a terminal, a line every few seconds elsewhere."""

from dvt.cli import reporter as module
from dvt.cli.reporter import TerminalReporter


def test_a_line_every_ten_seconds_without_a_terminal(capsys, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with TerminalReporter() as reporter:
        now[0] += 500  # time before the start does not count
        reporter.start(100, "images", "decompose")
        for _ in range(50):
            now[0] += 0.5
            reporter.advance()
    assert capsys.readouterr().err.splitlines() == [
        "decompose: 20/100 2.00 images/s, 0:00:40 left",
        "decompose: 40/100 2.00 images/s, 0:00:30 left",
    ]


def test_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with TerminalReporter() as reporter:
        reporter.start(3, "steps", "train")
        for _ in range(3):
            reporter.advance(note="loss 0.5")
    shown = capsys.readouterr().err
    assert "3/3" in shown and "loss 0.5, " in shown and "steps/s" in shown and "0:00:00 left" in shown


def test_notes_stay_and_other_ranks_are_silent(capsys):
    for shown, expected in ((True, "2 images failed\n"), (False, "")):
        with TerminalReporter(shown=shown) as reporter:
            reporter.start(1, "images")
            reporter.note("2 images failed")
        assert capsys.readouterr().err == expected
