"""Does a ViT have artifacts, of which kind, where, and what to do (`dvt doctor`, `dvt.diagnose`).

Scores of feature maps, which know nothing of ViTs or tasks: `position`, `outliers`, `shift`, `probe`, `mic`; all of
them together: `scores`. The diagnosis of a ViT: `windows`, `layers`, `diagnose`, `findings`, `report`, `figure`.
`docs/scores.md` has the formulas. A low score alone proves nothing, because destroyed features have one, too. Nothing
is imported here.
"""
