"""Content of a store, for comparison with another."""

from dvt.store import FeatureStore


def stored_bytes(store):
    """The bytes of the raw and the clean features of every record."""
    opened = FeatureStore.open(store)
    return {key: (opened[key].raw.numpy().tobytes(), opened[key].clean.numpy().tobytes()) for key in opened}
