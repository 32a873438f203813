"""The files of a new arm, as `octollm arm new` writes them."""

from string import Template
from typing import Final

MANIFEST: Final = Template("""\
arm_id = "$arm_id"
description = "Counts the words of texts; say here what the arm does, planners read it"
version = "1.0.0"

[worker]
module = "$module"
# threads: for functions that wait; prefork: for functions that compute, or can't be stopped otherwise
pool = "threads"
max_concurrent_tasks = 4
# names of environment variables that only this arm's processes get, for example an API key:
# env = ["${variable}_API_KEY"]
""")
FUNCTIONS: Final = Template('''\
"""The actions of the arm $arm_id: each is a function with types and a docstring."""

from collections import Counter
from dataclasses import dataclass

from orchestrator.sdk import Context, action


@dataclass
class WordCount:
    """What the action returns: later steps and checks read it by these names."""

    words: int
    most_used: list[str]


@action(effects="none")
def count_words(text: str, shown: int = 3, *, context: Context) -> WordCount:
    """Count the words of a text and name the most used ones.

    Args:
        text: the text to count
        shown: how many of the most used words to name
    """
    counts: Counter[str] = Counter()
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        context.progress(100 * number / len(lines), f"line {number} of {len(lines)}")
        counts.update(line.lower().split())
    return WordCount(counts.total(), [word for word, _ in counts.most_common(shown)])
''')
TEST: Final = Template('''\
"""The actions are ordinary functions: call them."""

from $module import WordCount, count_words

from orchestrator.sdk import LocalContext


def test_words_are_counted() -> None:
    context = LocalContext()

    assert count_words("a b a\\nc a", shown=1, context=context) == WordCount(5, ["a"])
    assert context.reports[-1] == (100.0, "line 2 of 2")
''')
README: Final = Template("""\
# $arm_id

An arm for OctoLLM. `arm.toml` says what it needs, `$module.py` has its actions.

    pytest $path
    octollm arm check $path
    octollm arm try $arm_id.count_words '{"text": "to be or not to be"}' --dir $directory
    ARMS_PATH=$directory octollm up

The page "Add an arm in five minutes" of OctoLLM's documentation explains the rest.
""")
