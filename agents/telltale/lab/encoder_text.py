"""The small tokenizer that the mini encoder and the mini judge share.

In: the cue corpus. Out: a byte-level BPE tokenizer in transformers' format, about 4096 entries, in
English and Korean, with digits and JSON punctuation of their own. Nothing fails on text: every
byte has a token.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from telltale.cues import LANGUAGES, SIDES, Cue, Document, sentences

ENTRIES = 4096
SPECIAL = ("<pad>", "<bos>", "<eos>", "<image>", "<system>", "<user>", "<assistant>", "<unused>")
"""In this order, so pad, bos, eos and image are 0, 1, 2 and 3."""


def train_tokenizer(cues: Sequence[Cue], documents: Sequence[Document], out: Path) -> None:
    """Write ``tokenizer.json`` and its configuration to the folder ``out``."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=ENTRIES,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(cues, documents), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>",
        pair="<bos> $A $B <eos>",
        special_tokens=[("<bos>", SPECIAL.index("<bos>")), ("<eos>", SPECIAL.index("<eos>"))],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        additional_special_tokens=list(SPECIAL[3:]),
        model_max_length=2048,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    ).save_pretrained(str(out))


def _corpus(cues: Sequence[Cue], documents: Sequence[Document]) -> Iterator[str]:
    """Sentences as they stand and in lower case, and claims about them as compact JSON."""
    for cue in cues:
        for language in LANGUAGES:
            yield getattr(cue.keywords, language)
            for side in SIDES:
                for sentence in sentences(cue, side, language):
                    yield sentence
                    yield " " + sentence
                    yield json.dumps(_claim(cue, side, sentence), ensure_ascii=False)
    for document in documents:
        yield document.supports.en
        yield document.supports.ko


def _claim(cue: Cue, side: str, sentence: str) -> dict[str, object]:
    return {
        "cue_id": cue.cue_id,
        "region_id": "0.face",
        "polarity": side,
        "sentence": sentence,
        "confidence": 0.5,
    }
