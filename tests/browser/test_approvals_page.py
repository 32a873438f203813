"""The page of the approvals: what waits is shown, decided in each way, and a faster decision is told."""

from typing import Any

from playwright.sync_api import Page, expect

from orchestrator.devserver.stack import Stack
from tests.acceptance.client import Client
from tests.browser.conftest import NARROW, CheckAxe, new_key, sign_in
from tests.browser.faults import Faults, watch
from tests.waiting import wait_until

PATCH = "--- a/x.py\n+++ b/x.py\n@@ -1 +1 @@\n-old\n+new\n"


def gated(ask: str, *, seconds: float = 0, **more: Any) -> dict[str, Any]:
    """Return a step that waits for approval."""
    step = {"id": "a", "arm": "executor", "action": "wait", "inputs": {"seconds": seconds}}
    return {**step, "approval": {"ask": ask, **more}}


def waiting(client: Client, step: dict[str, Any]) -> dict[str, Any]:
    """Submit a task with this step, and return the approval that it asks for."""
    task_id = client.submit(plan={"steps": [step]}, cache={"mode": "bypass"})

    def pending() -> list[dict[str, Any]]:
        found = client.call("GET", f"/v1/approvals?state=pending&task_id={task_id}").body["approvals"]
        return list(found)

    return wait_until(pending, 30, f"{task_id} to ask", every=0.1)[0]


def card(page: Page, approval: dict[str, Any]) -> Any:
    """Open the approval's card and return it."""
    page.goto(f"/approvals?approval={approval['approval_id']}")
    found = page.get_by_role("listitem").filter(has_text=approval["ask"])
    expect(found.get_by_role("heading")).to_be_visible()
    return found


def decided(client: Client, approval: dict[str, Any]) -> dict[str, Any]:
    """Return the approval once it is decided."""

    def read() -> dict[str, Any] | None:
        found = client.call("GET", f"/v1/approvals/{approval['approval_id']}").body
        return None if found["state"] == "pending" else dict(found)

    return wait_until(read, 15, "the decision", every=0.1)


def test_one_is_approved_as_it_is_shown(page: Page, client: Client, axe: CheckAxe) -> None:
    approval = waiting(client, gated("Wait for the approved one?", by="the desk", expires_in=900))

    shown = card(page, approval)
    for text in ("pending", "executor.wait", "for the desk", "expires in 14 min", "then it is rejected"):
        expect(shown).to_contain_text(text)
    axe(page)
    shown.get_by_label("Comment").fill("looks right")
    shown.get_by_text("As a command: Approve").click()
    expect(
        shown.get_by_text(f"octollm approve {approval['approval_id']} --comment 'looks right'")
    ).to_be_visible()
    shown.get_by_role("button", name="Approve", exact=True).click()

    expect(shown).to_contain_text("This was approved by")
    expect(shown).to_contain_text("looks right")
    expect(shown.get_by_role("button", name="Approve", exact=True)).to_have_count(0)
    found = decided(client, approval)
    assert (found["state"], found["via"], found["comment"]) == ("approved", "console", "looks right")
    assert client.end_of(approval["task_id"])["status"] == "completed"
    axe(page)


def test_one_is_edited_by_a_form_of_the_action_s_schema(
    page: Page, client: Client, axe: CheckAxe, faults: Faults
) -> None:
    faults.allow(r"422 .*/decision")
    approval = waiting(client, gated("Wait for the edited one?", seconds=120))

    shown = card(page, approval)
    shown.get_by_role("button", name="Edit the inputs").click()
    seconds = shown.get_by_label("seconds")
    expect(seconds).to_have_value("120")
    axe(page)
    seconds.fill("301")
    shown.get_by_role("button", name="Approve with these inputs").click()
    expect(shown.get_by_role("alert").filter(has_text="Must be at most 300.")).to_be_visible()
    shown.get_by_role("button", name="As JSON").click()
    expect(shown.get_by_label("seconds")).to_be_visible()
    seconds.fill("0.1")
    shown.get_by_role("button", name="As JSON").click()
    text = shown.get_by_label("Inputs as JSON")
    text.fill('{"seconds": 0.1, "unknown": 1}')
    shown.get_by_role("button", name="Approve with these inputs").click()
    expect(shown.get_by_role("alert").filter(has_text="unknown")).to_be_visible()
    text.fill('{"seconds": 0.1')
    shown.get_by_role("button", name="Approve with these inputs").click()
    expect(shown.get_by_role("alert").filter(has_text="This is not JSON")).to_be_visible()
    text.fill('{"seconds": 0.1}')
    shown.get_by_role("button", name="Approve with these inputs").click()

    expect(shown).to_contain_text("This was edited by")
    assert decided(client, approval)["value"] == {"seconds": 0.1}
    assert client.end_of(approval["task_id"])["status"] == "completed"


