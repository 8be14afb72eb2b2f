"""The leaderboard: ViTs x methods x tasks as rows with receipts, and one page that shows them (`dvt leaderboard`)."""

from dvt.leaderboard.run import run_board
from dvt.leaderboard.spec import read_board
from dvt.leaderboard.verify import verify_cell

__all__ = ["read_board", "run_board", "verify_cell"]
