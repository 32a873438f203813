"""A perfect judge of similar tasks, which knows their classes, behind the providers' HTTP protocol."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from bench.workload.stream import Request
from tests.fake_llm.server import FakeLLM, Received, Scripted

_GOAL: Final = re.compile(r"<goal (\w+)>\n(.*?)\n</goal \1>", re.DOTALL)


class Oracle(FakeLLM):
    """Answers whether the two goals of a question belong to one class.

    It measures what the semantic layer makes of correct verdicts, not how well a model judges.
    """

    def __init__(self, requests: Iterable[Request]) -> None:
        super().__init__()
        self._labels: defaultdict[str, set[str]] = defaultdict(set)
        for request in requests:
            self._labels[request.goal].add(request.label)

    def take(self, request: Received) -> Scripted:
        """Answer a question: equal if the goals share a label. Only goals with equal constraints are compared."""
        super().take(request)
        [(_, one), (_, other)] = _GOAL.findall(request.body["messages"][-1]["content"])
        is_same = not self._labels[one].isdisjoint(self._labels[other])
        return Scripted(json.dumps({"same": is_same, "reason": "the classes are known"}))
