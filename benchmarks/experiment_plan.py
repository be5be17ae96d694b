"""A plan of runs: what each one is called with, what it waits for, what it leaves.

A plan is a JSON object with `runs`, a list of

    {"name": "grpo_{seed}", "for": {"seed": [0, 1, 2]}, "result": "training", "minutes": 30,
     "configs": ["train_grpo.json"], "use": ["small"], "set": {"lvlm_path": "{runs}/cold_{seed}/lvlm"},
     "needs": ["cold_{seed}"], "after": ["sft_*"]}

and `shared`, settings by name that runs `use`. `for` makes a run for each combination of its values, which replace
their names in braces everywhere in the run; `{runs}` is the folder of all runs and `{out}` that of the run itself.
Instead of `configs` and `set` a run may have a `command`, arguments of Python. `needs` must have succeeded before,
`after` must have ended, well or not; both take patterns (`sft_*`). `result` names what is kept of the run, see
`run_queue`; `minutes` is the CPU time that it is expected to take.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

_KEYS = {"name", "for", "configs", "use", "set", "command", "needs", "after", "result", "minutes", "about"}


class PlanError(ValueError):
    """A plan that cannot be carried out."""


@dataclass(frozen=True)
class Run:
    """One run of a plan.

    Args:
        name: of its folder and its result.
        arguments: of Python, with `{runs}` and `{out}` still in them.
        needs: names of the runs that must have succeeded.
        after: names of the runs that must have ended.
        result: kind of what is kept of it; None: nothing.
        minutes: of CPU time, expected.
    """

    name: str
    arguments: tuple[str, ...]
    needs: tuple[str, ...]
    after: tuple[str, ...]
    result: str | None
    minutes: float

    @property
    def digest(self) -> str:
        """Of what the run is called with: a result with another one was made by another run of that name."""
        return hashlib.sha256("\0".join(self.arguments).encode()).hexdigest()[:16]

    def command(self, folder: Path) -> list[str]:
        """The arguments with the folders in them."""
        places = {"{runs}": str(folder), "{out}": str(folder / self.name)}
        return [_replaced(argument, places) for argument in self.arguments]


def read_plan(path: str | Path) -> list[Run]:
    """The runs of a plan, each behind those it waits for.

    Raises:
        PlanError: two runs of one name, an unknown key or shared setting, something waited for that is no run, or runs
            that wait for each other.
    """
    plan = json.loads(Path(path).read_text(encoding="utf-8"))
    entries = [entry for template in plan["runs"] for entry in _expanded(template)]
    names = [entry["name"] for entry in entries]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise PlanError(f"{path}: two runs are called {twice[0]!r}; give every run its own name.")
    shared = plan.get("shared", {})
    return _in_order([_run(entry, shared, names) for entry in entries])


def _expanded(template: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One entry for each combination of the values of `for`."""
    if unknown := sorted(set(template) - _KEYS):
        raise PlanError(f"The run {template.get('name')!r} has the key {unknown[0]!r}; legal are {sorted(_KEYS)}.")
    choices = template.get("for", {})
    rest = {key: value for key, value in template.items() if key != "for"}
    combinations = itertools.product(*choices.values())
    return [_replaced(rest, {f"{{{k}}}": str(v) for k, v in zip(choices, c, strict=True)}) for c in combinations]


def _replaced(value: Any, places: Mapping[str, str]) -> Any:
    """The value with the names in braces replaced in all of its texts."""
    if isinstance(value, str):
        for name, text in places.items():
            value = value.replace(name, text)
        return value
    if isinstance(value, Mapping):
        return {_replaced(key, places): _replaced(part, places) for key, part in value.items()}
    return [_replaced(part, places) for part in value] if isinstance(value, list) else value


def _run(entry: Mapping[str, Any], shared: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> Run:
    name = entry["name"]
    return Run(
        name=name,
        arguments=tuple(entry["command"] if "command" in entry else _bundle_run(entry, shared)),
        needs=_matching(name, entry.get("needs", []), names),
        after=_matching(name, entry.get("after", []), names),
        result=entry.get("result"),
        minutes=float(entry.get("minutes", 0)),
    )


def _bundle_run(entry: Mapping[str, Any], shared: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """`python -m monai.bundle run` on configs of the bundle, with settings."""
    settings: dict[str, Any] = {}
    for name in entry.get("use", []):
        if name not in shared:
            raise PlanError(f"The run {entry['name']!r} uses {name!r}; `shared` has {sorted(shared)}.")
        settings |= shared[name]
    settings |= entry.get("set", {})
    files = [f"bundle/configs/{name}" for name in entry["configs"]]
    arguments = ["-m", "monai.bundle", "run", "--config_file", str(files), "--bundle_root", "bundle"]
    for key, value in {"output_dir": "{out}", **settings}.items():
        arguments += [f"--{key}", value if isinstance(value, str) else repr(value)]
    return arguments


def _matching(name: str, patterns: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    found: list[str] = []
    for pattern in patterns:
        matches = [other for other in names if fnmatchcase(other, pattern) and other != name]
        if not matches:
            raise PlanError(f"The run {name!r} waits for {pattern!r}, which is no run of the plan.")
        found += matches
    return tuple(dict.fromkeys(found))


def _in_order(runs: Sequence[Run]) -> list[Run]:
    """In the order of the plan, but each behind those it waits for."""
    ordered: list[Run] = []
    left = list(runs)
    while left:
        placed = {run.name for run in ordered}
        ready = next((run for run in left if placed.issuperset(run.needs + run.after)), None)
        if ready is None:
            raise PlanError(f"The runs {[run.name for run in left]} wait for each other.")
        ordered.append(ready)
        left.remove(ready)
    return ordered
