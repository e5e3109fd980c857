"""The whole configuration: each room's settings, composed; YAML files that hold differences only; values from the command
line. A wrong value is reported with all the other wrong ones, an unknown key with the nearest that exists."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, Field, ValidationError

from selfsame.data.settings import DataSettings, PairSettings
from selfsame.errors import ConfigError
from selfsame.eval.settings import EvaluationSettings
from selfsame.model.settings import ModelSettings, StandInSettings
from selfsame.rollout.settings import SamplingSettings
from selfsame.run.settings import RunSettings
from selfsame.settings import Settings
from selfsame.training.settings import TrainingSettings


class Config(Settings):
    """Everything a run depends on."""

    seed: int = Field(default=0, ge=0, lt=2**31)
    """Of everything random."""
    data: DataSettings = DataSettings()
    pairs: PairSettings = PairSettings()
    model: ModelSettings = ModelSettings()
    stand_in: StandInSettings = StandInSettings()
    training: TrainingSettings = TrainingSettings()
    sampling: SamplingSettings = SamplingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    run: RunSettings = RunSettings()


def get_default_config() -> Config:
    """The configuration without any difference."""
    return Config()


def load_config(*files: str | Path, preset: str | None = None, values: Mapping[str, Any] | None = None) -> Config:
    """Defaults, then the preset, then each file, then `values` (nested), the later ones winning.

    Raises:
        ConfigError: names every problem in every source: `file: a.b.c: message (got x)`.
    """
    sources: list[tuple[str, Mapping[str, Any]]] = []
    if preset is not None:
        sources.append((f"preset {preset}", read_preset(preset)))
    sources += [(str(file), read_yaml(Path(file))) for file in files]
    if values:
        sources.append(("command line", values))
    merged: dict[str, Any] = {}
    problems: list[str] = []
    for name, difference in sources:
        problems += check(name, difference)
        merged = _merge(merged, difference)
    if problems:
        raise ConfigError("; ".join(problems))
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain("configuration", error))) from None


def merge_configs(config: Config, *differences: Mapping[str, Any]) -> Config:
    """`config` with nested differences applied, the later ones winning.

    Raises:
        ConfigError: a key or value is wrong.
    """
    merged: dict[str, Any] = config.model_dump()
    for difference in differences:
        merged = _merge(merged, difference)
    if problems := check("merge", merged):
        raise ConfigError("; ".join(problems))
    return Config.model_validate(merged)


def save_config(config: Config, path: str | Path) -> None:
    """Writes the whole configuration as YAML, readable by `load_config`.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        Path(path).write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def config_hash(config: Config) -> str:
    """Eight hex digits that change with anything but where and how the run is recorded."""
    text = json.dumps(config.model_dump(mode="json", exclude={"run"}), sort_keys=True)
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
        raise ConfigError(f"{path} must hold settings such as `training: {{ppo: {{kl_coef: 0.05}}}}`, got {str(content)[:40]!r}")
    return content


# --- checking -----------------------------------------------------------------------------------------------------------


def check(source: str, difference: Mapping[str, Any]) -> list[str]:
    """Every problem of a nested difference, a line each; an empty list if it can be used."""
    try:
        Config.model_validate(difference)
    except ValidationError as error:
        return _explain(source, error)
    return []


def _explain(source: str, error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors():
        path = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"{source}: unknown setting {path}{_nearest(path, setting_names())}")
        else:
            lines.append(f"{source}: {path}: {problem['msg']} (got {str(problem['input'])[:60]!r})")
    return lines


def _nearest(name: str, names: Sequence[str]) -> str:
    """` - did you mean x?` for the name that begins alike or looks most alike, if there is one."""
    sections = {n[:i] for n in names for i, character in enumerate(n) if character == "."}
    found = [n for n in names if n.startswith(name)] or difflib.get_close_matches(name, [*sections, *names], 1, 0.7)
    return f" - did you mean {found[0]}?" if found else ""


def _merge(base: Mapping[str, Any], difference: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in difference.items():
        inside = merged.get(key)
        merged[key] = _merge(inside, value) if isinstance(value, Mapping) and isinstance(inside, Mapping) else value
    return merged


def setting_types(model: type[BaseModel] = Config, prefix: str = "") -> dict[str, Any]:
    """`a.b.c` -> annotation of every setting."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        annotation: Any = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found |= setting_types(annotation, f"{prefix}{name}.")
        else:
            found[prefix + name] = annotation
    return found


def setting_names() -> list[str]:
    """The dotted names of all settings."""
    return list(setting_types())


# --- the command line ---------------------------------------------------------------------------------------------------


def parse_values(arguments: Sequence[str]) -> dict[str, Any]:
    """`--training.ppo.kl-coef 0.1 --run.stages sft reward` as nested values; `--a.b=1` too.

    Raises:
        ConfigError: something that is not a setting, or a setting without a value.
    """
    types, values, rest = setting_types(), {}, list(arguments)
    while rest:
        flag, equals, attached = rest.pop(0).partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("--") or name not in types:
            raise ConfigError(f"unknown option {flag!r}{_nearest(name, list(types)) if flag.startswith('--') else ''}; see --help")
        given = [attached] if equals else []
        many = _is_many(types[name])
        while rest and not rest[0].startswith("--") and not equals and (many or not given):
            given.append(rest.pop(0))
        if not given and not many:
            raise ConfigError(f"{flag} needs a value")
        _put(values, name.split("."), [v for v in given if v != ""] if many and given != ["None"] else _scalar(given[0]))
    return values


def _is_many(annotation: Any) -> bool:
    return any(get_origin(a) is tuple or a is tuple for a in (annotation, *get_args(annotation)))


def _scalar(text: str) -> Any:
    return None if text.lower() == "none" else text


def _put(values: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        values = values.setdefault(part, {})
    values[path[-1]] = value
