"""The archive for hand-over: complete, repeatable, its Modelfile saying exactly what the model was trained on."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import shared_data
from tests.tune.small_models import CHATML, GEMMA, LLAMA3, MISTRAL, build, make_tokenizer, tuned
from tuneloop.records import Verdict, Version
from tuneloop.tune import bundle, gguf, go_template, pack
from tuneloop.tune.archive import open_archive
from tuneloop.tune.pack import Export
from tuneloop.versions import find, judge
from tuneloop.workspace import Workspace

FIGURES = {"tokens_equal": 1.0, "greedy": 0.999, "kl": 0.00012}


@pytest.fixture
def packed(workspace: Workspace, tmp_path: Path) -> tuple[Workspace, Version, Export]:
    """A version and a file of it, as `pack` leaves them (parity is another test's matter)."""
    base = build(tmp_path / "base-model", "llama", num_hidden_layers=1)
    (workspace.folder("datasets") / "d").mkdir()
    card = {"id": "d1", "system": 'You help.\n"Always".'}
    (workspace.path / "datasets" / "d" / "card.json").write_text(json.dumps(card), encoding="utf-8")
    version = tuned(workspace, base, dataset="datasets/d")
    judge(workspace, version, Verdict("promote", "it is better"))
    folder = workspace.folder("packs") / version.id
    folder.mkdir()
    path = folder / "model-q8_0.gguf"
    gguf.convert(base, path)
    export = Export("q8_0", path, path.stat().st_size, pack.sha256(path), FIGURES)
    pack.register(workspace, version, export)
    return workspace, find(workspace, version.id), export


def test_the_archive_holds_everything_and_opens_safely(
    packed: tuple[Workspace, Version, Export], tmp_path: Path
) -> None:
    workspace, version, export = packed
    out = bundle.write(workspace, version, export, tmp_path / "a.zip")
    opened = open_archive(out, tmp_path / "into")
    assert opened["checksums"] is True
    assert set(opened["files"]) >= {
        "model-q8_0.gguf",
        "Modelfile",
        "card.json",
        "LICENSE",
        "SHA256SUMS",
        "INSTRUCTIONS.en.md",
        "INSTRUCTIONS.ru.md",
        "tokenizer/tokenizer.json",
        "tokenizer/chat_template.jinja",
    }
    assert (tmp_path / "into" / "model-q8_0.gguf").read_bytes() == export.path.read_bytes()
    done = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=tmp_path / "into", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    card = json.loads((tmp_path / "into" / "card.json").read_text(encoding="utf-8"))
    assert card["parity"] == FIGURES
    assert card["verdict"]["decision"] == "promote"
    assert card["base"]["name"] == "base-model"
    assert str(tmp_path) not in (tmp_path / "into" / "card.json").read_text(encoding="utf-8")


def test_the_same_version_gives_the_same_bytes(packed: tuple[Workspace, Version, Export], tmp_path: Path) -> None:
    one = bundle.write(*packed, tmp_path / "1.zip").read_bytes()
    assert bundle.write(*packed, tmp_path / "2.zip").read_bytes() == one


def test_instructions_in_both_languages_carry_the_figures(
    packed: tuple[Workspace, Version, Export], tmp_path: Path
) -> None:
    bundle.write(*packed, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        english, russian = (archive.read(f"INSTRUCTIONS.{lang}.md").decode() for lang in ("en", "ru"))
        assert "Ask its author" in archive.read("LICENSE").decode()
    for text in (english, russian):
        assert f"ollama create {bundle.tag(packed[1])} -f Modelfile" in text
        assert "0.00012" in text and "promote" in text and "`<|im_end|>`" in text
        assert "{" not in text
    assert "Установите Ollama" in russian and "Install Ollama" in english


def test_instructions_say_the_words_of_the_rest_of_the_project() -> None:
    words = bundle._words()
    assert "датасет" in words["ru"]["instructions"] and "приёмки" in words["ru"]["instructions"]
    assert "набор данных" not in words["ru"]["instructions"] and "data set" not in words["en"]["instructions"]
    for text in (words[lang]["instructions"] for lang in words):
        assert "serve --version" in text, "the gate has no questions for a model from elsewhere"


def test_the_licence_of_the_base_travels_along(packed: tuple[Workspace, Version, Export], tmp_path: Path) -> None:
    base = Path(packed[1].meta["base"])
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\n", encoding="utf-8")
    assert "apache-2.0" in bundle._licence(packed[1])
    (base / "LICENSE").write_text("The licence itself", encoding="utf-8")
    bundle.write(*packed, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.read("LICENSE") == b"The licence itself"


def test_modelfile_says_what_ollama_needs(packed: tuple[Workspace, Version, Export]) -> None:
    how = bundle.recipe(packed[0], packed[1], packed[2].path)
    text = bundle.modelfile("model-q8_0.gguf", how)
    assert text.startswith("FROM ./model-q8_0.gguf\nTEMPLATE ")
    assert 'SYSTEM """You help.\n"Always"."""' in text
    assert 'PARAMETER stop "<|im_end|>"\n' in text
    assert how.parameters["stop"] == ["<|im_end|>"]
    assert bundle.modelfile("m.gguf", bundle.Recipe(None, "", (), 512)).startswith("FROM ./m.gguf\nPARAMETER")


@pytest.mark.parametrize(
    ("name", "tag"), [("Склад answers", "answers"), ("a/b c", "a-b-c"), ("Склад", "tuneloop"), ("X--1", "x-1")]
)
def test_names_become_names_ollama_takes(name: str, tag: str) -> None:
    from tuneloop.engines import ollama

    version = Version("0123456789abcdef", "chat", name, "models/x", 0)
    assert bundle.tag(version) == f"{tag}:01234567" == ollama.name(bundle.tag(version))


@pytest.mark.parametrize("template", [CHATML, LLAMA3, GEMMA, MISTRAL], ids=["chatml", "llama3", "gemma", "mistral"])
def test_training_templates_are_expressed_in_go(template: str) -> None:
    tokenizer = make_tokenizer("gpt-2" if template in (CHATML, LLAMA3) else "sentencepiece", template)

    def render(chat: go_template.Chat) -> str:
        return str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))

    found = go_template.express(render, tokenizer.bos_token)
    assert found is not None
    chat = [{"role": r, "content": c} for r, c in [("user", "a b"), ("assistant", "c"), ("user", "d\n\ne")]]
    assert go_template.execute(found, chat) == render(chat).removeprefix(tokenizer.bos_token)


def test_a_system_text_reaches_models_without_a_system_role(workspace: Workspace, tmp_path: Path) -> None:
    version = tuned(workspace, build(tmp_path / "base", "mistral", num_hidden_layers=1))
    gguf.convert(tmp_path / "base", tmp_path / "m.gguf")
    how = bundle.recipe(workspace, version, tmp_path / "m.gguf")
    assert how.context == 96
    template = how.template
    assert template is not None
    assert go_template.execute(template, go_template.SAMPLES[2]) == "[INST] Be brief.\nAlways.\n\nhello[/INST]"


def test_a_default_system_message_is_kept() -> None:
    def render(chat: go_template.Chat) -> str:
        head = "" if chat[0]["role"] == "system" else "<s>system\nYou are Q.</s>\n"
        return head + "".join(f"<s>{m['role']}\n{m['content']}</s>\n" for m in chat) + "<s>assistant\n"

    found = go_template.express(render, None)
    assert found is not None
    assert "You are Q." in go_template.execute(found, [{"role": "user", "content": "a"}])
    assert "You are Q." not in go_template.execute(found, go_template.SAMPLES[2])


@pytest.mark.parametrize(
    "render",
    [
        lambda chat: f"{len(chat)} messages: " + " ".join(m["content"] for m in chat),  # counts its messages
        lambda chat: " ".join(m["content"] for m in chat[-1:]),  # forgets what was said
        lambda chat: "{{ x }}" + " ".join(m["content"] for m in chat),  # Go would run it
        lambda chat: " ".join(m["content"].upper() for m in chat),
    ],
)
def test_what_go_cannot_say_is_not_guessed(render: Any) -> None:
    assert go_template.express(render, None) is None


def test_go_language_is_executed_as_go_does() -> None:
    template = (
        "{{ if not .System }}none {{ end }}{{ range $i, $_ := .Messages }}"
        '{{ if eq .Role "system" }}S{{ else if and $.System (le $i 1) }}[{{ $.System }}]{{ else }}-{{ end }}'
        "{{ .Content }};{{ end }}end"
    )
    assert go_template.execute(template, [{"role": "user", "content": "a"}]) == "none -a;end"
    chat = [{"role": r, "content": c} for r, c in [("system", "s"), ("user", "u"), ("assistant", "v")]]
    assert go_template.execute(template, chat) == "Ss;[s]u;-v;end"


def _ollama_templates() -> tuple[dict[str, str], list[tuple[str, str]]]:
    with zipfile.ZipFile(shared_data("api_specs.zip")) as archive:
        names = [n for n in archive.namelist() if "/template/testdata/" in n and not n.endswith("/")]
        listed = next(n for n in names if n.endswith("templates.jsonl"))
        pairs = [pair for line in archive.read(listed).decode().splitlines() for pair in json.loads(line).items()]
        expected = {"/".join(n.split("/")[-2:]): archive.read(n).decode() for n in names if n != listed}
    return expected, pairs


def test_every_template_ollama_knows_is_expressed() -> None:
    """35 templates of published models; what Ollama's own Go templates write is what ours write."""
    expected, pairs = _ollama_templates()
    tokenizer = make_tokenizer("gpt-2", CHATML)
    dialogue = [
        {"role": "user", "content": "Hello, how are you?"},
        {"role": "assistant", "content": "I'm doing great. How can I help you today?"},
        {"role": "user", "content": "I'd like to show off how chat templating works!"},
    ]
    compared = 0
    for family, template in pairs:
        tokenizer.chat_template = template

        def render(chat: go_template.Chat) -> str:
            return str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))

        found = go_template.express(render, tokenizer.bos_token)
        assert found is not None, template[:200]
        if family in ("llama3-instruct", "gemma-instruct") or (family == "chatml" and "'\n' + message" in template):
            for chat, kind in ((dialogue[:1], "user"), (dialogue, "user-assistant-user")):
                ours = go_template.execute(found, chat)
                if "You are" not in ours:  # a default system message is that model's own
                    assert ours.strip() == expected[f"{family}.gotmpl/{kind}"].strip()
                    compared += 1
    assert len(pairs) > 30
    assert compared >= 6
