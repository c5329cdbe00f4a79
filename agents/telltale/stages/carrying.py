"""An event that carries on what earlier stages wrote, with one section more.

In: the event a stage read, the kind it answers with, the new section. Out: the answer. What was read has
been checked on arrival and cannot have changed since (events are frozen), so it is neither written out nor
checked again; the section is checked where it is made.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

from pydantic import BaseModel

from telltale.events import Event

E = TypeVar("E", bound=Event)


def carried(kind: type[E], event: Event, **section: BaseModel) -> E:
    """A ``kind`` with all fields of ``event`` and the section, equal to one made from scratch."""
    kept: dict[str, Any] = {name: getattr(event, name) for name in type(event).model_fields}
    return cast(E, kind.model_construct(None, **kept, **cast(Any, section)))
