"""SmolLM2-135M-Instruct as transformers loads it, from the file of quantised weights that a package carries.

Runs in the training environment (transformers, gguf, torch); some ten seconds and 1.2 GB of memory.
"""

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_END = "<|im_end|>"


def convert(source: str, target: str) -> None:
    """Write model (bfloat16, 270 MB) and tokenizer into the folder `target`; `source` is the folder of FILE."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(source, gguf_file=FILE)
    # The file names the start of a message as the end of a text, and none for filling up.
    tokenizer.eos_token = tokenizer.pad_token = _END
    tokenizer.clean_up_tokenization_spaces = False
    model = LlamaForCausalLM.from_pretrained(source, gguf_file=FILE, dtype=torch.bfloat16)
    end = tokenizer.convert_tokens_to_ids(_END)
    for settings in (model.config, model.generation_config):
        settings.eos_token_id = settings.pad_token_id = end
    tokenizer.save_pretrained(target)
    model.save_pretrained(target)
