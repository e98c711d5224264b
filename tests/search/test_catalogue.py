"""A catalogue imported again and again: what is new, changed and gone; nothing half written, nothing read twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.search import shop
from tuneloop.encoders.choice import Encoder, open_encoder
from tuneloop.errors import BadInput, Missing
from tuneloop.search import catalogue, catalogue_sources, vectors
from tuneloop.search.catalogue import Imported
from tuneloop.workspace import Workspace

FEW = ["red ball", "blue box", "green star"]


def counting(counts: list[int]) -> Encoder:
    """The classical encoder, noting how many pictures it was given."""
    real = open_encoder("classical")

    def pictures(pixels: vectors.picture.Pixels) -> vectors.Matrix:
        counts.append(len(pixels))
        return real.pictures(pixels)

    return Encoder(real.name, real.side, pictures)


def bring(workspace: Workspace, path: Path, encoder: Encoder | None = None, tenant: str = "") -> Imported:
    chosen = encoder or open_encoder("classical")
    return catalogue.put(workspace, catalogue_sources.read(path), chosen, source="shop", retire=True, tenant=tenant)


def test_import_and_again(workspace: Workspace, tmp_path: Path) -> None:
    path, counts = shop.write(tmp_path / "shop", names=FEW), []
    encoder = counting(counts)
    assert bring(workspace, path, encoder) == Imported(read=3, added=3)
    before = catalogue.revision(workspace)
    assert bring(workspace, path, encoder) == Imported(read=3, unchanged=3)
    assert sum(counts) == 3 and catalogue.revision(workspace) == before
    for item in catalogue.items(workspace):
        assert (workspace.path / item.pictures[0][1]).is_file()


def test_changed_and_retired_and_back(workspace: Workspace, tmp_path: Path) -> None:
    path = shop.write(tmp_path / "shop", names=FEW)
    bring(workspace, path)
    text = path.read_text(encoding="utf-8")
    lines = text.replace("blue-box,blue box", "blue-box,navy box").splitlines()
    path.write_text("\n".join(line for line in lines if "star" not in line), encoding="utf-8")
    before = catalogue.revision(workspace)
    done = bring(workspace, path)
    assert (done.changed, done.unchanged, done.retired) == (1, 1, 1)
    assert catalogue.revision(workspace) > before
    assert [i.name for i in catalogue.items(workspace)] == ["navy box", "red ball"]
    assert catalogue.find(workspace, "green-star").state == catalogue.RETIRED
    path.write_text(text, encoding="utf-8")
    assert bring(workspace, path).changed == 2
    assert len(catalogue.items(workspace)) == 3


def test_other_sources_are_not_retired(workspace: Workspace, tmp_path: Path) -> None:
    bring(workspace, shop.write(tmp_path / "shop", names=FEW))
    mine = catalogue_sources.Product("mine", "My cup", pictures=(tmp_path / "shop/pictures/red-ball.png",))
    catalogue.put(workspace, [mine], open_encoder("classical"))
    assert bring(workspace, tmp_path / "shop/catalogue.csv").retired == 0
    assert len(catalogue.items(workspace)) == 4


def test_a_product_without_a_usable_picture_is_kept_and_named(workspace: Workspace, tmp_path: Path) -> None:
    path = shop.write(tmp_path / "shop", names=FEW)
    (tmp_path / "shop/pictures/red-ball.png").write_bytes(b"GIF89a" + bytes(40))
    (tmp_path / "shop/pictures/blue-box.png").unlink()
    done = bring(workspace, path)
    assert (done.added, done.without_picture) == (3, 2)
    assert [p for p, _why in done.problems] == ["red-ball", "blue-box"]
    assert "GIF" in done.problems[0][1] and "cannot be read" in done.problems[1][1]
    assert catalogue.named(workspace, "BALL red")[0].pictures == ()


def test_tenants_do_not_see_each_other(workspace: Workspace, tmp_path: Path) -> None:
    path = shop.write(tmp_path / "shop", names=FEW)
    bring(workspace, path, tenant="a")
    assert catalogue.items(workspace, tenant="b") == [] and catalogue.revision(workspace, tenant="b") == 0
    assert catalogue.named(workspace, "ball", tenant="b") == []
    with pytest.raises(Missing):
        catalogue.find(workspace, "red-ball", tenant="b")
    assert bring(workspace, path, tenant="b").added == 3
    catalogue.retire(workspace, "red-ball", tenant="b")
    assert len(catalogue.items(workspace, tenant="a")) == 3


def test_a_bad_product_stops_the_whole_import(workspace: Workspace) -> None:
    good = catalogue_sources.Product("1", "Cup")
    with pytest.raises(BadInput):
        catalogue.put(workspace, [good, catalogue_sources.Product("2", "")], open_encoder("classical"))
    assert catalogue.items(workspace, state="") == []


def test_names_are_found_by_their_words(workspace: Workspace, tmp_path: Path) -> None:
    encoder = open_encoder("classical")
    names = ["Чайник синий", "Синий ковш", "Чашка", "синий"]
    catalogue.put(workspace, [catalogue_sources.Product(str(n), name) for n, name in enumerate(names)], encoder)
    assert [i.name for i in catalogue.named(workspace, "СИНИЙ")] == ["синий", "Синий ковш", "Чайник синий"]
    assert catalogue.named(workspace, "  ") == [] and catalogue.named(workspace, "нет") == []


def test_a_lost_copy_is_made_again(workspace: Workspace, tmp_path: Path) -> None:
    path = shop.write(tmp_path / "shop", names=FEW)
    bring(workspace, path)
    copy = workspace.path / catalogue.items(workspace)[0].pictures[0][1]
    copy.unlink()
    bring(workspace, path)
    assert copy.is_file()
    assert not list((workspace.path / "photos").rglob("*.tmp"))
