"""Chat templates: read as text, tried in a child process, never trusted.

A template is a program in a model folder. transformers renders it in jinja's sandbox, which stops neither an
endless loop nor a gigabyte of spaces, so a new template is first rendered in a child with limits. The renderer
imports in 0.5 s because it needs no torch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneloop.child import run_limited
from tuneloop.errors import BadInput
from tuneloop.texts import _

# For bases that bring no template. `<|im_end|>` becomes the tokenizer's own end token when it is not in its words.
CHATML = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' -}}"
    "{%- if message['role'] == 'assistant' -%}"
    "{%- generation -%}{{- message['content'] + '<|im_end|>' -}}{%- endgeneration -%}"
    "{%- else -%}{{- message['content'] + '<|im_end|>' -}}{%- endif -%}"
    "{{- '\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
_LONGEST = 100_000  # characters that three short messages may become
_QUESTION, _ANSWER = "tuneloop-question", "tuneloop-answer"


@dataclass(frozen=True, slots=True)
class Template:
    """`own`: it came with the model. `system`: it accepts a system message."""

    text: str
    own: bool
    system: bool


def read(folder: Path) -> str | None:
    """The template of a model folder as text: chat_template.jinja, else the key of tokenizer_config.json."""
    file = folder / "chat_template.jinja"
    if file.exists():
        return file.read_text(encoding="utf-8")
    for name in ("chat_template.json", "tokenizer_config.json"):
        if not (folder / name).exists():
            continue
        written = json.loads((folder / name).read_text(encoding="utf-8")).get("chat_template")
        if isinstance(written, list):  # several named templates: the default one is for chatting
            written = next((entry["template"] for entry in written if entry.get("name") == "default"), None)
        if isinstance(written, str) and written:
            return written
    return None


def check(folder: Path) -> Template:
    """Read and try the template of a model folder; plain ChatML when it has none.

    Raises Hostile when rendering three short messages takes over 20 s or 512 MB, BadInput when the result lacks
    the question or the answer.
    """
    text = read(folder)
    return Template(text=text or CHATML, own=text is not None, system=takes_system(text or CHATML, folder))


def takes_system(text: str, where: Path) -> bool:
    """Try a template in a child: whether it writes a system message. where: the folder or file it is from.

    Raises as `check` does.
    """
    what = _("the chat template of {folder}").format(folder=where)
    found = run_limited(_try, text, seconds=20.0, memory=512 << 20, what=what)
    if not found["chat"]:
        raise BadInput(
            _("the chat template of {folder} cannot render a question and its answer: {problem}").format(
                folder=where, problem=found["problem"]
            ),
            fix=_("Use a chat model's folder, or remove the template to have plain ChatML used."),
        )
    return bool(found["system"])


def _try(text: str) -> dict[str, Any]:
    """In the child: does the template take a chat, and a chat with a system message?"""
    from jinja2.exceptions import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    chat = [{"role": "user", "content": _QUESTION}, {"role": "assistant", "content": _ANSWER}]
    found: dict[str, Any] = {"chat": False, "system": False, "problem": ""}
    for key, messages in (("chat", chat), ("system", [{"role": "system", "content": "tuneloop-system"}, *chat])):
        try:
            rendered, _spans = render_jinja_template(
                conversations=[messages], chat_template=text, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
            )
        except (TemplateError, TypeError, ValueError, KeyError) as problem:
            found["problem"] = found["problem"] or f"{type(problem).__name__}: {problem}"
            continue
        complete = all(m["content"] in rendered[0] for m in messages)
        found[key] = complete and len(rendered[0]) < _LONGEST
        if not found[key]:
            found["problem"] = found["problem"] or _("its output lacks a message or is too long")
    return found
