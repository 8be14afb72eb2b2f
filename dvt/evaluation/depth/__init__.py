"""Linear depth: how much of the distance to what is seen a linear head reads off frozen features."""
