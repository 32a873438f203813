"""The commands that read tasks: each prints what a reader or the next program of a pipe needs."""

import json
from pathlib import Path

from orchestrator.devserver.stack import Stack
from tests.acceptance.pasted import paste

PLAN = """
steps:
  - {id: first, arm: executor, action: wait, inputs: {seconds: 0.1}}
  - {id: second, arm: executor, action: wait, inputs: {seconds: {$from: first, pointer: /seconds}}}
"""


def test_a_task_is_listed_read_followed_and_drawn_from_the_shell(stack: Stack, tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN)

    done = paste(
        f"""
        set +e
        task=$(octollm submit "inspect me" --plan - < {plan})
        octollm events $task --follow --json > events.jsonl
        octollm events $task > events.txt
        octollm list --status completed --limit 1 > list.txt
        octollm result $task > result.txt; echo $? > status.txt
        octollm trace $task --kind route > route.txt
        octollm trace $task --json > trace.json
        octollm graph $task > task.mmd
        octollm graph --plan {plan} --format dot > plan.dot
        octollm upload events.txt > upload.txt
        printf 'town,parcels\nUlm,3\n' > parcels.csv
        octollm run "deliver it" --no-watch --out files --attach parcels.csv --plan - <<END > run.txt 2> wrote.txt
steps:
  - {{id: keep, arm: writer, action: convert, inputs: {{attachment: parcels.csv, to: json}}}}
END
        echo $task
        """,
        url=stack.url,
        home=stack.home,
        cwd=tmp_path,
    )

    def read(name: str) -> str:
        return (tmp_path / name).read_text()

    assert done.stderr == ""
    task_id = done.stdout.strip()
    events = [json.loads(line) for line in read("events.jsonl").splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["type"] == "task.completed"
    assert len(read("events.txt").splitlines()) == len(events)
    assert read("list.txt").split()[:3] == [task_id, "completed", "100%"]
    assert (read("status.txt"), "[second]" in read("result.txt")) == ("0\n", True)
    assert len(read("route.txt").splitlines()) == 1
    assert {one["kind"] for one in json.loads(read("trace.json"))["decisions"]} >= {
        "plan",
        "route",
        "verdict",
        "end",
    }
    assert '    s1 -->|"/seconds"| s2' in read("task.mmd")
    assert '    s1["✓ first<br/>executor.wait<br/>done"]' in read("task.mmd")
    assert '    s1 -> s2 [label="/seconds"];' in read("plan.dot")
    assert len(read("upload.txt").split()[0]) == 64
    assert read("wrote.txt") == "wrote files/parcels.json\n"
    assert json.loads(read("files/parcels.json")) == [{"town": "Ulm", "parcels": 3}]
