"""Hypothesis strategies that damage files: bytes changed, cut, doubled; JSON values put where others belong."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import strategies as st

# Small numbers, and numbers that no memory could hold: what lies between would only make the tests slow.
numbers = (st.integers(-3, 70) | st.sampled_from([2**31, 2**63, -(2**31), 10**30, math.nan, math.inf, 0.5])
           | st.floats(allow_nan=True, allow_infinity=True))
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3), max_leaves=6,
)


@st.composite
def damaged_bytes(draw, content: bytes, most: int = 3) -> bytes:
    """`content` after one to `most` changes."""
    for _ in range(draw(st.integers(1, most))):
        place = draw(st.integers(0, len(content)))
        other = draw(st.integers(place, min(len(content), place + 40)))
        kind = draw(st.sampled_from(["flip", "cut", "insert", "remove", "double"]))
        if kind == "flip" and place < len(content):
            content = content[:place] + bytes([content[place] ^ draw(st.integers(1, 255))]) + content[place + 1 :]
        elif kind == "cut":
            content = content[:place]
        elif kind == "insert":
            content = content[:place] + draw(st.binary(min_size=1, max_size=8)) + content[place:]
        elif kind == "remove":
            content = content[:place] + content[other:]
        elif kind == "double":
            content = content[:other] + content[place:]
    return content


def _places(value: Any, path: tuple = ()) -> list[tuple]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] + [place for key, one in inner for place in _places(one, (*path, key))]


@st.composite
def damaged_json(draw, value: Any, most: int = 2) -> Any:
    """A copy of a JSON value in which one to `most` places are replaced, removed or given another name."""
    value = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, most))):
        path = draw(st.sampled_from(_places(value)))
        if not path:
            if draw(st.integers(0, 9)) == 0:
                value = draw(values)
            continue
        holder = value
        for key in path[:-1]:
            holder = holder[key]
        kind = draw(st.sampled_from(["replace", "replace", "remove", "rename"]))
        old = holder[path[-1]]
        if kind != "replace":
            del holder[path[-1]]
        if kind == "replace":
            holder[path[-1]] = draw(values)
        elif kind == "rename" and isinstance(holder, dict):
            holder[draw(st.text(max_size=6))] = old
    return value
