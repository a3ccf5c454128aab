"""`builtin:tiny-llama`: a Llama of some three million parameters, made on the spot, the same every time.

For trying out the whole path on any machine, without a download. It knows nothing; it learns sums in seconds.
Runs in the training environment (tokenizers, transformers, torch).
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

SEED = 20260101
VOCABULARY = 512
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_PAD, _START, _END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"


def make(folder: str) -> str:
    """Write model and tokenizer into `folder`, unless they are there; the folder. Two processes may do so at once."""
    if os.path.isfile(os.path.join(folder, "config.json")):
        return folder
    parent = os.path.dirname(os.path.abspath(folder))
    os.makedirs(parent, exist_ok=True)
    temporary = tempfile.mkdtemp(dir=parent, prefix=".model-")
    try:
        _write_tokenizer(temporary)
        _write_model(temporary)
        os.rename(temporary, folder)
    except OSError:
        if not os.path.isfile(os.path.join(folder, "config.json")):
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _corpus() -> Iterator[str]:
    """Text to learn word pieces from: what a chat about sums is made of."""
    for role in ("system", "user", "assistant"):
        yield f"{role}\n"
    for a in range(0, 100, 7):
        for b in range(0, 100, 9):
            yield f"What is {a} plus {b}? {a} + {b} = {a + b}. The answer is {a + b}."
            yield f"What is {a} minus {b}? {a} - {b} = {a - b}. Take {b} away from {a} and {a - b} is left."


def _write_tokenizer(folder: str) -> None:
    tokenizer = Tokenizer(models.BPE())
    # Digits one by one: a sum is then something to be learned, and not one of ten thousand words.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[_PAD, _START, _END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    tokenizer.save(os.path.join(folder, "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": None,
        "eos_token": _END,
        "pad_token": _PAD,
        "model_max_length": 1024,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as file:
        json.dump(settings, file, indent=1)


def _write_model(folder: str) -> None:
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=2,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        LlamaForCausalLM(config).save_pretrained(folder)
