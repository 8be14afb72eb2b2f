"""Images with boxes or masks: what is found, and what is refused."""

import shutil

import pytest
from coloured_objects import BOX, save_image, write_davis, write_folders, write_voc

from dvt.errors import ConfigError, EvaluationError
from dvt.evaluation.boxes import Box
from dvt.evaluation.config.objects import Algorithm, DataFormat, ObjectDiscoveryConfig, SaliencyConfig, SeedRule
from dvt.evaluation.datasets.scenes import find_scenes


def found(root, **options):
    return find_scenes(ObjectDiscoveryConfig(**options), root)


def keys(root, **options):
    return [scene.key for scene in found(root, **options)[1]]


def test_every_nth_frame_of_davis_is_used(tmp_path):
    write_davis(tmp_path)
    layout, scenes = found(tmp_path, every=2)
    assert layout is DataFormat.davis
    assert [scene.key for scene in scenes] == [f"{name}/0000{n}" for name in ("dog", "swan") for n in (0, 2, 4)]
    assert scenes[-1].group == "swan" and scenes[-1].mask.parent.name == "swan"
    assert keys(tmp_path, every=4, sequences=["swan"]) == ["swan/00000", "swan/00004"]
    assert keys(tmp_path, every=1, num_test=4) == ["dog/00000", "dog/00002", "swan/00000", "swan/00002"]


def test_voc_lists_images_with_their_boxes(tmp_path):
    write_voc(tmp_path)
    layout, scenes = found(tmp_path)
    assert layout is DataFormat.voc
    assert [scene.boxes for scene in scenes] == [(Box(*BOX),), (), (Box(*BOX), Box(0, 0, 8, 8))]
    assert scenes[2].image == tmp_path / "JPEGImages" / "000002.jpg"


def test_difficult_boxes_count_unless_they_are_turned_off(tmp_path):
    write_voc(tmp_path, difficult=1)
    assert len(found(tmp_path)[1][2].boxes) == 2
    assert found(tmp_path, difficult=False)[1][2].boxes == ()


def test_masks_are_found_by_the_names_of_their_images(tmp_path):
    write_folders(tmp_path, images="DUTS-TE-Image", masks="DUTS-TE-Mask")
    layout, scenes = found(tmp_path, images="DUTS-TE-Image", masks="DUTS-TE-Mask")
    assert layout is DataFormat.folders
    assert [(scene.key, scene.image.name, scene.mask.name) for scene in scenes][1] == ("1", "1.jpg", "1.png")


def test_a_root_without_a_known_layout_says_which_were_looked_for(tmp_path):
    with pytest.raises(
        EvaluationError, match=r"none of the known layouts.*JPEGImages/480p.*ImageSets/Main.*images, masks"
    ):
        found(tmp_path)
    with pytest.raises(EvaluationError, match="is not a folder"):
        found(tmp_path / "nothing")
    with pytest.raises(EvaluationError, match=r"no folder images and no masks|no folder masks and no images"):
        found(tmp_path, format=DataFormat.folders)


@pytest.mark.parametrize(
    ("write", "gone", "message"),
    [
        (write_voc, "JPEGImages", "has no folder JPEGImages"),
        (write_voc, "JPEGImages/000001.jpg", r"1 of 3 names have no image in .*: 000001\."),
        (write_voc, "Annotations/000002.xml", r"000002\.xml cannot be read"),
        (write_davis, "JPEGImages/480p", "has no folder JPEGImages/480p"),
        (write_davis, "JPEGImages/480p/dog", r"480p.dog is missing"),
        (write_davis, "JPEGImages/480p/dog/00001.jpg", r"1 of 5 files have no image, the first is .*00001\.png"),
        (write_davis, "Annotations/480p/dog/00001.png", r"1 of 5 files have no mask, the first is .*00001\.jpg"),
    ],
)
def test_what_is_missing_is_named(tmp_path, write, gone, message):
    path = write(tmp_path) / gone
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    with pytest.raises(EvaluationError, match=message):
        found(tmp_path)


def test_a_split_that_does_not_exist_names_those_that_do(tmp_path):
    write_voc(tmp_path, split="train")
    with pytest.raises(EvaluationError, match=r"split=trainval: .*trainval\.txt does not exist.* folder: train\."):
        found(tmp_path)


def test_other_options_that_do_not_fit_are_refused(tmp_path):
    write_davis(tmp_path)
    with pytest.raises(ConfigError, match=r"no sequence bear\. There are: dog, swan"):
        found(tmp_path, sequences=["dog", "bear"])
    with pytest.raises(EvaluationError, match="num_test=5, but there are 2 "):
        found(tmp_path, num_test=5)
    save_image(tmp_path / "JPEGImages/480p/dog/00000.png")
    with pytest.raises(EvaluationError, match=r"holds 00000\.jpg and 00000\.png"):
        found(tmp_path)


def test_saliency_on_boxes_is_refused(tmp_path):
    write_voc(tmp_path)
    with pytest.raises(ConfigError, match="saliency needs masks"):
        find_scenes(SaliencyConfig(), tmp_path)


@pytest.mark.parametrize(
    "options",
    [{"num_candidates": 0}, {"image_size": 0}, {"every": 0}, {"num_test": 0}, {"tau": 1.0}, {"eps": 0.0}],
)
def test_invalid_options_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        ObjectDiscoveryConfig(**options)


def test_the_mean_is_subtracted_where_it_helps():
    assert ObjectDiscoveryConfig().centred and not SaliencyConfig().centred
    assert SaliencyConfig(centre=True).centred and not ObjectDiscoveryConfig(centre=False).centred


def test_sequences_of_davis_without_masks_are_named_unless_others_are_wanted(tmp_path):
    write_davis(tmp_path, sequences=("bear", "cow", "dog", "swan"))
    for name in ("cow", "bear"):
        shutil.rmtree(tmp_path / "Annotations/480p" / name)
    message = r"2 of the 4 sequences .* no folder in .*Annotations.480p: bear, cow\. .* sequences=\[dog,swan\]"
    with pytest.raises(EvaluationError, match=message):
        found(tmp_path)
    assert keys(tmp_path, sequences=["dog"]) == ["dog/00000"]


@pytest.mark.parametrize(
    ("options", "given"),
    [
        ({"seed": SeedRule.norm, "algorithm": Algorithm.tokencut}, "seed=norm has"),
        ({"num_candidates": 7, "algorithm": Algorithm.tokencut}, "num_candidates=7 has"),
        ({"tau": 0.3, "eps": 0.1, "algorithm": Algorithm.lost}, "tau=0.3, eps=0.1 has"),
    ],
)
def test_options_of_the_other_algorithm_are_refused(options, given):
    for config in (ObjectDiscoveryConfig, SaliencyConfig):
        with pytest.raises(ConfigError, match=f"{given} no effect with algorithm={options['algorithm']}: leave it out"):
            config(**options)
        other = Algorithm.lost if options["algorithm"] is Algorithm.tokencut else Algorithm.tokencut
        config(**(options | {"algorithm": other}))
