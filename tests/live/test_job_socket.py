"""`/ws/monitoring/{job}/live/`: everything once, as it comes, to whoever may see it."""

import re
from html import unescape
from typing import Any

import orjson
import pytest
from websockets.exceptions import ConnectionClosed

from monitoring import selectors
from platform_site.common import roles, tokens
from platform_site.common.models import ApiToken, User

from .conftest import Lines, Run, person


def live(run: Run, query: str = "?format=json") -> str:
    return f"/ws/monitoring/{run.id}/live/{query}"


def points(messages: list[Any]) -> list[tuple[str, int, Any]]:
    return [
        (name, step, value)
        for message in messages
        if message["type"] == "metrics"
        for name, line in message["points"].items()
        for step, value in line
    ]


def is_step(step: int) -> Any:
    return lambda m: m["type"] == "progress" and m["step"] == step


def test_a_program_gets_the_full_state_on_connect(run: Run, lines: Lines, alice: User) -> None:
    run.log(1, loss=3.0)
    run.log_and_sync(2, loss="NaN")
    line = lines.program(live(run), alice)
    assert [line.next() for _ in range(3)] == [
        {"type": "metrics", "points": {"loss": [[1, 3.0], [2, "NaN"]]}, "cursor": 1},
        {"type": "status", "status": "running", "health_score": 30},
        {"type": "progress", "step": 2, "fraction": 0.02},
    ]


def test_points_come_as_they_are_synced_each_exactly_once(run: Run, lines: Lines, alice: User) -> None:
    run.log_and_sync(1, loss=1)
    line = lines.program(live(run), alice)
    for step in range(2, 40):
        run.log_and_sync(step, loss=step)
        if step % 10 == 0:
            run.log_and_sync(step, val=-step)
    seen = line.until(is_step(39))
    wanted = [("loss", step, step) for step in range(1, 40)] + [("val", s, -s) for s in (10, 20, 30)]
    assert sorted(points(seen)) == sorted(wanted)


def test_many_who_connect_in_the_middle_lose_and_double_nothing(run: Run, lines: Lines, alice: User) -> None:
    opened: list[tuple[Any, int]] = []
    for step in range(1, 31):
        run.log_and_sync(step, loss=step)
        opened.append((lines.program(live(run, f"?format=json&cursor={run.version}"), alice), step))
    for line, step in opened:
        seen = points(line.until(is_step(30)))
        assert seen == [("loss", later, later) for later in range(step + 1, 31)]


def test_the_cursor_of_the_api_goes_on_without_a_gap(run: Run, lines: Lines, alice: User) -> None:
    run.log_and_sync(1, loss=1)
    feed = selectors.points_after(run.id, 0)
    assert feed is not None
    run.log_and_sync(2, loss=2)
    line = lines.program(live(run, f"?format=json&cursor={feed.cursor}"), alice)
    assert points([line.next()]) == [("loss", 2, 2)]


def test_who_is_far_behind_starts_over(run: Run, lines: Lines, alice: User) -> None:
    for step in range(selectors.FEED_LIMIT + 1):
        run.log(step, loss=step)
    run.sync()
    message = lines.program(live(run), alice).next()
    assert message["reset"] is True
    assert len(message["points"]["loss"]) <= selectors.DEFAULT_POINTS


def test_the_end_comes_after_the_last_point_and_closes(run: Run, lines: Lines, alice: User) -> None:
    line = lines.program(live(run), alice)
    line.until(lambda m: m["type"] == "progress")
    run.log_and_sync(100, loss=0.5)
    run.complete()
    seen, code = line.close_code()
    assert code == 1000
    assert seen[-1] == {"type": "end"}
    assert points(seen) == [("loss", 100, 0.5)]
    assert {"type": "status", "status": "completed", "health_score": 100} in seen
    assert {"type": "progress", "step": 100, "fraction": 1.0} in seen


def test_an_ended_run_tells_all_and_ends(run: Run, lines: Lines, alice: User) -> None:
    run.log_and_sync(1, loss=1)
    run.complete()
    seen, code = lines.program(live(run), alice).close_code()
    assert [message["type"] for message in seen] == ["metrics", "status", "progress", "end"]
    assert code == 1000


def feed_of(html: str) -> dict[str, Any]:
    found = re.search(r'<metric-feed id="metric-feed" cursor="(\d+)"( reset)? points="([^"]*)">', html)
    assert found is not None, html
    return {"cursor": int(found[1]), "reset": bool(found[2]), "points": orjson.loads(unescape(found[3]))}


