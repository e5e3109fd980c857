"""What every number of the pages means, in one line, and where docs/metrics.md says more."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

CHARACTER = "in-character-the-headline"
PERSONA = "keeping-the-persona"
TALK = "a-whole-conversation"
QUALITY = "quality"
CURVE = "while-a-stage-learns"
SECTIONS = {
    CHARACTER: "In character",
    PERSONA: "Keeping the persona",
    TALK: "A whole conversation",
    QUALITY: "Quality",
    CURVE: "While a stage learns",
}
"""Headings of docs/metrics.md, as addresses name them, in the order in which tables show their metrics."""
OTHERS = "Others"
_PAGE = "docs/metrics.md"


@dataclass(frozen=True, slots=True)
class Metric:
    """A name that a page shows, as `label` where it has one; without a definition it explains itself.

    `share`: the page shows it in percent.
    """

    name: str
    definition: str = ""
    section: str = ""
    share: bool = False
    label: str = ""

    @property
    def id(self) -> str:
        """The name of its entry in the page's list of definitions."""
        return re.sub(r"[^a-z0-9]+", "-", f"{self.section} {self.name}".lower())

    @property
    def where(self) -> str:
        """The address of the section that says more."""
        return f"{_PAGE}#{self.section}"


def _metrics(section: str, share: bool, definitions: dict[str, str]) -> dict[str, Metric]:
    return {name: Metric(name.replace("_", " "), text, section, share) for name, text in definitions.items()}


