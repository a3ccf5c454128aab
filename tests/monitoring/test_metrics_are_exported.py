"""All rows of a run as a file: CSV, JSON, Parquet."""

import csv
import io
import json
import tracemalloc

import pyarrow.parquet as pq
import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient

from monitoring import export, selectors
from platform_site.benches.filled import fill
from platform_site.common import roles, tokens

from .conftest import Run
from .lines import append, line
from .test_metrics_api import user_with

EVIL = "=HYPERLINK(1)"


@pytest.fixture
def trained(run: Run) -> Run:
    path = run.attempt()
    append(path, *[line(step, loss=-step, **{EVIL: step}) for step in range(1, 601)])
    append(path, line(601, loss="NaN", anomaly={"type": "+nan", "message": "@x"}), line(602, val="-Infinity"))
    run.sync()
    return run


def test_a_csv_has_a_column_a_metric_and_no_formula(trained: Run) -> None:
    text = b"".join(export.as_csv(selectors.iterate_rows(trained.stream_id), trained.stream.names)).decode()
    found = list(csv.DictReader(io.StringIO(text)))
    assert [int(row["step"]) for row in found] == list(range(1, 603))
    assert (found[4]["loss"], found[4][f"'{EVIL}"], found[4]["val"]) == ("-5.0", "5.0", "")
    assert (found[600]["loss"], found[600]["anomaly_type"], found[600]["anomaly_message"]) == ("NaN", "'+nan", "'@x")
    assert found[601]["val"] == "-Infinity"


def test_json_has_the_rows_of_the_api(trained: Run) -> None:
    text = b"".join(export.as_json(selectors.iterate_rows(trained.stream_id), trained.stream.names))
    found = json.loads(text)
    assert len(found) == 602
    assert found[0]["metrics"] == {"loss": -1, EVIL: 1}
    assert found[600]["anomaly"] == {"type": "+nan", "message": "@x"}
    assert json.loads(b"".join(export.as_json([], []))) == []


def test_parquet_has_doubles_and_nulls(trained: Run) -> None:
    data = b"".join(export.as_parquet(selectors.iterate_rows(trained.stream_id), trained.stream.names))
    table = pq.read_table(io.BytesIO(data))
    assert table.num_rows == 602
    assert table["step"].to_pylist() == list(range(1, 603))
    assert table["val"].to_pylist()[-2:] == [None, float("-inf")]
    assert table["anomaly_type"].to_pylist()[600] == "+nan"


@pytest.mark.parametrize("kind", list(export.KINDS))
def test_memory_does_not_grow_with_the_run(run: Run, kind: str) -> None:
    run.attempt()
    names = fill(run.stream_id, 30_000, 5)
    sizes = 0
    _, made = export.KINDS[kind]
    b"".join(made(selectors.iterate_rows(run.stream_id, end_step=10), names))
    tracemalloc.start()
    for piece in made(selectors.iterate_rows(run.stream_id), names):
        sizes += len(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sizes > 1_000_000
    assert peak < 12_000_000


@pytest.mark.django_db(transaction=True)
async def test_it_is_sent_piece_by_piece(tmp_path: object) -> None:
    def prepared() -> tuple[Run, str]:
        run = Run(tmp_path)  # type: ignore[arg-type]
        append(run.attempt(), *[line(step) for step in range(1, 1001)])
        run.sync()
        return run, tokens.issue(user_with(roles.Role.VIEWER), scope="read", days=1)[1]

    run, key = await sync_to_async(prepared)()
    client, headers = AsyncClient(), {"Authorization": f"Token {key}"}
    url = f"/api/v1/monitoring/{run.stream_id}/metrics/export/"
    response = await client.get(f"{url}?file=csv&start_step=400", headers=headers)
    assert response.status_code == 200
    assert response["Content-Disposition"].endswith('.csv"')
    pieces = [piece async for piece in response.streaming_content]
    assert len(pieces) > 2
    assert len(b"".join(pieces).splitlines()) == 602
    refused = await client.get(f"{url}?file=xls", headers=headers)
    assert refused.status_code == 400
