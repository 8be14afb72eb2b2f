"""Where a run begins."""

import pytest
import torch

from dvt.errors import TrainingError, WeightsError
from dvt.training.checkpoints import claim_folder, find_start, newest_good, read_checkpoint, remove_old
from dvt.weights.checkpoint import checkpoint_path, checkpoint_paths

SETTINGS = {"num_steps": 8, "optimizer": {"warmup": 0.15, "clip_norm": 0.0}, "data": "abc"}


def write(folder, step, settings=SETTINGS):
    folder.mkdir(parents=True, exist_ok=True)
    path = checkpoint_path(folder, step)
    torch.save({"global_step": step, "dvt": {"settings": settings}, "state_dict": {"w": torch.zeros(64)}}, path)
    return path


def start(folder, resume="auto", settings=SETTINGS, allow_changes=False):
    return find_start(resume, folder, settings, allow_changes=allow_changes)


def test_auto_begins_where_there_is_nothing_and_continues_from_the_newest(tmp_path):
    assert start(tmp_path / "checkpoints").step == 0
    write(tmp_path, 4)
    path = write(tmp_path, 8)
    found = start(tmp_path)
    assert (found.step, found.checkpoint, found.notes) == (8, path, ())


def test_a_damaged_checkpoint_is_passed_over_and_named(tmp_path):
    good = write(tmp_path, 4)
    half = write(tmp_path, 8)
    half.write_bytes(half.read_bytes()[:-300])
    found = start(tmp_path)
    assert (found.step, found.checkpoint) == (4, good)
    assert str(half) in found.notes[0] and "damaged" in found.notes[0]
    assert f"continuing from {good}, step 4" in found.notes[1]


def test_where_all_are_damaged_nothing_is_begun_anew(tmp_path):
    write(tmp_path, 4).write_bytes(b"")
    with pytest.raises(TrainingError, match=r"no checkpoint of the run can be read(.|\n)*step-00000004"):
        newest_good(tmp_path)


def test_none_refuses_a_folder_with_a_run(tmp_path):
    assert start(tmp_path / "checkpoints", "none").step == 0
    write(tmp_path / "checkpoints", 4)
    with pytest.raises(TrainingError, match=r"holds a run already\. Continue it with resume=auto"):
        start(tmp_path / "checkpoints", "none")


def test_a_checkpoint_by_its_path(tmp_path):
    path = write(tmp_path / "elsewhere", 4)
    assert start(tmp_path, str(path)).checkpoint == path
    with pytest.raises(TrainingError, match=r"there is no checkpoint .*wrong.ckpt"):
        start(tmp_path, str(tmp_path / "wrong.ckpt"))


def test_other_settings_are_listed_and_refused_unless_allowed(tmp_path):
    write(tmp_path, 4)
    changed = {"num_steps": 9, "optimizer": {"warmup": 0.15, "clip_norm": 1.0}, "data": "abc"}
    with pytest.raises(TrainingError) as caught:
        start(tmp_path, settings=changed)
    text = str(caught.value)
    assert "num_steps: 8 in the checkpoint, 9 in the request" in text
    assert "optimizer.clip_norm: 0.0 in the checkpoint, 1.0 in the request" in text
    assert "warmup" not in text and "data" not in text and "allow_changes=true" in text
    allowed = start(tmp_path, settings=changed, allow_changes=True)
    assert allowed.step == 4 and "changed: num_steps: 8 in the checkpoint, 9 in the request" in allowed.notes


def test_a_checkpoint_past_the_end_is_refused(tmp_path):
    write(tmp_path, 12, {**SETTINGS, "num_steps": 20})
    with pytest.raises(TrainingError, match=r"step-00000012.ckpt is past num_steps=8: give num_steps=12 or more"):
        start(tmp_path, allow_changes=True)


def test_another_network_or_other_features_cannot_be_allowed(tmp_path):
    write(tmp_path, 4, {**SETTINGS, "features": {"backbone": "a", "layer": 1}})
    with pytest.raises(TrainingError, match=r"another network:\n  features.backbone: 'a' in the checkpoint, 'b' in"):
        start(tmp_path, settings={**SETTINGS, "features": {"backbone": "b", "layer": 1}}, allow_changes=True)


def test_a_feature_store_is_not_overwritten(tmp_path):
    (tmp_path / "meta.json").write_text("{}")
    with pytest.raises(TrainingError, match="is a feature store: give another out"):
        claim_folder(tmp_path, "denoiser")


def test_a_damaged_config_is_written_anew_by_its_run_and_by_nothing_else(tmp_path):
    for name in ("config.json", "weights.safetensors"):
        (tmp_path / name).write_text("{")
    with pytest.raises(WeightsError, match="damaged"):
        claim_folder(tmp_path, "denoiser")
    write(tmp_path / "checkpoints", 4)
    claim_folder(tmp_path, "denoiser")


def test_other_files_are_no_checkpoints(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(TrainingError, match="is not a checkpoint of a training run of dvt"):
        read_checkpoint(tmp_path / "other.ckpt")
    assert checkpoint_paths(tmp_path) == []


class Code:
    def __reduce__(self):
        return print, ("run",)


def test_code_in_a_checkpoint_is_not_run(tmp_path, capsys):
    path = checkpoint_path(tmp_path, 1)
    torch.save({"global_step": 1, "dvt": {"settings": {}}, "code": Code()}, path)
    with pytest.raises(TrainingError, match="damaged"):
        read_checkpoint(path)
    assert capsys.readouterr().out == ""


def test_the_newest_stay(tmp_path):
    for step in (2, 4, 6, 1000):
        write(tmp_path, step)
    remove_old(tmp_path, keep=2)
    assert [path.name for path in checkpoint_paths(tmp_path)] == ["step-00001000.ckpt", "step-00000006.ckpt"]
