"""Feature stores: stage 1 writes feature maps into a folder, stage 2 reads them.

The folder holds `meta.json` (which features), `shards/` (safetensors files, each committed by its `.json` sidecar),
`failures/` (images that failed, with reasons) and `runs/` (one record per run). Every file is written atomically: a
crash loses uncommitted records only and never yields a wrong one.
"""

from dvt.files import DiskError
from dvt.store.folder import is_store, shard_bytes
from dvt.store.journal import recorded_weights, write_run_record
from dvt.store.reader import FeatureStore, MissingKeyError, Record
from dvt.store.schema import SCHEMA_VERSION, FieldMeta, StoreMeta
from dvt.store.verify import Status, Verification, remove_leftovers, status, verify
from dvt.store.writer import StoreWriter

__all__ = [
    "SCHEMA_VERSION",
    "DiskError",
    "FeatureStore",
    "FieldMeta",
    "MissingKeyError",
    "Record",
    "Status",
    "StoreMeta",
    "StoreWriter",
    "Verification",
    "is_store",
    "recorded_weights",
    "remove_leftovers",
    "shard_bytes",
    "status",
    "verify",
    "write_run_record",
]
