"""Decoding held to a JSON schema by xgrammar: batched through transformers, or jumping.

In: a model, its inputs, compiled grammars. Out: the text of each answer, and where the model had a
choice, how probable its choice was. ``generate`` serves any transformers model; ``jump`` writes
one answer and skips over text that the grammar forces, reading it in one pass instead of token by
token. Both stop at the deadline and then return what there is.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import xgrammar
from transformers import LogitsProcessorList, StoppingCriteria, StoppingCriteriaList
from xgrammar.contrib.hf import LogitsProcessor


@dataclass(frozen=True)
class Choice:
    """One free choice: the position in the text where it begins, and its probability among what
    the grammar allowed there."""

    at: int
    probability: float


@dataclass(frozen=True)
class Written:
    """What a model wrote. ``late`` says that the deadline came first."""

    text: str
    late: bool = False
    tokens: int = 0
    choices: tuple[Choice, ...] = field(default=())


class Deadline(StoppingCriteria):  # type: ignore[misc]  # transformers has no types here
    """Stops every sequence of a batch at a moment of ``time.monotonic()``."""

    def __init__(self, at_s: float) -> None:
        self.at_s, self.passed = at_s, False

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        self.passed = time.monotonic() >= self.at_s
        return torch.full((len(input_ids),), self.passed, device=input_ids.device)


def generate(
    model: Any,
    tokenizer: Any,
    inputs: Mapping[str, torch.Tensor],
    grammars: Sequence[Any],
    deadline_s: float,
    max_tokens: int,
    temperature: float = 0.0,
) -> list[Written]:
    """One answer for each row of left-padded ``inputs``; greedy at temperature 0."""
    deadline = Deadline(deadline_s)
    sampling = (
        {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
    )
    with torch.inference_mode():
        rows = model.generate(
            **inputs,
            max_new_tokens=max_tokens,
            logits_processor=LogitsProcessorList([LogitsProcessor(list(grammars))]),
            stopping_criteria=StoppingCriteriaList([deadline]),
            pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id,
            **sampling,
        )
    new = rows[:, inputs["input_ids"].shape[1] :].tolist()
    ends = _ends(model, tokenizer)
    out = []
    for ids in new:
        whole = any(i in ends for i in ids)
        kept = ids[: next((n for n, i in enumerate(ids) if i in ends), len(ids))]
        text = tokenizer.decode(kept, skip_special_tokens=True)
        out.append(Written(text, deadline.passed and not whole, len(kept)))
    return out


def jump(
    model: Any,
    tokenizer: Any,
    inputs: Mapping[str, torch.Tensor],
    grammar: Any,
    deadline_s: float,
    max_tokens: int,
    asked_at: Sequence[int] = (),
    lean: torch.Tensor | float = 0.0,
) -> Written:
    """One answer, greedily; ``inputs`` hold one sequence. Forced text is read in one pass.

    The first choices are those of what was asked at the positions ``asked_at`` of the prompt, in order:
    to the logits of each are added those that the model had there, beside the picture asked about, and
    ``lean``, one number a token.
    The model must take ``past_key_values`` and number positions by their order, as LLaVA does.
    """
    matcher = xgrammar.GrammarMatcher(grammar)
    size = grammar.tokenizer_info.vocab_size
    mask = xgrammar.allocate_token_bitmask(1, size)
    text, tokens, choices = "", 0, list[Choice]()
    with torch.inference_mode():
        read = [*asked_at, inputs["input_ids"].shape[1] - 1]
        keep = torch.tensor(read, device=inputs["input_ids"].device)
        out = model(**inputs, use_cache=True, logits_to_keep=keep)
        before = out.logits[0, :-1, :size].float().cpu() + lean
        while tokens < max_tokens:
            if time.monotonic() >= deadline_s:
                return Written(text, True, tokens, tuple(choices))
            forced: str = matcher.find_jump_forward_string()
            if forced:
                matcher.accept_string(forced)
                text += forced
                ids = tokenizer.encode(forced, add_special_tokens=False)
            else:
                matcher.fill_next_token_bitmask(mask)
                logits = out.logits[:, -1, :size].float().cpu()
                if len(choices) < len(before):
                    logits += before[len(choices)]
                xgrammar.apply_token_bitmask_inplace(logits, mask)
                chosen = int(logits.argmax())
                matcher.accept_token(chosen)
                if matcher.is_terminated():
                    return Written(text, False, tokens, tuple(choices))
                probability = float(logits.softmax(-1)[0, chosen])
                choices.append(Choice(len(text), probability))
                text += tokenizer.decode([chosen])
                ids = [chosen]
            tokens += len(ids)
            step = torch.tensor([ids], device=out.logits.device)
            out = model(
                input_ids=step, past_key_values=out.past_key_values, use_cache=True,
                logits_to_keep=1,
            )  # fmt: skip
    return Written(text, False, tokens, tuple(choices))


def _ends(model: Any, tokenizer: Any) -> set[int]:
    configured = model.generation_config.eos_token_id
    listed = configured if isinstance(configured, list) else [configured]
    return {i for i in (*listed, tokenizer.eos_token_id, tokenizer.pad_token_id) if i is not None}
