"""Caption templates: each that is taken holds a class name once."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

from metaft.data.captions import templates, usable
from tests.fuzz.cases import FEWER, SNIPPETS, end_of, fuzzed, mutated

SEEDS = (
    "a photo of a {}.\n",
    "a photo of a {c}.\nart of the {c}\n",
    "lambda c: f'a photo of a {c}.',\n",
    "['a {}.', 'the {}.']\n",
    "{!r}\n{0}\n{:>9}\n{{}}\n{a.b}\n{}{}\n",
)


@fuzzed(mutated([text.encode() for text in SEEDS], st.binary(max_size=3), most=6))
def test_files(folder: Path, content: bytes) -> None:
    path = folder / "templates.txt"
    path.write_bytes(content)
    for template in end_of(lambda: templates(str(path))) or ():
        assert template.format("<dog>").count("<dog>") == 1
        assert template.format("") == template.replace("{}", "")


@fuzzed(mutated([text.strip() for text in SEEDS], SNIPPETS) | st.text(st.sampled_from("{}a!:0.[")), few=FEWER)
def test_texts(folder: Path, template: str) -> None:
    if usable(template):
        assert template.format("<dog>").count("<dog>") == 1


@fuzzed(SNIPPETS, few=FEWER)
def test_settings_that_name_them(folder: Path, setting: str) -> None:
    end_of(lambda: templates(setting))
