"""Names that have changed. A setting is refused under its old name; records of earlier versions are read under the new one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_PPO = "training.ppo."
_PENALTIES = {
    "missed_penalty": "ungrounded",
    "unasked_penalty": "off_topic_grounding",
    "contradiction_penalty": "contradiction",
    "recitation_penalty": "copying_unprompted",
    "self_repetition_penalty": "repetition",
    "retelling_penalty": "nothing_new",
    "malformed_penalty": "malformed",
    "unanswering_penalty": "no_answer",
    "missing_end_penalty": "missing_eos",
}
SETTINGS = {
    "evaluation.people": "evaluation.split (choose is now dev, report is test)",
    "evaluation.watch_size": "training.ppo.eval_size",
    "training.reward.missed_share": "training.reward.comparison_share",
    "training.reward.missed_samples": "training.reward.comparison_samples",
    "training.reward.unasked_share": "training.reward.off_topic_share",
    f"{_PPO}called_share": f"{_PPO}grounded_share",
    f"{_PPO}critic": f"{_PPO}value_model (reward is now reward_states, policy is policy_states) and, for none,"
    f" {_PPO}advantage_estimator grpo",
    f"{_PPO}group_baseline": f"{_PPO}advantage_estimator gae_rloo",
    **{f"{_PPO}{old}": f"{_PPO}rewards.{new} (a weight, so negative)" for old, new in _PENALTIES.items()},
}
"""Old dotted name of a setting -> what is written in its place."""
DELETED = tuple(
    f"{_PPO}{name}" for name in ("turns", "talk_share", "group_scale", "entropy_coef", "sft_coef", "sft_batch_size")
)
"""Settings that are gone: docs/decisions/0006-ppo-settings.md says why."""
_KEYS = {
    "expression": "grounding",
    "telling": "grounding_anywhere",
    "recitation": "copying_unprompted",
    "called": "gold_traits",
    "in_character_called": "in_character_grounded",
    "in_character_uncalled": "in_character_other",
    "missed": "ungrounded",
    "unasked": "off_topic_grounding",
    "retelling": "nothing_new",
    "unanswering": "no_answer",
    "accuracy/missed": "accuracy/ungrounded",
    "accuracy/unasked": "accuracy/off_topic_grounding",
    "best_of": "sft_best_of_n",
    "ppo_best_of": "ppo_best_of_n",
}
_RECORDS = ("comparisons.json", "dialogues.json", "reward.json", "metrics.jsonl")
_NAMES = ("metric", "system", "than")
"""Keys whose value is such a name."""


def hint(name: str) -> str:
    """What to say of an unknown setting that once existed; empty for any other."""
    if name in SETTINGS:
        return f" - renamed to {SETTINGS[name]}"
    return " - it was removed; see docs/decisions/0006-ppo-settings.md" if name in DELETED else ""


def modern_config(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The stored configuration of a run, in today's settings. What was removed is left out."""
    config = {key: dict(value) if isinstance(value, Mapping) else value for key, value in stored.items()}
    evaluation, training = config.get("evaluation", {}), config.get("training", {})
    training = config["training"] = {k: dict(v) for k, v in training.items()} if training else {}
    reward, ppo = training.get("reward", {}), training.get("ppo", {})
    if "people" in evaluation:
        evaluation["split"] = {"choose": "dev", "report": "test"}.get(people := evaluation.pop("people"), people)
    if "watch_size" in evaluation:
        ppo["eval_size"] = evaluation.pop("watch_size")
    olds = {
        "missed_share": "comparison_share",
        "missed_samples": "comparison_samples",
        "unasked_share": "off_topic_share",
    }
    for old, new in olds.items():
        if old in reward:
            reward[new] = reward.pop(old)
    if "called_share" in ppo:
        ppo["grounded_share"] = ppo.pop("called_share")
    rewards = {new: -value for old, new in _PENALTIES.items() if (value := ppo.pop(old, None)) is not None}
    if rewards:
        ppo["rewards"] = {**rewards, **ppo.get("rewards", {})}
    critic, baseline = ppo.pop("critic", None), ppo.pop("group_baseline", None)
    if critic == "none":
        ppo["advantage_estimator"] = "grpo"
    elif critic is not None:
        ppo["value_model"] = {"reward": "reward_states", "policy": "policy_states"}.get(critic, critic)
    if baseline and critic != "none":
        ppo["advantage_estimator"] = "gae_rloo"
    for name in DELETED:
        ppo.pop(name.removeprefix(_PPO), None)
    systems = config.get("run", {}).get("systems") if isinstance(config.get("run"), Mapping) else None
    if systems:
        config["run"]["systems"] = [
            {"best_of": "sft_best_of_n", "ppo_best_of": "ppo_best_of_n"}.get(s, s) for s in systems
        ]
    return {key: value for key, value in config.items() if value != {} or key in stored}


def modern_file(path: Path, content: Any) -> Any:
    """What a file of a run holds, in today's names where earlier versions wrote others into it."""
    return modern_record(content) if path.name in _RECORDS or path.parent.name == "eval" else content


def modern_record(content: Any, inside: str = "") -> Any:
    """A record of a run (evaluation, comparisons, curves) in today's names of metrics, rules and systems.

    Args:
        content: as it was read.
        inside: the key that it stands under.
    """
    if isinstance(content, list):
        return [modern_record(item, inside) for item in content]
    if not isinstance(content, dict):
        return _KEYS.get(content, content) if inside in _NAMES and isinstance(content, str) else content
    return {_modern_key(key, inside): modern_record(value, key) for key, value in content.items()}


def _modern_key(key: str, inside: str) -> str:
    if inside == "references" and key == "recitation":
        return "persona_recited"
    if inside in ("settings", "evaluation", "config"):  # where best_of is a number
        return key
    if key.startswith("watch_"):
        return f"eval_{_KEYS.get(key[6:], key[6:])}"
    return _KEYS.get(key, key)
