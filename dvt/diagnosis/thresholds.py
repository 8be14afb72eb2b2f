"""From which numbers on the doctor speaks of an artifact, and how they were chosen.

Chosen on two ViTs at 224 px and 100 ImageNet pictures (`docs/scores.md` has the tables): AugReg ViT-Ti, whose four
corner tokens are outliers from block 7 on, and DeiT-Ti, which has next to nothing. Each lies well between the two, and
between what the tests plant and what they do not. Only the last third of the blocks and the output are judged: early
blocks of every ViT with position embeddings hold the position (a quarter of the variance in both).
"""

POSITION = (0.05, 0.2)
"""Position share from which a pattern is mild, and strong. Late blocks of DeiT-Ti: 0.017 at most; of AugReg 0.8, and
0.012 without the corners. At 0.2 position moves tokens half as far as pictures do."""
PATCH = 0.2
"""What position explains at a single patch, in units of the mean variance of a token, from which it counts as locked.
Corners of AugReg's output: 0.38; the largest of DeiT-Ti: 0.11 in block 8, 0.06 at the output."""
OUTLIER_ENERGY = (0.05, 0.25)
"""Share of all squared norms that outliers carry, from which they are mild, and strong. Late blocks of DeiT-Ti: 0.02 to
0.09, of AugReg 0.92 to 0.97. Two in a hundred tokens with four times the norm carry 0.25."""
RAMP = 0.7
"""Share of a pattern in the lowest frequencies from which it is called a ramp. A straight ramp has 0.99, noise 0.03,
four corners 0.08."""
FIXED = 0.5
"""Share of the outliers on patches that are outliers in most pictures, from which they belong to the position."""
