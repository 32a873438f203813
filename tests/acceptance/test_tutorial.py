"""The commands of the quickstart and the tutorial work when they are pasted, and end as the pages say."""

import re
from collections.abc import Sequence
from pathlib import Path

from orchestrator.devserver.stack import Stack
from tests.acceptance.pasted import ROOT, blocks_of, paste

START = "make up\n"  # covered by test_up.py
PLACEHOLDER = "task_..."


def _paste_all(stack: Stack, scripts: Sequence[str], *, cwd: Path = ROOT) -> list[tuple[str, int]]:
    """Paste the blocks into one shell; return the output and the exit status of each."""
    script = "set +e\n" + "".join(f'{script}echo "EXIT $?"\n' for script in scripts)
    done = paste(script, url=stack.url, home=stack.home, cwd=cwd)
    outputs = re.findall(r"(.*?)EXIT (\d+)\n", done.stdout, re.DOTALL)
    assert len(outputs) == len(scripts), done.stdout + done.stderr
    return [(output, int(status)) for output, status in outputs]


def test_the_blocks_of_the_quickstart_work_when_they_are_pasted(stack: Stack) -> None:
    blocks = blocks_of("docs/quickstart.md")
    assert {language for language, _ in blocks} == {"sh"}
    start, run, look = (script for _, script in blocks)

    # another test may have run the same goal on this stack
    assert run.count("octollm run ") == 1
    [(ran, status)] = _paste_all(stack, [run.replace("octollm run ", "octollm run --cache bypass ")])
    task_id = ran.splitlines()[-1].split()[0]
    assert look.count(PLACEHOLDER) == 1
    [(looked, looked_status)] = _paste_all(stack, [look.replace(PLACEHOLDER, task_id)])

    assert start == START
    assert (status, looked_status) == (0, 0)
    assert "Verdict: passed" in ran
    assert looked.count(f'"{task_id}"') >= 2, "the status and the trace name the task"
    assert '"code":' not in looked, "an answer is an error"


def test_the_blocks_of_the_tutorial_end_as_it_says(stack: Stack, tmp_path: Path) -> None:
    blocks = blocks_of("docs/tutorial.md")
    assert {language for language, _ in blocks} == {"sh"}

    done = _paste_all(stack, [script for _, script in blocks], cwd=tmp_path)
    outputs = [output for output, _ in done]

    assert [status for _, status in done] == [0, 0, 0, 0, 6, 0, 0, 1, 1, 0]
    assert '"input_schema"' in outputs[1]
    assert "not checked" in outputs[4]
    assert "task.completed" in outputs[6]
    assert "/values is [3, 4]" in outputs[7]
    assert re.search(r"south .* reused", outputs[8])
    assert re.search(r"north .* done", outputs[8])
    assert re.search(r"all .* done", outputs[8])
    assert "Sales in the north rose by 4 percent. [report.txt:1]" in outputs[9]
