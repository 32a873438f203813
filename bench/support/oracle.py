"""A fake model that compares goals without errors, since it knows their classes; it speaks the providers' HTTP."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from bench.workload.stream import Request
from tests.fake_llm.server import FakeLLM, Received, Scripted

_GOAL: Final = re.compile(r"<goal (\w+)>\n(.*?)\n</goal \1>", re.DOTALL)


class Oracle(FakeLLM):
    """Answers whether the two goals in a question belong to the same class.

    What it shows is what the layer makes of a judge's word, not how good a judge a model is.
    """

    def __init__(self, requests: Iterable[Request]) -> None:
        super().__init__()
        self._labels: defaultdict[str, set[str]] = defaultdict(set)
        for request in requests:
            self._labels[request.goal].add(request.label)

    def take(self, request: Received) -> Scripted:
        """Answer a question. Only goals with equal constraints are compared, so a common label decides."""
        super().take(request)
        [(_, one), (_, other)] = _GOAL.findall(request.body["messages"][-1]["content"])
        is_same = not self._labels[one].isdisjoint(self._labels[other])
        return Scripted(json.dumps({"same": is_same, "reason": "the classes are known"}))
