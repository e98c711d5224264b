"""CLIP and SigLIP through transformers, from a folder or a hub name: pictures and texts in one space.

Pictures come as pixels that were read elsewhere, so only the model is loaded, never an image processor: those of
transformers want torchvision, which breaks beside a CPU torch. Means and sizes are read from the model's own files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuneloop.encoders.picture import Pixels
from tuneloop.errors import Missing, MissingExtra
from tuneloop.texts import _

Vectors = NDArray[np.float32]

AT_ONCE = 16
# OpenAI's CLIP; SigLIP's files say 0.5
MEAN, SPREAD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class Clip:
    """A loaded model. Raises MissingExtra without torch and transformers, Missing when there is no such model."""

    def __init__(self, place: str) -> None:
        try:
            import torch
            from transformers import AutoConfig, AutoModel
        except ImportError as problem:
            raise MissingExtra(
                _("the encoder '{name}' needs torch and transformers").format(name=place),
                fix=_("Install them: pip install 'tuneloop[tune]', or use the encoder 'classical'."),
            ) from problem
        self._torch = torch
        self.place = place
        try:
            config = AutoConfig.from_pretrained(place)
            # safetensors only: a pickled checkpoint runs code when it is opened
            self.model: Any = AutoModel.from_pretrained(place, use_safetensors=True, dtype=torch.float32).eval()
        except (OSError, ValueError) as problem:
            raise Missing(
                _("there is no picture model '{name}': {problem}").format(
                    name=place, problem=str(problem).strip().split("\n")[0][:160]
                ),
                fix=_("Give a folder with config.json and model.safetensors of a CLIP or SigLIP model."),
            ) from problem
        self.side = int(config.vision_config.image_size)
        self.name = f"clip-{Path(place).name}-{_mark(self.model)}"
        self._mean, self._spread = _normalisation(place)
        self._tokenizer: Any = None  # read with the first text: searches by photo need none

    def pictures(self, pixels: Pixels) -> Vectors:
        """(n, side, side, 3) bytes -> (n, d) unit vectors."""
        torch = self._torch
        made = []
        with torch.inference_mode():
            for start in range(0, len(pixels), AT_ONCE):
                batch = torch.from_numpy(np.ascontiguousarray(pixels[start : start + AT_ONCE])).permute(0, 3, 1, 2)
                batch = (batch.float() / 255 - self._mean) / self._spread
                made.append(_pooled(self.model.get_image_features(pixel_values=batch)))
        return _unit(np.concatenate(made)) if made else np.zeros((0, 0), dtype=np.float32)

    def texts(self, said: Sequence[str]) -> Vectors:
        """Texts -> (n, d) unit vectors in the space of the pictures. Raises Missing without the model's tokenizer."""
        if self._tokenizer is None:
            self._tokenizer = _tokenizer(self.place)
        longest = int(self.model.config.text_config.max_position_embeddings)
        tokens = self._tokenizer(
            list(said), padding="max_length", truncation=True, max_length=longest, return_tensors="pt"
        )
        with self._torch.inference_mode():
            return _unit(_pooled(self.model.get_text_features(**tokens)))


def _tokenizer(place: str) -> Any:
    from transformers import AutoTokenizer

    why = ""
    try:
        found = AutoTokenizer.from_pretrained(place)
        # Without files transformers 5 makes one that knows no word, and every text would be the same vector.
        if len(found.get_vocab()) > len(found.all_special_tokens):
            return found
    except (OSError, ValueError) as problem:
        why = str(problem).strip().split("\n")[0][:160]
    raise Missing(
        _("'{name}' has no tokenizer to read texts with").format(name=place) + (f": {why}" if why else ""),
        fix=_("Put the model's tokenizer.json (and tokenizer_config.json) into its folder."),
    )


def _pooled(found: Any) -> Vectors:
    """transformers 5 answers with an output object, older ones with the tensor itself."""
    return np.asarray(getattr(found, "pooler_output", found).float().numpy(), dtype=np.float32)


def _normalisation(place: str) -> tuple[Any, Any]:
    import torch

    said: dict[str, Any] = {}
    path = Path(place) / "preprocessor_config.json"
    if path.is_file():
        said = json.loads(path.read_text(encoding="utf-8"))
    values = (said.get("image_mean", MEAN), said.get("image_std", SPREAD))
    mean, spread = (torch.tensor(value, dtype=torch.float32).reshape(1, 3, 1, 1) for value in values)
    return mean, spread


def _mark(model: Any) -> str:
    """Eight digits that change with the weights, so that vectors of a tuned copy never mix with the original's."""
    import hashlib

    total = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        total.update(f"{name}{float(tensor.double().sum()):.6e}".encode())
    return total.hexdigest()[:8]


def _unit(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9), dtype=np.float32)
