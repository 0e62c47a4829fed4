"""What is kept, what goes first, and that the bytes are kept whatever is asked in which order, by whomever."""

from __future__ import annotations

import threading
from collections import OrderedDict

from hypothesis import given, settings
from hypothesis import strategies as st

from ultracore.distillation.students.compact.lru import LruCache

KEYS = st.integers(0, 6)
STEPS = st.lists(st.one_of(KEYS.map(lambda key: (key, None)), st.tuples(KEYS, st.integers(0, 12))), max_size=40)


@given(STEPS, st.integers(0, 20))
@settings(max_examples=300, deadline=None)
def test_it_keeps_what_was_used_last(steps: list[tuple[int, int | None]], max_bytes: int) -> None:
    cache = LruCache[int, tuple[int, int]](max_bytes)
    model: OrderedDict[int, tuple[int, int]] = OrderedDict()
    for step, (key, size) in enumerate(steps):
        if size is None:
            assert cache.get(key) == model.get(key)
            if key in model:
                model.move_to_end(key)
            continue
        value = step, size
        cache.keep(key, value, size)
        model.pop(key, None)
        if size <= max_bytes:
            model[key] = value
        while sum(size for _, size in model.values()) > max_bytes:
            model.popitem(last=False)
        assert cache.size == sum(size for _, size in model.values()) <= max_bytes
        assert len(cache) == len(model)
    assert {key: cache.get(key) for key in range(7)} == {key: model.get(key) for key in range(7)}


def test_threads_may_share_it() -> None:
    cache = LruCache[int, int](100)
    wrong: list[int] = []

    def use(seed: int) -> None:
        for i in range(3000):
            key = (i * seed) % 37
            found = cache.get(key)
            if found not in (None, key):
                wrong.append(key)
            cache.keep(key, key, size=key % 11)

    threads = [threading.Thread(target=use, args=(seed,)) for seed in (1, 5, 7, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert cache.size == sum(key % 11 for key in range(37) if cache.get(key) is not None) <= 100
