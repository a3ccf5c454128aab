"""Answers to prompts by transformers' own `generate`: what verl's PPO trainer asks where there is no vLLM, on a CPU.

One Ray actor with a copy of the model, without verl, which takes seconds and memory to load. Requests that come
together are answered together. Runs in the training environment (torch, transformers).
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

GATHER_S: Final = 0.05
"""So long nothing may come before requests are taken to be complete."""


@dataclass(frozen=True)
class Limits:
    """Tokens of a prompt and of a response, and how many are answered at once."""

    prompt: int
    response: int
    batch: int

    def of(self, asked: Mapping[str, Any], prompt: int) -> int:
        """How many tokens may answer a prompt of that length; as verl/workers/rollout/vllm_rollout has it."""
        most = asked.get("max_tokens") or asked.get("max_new_tokens")
        return int(most or min(self.response, self.prompt + self.response - prompt))


@dataclass
class Answer:
    """With the attributes of verl's TokenOutput (verl/workers/rollout/replica.py)."""

    token_ids: list[int]
    log_probs: list[float] | None
    stop_reason: str = "completed"
    routed_experts: None = None
    num_preempted: None = None
    extra_fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sampling:
    """What must be equal for requests that are answered together."""

    most: int
    temperature: float
    top_p: float
    top_k: int
    repetition_penalty: float
    log_probs: bool

    def options(self) -> dict[str, Any]:
        """For `generate`. Every one is given: a model's own generation_config must not change what is trained."""
        if self.temperature == 0:
            return {"do_sample": False, "repetition_penalty": self.repetition_penalty}
        return {
            "do_sample": True,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": max(0, self.top_k),
            "repetition_penalty": self.repetition_penalty,
        }


@dataclass(eq=False)
class Request:
    sampling: Sampling
    prompt: list[int]
    answer: "asyncio.Future[Answer]"


class Server:
    """The methods are what verl calls on a rollout server; those about GPU memory have nothing to do."""

    def __init__(self, model: str, tokenizer: str, limits: Limits, seed: int) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(tokenizer)
        self._model = AutoModelForCausalLM.from_pretrained(
            model, dtype=torch.float32, attn_implementation="sdpa"
        ).eval()
        self._ends = _ends(self._model, self._tokenizer)
        self._limits = limits
        self._seed = seed
        self._step: int | None = None
        self._waiting: list[Request] = []
        self._busy = asyncio.Lock()
        self._came = 0

    async def ready(self) -> None:
        """Answers once the model is loaded."""

    async def load_weights(self, weights: Mapping[str, torch.Tensor], step: int | None) -> None:
        """Of the policy after `step` steps. Raises KeyError for weights that are not the model's."""
        async with self._busy:
            missing, unknown = self._model.load_state_dict(weights, strict=False)
            # What is tied to another weight comes under one name only.
            needed = {name for name, _ in self._model.named_parameters()} & set(missing)
            if needed or unknown:
                raise KeyError(f"weights do not fit the model: missing {sorted(needed)}, unknown {sorted(unknown)}")
            self._step = step
            # A step asks for the same numbers whether training began with it or came to it.
            torch.manual_seed(self._seed + (step or 0))

    async def generate(
        self, prompt_ids: Sequence[int], sampling_params: Mapping[str, Any], request_id: str, **_: Any
    ) -> Answer:
        asked, prompt = dict(sampling_params), list(prompt_ids)
        most = self._limits.of(asked, len(prompt))
        if most < 1:
            raise ValueError(
                f"a prompt has {len(prompt)} tokens, which leaves no room for a response: data.max_prompt_length is "
                f"{self._limits.prompt}"
            )
        sampling = Sampling(
            most=most,
            temperature=float(asked.get("temperature", 1.0)),
            top_p=float(asked.get("top_p", 1.0)),
            top_k=int(asked.get("top_k", -1)),
            repetition_penalty=float(asked.get("repetition_penalty", 1.0)),
            log_probs=bool(asked.get("logprobs", False)),
        )
        request = Request(sampling, prompt, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        self._came += 1
        await self._quiet()
        async with self._busy:
            while not request.answer.done():
                await self._answer(self._batch(sampling))
        return await request.answer

    async def _quiet(self) -> None:
        """Until nothing more comes: verl asks for all of a step at once."""
        came = None
        while came != self._came:
            came = self._came
            await asyncio.sleep(GATHER_S)

    def _batch(self, sampling: Sampling) -> list[Request]:
        # In an order of their own, not of arrival: the same seed then gives the same answers.
        alike = sorted((one for one in self._waiting if one.sampling == sampling), key=lambda one: one.prompt)
        batch = alike[: self._limits.batch]
        self._waiting = [one for one in self._waiting if one not in batch]
        return batch

    async def _answer(self, batch: list[Request]) -> None:
        try:
            answers = await asyncio.to_thread(self._generate, batch[0].sampling, [one.prompt for one in batch])
        except BaseException as error:
            for one in batch:
                one.answer.set_exception(error)
        else:
            for one, answer in zip(batch, answers, strict=True):
                one.answer.set_result(answer)

    @torch.no_grad()
    def _generate(self, sampling: Sampling, prompts: list[list[int]]) -> list[Answer]:
        longest = max(map(len, prompts))
        pad = self._tokenizer.pad_token_id if self._tokenizer.pad_token_id is not None else self._ends[0]
        tokens = torch.full((len(prompts), longest), pad)
        mask = torch.zeros_like(tokens)
        for row, prompt in enumerate(prompts):
            tokens[row, longest - len(prompt) :] = torch.tensor(prompt)
            mask[row, longest - len(prompt) :] = 1
        made = self._model.generate(
            input_ids=tokens,
            attention_mask=mask,
            max_new_tokens=sampling.most,
            pad_token_id=pad,
            eos_token_id=self._ends,
            return_dict_in_generate=True,
            output_logits=sampling.log_probs,
            **sampling.options(),
        )
        new = made.sequences[:, longest:]
        chances = _chances(made.logits, new, sampling.temperature) if sampling.log_probs else None
        answers = []
        for row, ids in enumerate(new.tolist()):
            length = next((at + 1 for at, token in enumerate(ids) if token in self._ends), len(ids))
            answers.append(
                Answer(
                    token_ids=ids[:length],
                    log_probs=chances[row, :length].tolist() if chances is not None else None,
                    extra_fields={"global_steps": self._step},
                )
            )
        return answers

    async def set_global_steps(self, step: int) -> None:
        self._step = step

    async def wake_up(self, tags: Any = None) -> None:
        pass

    async def sleep(self) -> None:
        pass

    async def abort_all_requests(self, reject_request: bool = False) -> None:
        pass

    async def resume_generation(self) -> None:
        pass

    async def clear_kv_cache(self) -> None:
        pass

    async def release_kv_cache(self) -> None:
        pass

    async def resume_kv_cache(self) -> None:
        pass

    async def start_profile(self, **_: Any) -> None:
        pass

    async def stop_profile(self) -> None:
        pass


def _ends(model: Any, tokenizer: Any) -> list[int]:
    """The tokens that end an answer: the tokenizer's, and the model's own."""
    own = model.generation_config.eos_token_id
    found = [tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])]
    return sorted({one for one in found if one is not None})


def _chances(logits: Sequence[torch.Tensor], tokens: torch.Tensor, temperature: float) -> torch.Tensor:
    """The log probability of each token, as it was sampled."""
    scaled = torch.stack(list(logits), 1).float() / (temperature or 1.0)
    return torch.log_softmax(scaled, -1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
