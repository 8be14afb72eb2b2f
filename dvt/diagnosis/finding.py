"""What a diagnosis says: kinds of artifacts, how much of each, and where."""

from dataclasses import dataclass
from enum import Enum

from dvt.diagnosis.layers import Layer


class Kind(str, Enum):
    """Kinds of artifacts."""

    none = "none"
    """No artifact that the scores can see."""
    outliers = "high-norm outliers"
    """A few tokens with a norm far above the others."""
    pattern = "static pattern"
    """What position adds to tokens, the same in all pictures, in fine detail or at a few patches."""
    ramp = "low-frequency ramp"
    """What position adds, slowly changing over the grid."""

    def __str__(self) -> str:
        return self.value


class Severity(str, Enum):
    """How much of the features an artifact takes."""

    mild = "mild"
    """Measurable; may not matter."""
    strong = "strong"
    """A large part of the variance, or of the norms."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """One artifact."""

    kind: Kind
    """Which."""
    severity: Severity
    """How much."""
    layers: tuple[Layer, ...]
    """Where it was found."""
    at_output: bool
    """Whether the last of the layers that were looked at is among them."""
    fixed: bool
    """Whether it sits at the same places in all pictures; outliers may move."""
    text: str
    """In words, with the numbers of the layer where it is largest."""


@dataclass(frozen=True, slots=True, eq=False)
class Diagnosis:
    """All that was found, strong before mild."""

    findings: tuple[Finding, ...]
    """Empty where there is nothing."""
    remarks: tuple[str, ...]
    """What else the numbers say: layout, early blocks, shifts."""

    @property
    def kind(self) -> Kind:
        """The most severe."""
        return self.findings[0].kind if self.findings else Kind.none
