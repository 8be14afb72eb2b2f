"""`dvt leaderboard verify`: the draw, what passes, what fails."""

import re
import shutil

from leaderboard.tiny_board import change_receipt, copied

from dvt.leaderboard.receipts import read_receipts
from dvt.leaderboard.table import write_rows


def test_a_drawn_cell_is_the_same_again(whole, command):
    seen = set()
    for seed in (0, 3):
        result = command("leaderboard", "verify", f"out={whole.out}", f"seed={seed}", "tolerance=0", "device=cpu")
        assert result.code == 0, result.err
        (cell,) = re.findall(r"^(\S+): verified, all values are the same$", result.out, re.MULTILINE)
        seen.add(cell)
    assert len(seen) == 2


def test_a_method_with_weights(whole, command):
    result = command("leaderboard", "verify", f"out={whole.out}", "cell=vit_micro/camvid/denoised", "tolerance=0")
    assert result.code == 0, result.err


def test_a_row_that_was_made_up_fails(whole, tmp_path, command):
    """Receipt and row agree, and the number is wrong."""
    out = copied(whole.out, tmp_path / "out")
    path = out / "receipts/vit_micro/camvid/raw.json"
    change_receipt(path, lambda body: body["result"]["rows"]["raw"]["values"].update({"mIoU": [88.0]}), sign=True)
    write_rows(out, read_receipts(out).values())
    result = command("leaderboard", "verify", f"out={out}", "cell=vit_micro/camvid/raw", "device=cpu")
    assert result.code == 1 and "vit_micro/camvid/raw: mIoU differs by" in result.err, result.err
    assert "88.0 in the receipt" in result.out


def test_other_data_are_no_verification(whole, tmp_path, command):
    data = copied(whole.data, tmp_path / "data")
    (data / "camvid/extra.txt").write_text("one file more")
    given = ("leaderboard", "verify", f"out={whole.out}", "cell=vit_micro/camvid/raw")
    result = command(*given, f"data={data}")
    assert result.code == 2 and "cannot be scored again" in result.err and "data_sha256" in result.err, result.err


def test_a_clone_has_no_paths_of_the_machine(whole, tmp_path, command):
    out = copied(whole.out, tmp_path / "out")
    shutil.rmtree(out / "work")
    given = ("leaderboard", "verify", f"out={out}", "cell=early/camvid/raw")
    result = command(*given)
    assert result.code == 2 and "give data=FOLDER" in result.err, result.err
    assert command(*given, f"data={whole.data}").code == 0 and not (out / "work").exists()
