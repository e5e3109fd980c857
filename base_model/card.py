"""Fills `card.md.j2` from the records: every number of the model card comes from a file that a command wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from base_model.settings import Recipe
from selfsame.run.files import read_json, write_text

HERE = Path(__file__).parent
CREDITS = {
    "new-persona": "Synthetic-Persona-Chat, New-Persona part (Jandaghi et al. 2023, arXiv:2312.10007; CC BY 4.0)",
    "self-dialogue": "Self-dialogue corpus (Fainberg et al. 2018, arXiv:1809.06641; BSD-3-Clause)",
    "topical-chat": "Topical-Chat, validation and test (Gopalakrishnan et al. 2019, arXiv:2308.11995; CDLA-Sharing-1.0)",
    "schema-guided": "Schema-Guided Dialogue (Rastogi et al. 2020, arXiv:1909.05855; CC BY-SA 4.0)",
    "taskmaster-4": "Taskmaster-4 (arXiv:2403.10704; CC BY 4.0)",
    "crd3": "Critical Role Dungeons and Dragons Dataset (Rameshkumar & Bailey 2020, ACL; CC BY-SA 4.0)",
    "demo": "the package's own dialogues (CC0)",
}


def write_card(recipe: Recipe, records: Path, target: Path) -> None:
    """Writes the model card to `target`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["estimate"] = _estimate
    found = {name: read_json(records / f"{name}.json") for name in ("corpus", "training", "evaluation", "samples")}
    write_text(target, environment.get_template("card.md.j2").render(recipe=recipe, credits=CREDITS, **found))


def _estimate(value: dict[str, Any], digits: int = 2) -> str:
    return f"{value['value']:.{digits}f} [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"