def test_one_is_rejected_with_a_reason_and_stays_in_the_list(page: Page, client: Client) -> None:
    approval = waiting(client, gated("Wait for the rejected one?"))

    shown = card(page, approval)
    shown.get_by_label("Comment").fill("wrong customer")
    shown.get_by_role("button", name="Reject", exact=True).click()

    expect(shown).to_contain_text("This was rejected by")
    expect(shown).to_contain_text("wrong customer")
    assert decided(client, approval)["comment"] == "wrong customer"
    assert client.end_of(approval["task_id"])["status"] == "failed"


def test_a_question_is_answered_by_its_schema_on_a_narrow_screen(
    page: Page, client: Client, axe: CheckAxe
) -> None:
    schema = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"]}
    question = {
        "id": "a",
        "arm": "human",
        "action": "answer",
        "inputs": {"question": "Which colour for the narrow one?", "schema": schema, "context": PATCH},
        "approval": {"by": "ann"},
    }
    approval = waiting(client, question)
    page.set_viewport_size(NARROW)

    shown = card(page, approval)
    expect(shown.get_by_role("region", name="context")).to_contain_text("new")
    shown.get_by_role("button", name="Answer").click()
    shown.get_by_role("button", name="Send the answer").click()
    expect(shown.get_by_role("alert").filter(has_text="This is needed.")).to_be_visible()
    axe(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    shown.get_by_label("colour").select_option("blue")
    shown.get_by_role("button", name="Send the answer").click()

    expect(shown).to_contain_text("This was answered by")
    assert decided(client, approval)["value"] == {"colour": "blue"}


def test_who_comes_second_hears_who_was_faster_and_when(
    page: Page, client: Client, faults: Faults, axe: CheckAxe
) -> None:
    faults.allow(r"409 .*/decision")
    approval = waiting(client, gated("Wait for the contested one?"))
    shown = card(page, approval)
    shown.get_by_role("button", name="Edit the inputs").click()
    expect(shown.get_by_label("seconds")).to_be_visible()
    # the page hears of the other decision by its own
    page.route("**/v1/approvals?*", lambda route: route.abort())
    faults.allow(r"ERR_FAILED .*/v1/approvals")
    body = {"decision": "reject", "proposal_hash": approval["proposal_hash"], "comment": "faster"}
    assert client.call("POST", f"/v1/approvals/{approval['approval_id']}/decision", body).status == 200

    shown.get_by_role("button", name="Approve with these inputs").click()

    expect(shown).to_contain_text("Your decision came too late")
    expect(shown).to_contain_text("This was rejected by acme/tests via api at 20")
    expect(shown).to_contain_text("faster")
    axe(page)


def test_what_another_decides_is_shown_in_the_list(page: Page, client: Client) -> None:
    approval = waiting(client, gated("Wait for the one that another decides?"))
    shown = card(page, approval)
    body = {"decision": "reject", "proposal_hash": approval["proposal_hash"], "comment": "elsewhere"}
    assert client.call("POST", f"/v1/approvals/{approval['approval_id']}/decision", body).status == 200

    expect(shown).to_contain_text("This was rejected by acme/tests via api at 20")


def test_a_key_that_may_only_read_sees_and_does_not_decide(
    page: Page, stack: Stack, client: Client, faults: Faults
) -> None:
    approval = waiting(client, gated("Wait for the one that is read only?"))
    context = page.context
    sign_in(context, stack, new_key(stack, scopes=("task:read",)))
    reader = watch(context.new_page(), faults)

    shown = card(reader, approval)

    expect(reader.get_by_text("it lacks the scope task:approve")).to_be_visible()
    expect(shown.get_by_role("button", name="Approve", exact=True)).to_have_count(0)
