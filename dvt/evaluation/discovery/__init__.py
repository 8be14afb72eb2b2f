"""Objects without labels: LOST and TokenCut on boxes (`object_discovery`) and on masks (`saliency`).

Nothing is imported here.
"""