def test_a_page_gets_its_own_partials_and_the_points_for_its_charts(run: Run, lines: Lines, alice: User) -> None:
    run.log_and_sync(1, loss=1)
    page = lines.page(live(run, ""), alice)
    assert feed_of(page.next()) == {"cursor": 1, "reset": False, "points": {}}
    first = page.next()
    for target in ("job-status", "job-progress", "job-notice", "job-actions", "job-metrics", "job-attempts"):
        assert f'<hx-partial hx-target="#{target}" hx-swap="outerMorph">' in first
    run.log_and_sync(2, loss='"><script>')
    run.log_and_sync(3, loss=7)
    seen = page.until(lambda html: "metric-feed" in html)
    assert feed_of(seen[-1])["points"] == {"loss": [[3, 7]]}
    told = page.until(lambda html: "job-unread" in html)[-1]
    assert "Left out, since they are no numbers: loss." in told
    run.log_and_sync(4, loss=8)
    rest = "".join(page.until(lambda html: "job-progress" in html))
    assert "job-status" not in rest


def test_a_change_of_status_swaps_the_whole_of_the_fragments(run: Run, lines: Lines, alice: User) -> None:
    page = lines.page(live(run, ""), alice)
    page.until(lambda html: "job-status" in html)
    run.complete()
    # What was said before it ended may still be under way, and shows the run as it was.
    assert "job-status" in page.until(lambda html: 'data-status="completed"' in html)[-1]


def test_fragments_speak_the_reader_s_language(run: Run, lines: Lines, alice: User) -> None:
    chinese = lines.page(live(run, ""), alice, language="zh-hans").until(lambda html: "job-status" in html)[-1]
    english = lines.page(live(run, ""), alice).until(lambda html: "job-status" in html)[-1]
    assert "Running" in english
    assert english.count("<hx-partial") == chinese.count("<hx-partial")


def test_what_a_reader_may_do_decides_on_its_buttons(run: Run, lines: Lines, alice: User) -> None:
    bob = person("bob", roles.Role.OPERATOR)
    viewer = lines.page(live(run, ""), alice).until(lambda html: "job-actions" in html)[-1]
    operator = lines.page(live(run, ""), bob).until(lambda html: "job-actions" in html)[-1]
    assert "cancel-dialog" in operator
    assert "cancel-dialog" not in viewer


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("?format=xml", 4400),
        ("?format=json&cursor=-1", 4400),
        ("?format=json&cursor=x", 4400),
        ("?format=json&step=1", 4400),
        ("?format=json&format=json", 4400),
        ("?cursor=" + "9" * 30, 4400),
        ("?format=json&x=" + "y" * 5000, 4400),
    ],
)
def test_bad_input_is_told_and_closed(run: Run, lines: Lines, alice: User, query: str, code: int) -> None:
    seen, closed = lines.program(live(run, query), alice).close_code()
    assert closed == code
    assert [message["type"] for message in seen] == ["error"]
    assert seen[0]["message"]


@pytest.mark.parametrize(
    "path",
    [
        "/ws/monitoring/123e4567-e89b-42d3-a456-426614174000/live/",
        "/ws/monitoring/nothing/live/",
        "/ws/else/",
        "/ws/monitoring/",
    ],
)
def test_unknown_runs_and_addresses_are_4404(lines: Lines, alice: User, path: str) -> None:
    seen, closed = lines.program(path, alice).close_code()
    assert (closed, seen[0]["type"]) == (4404, "error")


def test_without_a_right_it_is_4403(run: Run, lines: Lines) -> None:
    nobody = person("nobody", None)
    for line in (lines.program(live(run)), lines.program(live(run), nobody)):
        seen, closed = line.close_code()
        assert (closed, seen[0]["code"]) == (4403, "forbidden")


def test_a_client_that_talks_is_told_that_nobody_listens(run: Run, lines: Lines, alice: User) -> None:
    line = lines.program(live(run), alice)
    line.until(lambda m: m["type"] == "progress")
    line.connection.send("hello")
    assert line.close_code()[1] == 4400


def test_a_revoked_token_closes_its_sockets(run: Run, lines: Lines, alice: User) -> None:
    line = lines.program(live(run), alice)
    line.until(lambda m: m["type"] == "progress")
    tokens.revoke(ApiToken.objects.get(user=alice))
    seen, closed = line.close_code()
    assert (closed, seen[-1]["code"]) == (4403, "forbidden")


def test_a_lost_role_closes_sockets_and_a_new_one_changes_the_buttons(run: Run, lines: Lines, alice: User) -> None:
    page = lines.page(live(run, ""), alice)
    page.until(lambda html: "job-actions" in html)
    roles.grant(alice, roles.Role.OPERATOR)
    page.until(lambda html: "cancel-dialog" in html)
    alice.groups.clear()
    with pytest.raises(ConnectionClosed) as closed:
        page.until(lambda html: False)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4403
