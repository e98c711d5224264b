"""Base models and versions: loaded, and merged into one ordinary model folder."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneloop.errors import Damaged, Missing, MissingExtra
from tuneloop.records import Version
from tuneloop.texts import _
from tuneloop.tune import template
from tuneloop.tune.folder import DEMO_BASE, TOKENIZER_FILES, fingerprint, inspect
from tuneloop.workspace import Workspace, need_disk, new_folder

if TYPE_CHECKING:
    import torch

__all__ = [
    "DEMO_BASE",
    "copy_tokenizer",
    "load_base",
    "load_model",
    "load_tokenizer",
    "load_version",
    "merge",
    "quiet_peft",
]


def load_base(folder: Path, *, dtype: torch.dtype | None = None, device: str = "cpu") -> tuple[Any, Any]:
    """(model, tokenizer) of a base folder, eval mode. dtype: float32 unless given. Raises as `inspect` does."""
    inspect(folder)
    return load_model(folder, dtype, device), load_tokenizer(folder, template.check(folder))


def load_tokenizer(folder: Path, checked: template.Template) -> Any:
    """The tokenizer with a template that was tried before; ChatML ends turns with a token the model knows."""
    _need_extra()
    from transformers import AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()  # it warns of long texts before they are cut, and of nothing a user could act on
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    text = checked.text
    if not checked.own and "<|im_end|>" not in tokenizer.get_vocab():
        text = text.replace("<|im_end|>", tokenizer.eos_token or "")
    tokenizer.chat_template = text
    return tokenizer


def load_version(workspace: Workspace, version: Version, *, dtype: torch.dtype | None = None) -> tuple[Any, Any]:
    """(model, tokenizer) of a version: a PeftModel in eval mode, so `model.disable_adapter()` is its base.

    Raises Missing when the base model is gone, Damaged when it or the version has changed since.
    """
    from tuneloop.versions import check_files

    check_files(workspace, version)
    base = Path(str(version.meta["base"]))
    if not base.is_dir():
        raise Missing(
            _("the base model of version {id} is not in {path} any more").format(id=version.id, path=base),
            fix=_("Put it back there, or tune again on a base that exists."),
        )
    inspect(base)
    if fingerprint(base) != version.meta["base_sha256"]:
        raise Damaged(
            _("the base model in {path} is not the one version {id} was tuned on").format(id=version.id, path=base),
            fix=_("Restore that base model, or tune again on the one that is there."),
        )
    folder = workspace.path / version.path
    model = load_model(base, dtype, "cpu")
    from peft import PeftModel

    with quiet_peft():
        tuned = PeftModel.from_pretrained(model, folder / "adapter", local_files_only=True)
    return tuned.eval(), load_tokenizer(folder, template.check(folder))


def merge(workspace: Workspace, version: Version, out: Path) -> Path:
    """Write base + adapter as one ordinary Hugging Face folder (float32, tokenizer, template); returns it.

    float32 because rounding the sum to the base's bfloat16 would lose most of a small adapter (8 bits of
    mantissa). Needs 4 bytes of disk for each parameter; raises OutOfResources before anything is written.
    """
    need_disk(out.parent, inspect(Path(str(version.meta["base"]))).parameters * 4)
    model, _tokenizer = load_version(workspace, version)
    merged = model.merge_and_unload(safe_merge=True)
    with new_folder(out) as staging:
        merged.save_pretrained(staging, safe_serialization=True)
        copy_tokenizer(workspace.path / version.path, staging)
    return out


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy the tokenizer files byte for byte: transformers 5 does not write `tokenizer.model` back."""
    for name in (*TOKENIZER_FILES, "chat_template.jinja"):
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)


def load_model(folder: Path, dtype: torch.dtype | None = None, device: str = "cpu") -> Any:
    """The causal model alone, eval mode, float32 unless told otherwise."""
    _need_extra()
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype or torch.float32,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
    )
    return model.to(device).eval()


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Wrapping a model, peft 0.21 asks transformers 5.23 for a property that transformers has renamed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def _need_extra() -> None:
    from importlib.util import find_spec

    if any(find_spec(name) is None for name in ("torch", "transformers", "peft")):
        raise MissingExtra(
            _("tuning needs torch, transformers and peft"), fix=_("Install them: pip install 'tuneloop[tune]'.")
        )
