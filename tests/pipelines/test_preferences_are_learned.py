"""DPO over the API, for real, by both trainers: a run is asked for, learns, and can be read as any other."""

import os
from pathlib import Path
from typing import Any

import pytest

from environments.models import Host
from pipelines.models import Stage
from pipelines.services import builtin
from tests.faults.training_platform import PYTHON
from tests.people import bob, program

from .conftest import Hands

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.training, pytest.mark.timeout(400)]


@pytest.mark.skipif(
    not Path(PYTHON).exists() and not os.environ.get("CI"), reason="environments/setup_local_env.sh training"
)
@pytest.mark.parametrize(
    ("recipe", "overrides"),
    [
        ("tiny-dpo", {"trainer.total_training_steps": 12, "optim.lr": 1e-4, "trainer.save_freq": 6}),
        ("tiny-dpo-trl", {"max_steps": 12, "learning_rate": 1e-4, "save_steps": 6}),
    ],
)
def test_a_run_of_dpo_completes_and_its_rewards_can_be_read(
    hands: Hands, recipe: str, overrides: dict[str, Any]
) -> None:
    builtin.install()
    Host.objects.filter(pk=hands.host.pk).update(python=PYTHON)
    client = program(bob(), "operate")
    answer = client.post("/api/v1/jobs/", {"recipe": recipe, "overrides": overrides}, format="json")
    assert answer.status_code == 201, answer.content
    uuid = answer.json()["uuid"]
    stage = Stage.objects.get(job__id=uuid)
    hands.launch(stage)
    assert hands.until(stage, timeout_s=300) == "completed", stage.error_message

    job = client.get(f"/api/v1/jobs/{uuid}/").json()
    assert (job["dataset_version"], job["target_step"], job["final_step"]) == ("arithmetic-pairs@1", 12, 12)
    assert [one["step"] for one in job["checkpoints"]] == [6, 12]
    assert job["final_metrics"]["train/rewards/accuracies"] == 1.0
    names = "train/loss,train/rewards/margins"
    series = client.get(f"/api/v1/monitoring/{uuid}/metrics/", {"names": names}).json()["series"]
    loss, margins = ([point[1] for point in series[name]] for name in names.split(","))
    assert loss[0] == pytest.approx(0.6931, abs=1e-3)
    assert loss[-1] < 0.2
    assert margins[-1] > 1
