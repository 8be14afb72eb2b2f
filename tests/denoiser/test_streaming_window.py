"""The window: pictures come one by one, in a new order each pass, and the last few are in memory."""

from hypothesis import given, settings
from hypothesis import strategies as st

from dvt.denoiser.online.window import Window

SIZES = {
    "num_images": st.integers(1, 30),
    "buffer": st.integers(1, 40),
    "first": st.integers(1, 20),
    "reuse": st.integers(1, 9),
}


@given(**SIZES, number=st.integers(0, 400))
@settings(max_examples=60, deadline=None)
def test_it_depends_on_the_draw_alone(num_images, buffer, first, reuse, number):
    options = {"buffer": buffer, "first": first, "reuse": reuse, "seed": 3}
    walked, asked = Window(num_images, **options), Window(num_images, **options)
    for each in range(max(0, number - 50), number + 1):
        seen = walked.images(each), walked.drawn(each)
    assert seen == (asked.images(number), asked.drawn(number))


@given(**SIZES)
@settings(max_examples=60, deadline=None)
def test_it_moves_on_by_one(num_images, buffer, first, reuse):
    window = Window(num_images, buffer=buffer, first=first, reuse=reuse, seed=0)
    before = window.images(0)
    assert len(before) == min(first, buffer, num_images) == len(set(before))
    for number in range(1, 3 * num_images * reuse):
        now = window.images(number)
        assert set(now) <= set(range(num_images)) and len(now) <= min(buffer, num_images)
        assert 0 <= window.drawn(number) < len(now)
        if number % reuse:
            assert now == before
        elif num_images <= buffer:
            assert now[: len(before)] == before and len(now) == min(num_images, len(before) + 1)
        else:
            assert now[:-1] == (before if len(now) > len(before) else before[1:])
        before = now


def test_every_picture_comes_once_a_pass_in_another_order():
    window = Window(10, buffer=4, first=4, reuse=1, seed=0)
    come = [*window.images(0), *(window.images(number)[-1] for number in range(1, 17))]
    passes = come[:10], come[10:]
    assert sorted(passes[0]) == sorted(passes[1]) == list(range(10)) and passes[0] != passes[1]
    assert [*Window(10, buffer=4, first=4, reuse=1, seed=1).images(0)] != come[:4]
