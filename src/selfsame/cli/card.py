"""The command `card`: what a character card says, and the same card as another file."""

from __future__ import annotations

from collections.abc import Sequence

from selfsame.cli.parsing import make_parser
from selfsame.errors import ConfigError


def run(arguments: Sequence[str]) -> None:
    """Show how a card is understood, and write it as JSON or as a picture.

    Raises:
        SelfsameError: a card, picture or file that cannot be used.
    """
    parser = make_parser("card", "Show what Selfsame reads in a character card, or write it in another form.")
    parser.add_argument("card", metavar="CARD", help="character card: PNG, JSON (any dialect), CHARX or YAML")
    parser.add_argument("--out", metavar="FILE", help="write the card to this .json or .png file")
    parser.add_argument("--picture", metavar="FILE", help="picture of the .png (default: a plain one)")
    parser.add_argument("--version", type=int, choices=(2, 3), default=3, help="of a .json (a .png holds both)")
    options = parser.parse_args(arguments)
    from selfsame.cards.card import TRAINING_USES, read_card
    from selfsame.cards.write import write_card

    if options.picture and not options.out:
        raise ConfigError("--picture is the picture of a card that is written: give --out FILE.png too")
    card = read_card(options.card)
    if options.out:
        write_card(card, options.out, options.version, options.picture)
        print(f"{card.name}: written to {options.out}")
        return
    lines = [card.name, *(f"  {trait}" for trait in card.persona)]
    lines += [f"greeting: {text}" for text in (card.first_message, *card.greetings) if text]
    for entry in card.lore:
        lines.append(f"if {', '.join(entry.keys)} comes up: {' '.join(entry.traits)}")
    for number, example in enumerate(card.examples, 1):
        lines.append(f"example dialogue {number}:")
        lines += [f"  {card.name if turn.speaker == 2 else 'partner'}: {turn.text}" for turn in example]
    if user := card.user_name():
        lines.append(f"the partner, whom the card names, is called {user}")
    lines += filter(None, [card.not_used(TRAINING_USES)])
    print("\n".join(lines))
