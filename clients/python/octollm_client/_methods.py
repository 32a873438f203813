"""The API's operations as methods. Generated from /openapi.json by `make clients`: do not edit."""

# ruff: noqa: E501

# mypy: disable-error-code="no-any-return"
# an answer is JSON, which has the type that the document declares
# ruff: noqa: A002, E501

from __future__ import annotations

from typing import TYPE_CHECKING

from octollm_client import _calls
from octollm_client._group import Group

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, Literal, Unpack

    from octollm_client import types as t
    from octollm_client.client import Runner


class Tasks(Group):
    """Submit a goal, follow its task, and act on it."""

    def list(
        self,
        *,
        status: str | None = None,
        goal: str | None = None,
        arm: str | None = None,
        recipe: str | None = None,
        from_: str | None = None,
        since: str | None = None,
        to: str | None = None,
        min_duration: float | None = None,
        min_cost: float | None = None,
        sort: Literal["newest", "oldest", "longest", "dearest", "updated"] | None = None,
        counts: bool | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> t.TaskPage:
        """List the tenant's tasks in pages; a filtered page may be short though others follow it.

        One reply looks at 10,000 tasks at most (2,000 with goal or recipe), and its counts at 1,000 of each
        status. The sorts newest and oldest go on from there with the next page. longest, dearest and updated
        sort only these tasks, the newest before `to`; choose an earlier `to` for those before. A task whose
        cost or time of update changes may move to a page that was read before.
        """
        return self._call(
            _calls.TASKS_INDEX,
            query={
                "status": status,
                "goal": goal,
                "arm": arm,
                "recipe": recipe,
                "from": from_,
                "since": since,
                "to": to,
                "min_duration": min_duration,
                "min_cost": min_cost,
                "sort": sort,
                "counts": counts,
                "limit": limit,
                "cursor": cursor,
            },
        )

    def iterate(
        self,
        *,
        status: str | None = None,
        goal: str | None = None,
        arm: str | None = None,
        recipe: str | None = None,
        from_: str | None = None,
        since: str | None = None,
        to: str | None = None,
        min_duration: float | None = None,
        min_cost: float | None = None,
        sort: Literal["newest", "oldest", "longest", "dearest", "updated"] | None = None,
        counts: bool | None = None,
        limit: int | None = None,
    ) -> Iterator[t.TaskSummary]:
        """Yield the items of all pages of `list`; `limit` is the size of a page."""
        return self._iterate(
            _calls.TASKS_INDEX,
            query={
                "status": status,
                "goal": goal,
                "arm": arm,
                "recipe": recipe,
                "from": from_,
                "since": since,
                "to": to,
                "min_duration": min_duration,
                "min_cost": min_cost,
                "sort": sort,
                "counts": counts,
                "limit": limit,
            },
            items="tasks",
        )

    def submit(
        self, goal: str, *, idempotency_key: str | None = None, **options: Unpack[t.TaskOptions]
    ) -> t.Accepted:
        """Submit a task: 202 with links to follow it; 200 if it was submitted before with the same idempotency key."""
        return self._call(
            _calls.TASKS_SUBMIT, body={"goal": goal, **options}, idempotency_key=idempotency_key
        )

    def get(self, task_id: str, *, wait: int | None = None) -> t.Status:
        """Return a task's status and result; with `wait`, as soon as it ends or changes, at the latest after `wait` s."""
        return self._call(_calls.TASKS_SHOW, path={"task_id": task_id}, query={"wait": wait})

    def budget(self, task_id: str, *, after: int | None = None, limit: int | None = None) -> t.Budget:
        """Return what each of a task's calls to models reserved and was charged, with the limits of its budget."""
        return self._call(
            _calls.BUDGET_SHOW, path={"task_id": task_id}, query={"after": after, "limit": limit}
        )

    def cancel(
        self, task_id: str, *, idempotency_key: str | None = None, **options: Unpack[t.CancelRequest]
    ) -> t.Cancelled:
        """Cancel a task with a reason."""
        return self._call(
            _calls.CONTROL_CANCEL,
            path={"task_id": task_id},
            body={**options} or None,
            idempotency_key=idempotency_key,
        )

    def diff(self, task_id: str, *, other: str | None = None, rounds: str | None = None) -> t.Difference:
        """Compare two tasks (`other`), or two rounds (`rounds`): contract, plan, steps, verdict, cost and time.

        Outputs are compared by their hashes. `first_divergence` is the first step, in the order of the
        dependencies, whose inputs differ, or else how it ended or what it put out.
        """
        return self._call(
            _calls.STEPS_DIFF, path={"task_id": task_id}, query={"other": other, "rounds": rounds}
        )

    def feedback(
        self,
        task_id: str,
        verdict: Literal["wrong_hit"],
        *,
        idempotency_key: str | None = None,
        **options: Unpack[t.FeedbackOptions],
    ) -> t.FeedbackReply:
        """Report that a task got a wrong cached result: the result is no longer reused, and its layer may be disabled."""
        return self._call(
            _calls.FEEDBACK_REPORT,
            path={"task_id": task_id},
            body={"verdict": verdict, **options},
            idempotency_key=idempotency_key,
        )

    def retry(
        self, task_id: str, *, idempotency_key: str | None = None, **options: Unpack[t.RetryOptions]
    ) -> t.Accepted:
        """Run a finished task again as a new task; finished steps are reused, except `from_step` and what depends on it.

        With `set` it is a fork: steps whose inputs, instruction or model differ run again, and what depends
        on them. With `replay` all steps run, and models' answers are those that were kept. With `dry_run` it
        says which steps would be reused and run, and what these used before, and writes nothing.
        """
        return self._call(
            _calls.TASKS_RETRY,
            path={"task_id": task_id},
            body={**options} or None,
            idempotency_key=idempotency_key,
        )

    def preview_retry(
        self, task_id: str, *, idempotency_key: str | None = None, **options: Unpack[t.RetryOptions]
    ) -> t.RetryPreview:
        """Say what `retry` would do; nothing is written."""
        return self._call(
            _calls.TASKS_RETRY,
            path={"task_id": task_id},
            body={"dry_run": True, **options},
            idempotency_key=idempotency_key,
        )

    def step(
        self,
        task_id: str,
        step_id: str,
        *,
        round: int | None = None,
        after: int | None = None,
        limit: int | None = None,
    ) -> t.StepDetails:
        """Return a step with its inputs, attempts, output, calls to models, decisions and log.

        An item of a step with for_each is called `fix[3]`; `$plan` and `$judge` are the planner's and the
        judge's work. A large output is in a file: the reply has its beginning and where to download it.
        """
        return self._call(
            _calls.STEPS_SHOW,
            path={"task_id": task_id, "step_id": step_id},
            query={"round": round, "after": after, "limit": limit},
        )

    def issue_stream_ticket(self, task_id: str, *, idempotency_key: str | None = None) -> t.Ticket:
        """Return a ticket that opens this task's stream once, in a URL: for browsers, which can't send headers."""
        return self._call(
            _calls.STREAM_ISSUE_TICKET, path={"task_id": task_id}, idempotency_key=idempotency_key
        )

    def trace(
        self, task_id: str, *, after: int | None = None, limit: int | None = None, results: bool | None = None
    ) -> t.Trace:
        """Return a task's contract, its steps' results and the decisions about it."""
        return self._call(
            _calls.TASKS_EXPLAIN,
            path={"task_id": task_id},
            query={"after": after, "limit": limit, "results": results},
        )

    def waiting(self, task_id: str) -> t.Waiting:
        """Say for the task and each of its open steps what it waits for, who must act, and until when."""
        return self._call(_calls.WAITING_SHOW, path={"task_id": task_id})


class Plans(Group):
    """See what a submission would do, without a task."""

    def check(
        self, goal: str, *, idempotency_key: str | None = None, **options: Unpack[t.TaskOptions]
    ) -> t.Checked:
        """Check a task contract, with or without a plan, as its submission does; nothing is stored and no task is made."""
        return self._call(_calls.PLANS_CHECK, body={"goal": goal, **options}, idempotency_key=idempotency_key)


class Recipes(Group):
    """Plans that need no model."""

    def list(
        self,
    ) -> t.RecipeList:
        """List the recipes: plans without a model, which a task names in `recipe` or chooses by its goal's words."""
        return self._call(_calls.RECIPES_INDEX)


class Schedules(Group):
    """Contracts that are submitted again and again."""

    def list(
        self, *, name: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> t.SchedulePage:
        """List the tenant's schedules, newest first, in pages."""
        return self._call(_calls.SCHEDULES_INDEX, query={"name": name, "limit": limit, "cursor": cursor})

    def iterate(self, *, name: str | None = None, limit: int | None = None) -> Iterator[t.Schedule]:
        """Yield the items of all pages of `list`; `limit` is the size of a page."""
        return self._iterate(_calls.SCHEDULES_INDEX, query={"name": name, "limit": limit}, items="schedules")

    def create(
        self,
        *,
        contract: t.TaskRequest,
        name: str,
        idempotency_key: str | None = None,
        **options: Unpack[t.ScheduleOptions],
    ) -> t.Schedule:
        """Save a schedule: its contract is checked now as POST /v1/tasks checks it, and again at each time."""
        return self._call(
            _calls.SCHEDULES_CREATE,
            body={"contract": contract, "name": name, **options},
            idempotency_key=idempotency_key,
        )

    def get(self, schedule_id: str) -> t.Schedule:
        """Return a schedule."""
        return self._call(_calls.SCHEDULES_SHOW, path={"schedule_id": schedule_id})

    def update(self, schedule_id: str, **options: Unpack[t.ScheduleChange]) -> t.Schedule:
        """Replace members of a schedule; new times count from now. Needs the scope task:read too."""
        return self._call(_calls.SCHEDULES_CHANGE, path={"schedule_id": schedule_id}, body={**options})

    def delete(self, schedule_id: str) -> None:
        """Delete a schedule with its events. Its tasks stay, and open ones go on."""
        return self._call(_calls.SCHEDULES_DELETE, path={"schedule_id": schedule_id})

    def backfill(
        self,
        schedule_id: str,
        *,
        from_: str,
        to: str,
        idempotency_key: str | None = None,
        **options: Unpack[t.BackfillOptions],
    ) -> t.Backfill:
        """Start a task for each time of the past that has none, one after the other (at once if overlap is allow)."""
        return self._call(
            _calls.SCHEDULES_BACKFILL,
            path={"schedule_id": schedule_id},
            body={"from": from_, "to": to, **options},
            idempotency_key=idempotency_key,
        )

    def events(
        self,
        schedule_id: str,
        *,
        type: str | None = None,
        limit: int | None = None,
        before: int | None = None,
    ) -> t.ScheduleEventPage:
        """Return what happened to a schedule: fires with their tasks and outcomes, skipped times, pauses; newest first."""
        return self._call(
            _calls.SCHEDULES_HISTORY,
            path={"schedule_id": schedule_id},
            query={"type": type, "limit": limit, "before": before},
        )

    def next(self, schedule_id: str, *, count: int | None = None) -> t.Times:
        """Return the next times of a schedule, without their jitter, also of a paused one."""
        return self._call(
            _calls.SCHEDULES_UPCOMING, path={"schedule_id": schedule_id}, query={"count": count}
        )

    def pause(self, schedule_id: str, *, idempotency_key: str | None = None) -> t.Schedule:
        """Pause a schedule; its open tasks go on. Calling twice is safe. Needs the scope task:read too."""
        return self._call(
            _calls.SCHEDULES_PAUSE, path={"schedule_id": schedule_id}, idempotency_key=idempotency_key
        )

    def resume(self, schedule_id: str, *, idempotency_key: str | None = None) -> t.Schedule:
        """End a pause: what was missed is not caught up, and the tasks have the rights of the caller's key.

        Needs the scope task:read too.
        """
        return self._call(
            _calls.SCHEDULES_RESUME, path={"schedule_id": schedule_id}, idempotency_key=idempotency_key
        )

    def trigger(self, schedule_id: str, *, idempotency_key: str | None = None) -> t.ScheduleEvent:
        """Fire a schedule now, also a paused one: 202 with the event, whose task started, waits or was skipped.

        `overlap` applies. The schedule's next time does not change.
        """
        return self._call(
            _calls.SCHEDULES_TRIGGER, path={"schedule_id": schedule_id}, idempotency_key=idempotency_key
        )


class Files(Group):
    """Files that tasks read, and files of their results."""

    def delete(self, artifact_id: str) -> t.DeletedFile:
        """Delete a file and free its bytes; 409 while an open task needs it."""
        return self._call(_calls.FILES_DELETE, path={"artifact_id": artifact_id})


class Approvals(Group):
    """What waits for a person, and decisions."""

    def get_by_link(self, link: str) -> t.LinkedApproval:
        """Return the proposal of a link. It decides nothing, however often a mail program or a chat opens it."""
        return self._call(_calls.LINK_SHOW, path={"link": link})

    def decide_by_link(
        self,
        link: str,
        decision: Literal["approve", "edit", "reject", "answer", "run_again", "accept"],
        *,
        idempotency_key: str | None = None,
        **options: Unpack[t.ChoiceOptions],
    ) -> t.LinkedApproval:
        """Decide the proposal that a link shows; the decision records for whom the link was made. 409 as for a token."""
        return self._call(
            _calls.LINK_DECIDE,
            path={"link": link},
            body={"decision": decision, **options},
            idempotency_key=idempotency_key,
        )

    def list(
        self,
        *,
        state: Literal[
            "pending",
            "approved",
            "edited",
            "rejected",
            "answered",
            "run_again",
            "accepted",
            "expired",
            "withdrawn",
        ]
        | None = None,
        task_id: str | None = None,
        assignee: str | None = None,
        sort: Literal["newest", "expiry"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> t.ApprovalPage:
        """List the tenant's approvals in pages: newest first, or with sort=expiry what expires first."""
        return self._call(
            _calls.APPROVALS_INDEX,
            query={
                "state": state,
                "task_id": task_id,
                "assignee": assignee,
                "sort": sort,
                "limit": limit,
                "cursor": cursor,
            },
        )

    def iterate(
        self,
        *,
        state: Literal[
            "pending",
            "approved",
            "edited",
            "rejected",
            "answered",
            "run_again",
            "accepted",
            "expired",
            "withdrawn",
        ]
        | None = None,
        task_id: str | None = None,
        assignee: str | None = None,
        sort: Literal["newest", "expiry"] | None = None,
        limit: int | None = None,
    ) -> Iterator[t.Approval]:
        """Yield the items of all pages of `list`; `limit` is the size of a page."""
        return self._iterate(
            _calls.APPROVALS_INDEX,
            query={"state": state, "task_id": task_id, "assignee": assignee, "sort": sort, "limit": limit},
            items="approvals",
        )

    def get(self, approval_id: str) -> t.Approval:
        """Return one approval: what is about to run, who should decide until when, and the decision."""
        return self._call(_calls.APPROVALS_SHOW, path={"approval_id": approval_id})

    def decide(
        self,
        approval_id: str,
        *,
        decision: Literal["approve", "edit", "reject", "answer", "run_again", "accept"],
        proposal_hash: str,
        idempotency_key: str | None = None,
        **options: Unpack[t.DecisionOptions],
    ) -> t.Approval:
        """Decide an approval. Of several decisions the first wins; the others get 409 with who decided and when.

        409 codes: already_decided, approval_expired. 403 codes besides that of the scope: not_the_assignee
        (`by` names another key), own_task (APPROVAL_FOUR_EYES is on, and this key submitted the task).
        """
        return self._call(
            _calls.APPROVALS_DECIDE,
            path={"approval_id": approval_id},
            body={"decision": decision, "proposal_hash": proposal_hash, **options},
            idempotency_key=idempotency_key,
        )

    def issue_link(
        self,
        approval_id: str,
        for_: str,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[t.LinkOptions],
    ) -> t.Link:
        """Return a link with which a person without a token may see this proposal and decide it once.

        Whoever has the link may decide, so only those who may decide can make one. It ends after `expires_in`
        seconds, with the approval, and when the key that made it is revoked.
        """
        return self._call(
            _calls.APPROVALS_ISSUE_LINK,
            path={"approval_id": approval_id},
            body={"for": for_, **options},
            idempotency_key=idempotency_key,
        )


class Arms(Group):
    """What does the steps: their state, and registration of your own."""

    def list(
        self,
    ) -> t.ArmList:
        """List the arms that the caller's tenant may use, with its declarations; all but people, who have no workers."""
        return self._call(_calls.ARMS_INDEX)

    def withdraw(self, arm_id: str) -> t.Withdrawn:
        """Take a registered arm of the caller's tenant out of use; its open steps fail with arm_unavailable.

        An arm for all tenants needs the scope arm:admin.
        """
        return self._call(_calls.ARMS_WITHDRAW, path={"arm_id": arm_id})

    def heartbeat(self, arm_id: str, *, idempotency_key: str | None = None) -> t.Heartbeat:
        """Keep a registered arm of the caller's tenant available; `arm_id` is the one that it was registered with."""
        return self._call(_calls.ARMS_BEAT, path={"arm_id": arm_id}, idempotency_key=idempotency_key)

    def register(
        self, arm_id: str, *, idempotency_key: str | None = None, **options: Unpack[t.ArmRegistrationOptions]
    ) -> t.Registered:
        """Replace an arm's declared status and metadata; with `url`, register an HTTP arm or repeat its registration.

        A declaration is visible to the caller's tenant only, and measured values win. An HTTP arm is
        available to the tenant's plans at once, as `arm_id` or as its full id tenant/arm_id, until its
        registration expires.
        """
        return self._call(
            _calls.ARMS_REGISTER, body={"arm_id": arm_id, **options}, idempotency_key=idempotency_key
        )

    def statistics(self, *, minutes: int | None = None) -> t.ArmStatisticsList:
        """Return what each arm does now and did in each of the last minutes; an answer may be 2 s old."""
        return self._call(_calls.ARM_STATISTICS_SHOW, query={"minutes": minutes})

    def capabilities(
        self,
    ) -> t.ArmList:
        """List the arms that the caller's tenant may use, with its declarations; all but people, who have no workers."""
        return self._call(_calls.ARMS_INDEX_CAPABILITIES)


class DeadSteps(Group):
    """Steps that were given up because they killed their workers."""

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> t.DeadPage:
        """List the tenant's steps that failed with poison_step, newest first; POST to links.retry to run one again."""
        return self._call(_calls.DEAD_INDEX, query={"limit": limit, "cursor": cursor})

    def iterate(self, *, limit: int | None = None) -> Iterator[t.DeadStep]:
        """Yield the items of all pages of `list`; `limit` is the size of a page."""
        return self._iterate(_calls.DEAD_INDEX, query={"limit": limit}, items="steps")


class Auth(Group):
    """Tokens, and the console's session."""

    def session(
        self,
    ) -> t.Session:
        """Return who the caller is: for the console after a reload. A token is accepted as well as a session."""
        return self._call(_calls.SESSION_SHOW)

    def exchange_key(self, *, idempotency_key: str | None = None) -> t.Token:
        """Return a JWT for an API key; it has the key's scopes and is refused once the key has ended."""
        return self._call(_calls.AUTH_EXCHANGE_KEY, idempotency_key=idempotency_key)


class Keys(Group):
    """API keys."""

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> t.KeyPage:
        """List the tenant's API keys, newest first, in pages, without their secrets."""
        return self._call(_calls.KEYS_INDEX, query={"limit": limit, "cursor": cursor})

    def iterate(self, *, limit: int | None = None) -> Iterator[t.Key]:
        """Yield the items of all pages of `list`; `limit` is the size of a page."""
        return self._iterate(_calls.KEYS_INDEX, query={"limit": limit}, items="keys")

    def create(
        self,
        scopes: Sequence[
            Literal[
                "all",
                "task:submit",
                "task:read",
                "task:cancel",
                "task:critical",
                "task:approve",
                "arm:list",
                "arm:register",
                "arm:admin",
                "admin",
            ]
        ],
        *,
        idempotency_key: str | None = None,
        **options: Unpack[t.KeyOptions],
    ) -> t.NewKey:
        """Make an API key of the caller's tenant. Its text is in this response only."""
        return self._call(
            _calls.KEYS_CREATE, body={"scopes": scopes, **options}, idempotency_key=idempotency_key
        )

    def revoke(self, key_id: str) -> t.Key:
        """Revoke a key: it and its tokens are refused within five seconds. Calling twice is safe."""
        return self._call(_calls.KEYS_REVOKE, path={"key_id": key_id})

    def rotate(
        self, key_id: str, *, idempotency_key: str | None = None, **options: Unpack[t.RotationRequest]
    ) -> t.NewKey:
        """Make a key with the scopes and the lifetime of this one, which ends after `overlap_hours`."""
        return self._call(
            _calls.KEYS_ROTATE,
            path={"key_id": key_id},
            body={**options} or None,
            idempotency_key=idempotency_key,
        )


class AuditLog(Group):
    """Who did what, and whether it was allowed."""

    def list(
        self,
        *,
        action: str | None = None,
        outcome: str | None = None,
        key: str | None = None,
        from_: str | None = None,
        to: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> t.AuditPage:
        """List the audit entries about the caller's tenant, newest first, in pages; a filtered page may be short.

        One reply looks at 10,000 entries at most; the next page goes on from there. An entry appears within
        seconds. Refused calls whose caller is unknown belong to no tenant: operators read them with `octollm
        audit`.
        """
        return self._call(
            _calls.AUDIT_LOG_INDEX,
            query={
                "action": action,
                "outcome": outcome,
                "key": key,
                "from": from_,
                "to": to,
                "limit": limit,
                "cursor": cursor,
            },
        )

    def iterate(
        self,
        *,
        action: str | None = None,
        outcome: str | None = None,
        key: str | None = None,
        from_: str | None = None,
        to: str | None = None,
        limit: int | None = None,
    ) -> Iterator[t.AuditEntry]:
        """Yield the items of all pages of `list`; `limit` is the size of a page."""
        return self._iterate(
            _calls.AUDIT_LOG_INDEX,
            query={"action": action, "outcome": outcome, "key": key, "from": from_, "to": to, "limit": limit},
            items="entries",
        )


class Operators(Group):
    """Health, readiness, metrics, and this description."""

    def docs(
        self,
    ) -> str:
        """Return this description as an HTML page, which loads nothing from other hosts."""
        return self._call(_calls.DOCS_PAGE)

    def health(
        self,
    ) -> t.Health:
        """Return 200 if the process responds; checks no other server."""
        return self._call(_calls.SYSTEM_HEALTH)

    def metrics(
        self,
    ) -> str:
        """Return the metrics of all processes on this host, and current counts from Postgres and Redis.

        If METRICS_TOKEN is set, send it as the bearer token.
        """
        return self._call(_calls.SYSTEM_METRICS)

    def openapi(
        self,
    ) -> dict[str, Any]:
        """Return this description as OpenAPI 3.1."""
        return self._call(_calls.DOCS_OPENAPI)

    def ready(
        self,
    ) -> t.Readiness:
        """Return whether tasks can run: 200 if Postgres and Redis accept writes and every arm has a worker, else 503.

        `faults` names the fault of each server. An arm is `withheld` if its workers are alive but refuse work
        for lack of a sandbox: its steps fail with the reason given there, and all other steps run. `warnings`
        lists problems that stop no task but should be fixed. `threads` is the state of this process's
        threads. The servers are queried at most once a second. If METRICS_TOKEN is set, callers without it
        get `ready` and nothing else.
        """
        return self._call(_calls.SYSTEM_READY)


class Operations:
    """All groups."""

    def __init__(self, runner: Runner) -> None:
        self.tasks = Tasks(runner)
        self.plans = Plans(runner)
        self.recipes = Recipes(runner)
        self.schedules = Schedules(runner)
        self.files = Files(runner)
        self.approvals = Approvals(runner)
        self.arms = Arms(runner)
        self.dead_steps = DeadSteps(runner)
        self.auth = Auth(runner)
        self.keys = Keys(runner)
        self.audit_log = AuditLog(runner)
        self.operators = Operators(runner)
