"""Evaluation: tasks score the features of methods side by side, on data.

`run` scores methods in a task; `tasks` has one file per task, `probes` what is trained on features, `datasets` what is
read from disk, `metrics` the numbers, `result`, `table` and `report` what is written. Nothing is imported here.
"""
