"""Selfsame: train chatbots that stay in character.

The public names can be imported from here; each is loaded, with what it needs, when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_ROOMS = {
    "config": "Config get_default_config load_config merge_configs save_config",
    "launch": "train",
    "types": "Dialogue Example PreferencePair Prompt Turn",
    "errors": "ConfigError DataError RunError SelfsameError TimeUp",
    "data.audit": "audit",
    "data.loader": "DatasetLoader",
    "data.processor": "DataProcessor",
    "data.pairs": "PreferenceGenerator",
    "model.base": "get_model_info load_base_model load_tokenizer locate_model",
    "model.reward_model": "RewardModel",
    "model.roles": "Roles",
    "model.load": "load_roles",
    "rollout.engine": "RolloutEngine",
    "training.sft": "SFTTrainer",
    "training.reward": "RewardTrainer",
    "training.ppo": "PPOTrainer",
    "training.dpo": "DPOTrainer",
    "metrics.persona": "PersonaEvaluator",
    "metrics.engagement": "EngagementEvaluator",
    "metrics.quality": "QualityEvaluator",
    "metrics.hits": "BenchmarkEvaluator",
    "serve.chatbot": "Chatbot load",
    "serve.chat": "Conversation",
    "report.page": "write_report",
    "plan.estimate": "Plan",
    "plan.hardware": "Hardware",
    "run.checkpoint": "CheckpointManager finished",
    "run.directory": "RunDirectory",
    "run.logger": "RunLogger",
    "run.metrics": "MetricsTracker",
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names.split()}
__all__ = sorted(_ROOM_OF)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"selfsame.{_ROOM_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
