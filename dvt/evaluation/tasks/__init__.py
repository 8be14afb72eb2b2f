"""Tasks: one file each; every task scores one method at a time. Nothing is imported here."""
