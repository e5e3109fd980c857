from conftest import make_tokenizer
from selfsame.data.fitting import fit_persona, left_out_line
from selfsame.data.processor import DataProcessor
from selfsame.types import Prompt

PERSONA = tuple(f"I own book {k}." for k in range(60))


def test_the_first_traits_stay_and_leave_half_of_the_context():
    processor = DataProcessor(make_tokenizer(), 128)
    kept, left = fit_persona(processor, PERSONA)
    assert kept and left and kept + left == PERSONA
    assert processor.fits(Prompt(kept), 64)
    assert not processor.fits(Prompt((*kept, left[0])), 64)
    line = left_out_line(processor, left)
    assert f"{len(left)} traits, from {left[0]!r} to 'I own book 59.'" in line
    assert "64 of model.max_length 128" in line


def test_all_of_a_short_persona_stays():
    processor = DataProcessor(make_tokenizer(), 128)
    assert fit_persona(processor, PERSONA[:2]) == (PERSONA[:2], ())
    assert left_out_line(processor, ()) == ""


def test_a_megabyte_of_traits_is_not_read_to_its_end(monkeypatch):
    processor, read = DataProcessor(make_tokenizer(), 128), []
    plain = DataProcessor.fits

    def fits(self, prompt, reserve):
        read.append(sum(map(len, prompt.persona)))
        return plain(self, prompt, reserve)

    monkeypatch.setattr(DataProcessor, "fits", fits)
    long = tuple(f"I own book {k}." for k in range(60_000))
    kept, left = fit_persona(processor, long)
    assert kept == fit_persona(processor, PERSONA)[0] and kept + left == long
    assert sum(read) < 20_000
    assert fit_persona(processor, ("x" * 2**20,)) == ((), ("x" * 2**20,)) and max(read) < 64 * 128