_OF_REPLIES = {
    **_metrics(CHARACTER, True, {
        "in_character": "Replies that use the persona exactly where a person did, have no fault, are well formed and answer.",
        "in_character_grounded": "In character, on the prompts whose human reply uses the persona.",
        "in_character_other": "In character, on the prompts whose human reply leaves the persona alone.",
        "well_formed": "Replies that repeat nothing, end as people's turns do and read as fluently.",
        "answers": "Replies that fit the turns before them as well as people's replies do.",
        "sensible_consistency": "Consistent replies that are well formed and answer too.",
    }),
    **_metrics(PERSONA, True, {
        "consistency": "Replies that use the persona, contradict nothing and copy nothing unprompted.",
        "grounding": "Replies whose statements share words with a trait.",
        "same_trait": "Replies that use a trait that the human reply uses too.",
        "contradiction": "Replies that contradict a trait or an earlier turn, as the judge sees it.",
        "copying_unprompted": "Replies with the wording of a trait that the human reply does not use.",
        "copying": "Replies with the wording of any trait; compare with people's own rate.",
        "keywords": "Replies with any content word of any trait.",
        "grounding_anywhere": "Replies in mid-dialogue that use a trait; more than people do is too much.",
    }),
    **_metrics(QUALITY, False, {
        "engagement": "Mean of content, a question, uptake of the partner's words and new words.",
        "fitted_quality": "A score fitted to human ratings; 0 is the middle of what people were shown.",
        "perplexity": "How much people's turns surprise the model, per token; lower is better.",
        "perplexity_word": "How much people's turns surprise the model, per word; lower is better.",
        "bits_per_byte": "How much people's turns surprise the model, per byte; lower is better.",
        "bleu": "Overlap with the human reply: BLEU-4 of sacrebleu, from 0 to 100.",
        "rouge_l": "Overlap with the human reply: ROUGE-L, from 0 to 1.",
        "f1": "Overlap with the human reply: word F1, from 0 to 1.",
        "reply_words": "Words of a reply.",
    }),
    **_metrics(QUALITY, True, {
        "distinct_1": "Different words among all words of all replies.",
        "distinct_2": "Different word pairs among all word pairs of all replies.",
        "hits_at_1": "How often the model finds the human reply likeliest among 20.",
    }),
}  # fmt: skip
_OF_DIALOGUES = _metrics(TALK, True, {
    "coverage": "Traits that at least one turn of the dialogue uses.",
    "contradiction": "Turns that contradict a trait or one of the bot's last eight turns.",
    "drift": "Contradictions of traits in the last third of the turns less those in the first third.",
    "mistaken_identity": "Turns that claim the partner's life as the bot's.",
    "repetition": "Turns that repeat an earlier turn of the bot.",
    "same_fact_again": "Questions asked twice where both answers use the trait and agree.",
    "same_fact_contradicted": "Questions asked twice where the second answer contradicts the first.",
    "same_fact_in_both": "Questions asked twice where both answers use the trait.",
    "same_fact_in_one": "Questions asked twice where one answer uses the trait.",
    "same_fact_in_none": "Questions asked twice where no answer uses the trait.",
})  # fmt: skip
_OF_CURVES = {
    metric.name: metric
    for metric in _metrics(CURVE, False, {
        "Loss": "What the stage makes smaller.",
        "Ranking accuracy": "Pairs where the reward model scores the better reply higher.",
        "Reward model's score": "Mean score of the sampled replies.",
        "Held-out people": "Scores of replies to people whom training never sees.",
        "Rules that sampled replies break": "Sampled replies that each rule of the reward finds at fault.",
        "KL to the SFT model": "How far the policy has moved from the model that it started from.",
        "KL coefficient": "The price of that distance in the reward.",
        "Entropy": "How undecided the policy is about the next token.",
        "Clip fraction": "Tokens whose probability moved further than an update may move it.",
        "Explained variance": "How much of the return the value model foresees; 1 is all of it.",
        "Reply length": "Tokens of a sampled reply.",
        "Held-out pairs ranked correctly": "Pairs where the better reply gets the higher score, by why the other is worse.",
        "Score against KL": "The score that each step of PPO has, at its distance from the SFT model.",
        "Policy loss": "What PPO makes smaller to make better replies likelier.",
        "Value": "The return that the value model expects, mean over tokens.",
        "Value loss": "How far the value model is from the return.",
        "Return": "What a token's reply earns from there on, mean over tokens.",
        "Advantage": "How much better a token did than the value model expected.",
        "Reward std": "How far the scores of the sampled replies lie apart.",
        "Approx kl": "How far an update moved the policy, in nats per token.",
        "Ended": "Sampled replies that end before the length limit.",
        "Episodes": "Replies sampled in a step.",
        "Grad norm": "Length of the gradient before it is clipped.",
        "Learning rate": "The optimizer's step size.",
        "Tokens": "Reply tokens in a step.",
        "Margin": "How much higher the reward model scores the better reply.",
    }).values()
}  # fmt: skip
_OF_ROWS = _metrics(PERSONA, False, {
    "gold": "What the person really said.",
    "no persona": "The system without the persona.",
    "persona recited": "The whole persona, recited.",
    "random persona": "The system's replies scored against another person's persona.",
    "other reply": "What a person said to another prompt.",
})  # fmt: skip
DEFINED = (*_OF_REPLIES.values(), *_OF_DIALOGUES.values(), *_OF_CURVES.values(), *_OF_ROWS.values())


def metric_of(name: str, selfplay: bool = False) -> Metric:
    """Look up a metric by the name that records give it; `selfplay`: where a whole conversation was scored."""
    known = (_OF_DIALOGUES if selfplay else _OF_REPLIES).get(name)
    return known or Metric(name.replace("_", " "), section=OTHERS)


def curve_of(title: str) -> Metric:
    """Look up a figure of the training by its title."""
    if title.startswith("Eval "):
        return replace(_OF_CURVES["Held-out people"], label=title)
    return _OF_CURVES.get(title, Metric(title))


def reference_of(row: str) -> Metric:
    """Look up a reference row; `no persona (sft)` is the system's own *no persona*."""
    known = _OF_ROWS.get(row.partition(" (")[0])
    return replace(known, label=row) if known else Metric(row)
