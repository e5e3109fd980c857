"""The whole configuration: the settings of each room, composed.

YAML files hold differences only. A wrong value is reported with all others, an unknown key with the nearest known one."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from selfsame.data.settings import DataSettings, PairSettings
from selfsame.errors import ConfigError
from selfsame.eval.settings import EvaluationSettings
from selfsame.model.settings import ModelSettings
from selfsame.renamed import hint, modern_config
from selfsame.rollout.settings import SamplingSettings
from selfsame.run.settings import RunSettings
from selfsame.settings import Settings
from selfsame.systems import BEST_OF_N
from selfsame.training.settings import TrainingSettings


class Config(Settings):
    """The settings of a run."""

    seed: int = Field(default=0, ge=0, lt=2**31)
    """Random seed."""
    data: DataSettings = DataSettings()
    pairs: PairSettings = PairSettings()
    model: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
    sampling: SamplingSettings = SamplingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    run: RunSettings = RunSettings()

    @model_validator(mode="after")
    def _fits_together(self) -> Config:
        """Fail before anything is trained, not in the stage that needs it."""
        sampled = {"sampling": self.sampling.max_new_tokens, "training.ppo": self.training.ppo.max_new_tokens}
        for name, length in sampled.items():
            if length >= self.model.max_length:
                raise ValueError(
                    f"{name}.max_new_tokens is {length}, but prompt and reply together have model.max_length"
                    f" {self.model.max_length} tokens: lower it or raise model.max_length"
                )
        if self.evaluation.best_of < 2 and {*BEST_OF_N} & set(self.run.systems):
            raise ValueError(
                f"run.systems names the best of several replies: evaluation.best_of is {self.evaluation.best_of}"
            )
        return self


_REWARDS = "--training.ppo.rewards."
_SECTIONS = ("data", "model", "training", "evaluation", "run")
"""What a whole configuration has, and a file of differences hardly ever."""


def get_default_config() -> Config:
    """The configuration without any difference."""
    return Config()


def load_config(*files: str | Path, preset: str | None = None, values: Mapping[str, Any] | None = None) -> Config:
    """Defaults, then the preset, then each file, then `values` (nested), the later ones winning.

    Raises:
        ConfigError: names every problem in every source: `file: a.b.c: message (got x)`.
    """
    sources: list[tuple[str, Callable[[], Mapping[str, Any]]]] = []
    if preset is not None:
        sources.append((f"preset {preset}", lambda: read_preset(preset)))
    sources += [(str(file), lambda file=file: read_yaml(Path(file))) for file in files]
    sources.append(("command line", lambda: values or {}))
    merged: dict[str, Any] = {}
    problems: list[str] = []
    for name, read in sources:
        try:
            difference = read()
        except ConfigError as error:
            problems.append(str(error))
            continue
        problems += check(name, difference)
        merged = _merge(merged, difference)
    if problems:
        raise ConfigError("; ".join(problems))
    return _validated("configuration", merged)


def merge_configs(config: Config, *differences: Mapping[str, Any]) -> Config:
    """`config` with nested differences applied, the later ones winning.

    Raises:
        ConfigError: a key or value is wrong.
    """
    merged: dict[str, Any] = config.model_dump()
    for difference in differences:
        merged = _merge(merged, difference)
    return _validated("merge", merged)


def save_config(config: Config, path: str | Path) -> None:
    """Writes the whole configuration as YAML, readable by `load_config`. A file that was there stays if that fails.

    Raises:
        ConfigError: the file cannot be written.
    """
    temporary = Path(path).with_name(f".{Path(path).name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def config_hash(config: Config) -> str:
    """Eight hex digits of the settings that differ from the defaults, but for where and how the run is recorded."""
    text = json.dumps(config.model_dump(mode="json", exclude={"run"}, exclude_defaults=True), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


# --- presets and files --------------------------------------------------------------------------------------------------


def preset_folder() -> Path:
    """Where the presets lie: in the package, or beside the source tree of a checkout."""
    packaged = Path(str(resources.files("selfsame"))) / "presets"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "presets"


def preset_names() -> list[str]:
    """Names that `--preset` takes."""
    return sorted(path.stem for path in preset_folder().glob("*.yaml"))


def read_preset(name: str) -> Mapping[str, Any]:
    """The differences that a preset holds."""
    names = preset_names()
    if name not in names:
        raise ConfigError(f"unknown preset {name!r}: choose {', '.join(names)}{_nearest(name, names)}")
    return read_yaml(preset_folder() / f"{name}.yaml")


def read_yaml(path: Path) -> Mapping[str, Any]:
    """A YAML mapping.

    Raises:
        ConfigError: the file is missing, unreadable, not YAML or not a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration file {path}: {error.strerror}") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())[:160]}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(
            f"{path} must hold settings such as `training: {{ppo: {{kl_coef: 0.05}}}}`, got {str(content)[:40]!r}"
        )
    return modern_config(content) if set(content) >= set(_SECTIONS) else content  # the configuration of a run


# --- checking -----------------------------------------------------------------------------------------------------------


def check(source: str, difference: Mapping[str, Any]) -> list[str]:
    """Every problem of a nested difference by itself, a line each; an empty list if it can be used."""
    try:
        Config.model_validate(difference)
    except ValidationError as error:
        return [line for path, line in _explain(source, error) if path]
    return []


def _validated(source: str, merged: Mapping[str, Any]) -> Config:
    """The configuration with all values; only here do they have to fit together."""
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise ConfigError("; ".join(line for _, line in _explain(source, error))) from None


