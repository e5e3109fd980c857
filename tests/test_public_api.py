"""The names that users import."""

from __future__ import annotations

import pytest

import selfsame


def test_every_public_name_is_there():
    assert len(selfsame.__all__) > 30
    for name in selfsame.__all__:
        assert getattr(selfsame, name).__name__ == name
        assert getattr(selfsame, name).__doc__, name
    with pytest.raises(AttributeError):
        selfsame.nothing  # noqa: B018


@pytest.mark.parametrize(
    ("owner", "methods"),
    [
        ("PreferenceGenerator", "generate_pairs extract_prompts create_test_sets"),
        ("RewardModel", "compute_reward"),
        ("SFTTrainer", "train generate_samples"),
        ("RewardTrainer", "train evaluate_ranking_accuracy"),
        ("PPOTrainer", "train parse_prompt rollout compute_rewards"),
        ("PersonaEvaluator", "evaluate_consistency evaluate_batch_responses compute_multi_turn_consistency"),
        ("EngagementEvaluator", "calculate_engagement_score evaluate_engagement evaluate_multi_turn_engagement"),
        ("QualityEvaluator", "compute_perplexity compute_bleu compute_rouge compute_distinct_n"),
        ("MetricsTracker", "start_timing stop_timing track_cost calculate_savings"),
    ],
)
def test_methods_that_users_of_the_prototype_know(owner, methods):
    for method in methods.split():
        assert callable(getattr(getattr(selfsame, owner), method)), method
