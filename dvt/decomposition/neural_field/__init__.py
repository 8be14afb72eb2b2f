"""The paper's solver: F, G and h as networks (`model.py`), their loss (`objective.py`) and the fit (`fit.py`)."""
