"""The judge in process: any image-text-to-text model of transformers, and the package's mini judge.

In: ``Question``s. Out: one ``Judgment`` each, held to the answer's JSON schema while it is decoded.
An answer that cannot be read after the attempts, or that the time limit cut off, is a judgment
whose status says so. Loading raises ``WeightsMissing`` naming the id, the folder that was looked in
and the offline alternative.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xgrammar
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from telltale.errors import WeightsMissing
from telltale.events import Judgment
from telltale.models import Judge, Question
from telltale.models import lmm_mini as mini
from telltale.models.devices import chosen_device
from telltale.models.hub import HUB_ERRORS, cache_folder, unasked
from telltale.models.lmm_decode import Written, generate, jump
from telltale.models.lmm_endpoint import EndpointJudge
from telltale.models.lmm_pictures import close_ups, sheet, whole
from telltale.models.lmm_prompt import answer_schema, instructions, read_answer, with_certainty
from telltale.regions import Pixels
from telltale.settings import Settings
from telltale.tally import Spared, at_work

CROP_PX = 336
"""Side of the close-ups: the input of CLIP ViT-L/14-336, which LLaVA and its kin look through."""
ONE_PICTURE = frozenset({"llava", "mllama", "paligemma", "blip-2", "instructblip", "kosmos-2"})
"""Model types trained with one picture a prompt, as their cards say: they are given one sheet with
the whole picture and the close-ups."""
RETRY_TEMPERATURE = 0.7
"""Greedy decoding would repeat an unreadable answer word for word."""
OFFLINE = (
    "put the files there, point TELLTALE_JUDGE_ENDPOINT at a server, or choose the mini profile, "
    "which ships its weights"
)


class TransformersJudge:
    """A model and its processor, asked in batches."""

    needs: tuple[Spared, ...] = ()

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        revision: str,
        timeout_s: float = 60.0,
        attempts: int = 3,
        max_tokens: int = 700,
        crop_px: int = CROP_PX,
    ) -> None:
        self.model: Any = model.eval().requires_grad_(False)
        self.processor, self.revision, self.crop_px = processor, revision, crop_px
        self._timeout_s, self._attempts, self.max_tokens = timeout_s, attempts, max_tokens
        # judge and verify of one process ask the same model, whose tokenizer is for one thread at a time
        self._turn = threading.Lock()
        self.tokenizer: Any = getattr(processor, "tokenizer", processor)
        self.tokenizer.padding_side = "left"
        size = int(model.config.get_text_config().vocab_size)
        vocabulary = xgrammar.TokenizerInfo.from_huggingface(self.tokenizer, vocab_size=size)
        self._compiler = xgrammar.GrammarCompiler(vocabulary)

    def judge(self, questions: Sequence[Question]) -> list[Judgment]:
        """One judgment a question, in order; unreadable ones are asked for again, differently."""
        answers: dict[int, Judgment] = {}
        pending = list(range(len(questions)))
        for attempt in range(self._attempts):
            if not pending:
                break
            asked = [questions[n] for n in pending]
            with self._turn, at_work("judge", self.model.device.type):
                answered = self.write(asked, attempt)
            for n, written in zip(pending, answered, strict=True):
                answers[n] = self.read(written, questions[n])
            pending = [n for n in pending if answers[n].status == "unreadable"]
        return [answers[n] for n in range(len(questions))]

    def write(self, questions: Sequence[Question], attempt: int = 0) -> list[Written]:
        """What the model writes for these questions, all in one batch."""
        texts, pictures = zip(*(self.prompt(q) for q in questions), strict=True)
        bos = self.tokenizer.bos_token
        inputs = self.processor(
            text=list(texts),
            images=[[Image.fromarray(p) for p in shown] for shown in pictures],
            padding=True,
            return_tensors="pt",
            add_special_tokens=not (bos and texts[0].startswith(bos)),
        )
        return generate(
            self.model,
            self.tokenizer,
            dict(inputs.to(self.model.device, self.model.dtype)),
            [self.grammar(answer_schema(q)) for q in questions],
            time.monotonic() + self._timeout_s,
            self.max_tokens,
            RETRY_TEMPERATURE if attempt else 0.0,
        )

    def prompt(self, question: Question) -> tuple[str, list[Pixels]]:
        """The text, in the model's chat template if it has one, and the pictures that go with it."""
        shown, crops = close_ups(question)
        several = self.model.config.model_type not in ONE_PICTURE
        pictures = [whole(question.pixels), *crops] if several else [sheet(question.pixels, crops)]
        text = instructions(question, shown)
        if not getattr(self.processor, "chat_template", None):
            mark = getattr(self.processor, "image_token", "<image>")
            return f"USER: {mark * len(pictures)}\n{text} ASSISTANT:", pictures
        content = [*({"type": "image"} for _ in pictures), {"type": "text", "text": text}]
        prompt: str = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        return prompt, pictures

    def grammar(self, schema: dict[str, Any]) -> Any:
        """The schema, compiled for this model's tokens."""
        return self._compiler.compile_json_schema(
            json.dumps(schema), any_whitespace=False, separators=mini.SEPARATORS
        )

    def read(self, written: Written, question: Question) -> Judgment:
        """The judgment in what was written."""
        if written.late:
            reason = f"the model took longer than {self._timeout_s:g} s"
            return Judgment(status="late", reason=reason, judge=self.revision)
        return read_answer(written.text, question, self.revision)


