"""What a study was when it began: later on it must be the same, or answers would be mixed up.

The title, the last page, who takes part and how much may change; what is asked and shown may not.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

from diffusion4k.errors import Diffusion4kError
from diffusion4k.preference.study.config import InspectionTask, StudyConfig
from diffusion4k.preference.study.material import Material
from diffusion4k.support.files import sha256_of
from diffusion4k.support.progress import track

__all__ = ["differences", "fingerprint"]

_MAY_CHANGE = {"title", "thanks", "participants", "views", "folder", "database", "address"}
_SHOWN = 3  # differences that are named


class StudyFingerprint(TypedDict, total=False):
    """What must stay; which of the keys there are depends on the task."""

    settings: dict[str, object]
    units: str
    """Hash of the names of an inspection's candidates."""
    prompts: dict[str, str]
    images: dict[str, str]


def fingerprint(config: StudyConfig, material: Material) -> StudyFingerprint:
    """All that must stay, as JSON: settings, and the content of every image.

    Candidates of an inspection are known by name only: each decision holds the hash of the picture
    that was looked at.
    """
    settings = config.model_dump(mode="json", exclude=_MAY_CHANGE)
    if isinstance(config.task, InspectionTask):
        return {"settings": settings, "units": _digest([u.name for u in material.units])}
    paths = material.paths()
    contents = {path: sha256_of(path) for path in track(paths, len(paths), "checking images")}
    # Where an image lies does not matter.
    images = {
        _label(unit.name, m): contents[p]
        for unit in material.everything()
        for m, p in zip(unit.models, unit.paths, strict=True)
    }
    prompts = {unit.prompt_id: unit.text for unit in material.units}
    return {"settings": _without_places(settings), "prompts": prompts, "images": images}


def differences(
    before: StudyFingerprint, now: StudyFingerprint, place: Path, material: Material
) -> None:
    """Refuse to continue with another study.

    Raises:
        Diffusion4kError: names what differs, of images their files.
    """
    others = [
        {key: value for key, value in each.items() if key not in ("images", "prompts")}
        for each in (before, now)
    ]
    found = [
        *_differences("", *others),
        *_of_prompts(before.get("prompts", {}), now.get("prompts", {}), material),
        *_of_images(before.get("images", {}), now.get("images", {}), material, place),
    ]
    if found:
        more = f" (and {len(found) - _SHOWN} more)" if len(found) > _SHOWN else ""
        raise Diffusion4kError(
            f"{place}: the study was changed after it began: {'; '.join(found[:_SHOWN])}{more}: "
            "undo that, or begin another one with a new `folder`"
        )


def _differences(key: str, before: object, now: object) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for name in [*before, *(name for name in now if name not in before)]:
            inner = f"{key}, {name}" if key else name
            if name not in now:
                yield f"{inner}: gone"
            elif name not in before:
                yield f"{inner}: new"
            else:
                yield from _differences(inner, before[name], now[name])
    elif before != now:
        yield f"{key}: {_short(before)} before, {_short(now)} now"


def _of_prompts(before: dict[str, str], now: dict[str, str], material: Material) -> Iterator[str]:
    files = {unit.prompt_id: unit.paths[0] for unit in material.units}
    for name in before:  # Those that are gone or new are so with their images.
        if before[name] != now.get(name, before[name]):
            yield f"{files[name]}: prompt {_short(before[name])} before, {_short(now[name])} now"


def _of_images(
    before: dict[str, str], now: dict[str, str], material: Material, place: Path
) -> Iterator[str]:
    """Files whose content differs; of our own copies only where their originals do not."""
    files = {
        _label(unit.name, model): path
        for unit in material.everything()
        for model, path in zip(unit.models, unit.paths, strict=True)
    }
    other = [files[label] for label in before if before[label] != now.get(label, before[label])]
    given = [path for path in other if not path.is_relative_to(place)]
    yield from dict.fromkeys(f"{path}: the image has changed" for path in given or other)
    for label in before:
        if label not in now:
            yield f"what was shown as {_short(label)} is missing"
    for label in now:
        if label not in before:
            yield f"{files[label]}: shown as {_short(label)}, new"


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."


def _without_places(settings: dict[str, Any]) -> dict[str, object]:
    """Names of models without their folders."""
    task = dict(settings["task"])
    for key in ("models", "images"):
        if key in task:
            task[key] = sorted(task[key])
    task.pop("prompts", None)
    if "checks" in task:  # What they show must stay, what follows from the answers need not.
        task["checks"] = {k: v for k, v in task["checks"].items() if k != "tolerated"}
    return settings | {"task": task}


def _label(unit: str, model: str) -> str:
    return f"{unit}, {model}"


def _digest(names: list[str]) -> str:
    return hashlib.sha256("\0".join(names).encode()).hexdigest()
