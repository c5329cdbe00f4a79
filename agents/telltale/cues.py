"""What gives a manipulation away: cues, their sentences, and the works that support them.

In: YAML files, shipped in ``telltale/data/cues`` or an operator's own folder: ``documents.yaml``
holds a list of documents, every other ``*.yaml`` a list of cues. Out: frozen ``Cue`` and
``Document`` records sorted by id, and the sentences a dual encoder compares a picture with.
A file that does not read, or a field that does not hold, raises ``CueError`` naming file, record
and field; what holds field by field but not as a corpus is reported by ``lint``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from telltale.errors import UsageError
from telltale.regions import CUE_REGIONS, CueRegion

Language = Literal["en", "ko"]
Side = Literal["artifact", "natural"]
Verifier = Literal["clip", "measure", "ask"]
Measurement = Literal["pupil_roundness", "seam_colour_step", "blockiness", "spectrum_peak"]

LANGUAGES: tuple[Language, ...] = get_args(Language)
SIDES: tuple[Side, ...] = get_args(Side)
DOCUMENTS_FILE = "documents.yaml"
MIN_PER_REGION = 2
"""A region type with one cue could not offer retrieval anything to weigh that cue against."""

Sentence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Paraphrases = Annotated[tuple[Sentence, ...], Field(min_length=4)]

NEGATORS: dict[Language, re.Pattern[str]] = {
    "en": re.compile(
        r"\b(?:no|not|without|never|lack(?:s|ing)?|cannot|none|nothing|nobody|nowhere|neither|nor"
        r"|absent|absence|(?:free|devoid) (?:of|from))\b|n['’]t\b",
        re.IGNORECASE,
    ),
    "ko": re.compile(r"않|없|못|아[니닌님닙닐녀녔녜]|(?:^|\s)안\s"),
}
"""Words that turn a sentence round; dual encoders such as CLIP hardly hear them."""
LETTERS: dict[Language, str] = {"en": "A-Za-z", "ko": "가-힣"}
FOREIGN = re.compile(
    r"\b(?:les|des|une|est|sont|dans|avec|das|und|ist|sind|eine|una|están|gli|della|sono|são|uma)\b",
    re.IGNORECASE,
)
"""Small words of languages that also write in Latin letters, none of them English."""


class CueError(UsageError, ValueError):
    """A cue file that cannot be used; says which file, which record and which field to mend."""

    def __init__(self, file: str, record_id: str | None, field: str | None, reason: str) -> None:
        self.file, self.record_id, self.field, self.reason = file, record_id, field, reason
        super().__init__(": ".join(p for p in (file, record_id, field, reason) if p))


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Text(_Record):
    """One sentence in both languages."""

    en: Sentence
    ko: Sentence


class Phrases(_Record):
    """At least four other wordings of a sentence, in both languages."""

    en: Paraphrases
    ko: Paraphrases


class Document(_Record):
    """A published work that supports cues."""

    doc_id: str = Field(pattern=r"^[a-z0-9_]+$")
    authors: Sentence
    title: Sentence
    year: int = Field(ge=1950, le=2100)
    source: Sentence = Field(description="venue, DOI or arXiv id")
    supports: Text = Field(description="what it supports, in our words")


class Cue(_Record):
    """Something that can be seen in one region type and gives a manipulation away.

    ``natural`` describes what an untouched picture shows in the same place, positively.
    ``weight`` (0 to 1) ranks how often studies of annotated real fakes report the cue: the
    editors' reading of the documents, no measured rate.
    """

    cue_id: str = Field(pattern=r"^[a-z]+\.[a-z_]+$", description="<cue region>.<slug>")
    region: CueRegion
    family: str = Field(pattern=r"^[a-z]+$", description="cues that are calibrated together")
    artifact: Text
    natural: Text
    artifact_paraphrases: Phrases
    natural_paraphrases: Phrases
    keywords: Text
    verifier: Verifier
    measurement: Measurement | None = Field(None, validate_default=True)
    weight: float = Field(ge=0, le=1)
    documents: tuple[str, ...] = Field(min_length=1, description="document ids")

    @field_validator("measurement")
    @classmethod
    def _goes_with_verifier(
        cls, measurement: Measurement | None, info: ValidationInfo
    ) -> Measurement | None:
        if (measurement is not None) != (info.data.get("verifier") == "measure"):
            raise ValueError("is given exactly where verifier is 'measure'")
        return measurement


def load_cues(folder: Path | None = None) -> tuple[Cue, ...]:
    """All cues in ``folder``, or the shipped ones, sorted by id. Raises ``CueError``."""
    return _shipped()[0] if folder is None else _cues(folder)


def load_documents(folder: Path | None = None) -> dict[str, Document]:
    """All documents in ``folder``, or the shipped ones, by id in order. Raises ``CueError``."""
    return dict(_shipped()[1]) if folder is None else _documents(folder)


def sentences(cue: Cue, side: Side, language: Language) -> tuple[str, ...]:
    """The main sentence of one side, then its paraphrases."""
    text: Text = getattr(cue, side)
    phrases: Phrases = getattr(cue, f"{side}_paraphrases")
    first: str = getattr(text, language)
    others: tuple[str, ...] = getattr(phrases, language)
    return (first, *others)


def lint(cues: Sequence[Cue], documents: Mapping[str, Document]) -> list[str]:
    """What is wrong with a corpus, one line a fault; empty when it may be used."""
    return [
        *_id_faults(cues),
        *_balance_faults(cues),
        *_language_faults(cues, documents),
        *_duplicate_faults(cues),
        *_negation_faults(cues),
        *_document_faults(cues, documents),
    ]


def _id_faults(cues: Sequence[Cue]) -> Iterator[str]:
    for cue_id, times in Counter(c.cue_id for c in cues).items():
        if times > 1:
            yield f"{cue_id}: cue_id: used {times} times; ids must be unique"
    for cue in cues:
        if cue.cue_id.split(".")[0] != cue.region:
            yield f"{cue.cue_id}: cue_id: must begin with its region, '{cue.region}.'"
    held = Counter(c.region for c in cues)
    for region in CUE_REGIONS:
        if held[region] < MIN_PER_REGION:
            yield f"{region}: has {held[region]} cues; at least {MIN_PER_REGION} are needed"


def _balance_faults(cues: Iterable[Cue]) -> Iterator[str]:
    for cue in cues:
        counts = {
            f"{side} {language}": len(sentences(cue, side, language)) - 1
            for side in SIDES
            for language in LANGUAGES
        }
        if len(set(counts.values())) > 1:
            found = ", ".join(f"{name} {n}" for name, n in counts.items())
            yield f"{cue.cue_id}: paraphrases: numbers differ ({found})"


def _language_faults(cues: Iterable[Cue], documents: Mapping[str, Document]) -> Iterator[str]:
    texts = [(c.cue_id, field, lang, text) for c in cues for field, lang, text in _texts(c)]
    for doc in documents.values():
        texts += [(doc.doc_id, "supports", lang, getattr(doc.supports, lang)) for lang in LANGUAGES]
    for record_id, field, language, text in texts:
        if fault := _language_fault(language, text):
            yield f"{record_id}: {field}.{language}: {fault}: {text!r}"


def _language_fault(language: Language, text: str) -> str | None:
    own = len(re.findall(f"[{LETTERS[language]}]", text))
    if language == "en" and re.search(f"[{LETTERS['ko']}]", text):
        return "must hold no Hangul"
    if 2 * own <= sum(c.isalpha() for c in text):  # names such as JPEG stand in Korean sentences
        return f"needs {'Hangul' if language == 'ko' else 'Latin letters'} for most of its letters"
    found = FOREIGN.search(text) if language == "en" else None
    return f"must be English ({found[0]} is not)" if found else None


def _duplicate_faults(cues: Iterable[Cue]) -> Iterator[str]:
    seen: dict[str, str] = {}
    for cue in cues:
        for field, language, text in _texts(cue):
            if field == "keywords":
                continue
            here, words = f"{cue.cue_id}: {field}.{language}", " ".join(_words(text))
            if words in seen:
                yield f"{here}: repeats {seen[words]}: {text!r}"
            else:
                seen[words] = here


def _negation_faults(cues: Iterable[Cue]) -> Iterator[str]:
    for cue in cues:
        for language in LANGUAGES:
            claimed = [set(_words(s)) for s in sentences(cue, "artifact", language)]
            for sentence in sentences(cue, "natural", language):
                here = f"{cue.cue_id}: natural.{language}"
                if found := NEGATORS[language].search(sentence):
                    yield f"{here}: says what is seen by negation ({found[0].strip()}): {sentence!r}"
                if any(words < set(_words(sentence)) for words in claimed):
                    yield f"{here}: is an artifact sentence with words added: {sentence!r}"


def _document_faults(cues: Iterable[Cue], documents: Mapping[str, Document]) -> Iterator[str]:
    used = {doc_id: cue.cue_id for cue in cues for doc_id in cue.documents}
    for doc_id in sorted(used.keys() - documents.keys()):
        yield f"{used[doc_id]}: documents: '{doc_id}' is in no {DOCUMENTS_FILE}"
    for doc_id in sorted(documents.keys() - used.keys()):
        yield f"{doc_id}: doc_id: no cue rests on it"


def _texts(cue: Cue) -> Iterator[tuple[str, Language, str]]:
    for language in LANGUAGES:
        yield "keywords", language, getattr(cue.keywords, language)
        for side in SIDES:
            for sentence in sentences(cue, side, language):
                yield side, language, sentence


def _words(sentence: str) -> list[str]:
    return re.findall(r"\w+", sentence.lower())


@cache
def _shipped() -> tuple[tuple[Cue, ...], dict[str, Document]]:
    folder = resources.files("telltale") / "data" / "cues"
    return _cues(folder), _documents(folder)


def _cues(folder: Traversable) -> tuple[Cue, ...]:
    files = [f for f in _yaml_files(folder) if f.name != DOCUMENTS_FILE]
    found = [cue for file in files for cue in _records(file, Cue, "cue_id")]
    return tuple(sorted(found, key=lambda cue: cue.cue_id))


def _documents(folder: Traversable) -> dict[str, Document]:
    found: dict[str, Document] = {}
    for file in (f for f in _yaml_files(folder) if f.name == DOCUMENTS_FILE):
        for doc in _records(file, Document, "doc_id"):
            if doc.doc_id in found:
                raise CueError(str(file), doc.doc_id, "doc_id", "used twice; ids must be unique")
            found[doc.doc_id] = doc
    return dict(sorted(found.items()))


def _yaml_files(folder: Traversable) -> list[Traversable]:
    if not folder.is_dir():
        raise CueError(str(folder), None, None, "is no folder; point cues_dir at cue YAML files")
    return sorted((f for f in folder.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)


R = TypeVar("R", bound=_Record)


def _records(file: Traversable, model: type[R], id_field: str) -> list[R]:
    try:
        rows: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CueError(str(file), None, None, f"is no readable YAML: {error}") from error
    if not isinstance(rows, list):
        raise CueError(str(file), None, None, "must hold a list of records")
    return [_record(file, model, id_field, number, row) for number, row in enumerate(rows, 1)]


def _record(file: Traversable, model: type[R], id_field: str, number: int, row: Any) -> R:
    try:
        return model.model_validate(row)
    except ValidationError as error:
        named = row.get(id_field) if isinstance(row, dict) else None
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or None
        raise CueError(str(file), str(named or f"record {number}"), field, first["msg"]) from error
