"""Shows the judge a round, kept results and new ones, and takes its verdict."""

from collections.abc import Callable

from orchestrator.bootstrap import WorkerProcess
from orchestrator.chord.database import statement
from orchestrator.lifecycle import output_offload
from orchestrator.memory import rounds, steps
from orchestrator.memory.steps import Claim
from orchestrator.models.task_contract import Contract
from orchestrator.models.verdict import Verdict
from workers.arms.judge import RoundView, judge_round
from workers.attempt.model import ClaimModel, OpenModels


def judge(
    process: WorkerProcess,
    claim: Claim,
    *,
    deadline: float,
    is_stopped: Callable[[], bool],
    open_models: OpenModels | None,
) -> Verdict:
    """Return the verdict on the claimed round; of it nothing is written. Raises MustWait."""
    model = ClaimModel(open_models, process.engine, claim, deadline, is_stopped) if open_models else None
    with statement(process.engine) as conn:
        record = rounds.read(conn, claim.task_id, number=claim.round)
        outcomes = steps.results_of(conn, claim.task_id, round_number=claim.round)
        results = {row.name: row.result for row in outcomes if row.result is not None}
        stowed = {name: result for name, result in results.items() if result.artifact is not None}
        outputs = output_offload.whole_outputs(conn, claim.tenant, stowed)
    return judge_round(
        RoundView(
            contract=Contract.from_record(claim.contract),
            plan=record.plan,
            results=results,
            states={row.name: row.state for row in outcomes},
            round=claim.round,
            large_outputs=outputs,
        ),
        model,
    )
