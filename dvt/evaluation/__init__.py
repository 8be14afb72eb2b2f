"""Does it help, and where: tasks that score features of any origin side by side.

`methods` makes features of pictures (raw, srt, decomposed, denoised, and the same with a closer look); a task
(`task`) scores one method at a time; `result` puts the scores of all of them into one table. Nothing is imported here.
"""
