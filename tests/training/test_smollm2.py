"""SmolLM2 as it is made from the weights in the training environment: it knows where an answer ends."""

import json
import os
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PYTHON = os.environ.get("ANNEAL_TRAINING_PYTHON") or str(CHECKOUT / ".training/venv/bin/python")
ASK = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
from platform_runtime.models import SMOLLM2, local_model
folder = local_model(SMOLLM2, sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
question = [{"role": "user", "content": "What is the capital of France? Answer with one word."}]
asked = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
answer = model.generate(**asked, max_new_tokens=24, do_sample=False)[0][asked["input_ids"].shape[1]:]
print(json.dumps({
    "folder": folder,
    "parameters": sum(one.numel() for one in model.parameters()),
    "eos": tokenizer.eos_token,
    "pad": tokenizer.pad_token,
    "ended": answer[-1].item() == model.generation_config.eos_token_id,
    "answer": tokenizer.decode(answer, skip_special_tokens=True),
}))
"""


@pytest.mark.timeout(600)
def test_smollm2_is_made_once_and_ends_its_answers(tmp_path: Path) -> None:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": str(CHECKOUT / "environments/runtime"),
        "HF_HUB_OFFLINE": "1",
        "ANNEAL_MODELS_DIR": str(tmp_path / "models"),
    }
    argv = [PYTHON, "-P", "-c", ASK, str(tmp_path / "run")]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert Path(told["folder"]).parent == tmp_path / "models"
    assert not (tmp_path / "run" / "models").exists()
    assert 130e6 < told["parameters"] < 140e6
    assert (told["eos"], told["pad"]) == ("<|im_end|>", "<|im_end|>")
    assert told["ended"], told["answer"]
    assert "Paris" in told["answer"]
