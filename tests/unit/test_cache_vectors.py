"""Sign bits of embeddings: similar vectors share most of them, unrelated vectors half."""

import random

import pytest

from orchestrator.cache.semantic import nearest, sign_bits
from orchestrator.models.ids import new_task_id

DIMENSIONS = 512


def vector(seed: int) -> list[float]:
    """Return a random vector for the seed."""
    chance = random.Random(seed)
    return [chance.gauss(0, 1) for _ in range(DIMENSIONS)]


def between(one: list[float], other: list[float], *, share: float) -> list[float]:
    """Return a mixture of two vectors."""
    return [(1 - share) * a + share * b for a, b in zip(one, other, strict=True)]


@pytest.mark.parametrize(("share", "is_found"), [(0.0, True), (0.2, True), (0.9, False), (1.0, False)])
def test_similar_vectors_are_found_and_unrelated_ones_are_not(share: float, *, is_found: bool) -> None:
    name = new_task_id()
    member = name.encode() + sign_bits(between(vector(1), vector(2), share=share))

    assert list(nearest(sign_bits(vector(1)), [member])) == ([name] if is_found else [])


def test_the_nearest_vectors_come_first() -> None:
    names = [new_task_id() for _ in range(3)]
    shares = (0.3, 0.0, 0.15)
    members = [
        name.encode() + sign_bits(between(vector(1), vector(2), share=share))
        for name, share in zip(names, shares, strict=True)
    ]

    assert list(nearest(sign_bits(vector(1)), members)) == [names[1], names[2], names[0]]


def test_malformed_members_are_skipped() -> None:
    signs = sign_bits(vector(1))
    members = [b"", b"\xff" * 40, b"task_0000000000000000", b"task_0000000000000000" + signs[:-1]]

    assert list(nearest(signs, members)) == []
