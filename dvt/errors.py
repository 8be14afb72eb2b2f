"""Errors written for the person at the keyboard: what was given, what was expected, what to do.

Every error that a user can mend is a `DvtError`; the command line prints its text alone and exits with code 2.
Anything else that escapes is our fault and keeps its traceback.
"""


class DvtError(ValueError):
    """Something the person at the keyboard can mend; the text says how."""


class ConfigError(DvtError):
    """An option that does not exist, or a value that it cannot take."""


class ImageError(DvtError):
    """An image that is missing, unreadable, or not fit for the job."""


class GeometryError(DvtError):
    """Image size, patch size and stride that do not go together."""


class BackboneError(DvtError):
    """A backbone that does not exist, is not a ViT, or cannot do what was asked."""


class WeightsError(BackboneError):
    """Weights that cannot be had, read, or fitted to the model."""


class DecompositionError(DvtError):
    """Features that cannot be decomposed, for instance because they are not finite."""


class StoreError(DvtError):
    """A feature store that is missing, damaged, full, or made with other settings."""


class EngineError(DvtError):
    """Workers of Ray or jobs of SLURM that cannot be had, or that do not see what they need."""


class TrainingError(DvtError):
    """A training that cannot begin, go on, or be resumed."""


class EvaluationError(DvtError):
    """Data of a task that are missing, do not fit together, or cannot be scored."""
