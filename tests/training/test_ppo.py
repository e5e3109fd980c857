"""PPO's invariants: what must hold before the first update, and that updates do what the algorithm says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from stages import ppo_trainer, prompts

from selfsame.errors import RunError
from selfsame.model.prefix_batch import hidden_states, reply_logprobs, source_states
from selfsame.training.ppo import PPOTrainer
from selfsame.training.settings import PPOSettings
from selfsame.types import Answer


def gradient(trainer, parts):
    parameters = [p for role in trainer.trained for p in trainer.roles.parameters(role).values()]
    for p in parameters:
        p.grad = None
    for part in parts:
        trainer.loss(part)[0].backward()
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])


def test_before_the_first_update_the_ratio_is_one_and_the_kl_zero(tiny_models):
    trainer = ppo_trainer(tiny_models())
    experience = trainer.collect(0)
    rollout = experience.rollout
    torch.testing.assert_close(rollout.logprobs_NR, rollout.ref_logprobs_NR, atol=1e-4, rtol=1e-5)
    for part in next(iter(trainer.minibatches(experience, 0))):
        if part.role != "policy":
            continue
        with trainer.roles.use("policy") as model:
            logprobs, _ = reply_logprobs(model, part.batch, trainer.settings.temperature)
        torch.testing.assert_close(
            logprobs.exp() / part.old_logprobs_NR.exp(), torch.ones_like(logprobs), atol=1e-3, rtol=0
        )
        _, numbers = trainer.loss(part)
        assert numbers["clip_fraction"] == 0 and numbers["approx_kl"] < 1e-6
    metrics = trainer.metrics(experience)
    assert abs(metrics["kl"]) < 1e-3 and abs(metrics["advantage"]) < 1e-5


def test_the_first_gradient_is_the_policy_gradient(tiny_models):
    """At ratio one the clipped surrogate's gradient is that of the plain score function: -mean of A * grad log pi."""
    trainer = ppo_trainer(tiny_models(), minibatches=1)
    experience = trainer.collect(0)
    parts = [p for p in next(iter(trainer.minibatches(experience, 0))) if p.role == "policy"]
    ours = gradient(trainer, parts)
    parameters = [p for role in trainer.trained for p in trainer.roles.parameters(role).values()]
    for p in parameters:
        p.grad = None
    rollout, tokens = experience.rollout, int(experience.rollout.reply_mask_NR.sum())
    for n, reply in enumerate(rollout.replies):
        prompt = rollout.prompts[n // rollout.samples_per_prompt]
        with trainer.roles.use("policy") as model:
            logits = model(input_ids=torch.tensor([prompt + reply.ids]), use_cache=False).logits[
                0, len(prompt) - 1 : -1
            ]
        logprobs = logits.log_softmax(-1).gather(-1, torch.tensor(reply.ids)[:, None])[:, 0]
        (-(experience.advantages_NR[n, : len(reply.ids)] * logprobs).sum() / tokens).backward()
    theirs = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
    torch.testing.assert_close(ours, theirs, atol=1e-4 * float(theirs.abs().max()), rtol=1e-3)


def test_small_parts_give_the_gradient_of_the_whole(tiny_models):
    whole, split = (ppo_trainer(tiny_models(), minibatches=1, token_budget=budget) for budget in (100_000, 64))
    gradients = []
    for trainer in (whole, split):
        parts = next(iter(trainer.minibatches(trainer.collect(0), 0)))
        gradients.append((len(parts), gradient(trainer, parts)))
    assert gradients[0][0] == 2 < gradients[1][0]
    torch.testing.assert_close(
        gradients[0][1], gradients[1][1], atol=1e-5 * float(gradients[0][1].abs().max()) + 1e-7, rtol=1e-3
    )


def test_a_critic_on_the_reward_role_reads_what_it_read_in_the_rollout(tiny_models):
    """Its hidden states are kept, not computed again: the values and the loss are those of a fresh pass."""
    trainer = ppo_trainer(tiny_models(), value_model="reward_states", minibatches=1)
    assert set(trainer.roles.parameters("value")) == {"head.linear.weight", "head.linear.bias"}
    scramble_head(trainer)
    experience = trainer.collect(0)
    (part,) = [p for p in next(iter(trainer.minibatches(experience, 0))) if p.role == "value"]
    with trainer.roles.use("reward") as model, torch.no_grad():
        states = source_states(part.batch, hidden_states(model, part.batch))
    torch.testing.assert_close(part.states_MH, states, atol=1e-5, rtol=1e-5)
    values = part.batch.scatter(trainer.roles.heads["value"](states))
    torch.testing.assert_close(values, part.old_values_NR, atol=1e-5, rtol=1e-5)
    assert values.std() > 0.01
    before = {role: trainer.roles.state(role) for role in ("sft", "reward")}
    trainer.train()
    assert all(torch.equal(t, trainer.roles.state(r)[n]) for r, was in before.items() for n, t in was.items())


def test_a_critic_on_the_policy_adds_its_loss_to_the_same_pass(tiny_models):
    trainer = ppo_trainer(tiny_models(), value_model="policy_states", minibatches=1, value_coef=0.5)
    scramble_head(trainer)
    (part,) = next(iter(trainer.minibatches(trainer.collect(0), 0)))
    loss, numbers = trainer.loss(part)
    assert loss.item() == pytest.approx(numbers["policy_loss"] + 0.5 * numbers["value_loss"], abs=1e-6)
    with trainer.roles.use("policy") as model, torch.no_grad():
        values = part.batch.scatter(
            trainer.roles.heads["value"](source_states(part.batch, hidden_states(model, part.batch)))
        )
    torch.testing.assert_close(values, part.old_values_NR, atol=1e-5, rtol=1e-5)


def test_without_a_critic_the_kl_penalty_is_a_loss(tiny_models):
    """GRPO: no value role, advantages from the siblings, and where they are all zero the gradient is that of the KL."""
    trainer = ppo_trainer(tiny_models(), advantage_estimator="grpo", kl_coef=0.5, minibatches=1)
    assert trainer.trained == ("policy",) and "value" not in trainer.roles.names
    experience = trainer.collect(0)
    assert (experience.rollout.values_NR == 0).all()
    groups = experience.advantages_NR[:, 0].view(-1, 2)
    torch.testing.assert_close(groups.sum(1), torch.zeros(len(groups)), atol=1e-5, rtol=0)
    (part,) = next(iter(trainer.minibatches(experience, 0)))
    still = replace(part, advantages_NR=torch.zeros_like(part.advantages_NR))
    assert gradient(trainer, [still]).abs().max() < 1e-4  # policy and reference are the same
    moved = replace(still, ref_logprobs_NR=part.ref_logprobs_NR - 1.0 * part.batch.reply_mask_NR)
    loss, _ = trainer.loss(moved)
    tokens, expected = part.tokens, torch.tensor(-1.0).exp() + 1 - 1  # exp(d) - d - 1 with d = ref - log pi = -1
    assert loss.item() == pytest.approx(0.5 * expected.item() * int(part.batch.reply_mask_NR.sum()) / tokens, rel=1e-3)
    with pytest.raises(ValueError, match="samples_per_prompt"):
        PPOSettings(advantage_estimator="grpo", samples_per_prompt=1)


def scramble_head(trainer):
    torch.manual_seed(3)
    torch.nn.init.normal_(trainer.roles.heads["value"].linear.weight, std=0.2)


def reward_alike_tokens(trainer):
    """Reward: the share of tokens among the quarter of the vocabulary that is most like token 50, times four. Tokens that
    are alike can be made likelier together; any other quarter could not by a random model."""
    embedding = trainer.roles.base.get_output_embeddings().weight.detach()[:400]
    wanted = set((embedding @ embedding[50]).argsort(descending=True)[:100].tolist())
    score_states = trainer.reward_model.score_states

    def score(prompts, replies, trunk=None):
        return [[4 * sum(i in wanted for i in r) / len(r) for r in g] for g in replies]

    trainer.reward_model.score_ids = score
    trainer.reward_model.score_states = lambda p, r, t: (score(p, r), score_states(p, r, t)[1])


def learn(folder, steps=8, **settings):
    """Metrics of rollouts before and after some steps of PPO, nine prompts with four replies each."""
    trainer = ppo_trainer(folder, steps=steps, minibatches=1, prompts_per_step=9, samples_per_prompt=4, **settings)
    reward_alike_tokens(trainer)
    # The value begins as the reward, and a random one would only add noise.
    torch.nn.init.zeros_(trainer.roles.heads["reward"].linear.weight)
    before = trainer.metrics(trainer.collect(100))
    trainer.train()
    return before, trainer.metrics(trainer.collect(100))


@pytest.mark.parametrize(
    ("variant", "steps"), [("adapter", 8), ("reward_states", 8), ("policy_states", 8), ("grpo", 16), ("rloo", 16)]
)
def test_training_raises_the_reward(tiny_models, variant, steps):
    chosen = {"advantage_estimator" if steps == 16 else "value_model": variant}
    before, after = learn(tiny_models(), steps, learning_rate=0.01, kl_coef=0.0, **chosen)
    assert after["reward"] > before["reward"] + 0.4 and after["kl"] > 1


def test_the_kl_penalty_holds_the_policy_back(tiny_models):
    def moved(kl_coef: float) -> float:
        """KL from the reference after training, over three seeds: of one run alone the ratio was 0.23 to 0.66."""
        runs = (learn(tiny_models(), steps=16, learning_rate=0.003, kl_coef=kl_coef, seed=seed)[1] for seed in range(3))
        return sum(run["kl"] for run in runs)

    free, held = moved(0.0), moved(2.0)
    assert free > 12 and held < 0.6 * free


def test_the_other_replies_are_a_baseline(tiny_models):
    """gae_rloo: what the siblings got is taken off the score, and nothing else changes."""
    trainer = ppo_trainer(tiny_models(), advantage_estimator="gae_rloo", samples_per_prompt=3)
    rollout = trainer.collect(0).rollout
    plain = ppo_trainer(tiny_models(), samples_per_prompt=3).compute_rewards(rollout)
    scores = trainer.scores(rollout).tolist()
    siblings = [(sum(scores[k // 3 * 3 : k // 3 * 3 + 3]) - scores[k]) / 2 for k in range(len(scores))]
    taken_NR = plain - trainer.compute_rewards(rollout)
    torch.testing.assert_close(taken_NR.sum(1), torch.tensor(siblings))
    assert ((taken_NR != 0).sum(1) == 1).all()  # on the last token
    for estimator in ("gae_rloo", "rloo", "grpo"):
        with pytest.raises(ValueError, match=f"{estimator} needs samples_per_prompt of 2"):
            PPOSettings(advantage_estimator=estimator, samples_per_prompt=1)


def test_rloo_by_hand(tiny_models):
    """On every token of a reply its reward, KL penalty and all, less the mean reward of its siblings."""
    trainer = ppo_trainer(tiny_models(), advantage_estimator="rloo", samples_per_prompt=3, kl_coef=0.5)
    assert trainer.trained == ("policy",) and "value" not in trainer.roles.names
    trainer.train()  # away from the reference, so that there is a KL
    experience = trainer.collect(9)
    rollout, n = experience.rollout, 3
    kl = ((rollout.logprobs_NR - rollout.ref_logprobs_NR) * rollout.reply_mask_NR).sum(1)
    rewards = (trainer.scores(rollout) - experience.kl_coef * kl).tolist()
    assert kl.abs().max() > 1e-3
    for k, reward in enumerate(rewards):
        others = [r for i, r in enumerate(rewards) if i // n == k // n and i != k]
        expected_R = (reward - sum(others) / 2) * rollout.reply_mask_NR[k]
        torch.testing.assert_close(experience.advantages_NR[k], expected_R, atol=1e-5, rtol=1e-5)


def test_only_policy_and_value_move(tiny_models):
    trainer = ppo_trainer(tiny_models(), learning_rate=0.01)
    before = {role: trainer.roles.state(role) for role in trainer.roles.names}
    trainer.train()
    for role, was in before.items():
        same = all(torch.equal(t, trainer.roles.state(role)[n]) for n, t in was.items())
        assert same == (role in ("sft", "reward")), role


def test_value_starts_as_the_reward(tiny_models):
    trainer = ppo_trainer(tiny_models())
    reward, value = trainer.roles.state("reward"), trainer.roles.state("value")
    assert all(torch.equal(reward[n], value[n]) for n in reward) and "head.linear.weight" in value


def test_explained_variance_grows_when_the_value_learns(tiny_models):
    """The score is a function of the prompt, so a value function can predict all of it."""
    trainer = ppo_trainer(
        tiny_models(),
        steps=20,
        prompts_per_step=9,
        learning_rate=0.01,
        kl_coef=0.0,
        value_coef=1.0,
        value_clip=5.0,
        minibatches=1,
    )
    trainer.reward_model.score_ids = lambda prompts, replies, trunk: [
        [float(len(p) % 3) for _ in g] for p, g in zip(prompts, replies, strict=True)
    ]
    before = trainer.metrics(trainer.collect(0))["explained_variance"]
    trainer.train()
    assert before < 0 and trainer.metrics(trainer.collect(0))["explained_variance"] > 0.25


def test_samples_and_prompts(tiny_models):
    trainer = ppo_trainer(tiny_models())
    trainer.shown = [trainer_prompt()]
    (row,) = trainer.samples()
    assert set(row) == {"prompt", "persona", "history", "reply", "reward"} and isinstance(row["reward"], float)
    prompt = trainer.parse_prompt("[PERSONA] I sing. [DIALOGUE] Hi [RESPONSE]")
    assert prompt.persona == ("I sing.",)


def test_missing_roles_are_named(tiny_models):
    roles = ppo_trainer(tiny_models()).roles
    roles.remove("reward")
    with pytest.raises(RunError, match="needs the role 'reward'"):
        PPOTrainer(roles, prompts=[trainer_prompt()])


def trainer_prompt():
    from stages import prompts

    return prompts()[0]


def test_what_people_said_reaches_the_rewards(tiny_models):
    roles, prompt = ppo_trainer(tiny_models()).roles, trainer_prompt()
    known = PPOTrainer(roles, prompts=[Answer(prompt, "Two dogs.", "Two dogs.", (0,))])
    assert known.prompts == [prompt]
    assert known.rewards.gold == {prompt: "Two dogs."} and known.rewards.gold_traits == {prompt: (0,)}
    unknown = PPOTrainer(roles, prompts=[prompt]).rewards
    assert unknown.gold == {prompt: ""} and unknown.gold_traits == {prompt: None}


def test_the_policy_is_evaluated_every_other_step_and_at_the_end(tiny_models, tmp_path):
    trainer = ppo_trainer(tiny_models(), steps=3, eval_every=2)
    assert trainer.eval_every is None and trainer.evaluate() == {}
    asked = []
    PPOTrainer(
        trainer.roles,
        prompts=prompts(),
        settings=trainer.settings,
        evaluate_policy=lambda roles: asked.append(roles) or {"eval_consistency": 1.0},
    ).train()
    assert asked == [trainer.roles] * 2
