"""Help pages: one screen or two, made from the dataclasses."""

from importlib import import_module

import pytest

from dvt.cli.help import MAX_LINES, choices_of
from dvt.cli.main import VERBS
from dvt.evaluation.tasks import TASKS
from dvt.options import option_paths


@pytest.mark.parametrize("verb", VERBS)
def test_a_page_is_short_and_names_the_verb(dvt, verb):
    page = dvt(verb, "--help")
    lines = page.out.splitlines()
    assert page.code == 0 and lines[0].startswith(f"dvt {verb}") and len(lines) <= MAX_LINES
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("store", "convert")])
def test_every_option_and_choice_is_on_the_page_or_on_that_of_its_group(dvt, verb):
    module = import_module(f"dvt.cli.{verb}")
    names = option_paths(module.Options)
    groups = {name.rpartition(".")[0] for name in names if "." in name}
    page = dvt(verb, "--help").out
    own_pages = {group: dvt(verb, group, "--help").out for group in groups if f"  {group}.* " in page}
    for name in set(names) - groups:
        assert f"  {name}=" in own_pages.get(name.partition(".")[0], page), name
    for group in module.GROUPS:
        assert choices_of(verb, group) and f"{group}= " in page
        assert all(choice in page for choice in choices_of(verb, group))


@pytest.mark.parametrize("task", TASKS)
def test_the_page_of_a_task_shows_its_options_only(dvt, task):
    page = dvt("evaluate", f"task={task}", "--help").out
    assert f"{task}.image_size=" in page and task in dvt("evaluate", "--help").out
    assert all(name.startswith(f"{task}.") for line in page.splitlines() if "=" in (name := line.strip().split(" ")[0]))


def test_several_tasks(dvt):
    page = dvt("evaluate", "task=[saliency,retrieval]", "--help").out
    assert "saliency.image_size=" in page and "retrieval.image_size=" in page and "knn" not in page


def test_a_page_shows_the_values_in_force(dvt):
    """A group may start from other values than the defaults of its class."""
    page = dvt("evaluate", "linear_depth", "--help").out
    assert "  linear_depth.quick.num_steps=400\n" in page and "  linear_depth.paper.optimizer.num_steps=38400\n" in page
