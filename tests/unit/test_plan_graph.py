"""The graph of a plan: no cycles, path lengths, what follows what."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.models.plan import MAX_STEPS
from orchestrator.planner.check import check_plan, descendants, leaves, path_lengths
from tests.unit.plan_kit import faults_of, wait


@st.composite
def edges_of_graphs(draw: st.DrawFn) -> list[set[int]]:
    """Draw for each of up to 50 steps the steps that it depends on; most graphs have a cycle."""
    size = draw(st.integers(1, MAX_STEPS))
    forward_only = draw(st.booleans())
    return [
        draw(st.sets(st.integers(0, max(index - 1, 0) if forward_only else size - 1), max_size=4))
        - ({index} if forward_only else set())
        for index in range(size)
    ]


def longest_by_force(sources: list[set[int]]) -> dict[str, int] | None:
    """Return the path lengths by relaxing once for each step; None when they still grow, that is for a cycle."""
    lengths = [1] * len(sources)
    for _ in range(len(sources) + 1):
        before = list(lengths)
        for index, names in enumerate(sources):
            for source in names:
                lengths[source] = max(lengths[source], lengths[index] + 1)
        if lengths == before:
            return {f"s{index}": length for index, length in enumerate(lengths)}
    return None


@given(edges_of_graphs())
def test_a_graph_is_accepted_exactly_when_it_has_no_cycle_and_its_path_lengths_are_right(
    sources: list[set[int]],
) -> None:
    steps = [wait(f"s{index}", *(f"s{source}" for source in names)) for index, names in enumerate(sources)]
    expected = longest_by_force(sources)

    if expected is None:
        assert any("depend on each other" in message for message in faults_of(steps).values())
    else:
        assert path_lengths(check_plan(steps)) == expected


def test_a_cycle_is_named() -> None:
    messages = " ".join(faults_of([wait("a", "c"), wait("b", "a"), wait("c", "b"), wait("d")]).values())

    assert any(circle in messages for circle in ("a -> c -> b -> a", "c -> b -> a -> c", "b -> a -> c -> b"))
    assert "d" not in messages.split("each other:")[1]


def test_descendants_and_leaves_follow_the_arrows() -> None:
    plan = check_plan([wait("a"), wait("b", "a"), wait("c", "a"), wait("d", "b", "c"), wait("e")])

    assert descendants(plan, ["b"]) == {"d"}
    assert descendants(plan, ["a", "b"]) == {"c", "d"}
    assert descendants(plan, ["e"]) == set()
    assert leaves(plan) == ("d", "e")