_PLAINLY = {"tuple_type": "Input should be a list", "model_type": "Input should be settings such as {a: 1}"}
"""Instead of pydantic's words for a type of error."""


def _explain(source: str, error: ValidationError) -> list[tuple[str, str]]:
    """(dotted name, problem) of each; the name is empty where values do not fit together."""
    found = []
    problems = error.errors(include_url=False)
    for problem in problems:
        path = ".".join(str(part) for part in problem["loc"])
        if any(other["loc"][: len(problem["loc"])] == problem["loc"] != other["loc"] for other in problems if path):
            continue  # only follows from what is wrong inside
        message = _PLAINLY.get(problem["type"], problem["msg"].removeprefix("Value error, "))
        if problem["type"] == "extra_forbidden":
            found.append((path, f"{source}: unknown setting {path}{hint(path) or _nearest(path, setting_names())}"))
        elif path:
            found.append((path, f"{source}: {path}: {message} (got {str(problem['input'])[:60]!r})"))
        else:
            found.append(("", f"{source}: {message}"))
    return found


def _nearest(name: str, names: Sequence[str], shown: Callable[[str], str] = str) -> str:
    """` - did you mean x?` for the name that begins alike or looks most alike, if there is one."""
    sections = {n[:i] for n in names for i, character in enumerate(n) if character == "."}
    begun = [n for n in names if n.startswith(name or " ")]
    found = begun or difflib.get_close_matches(name, [*sections, *names], 1, 0.7)
    return f" - did you mean {shown(found[0])}?" if found else ""


def _merge(base: Mapping[str, Any], difference: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in difference.items():
        inside = merged.get(key)
        merged[key] = _merge(inside, value) if isinstance(value, Mapping) and isinstance(inside, Mapping) else value
    return merged


def setting_fields(model: type[BaseModel] = Config, prefix: str = "") -> dict[str, FieldInfo]:
    """Map `a.b.c` to the field of every setting: its annotation, its text."""
    found: dict[str, FieldInfo] = {}
    for name, field in model.model_fields.items():
        inside: Any = field.annotation
        is_section = isinstance(inside, type) and issubclass(inside, BaseModel)
        found |= setting_fields(inside, f"{prefix}{name}.") if is_section else {prefix + name: field}
    return found


def setting_names() -> list[str]:
    """List the dotted names of all settings."""
    return list(setting_fields())


# --- the command line ---------------------------------------------------------------------------------------------------


def read_config(arguments: Sequence[str]) -> tuple[Config, str | None]:
    """(configuration, preset's name) from `[--preset NAME] [--config FILE ...] [--a.b.c VALUE ...]`."""
    preset, files, rest, values = None, [], list(arguments), []
    while rest:
        flag, equals, attached = rest.pop(0).partition("=")
        if flag not in ("--preset", "--config"):
            values.append(flag + equals + attached)
            continue
        given = [attached] if equals else []
        while rest and not rest[0].startswith("--") and (flag == "--config" or not given):
            given.append(rest.pop(0))
        if not given:
            raise ConfigError(f"{flag} needs a value")
        preset, files = (given[0], files) if flag == "--preset" else (preset, [*files, *given])
    return load_config(*files, preset=preset, values=parse_values(values)), preset


def parse_values(arguments: Sequence[str]) -> dict[str, Any]:
    """`--training.ppo.kl-coef 0.1 --run.stages sft reward` as nested values; `--a.b=1` too.

    Raises:
        ConfigError: names everything that is not a setting, and every setting without a value or with a wrong one.
    """
    types, values, rest = {name: field.annotation for name, field in setting_fields().items()}, {}, list(arguments)
    problems: list[str] = []
    while rest:
        flag, equals, attached = rest.pop(0).partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        own = flag.startswith(_REWARDS) and ":" in flag
        if own:  # a function in a file: its name is no setting's, and is left as it is
            name = _REWARDS.removeprefix("--") + flag.removeprefix(_REWARDS)
            types[name] = float
        known = own or (flag.startswith("--") and name in types)
        given = [attached] if equals else []
        many = known and _is_many(types[name])
        while rest and not rest[0].startswith("--") and not equals and (many or not given):
            given.append(rest.pop(0))
        if not known:
            near = (hint(name) or _nearest(name, list(types), flag_of)) if flag.startswith("--") else ""
            problems.append(f"unknown option {flag!r}{near}")
        elif not given and not many:
            problems.append(f"{flag} needs a value")
        else:
            texts = [text for text in given if text != ""] if many else given[0]
            path = [*_REWARDS[2:-1].split("."), flag.removeprefix(_REWARDS)] if own else name.split(".")
            _put(values, path, None if _is_none(given, types[name]) else texts)
    if problems:
        raise ConfigError("; ".join([*problems, *check("command line", values)]) + "; see --help")
    return values


def flag_of(name: str) -> str:
    """Return `training.ppo.kl_coef` as an option."""
    return "--" + name.replace("_", "-")


def _is_many(annotation: Any) -> bool:
    return any(get_origin(a) is tuple or a is tuple for a in (annotation, *get_args(annotation)))


def _is_none(given: Sequence[str], annotation: Any) -> bool:
    """Whether a value is left unset, unless `none` is one of the words that the setting takes."""
    return len(given) == 1 and given[0].lower() == "none" and "none" not in get_args(annotation)


def _put(values: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        values = values.setdefault(part, {})
    values[path[-1]] = value