class MiniJudge(TransformersJudge):
    """The mini judge: compact prompt, one claim a pair, decoded in jumps, one after the other."""

    def __init__(self, model: Any, processor: Any, **given: Any) -> None:
        super().__init__(model, processor, **given)
        (self._line_end,) = self.tokenizer.encode("\n", add_special_tokens=False)
        self._lean = mini.lean(self.tokenizer, int(model.config.text_config.vocab_size))

    def write(self, questions: Sequence[Question], attempt: int = 0) -> list[Written]:
        """What the model writes for these questions; decoding is greedy, so always the same."""
        return [self._write(mini.grouped(q)) for q in questions]

    def _write(self, question: Question) -> Written:
        deadline = time.monotonic() + self._timeout_s
        text, shown = mini.prompt(question)
        inputs = self.processor(
            text=[self.tokenizer.bos_token + text],
            images=[[Image.fromarray(question.crops[r]) for r in shown]],
            return_tensors="pt",
            add_special_tokens=False,
        )
        inputs = {k: v.to(self.model.device) for k, v in inputs.items() if k in mini.INPUTS}
        grammar = self.grammar(mini.schema(question))
        longest = self.model.config.text_config.max_position_embeddings
        at = mini.asked_at(
            inputs["input_ids"][0].tolist(), self.model.config.image_token_id, self._line_end
        )
        return jump(self.model, self.tokenizer, inputs, grammar, deadline, longest, at, self._lean)

    def read(self, written: Written, question: Question) -> Judgment:
        """The judgment, its confidences those of the decoder."""
        return with_certainty(super().read(written, question), written)


def load_judge(settings: Settings) -> Judge:
    """The judge of the settings: mini, behind an endpoint, or in process."""
    if settings.profile == "mini":
        return load_mini(settings)
    if settings.judge_endpoint:
        return EndpointJudge.of(settings)
    return load_standard(settings)


def load_mini(settings: Settings, folder: Path | None = None) -> MiniJudge:
    """The judge of the package, or of a folder of the same layout. Raises ``WeightsMissing``."""
    model, processor, revision = mini.load(folder)
    return MiniJudge(
        model.to(chosen_device(settings.device)),
        processor,
        revision=revision,
        timeout_s=settings.judge_timeout_s,
        attempts=1,  # greedy in a grammar that allows nothing unreadable
        crop_px=int(model.config.vision_config.image_size),
    )


def load_standard(settings: Settings) -> TransformersJudge:
    """The model named in the settings: a folder, a subfolder of ``weights_dir``, or a hub's.

    Raises ``WeightsMissing``.
    """
    where, looked_in = _found(settings)
    # a folder never needs the hub; without permission only its local cache is read
    offline = Path(where).is_dir() or not settings.allow_download
    device = chosen_device(settings.device)
    try:
        with unasked(offline):
            processor = AutoProcessor.from_pretrained(where, local_files_only=offline)
            model = AutoModelForImageTextToText.from_pretrained(
                where, local_files_only=offline, dtype="auto"
            )
    except (*HUB_ERRORS, ImportError) as error:
        raise WeightsMissing(
            f"the judge {settings.judge_model}", looked_in, f"{OFFLINE} ({error})"
        ) from error
    commit = getattr(model.config, "_commit_hash", None)
    return TransformersJudge(
        model.to(device),
        processor,
        revision=f"{settings.judge_model}@{commit or fingerprint(Path(where))}",
        timeout_s=settings.judge_timeout_s,
        attempts=settings.judge_attempts,
        max_tokens=settings.judge_max_tokens,
    )


def fingerprint(folder: Path) -> str:
    """A digest of a folder's configuration and weights: sizes and the first megabyte of each file,
    as hashing tens of gigabytes would take minutes."""
    sha = hashlib.sha256()
    for path in sorted((*folder.glob("*.safetensors"), *folder.glob("*.json"))):
        sha.update(f"{path.name} {path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            sha.update(file.read(1 << 20))
    return sha.hexdigest()[:16]


def _found(settings: Settings) -> tuple[str, str]:
    """What to give to transformers, and where was looked."""
    given = settings.judge_model
    if (Path(given) / "config.json").is_file():
        return str(Path(given)), given
    if settings.weights_dir is not None:
        local = settings.weights_dir / given.replace("/", "--")
        if (local / "config.json").is_file():
            return str(local), str(local)
        return given, f"{local} or {cache_folder()}"
    return given, f"{cache_folder()} (set TELLTALE_WEIGHTS_DIR to use a folder)"
