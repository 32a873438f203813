"""Keeps what models answer an attempt, and in a replay gives what they answered before."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from orchestrator.chord.database import statement
from orchestrator.llm.completion import Completion, CompletionRequest
from orchestrator.llm.request_digest import (
    RequestDigest,
    answer_digest,
    answer_of,
    answer_record,
    digest_of,
)
from orchestrator.memory import model_answers
from orchestrator.memory.model_answers import MAX_ANSWER_BYTES, EarlierAnswer, KeptAnswer
from orchestrator.models.model_errors import ReplayMiss
from orchestrator.models.model_work import Work
from orchestrator.safety import redact
from workers.attempt.context import AttemptContext


@dataclass
class AttemptAnswers:
    """What models answer one attempt; `given` counts how often each request was answered from what is kept."""

    attempt: AttemptContext
    given: Counter[str] = field(default_factory=Counter)
    asked: Counter[Work] = field(default_factory=Counter)
    rooms: dict[Work, int] = field(default_factory=dict)
    _earlier: Sequence[EarlierAnswer] | None = None

    def has_earlier(self) -> bool:
        """Tell whether this is a replay of an attempt that models answered."""
        return bool(self._rows())

    def room(self, work: Work, compute: Callable[[], int]) -> int:
        """Return the bytes of material that a question may have: in a replay as many as it had then."""
        kept = [row.room for row in self._rows() if row.work == work and row.room is not None]
        room = kept[min(self.asked[work], len(kept) - 1)] if kept else compute()
        self.rooms[work] = room
        return room

    def find(self, request: CompletionRequest) -> Completion | None:
        """Return the answer that was given to an equal request; None if a model is to be asked.

        In a replay that asks no model, raises ReplayMiss and notes it in the attempt, for whoever catches it.
        """
        self.asked[request.work] += 1
        fork = self.attempt.contract.fork
        if fork is None or fork.replay_of is None:
            return None
        digest = digest_of(request)
        found = [row for row in self._rows() if row.request_sha256 == digest.sha256]
        if found:
            row = found[min(self.given[digest.sha256], len(found) - 1)]
            self.given[digest.sha256] += 1
            return answer_of(row.answer, purpose=request.purpose)
        if fork.live_on_miss and self.attempt.open_models is not None:
            return None
        miss = self._miss(request, digest)
        self.attempt.misses.append(miss)
        raise miss

    def kept(self, request: CompletionRequest, completion: Completion, *, is_replayed: bool) -> KeptAnswer:
        """Return what is kept of an answer: the hashes alone of one that is large, secret or given again."""
        answer, digest = answer_record(completion), digest_of(request)
        text = json.dumps([answer["text"], answer["value"]], ensure_ascii=False)
        is_whole = (
            not is_replayed
            and self.attempt.process.settings.keep_model_answers == "on"
            and len(text.encode("utf-8", "surrogatepass")) <= MAX_ANSWER_BYTES
            and redact(text, only="secret.") == text
        )
        return KeptAnswer(
            request.purpose,
            request.work.value,
            digest.sha256,
            digest.messages,
            self.rooms.get(request.work),
            answer_digest(completion),
            answer if is_whole else None,
        )

    def _rows(self) -> Sequence[EarlierAnswer]:
        """Return what was answered then, that of this round and attempt first; nothing outside a replay."""
        fork, claim = self.attempt.contract.fork, self.attempt.claim
        if fork is None or fork.replay_of is None:
            return ()
        if self._earlier is None:
            with statement(self.attempt.process.engine) as conn:
                rows = model_answers.of_step(conn, fork.replay_of, tenant=claim.tenant, step=claim.name)
            self._earlier = sorted(
                rows, key=lambda row: (row.round != claim.round, row.attempt != claim.attempt)
            )
        return self._earlier

    def _miss(self, request: CompletionRequest, digest: RequestDigest) -> ReplayMiss:
        name, number = self.attempt.claim.name, sum(self.asked.values())
        details = {
            "step": name,
            "purpose": request.purpose,
            "request": number,
            "request_sha256": digest.sha256,
        }
        what = f"Request {number} of {name} ({request.purpose})"
        alike = [row for row in self._rows() if row.purpose == request.purpose]
        if not alike:
            return ReplayMiss(f"{what} has no answer that was kept.", details=details)
        before = alike[min(number, len(alike)) - 1]
        pairs = zip(before.messages, digest.messages, strict=False)
        changed = next((index for index, (one, other) in enumerate(pairs) if one != other), None)
        if changed is None:
            where = "its schema, its model or the number of its messages differs"
        else:
            where = f"its {request.messages[changed].role.value} message (number {changed + 1}) differs"
            details["message"] = changed + 1
        return ReplayMiss(
            f"{what} is not what was asked then: {where}.",
            details={**details, "recorded_sha256": before.request_sha256},
        )
