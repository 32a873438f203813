"""Attacks a running stack, one attack after the other; meanwhile another tenant's small task must end soon.

Prints a line for each attack: what stopped or limited it, and the other tenant's seconds. Names on the command line
choose attacks; default: all. Exit status 0 if none succeeded. Loopback only; the stack is private and is removed.
"""

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from bench.support.attack import crowding, parsing, texts, trespass
from bench.support.attack.scene import MAX_MEBIBYTES, Attack, DidNotHold, Scene
from orchestrator.devserver.stack import ONE_OF_EACH, Stack
from tests.fake_llm.server import FakeLLM

OTHER_SECONDS: Final = 5.0
SECONDS: Final = 280.0
ATTACKS: Final[Mapping[str, Attack]] = {
    attack.__name__: attack
    for attack in (
        texts.digit_runs_in_bodies,
        texts.digit_runs_in_headers,
        texts.digit_runs_in_a_file,
        texts.schema_with_a_backtracking_pattern,
        texts.schema_whose_references_double,
        texts.many_and_large_schemas,
        texts.body_wrong_in_many_places,
        texts.references_that_multiply,
        parsing.tar_of_cve_2024_6232,
        parsing.large_pax_header,
        parsing.gzip_bomb,
        parsing.python_source_of_a_huge_tree,
        parsing.report_in_utf_16,
        parsing.patch_of_blank_lines,
        crowding.half_sent_heads,
        crowding.half_sent_bodies,
        crowding.answers_that_nobody_closes,
        crowding.all_streams,
        crowding.three_long_scripts,
        crowding.priority_without_the_scope,
        trespass.forged_ticket,
        trespass.garbage_on_the_queues,
        trespass.remote_control,
        trespass.revoked_key,
        trespass.file_name_with_marks,
        # last: for a minute after it, credentials from this address are refused without a check
        trespass.wrong_keys_of_one_address,
    )
}


class Row(NamedTuple):
    """The result of an attack; `other_seconds` is None if the other tenant's task did not end."""

    held: bool
    told: str
    other_seconds: float | None


def main() -> int:
    """Run the attacks that the command line names, by default all."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    arguments = _arguments()
    chosen = {name: ATTACKS[name] for name in arguments.attacks or ATTACKS}
    with (
        tempfile.TemporaryDirectory(prefix="octollm-attack-") as folder,
        FakeLLM() as fake,
        Stack(Path(folder), port=0, environ=_environ(fake), durable=False, processes=ONE_OF_EACH) as stack,
        ThreadPoolExecutor(16) as pool,
    ):
        scene = Scene(stack, fake, pool)
        scene.run_small_task()
        print(f"in calm the other tenant's task takes {scene.run_small_task():.2f} s", flush=True)
        until = time.monotonic() + arguments.seconds
        held = [_make(scene, name, attack, until=until) for name, attack in chosen.items()]
    print(f"{sum(held)} of {len(held)} attacks held")
    return 0 if all(held) else 1


def _environ(fake: FakeLLM) -> dict[str, str]:
    """Return the stack's settings: the defaults, but with a high rate limit, which would stop the attacks first."""
    return {
        "DATABASE_URL": "",
        "REDIS_URL": "",
        "LOG_LEVEL": "warning",
        "RATE_LIMIT": "1000000/minute",
        "OPENAI_API_KEY": "k",
        "OPENAI_BASE_URL": fake.openai_url,
        "LLM_CHAIN": "openai:fake-model",
        "GRACE_SECONDS": "3",
    }


def _make(scene: Scene, name: str, attack: Attack, *, until: float) -> bool:
    """Run one attack, print its line, return whether the stack withstood it."""
    if time.monotonic() > until:
        print(f"{'NOT MADE':<9} {name}: the time is over; give more, SECONDS=600", flush=True)
        return False
    before = scene.processes()
    with scene.memory.watched():
        row = _attacked(scene, attack)
    faults = [] if row.held else [row.told]
    if row.other_seconds is not None and row.other_seconds > OTHER_SECONDS:
        faults.append("the other tenant waited too long")
    if scene.processes() != before:
        faults.append("a process of the stack ended")
    if scene.memory.largest_mebibytes > MAX_MEBIBYTES:
        faults.append("a process took too much memory")
    other = "never" if row.other_seconds is None else f"{row.other_seconds:.2f} s"
    print(
        f"{'BROKE' if faults else 'held':<9} {name:<36} other tenant {other:>7}, "
        f"largest process {scene.memory.largest_mebibytes:>4} MiB: {'; '.join(faults) or row.told}",
        flush=True,
    )
    return not faults


def _attacked(scene: Scene, attack: Attack) -> Row:
    """Start the attack, run the other tenant's task meanwhile, end the attack."""
    other_seconds = None
    course = attack(scene)
    try:
        next(course)
        other_seconds = scene.run_small_task()
        next(course)
    except StopIteration as end:
        return Row(True, end.value, other_seconds)
    except DidNotHold as broken:
        return Row(False, str(broken), other_seconds)
    except (AssertionError, OSError) as error:
        # an unexpected answer counts as a success of the attack
        return Row(False, f"{type(error).__name__}: {error}"[:300], other_seconds)
    finally:
        course.close()
    raise AssertionError(f"{attack.__name__} has a second yield")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="begin no attack after so long: %(default)g"
    )
    parser.add_argument("attacks", nargs="*", metavar="attack", help=f"one of: {', '.join(ATTACKS)}")
    arguments = parser.parse_args()
    if strange := [name for name in arguments.attacks if name not in ATTACKS]:
        parser.error(f"there is no attack {', '.join(strange)}: choose from {', '.join(ATTACKS)}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
