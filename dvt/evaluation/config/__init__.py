"""Options of the tasks. Light: nothing here imports torch, so that help pages print at once."""
