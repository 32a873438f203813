"""fan8 on LangGraph with its Postgres saver: eight nodes beside each other and one that joins them, in this process.

python -m bench.support.performance.peers.langgraph_fan8 POSTGRES_URL
"""

import operator
import sys
import time
import uuid
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.graph import END, START, StateGraph
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from bench.support.performance import driver


class State(TypedDict):
    """The results of the steps so far."""

    done: Annotated[list[int], operator.add]


def compiled(saver: PostgresSaver) -> Any:
    """Return the graph."""
    graph = StateGraph(State)
    graph.add_node("join", lambda state: {"done": []})
    graph.add_edge("join", END)
    for number in range(8):
        graph.add_node(f"s{number}", _step(number))
        graph.add_edge(START, f"s{number}")
        graph.add_edge(f"s{number}", "join")
    return graph.compile(checkpointer=saver)


def _step(number: int) -> Callable[[State], dict[str, list[int]]]:
    return lambda state: {"done": [number]}


def main(url: str) -> None:
    """Serve runs; each is a thread of its own in LangGraph's sense."""
    with ConnectionPool(url, max_size=16, kwargs={"autocommit": True, "row_factory": dict_row}) as pool:
        saver = PostgresSaver(pool)
        saver.setup()
        graph = compiled(saver)

        def run(_plan: str) -> tuple[float, None]:
            began = time.monotonic()
            graph.invoke({"done": []}, {"configurable": {"thread_id": str(uuid.uuid4())}})
            return 1000 * (time.monotonic() - began), None

        driver.serve(run)


if __name__ == "__main__":
    main(sys.argv[1])
