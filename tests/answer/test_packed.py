"""Which file serves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.answer.models import add_pack, add_version
from tuneloop.answer.packed import Packed, check_unchanged, choose, missing_files, quants
from tuneloop.answer.serving import Model, shaped
from tuneloop.db.tables import packs
from tuneloop.errors import Damaged, Missing
from tuneloop.workspace import Workspace, open_workspace, write_atomically


def preferring(path: Path, quant: str) -> Workspace:
    workspace = open_workspace(path, create=True)
    write_atomically(path / "tuneloop.toml", f'[serve]\nquant = "{quant}"\n')
    workspace.db.close()
    return open_workspace(path)


@pytest.mark.parametrize(
    ("packed", "preferred", "chosen"),
    [
        (["f16", "q8_0", "q4_K_M"], "q8_0", "q8_0"),
        (["f16", "q8_0", "q4_K_M"], "q4_k_m", "q4_K_M"),
        (["f16", "q4_K_M"], "q8_0", "f16"),
        (["q4_0", "q4_K_M", "q5_K_M"], "q8_0", "q5_K_M"),
        (["iq2_xs"], "q8_0", "iq2_xs"),
        (["iq2_xs", "q4_0"], "none", "q4_0"),
    ],
)
def test_preferred_else_best(tmp_path: Path, packed: list[str], preferred: str, chosen: str) -> None:
    workspace = preferring(tmp_path, preferred)
    version = add_version(workspace, "v")
    for quant in packed:
        add_pack(workspace, version, quant)
    found = choose(workspace, version)
    assert found.quant == chosen
    assert found.path.is_file()
    check_unchanged(found)
    assert quants(workspace) == {version.id: sorted(packed)}


def test_unpacked_version_names_the_next_step(workspace: Workspace) -> None:
    version = add_version(workspace, "v")
    with pytest.raises(Missing) as caught:
        choose(workspace, version)
    assert f"tuneloop pack {version.id}" in caught.value.fix


def test_changed_and_lost_files_are_found(workspace: Workspace) -> None:
    version = add_version(workspace, "v")
    path = add_pack(workspace, version)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # one bit of one weight
    path.write_bytes(content)
    with pytest.raises(Damaged, match="checksum"):
        check_unchanged(choose(workspace, version))
    path.unlink()
    with pytest.raises(Missing, match="gone"):
        check_unchanged(choose(workspace, version))
    assert missing_files(workspace) == [path]


@pytest.mark.parametrize(
    ("parity", "system_role", "normalise"),
    [
        ({}, True, ""),  # a row of an earlier release
        ({"system_role": False, "normalise": "NFC"}, False, "NFC"),
        ({"system_role": True, "normalise": ""}, True, ""),
        ({"system_role": None, "normalise": "rm -rf"}, True, ""),
    ],
)
def test_the_form_of_questions_comes_with_the_file(
    workspace: Workspace, parity: dict[str, object], system_role: bool, normalise: str
) -> None:
    version = add_version(workspace, "v")
    add_pack(workspace, version)
    with workspace.db.write() as rows:
        rows.execute(packs.update().values(parity=parity))
    found = choose(workspace, version)
    assert (found.system_role, found.normalise) == (system_role, normalise)


def test_questions_are_only_changed_where_the_file_needs_it() -> None:
    chat = [{"role": "system", "content": "Кратко."}, {"role": "user", "content": "чеи\u0306?"}]

    def asked(**form: object) -> list[dict[str, object]]:
        packed = Packed(Path("m.gguf"), "v", "v", "q8_0", **form)  # type: ignore[arg-type]
        return shaped(Model(packed, None), chat)  # type: ignore[arg-type]

    assert asked() is chat
    assert asked(system_role=False) == [{"role": "user", "content": "Кратко.\n\nчеи\u0306?"}]
    assert asked(normalise="NFC")[1] == {"role": "user", "content": "чей?"}
    assert asked(system_role=False, normalise="NFC") == [{"role": "user", "content": "Кратко.\n\nчей?"}]
