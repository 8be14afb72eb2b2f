"""Stage 1 on many workers, on Ray or as jobs of SLURM; all write into one store."""
