"""User-fixable errors. Each text says what was given, what was expected and what to do.

The command line prints the text of a `DvtError` alone and exits with code 2. Any other exception is a bug of dvt and
keeps its traceback.
"""


class DvtError(ValueError):
    """An error that the user can fix; the text says how."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text, to be quoted in another; its type where it has no text."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


class ConfigError(DvtError):
    """An unknown option, or an invalid value."""


class ImageError(DvtError):
    """An image that is missing, unreadable or unsuitable."""


class FileNameError(DvtError):
    """A name that the file system does not take."""


class GeometryError(DvtError):
    """Image size, patch size and stride that do not fit together."""


class BackboneError(DvtError):
    """A backbone that is unknown, is not a ViT, or cannot do what was asked."""


class WeightsError(BackboneError):
    """Weights that cannot be found, read or loaded into the model."""


class DecompositionError(DvtError):
    """Features that cannot be decomposed, for instance because they are not finite."""


class StoreError(DvtError):
    """A feature store that is missing, damaged or made with other settings."""


class EngineError(DvtError):
    """Ray workers or SLURM jobs that cannot start, or that lack the files they need."""


class TrainingError(DvtError):
    """A training run that cannot start, continue or resume."""


class EvaluationError(DvtError):
    """Evaluation data that are missing, inconsistent or cannot be scored."""
