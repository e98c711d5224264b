"""Products that users miss: an admin lets them into the catalogue, or not.

The photo becomes the product's picture, and so is no example of it: a photo that is its own catalogue picture would be
found by any map, and make every figure look better than it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tuneloop.encoders.choice import Encoder
from tuneloop.errors import Conflict, Missing
from tuneloop.loop import photo_clicks
from tuneloop.search import catalogue
from tuneloop.search.catalogue_sources import Product
from tuneloop.texts import _
from tuneloop.workspace import Workspace

SOURCE = "proposals"  # imports of other sources do not retire what users brought


def find(workspace: Workspace, proposal: str, *, tenant: str = "") -> Any:
    """One proposed product that waits. Raises Missing when there is none, Conflict when it was decided."""
    for state in ("pending", "approved", "rejected"):
        for row in photo_clicks.proposals(workspace, tenant=tenant, state=state):
            if row.id == proposal and state == "pending":
                return row
            if row.id == proposal:
                raise Conflict(_("'{name}' was decided before: {state}").format(name=row.name, state=state))
    raise Missing(_("there is no proposed product '{id}'").format(id=proposal[:80]))


def approve(workspace: Workspace, proposal: str, encoder: Encoder, *, by: str, tenant: str = "") -> catalogue.Item:
    """Make the proposal a product with its photo as picture.

    The product has an id of its own, so that a crash in between and a second try make one product. Raises Missing,
    Conflict when it was decided before or is being decided, and the photo's own error when that cannot be read.
    """
    row = find(workspace, proposal, tenant=tenant)
    item = "new-" + proposal.removeprefix("np-")[:12]
    product = Product(item, row.name, row.category, row.price, "", (workspace.path / row.path,) if row.path else ())
    catalogue.put(workspace, [product], encoder, source=SOURCE, tenant=tenant)
    try:
        photo_clicks.decide(workspace, proposal, "approved", by=by, item=item, tenant=tenant)
    except Conflict:
        if not _is_approved(workspace, proposal, tenant):
            catalogue.retire(workspace, item, tenant=tenant)
        raise
    return catalogue.find(workspace, item, tenant=tenant)


def reject(workspace: Workspace, proposal: str, *, by: str, tenant: str = "") -> str:
    """Say no to a proposal and return its name. Raises Missing, Conflict when it was decided before."""
    return str(photo_clicks.decide(workspace, proposal, "rejected", by=by, tenant=tenant).name)


def picture(workspace: Workspace, photo: str, *, tenant: str = "") -> Path:
    """The photo of a proposal, by the name of the photo: what an admin looks at. Raises Missing."""
    for row in photo_clicks.proposals(workspace, tenant=tenant):
        path = workspace.path / str(row.path)
        if path.stem == photo and path.is_file():
            return path
    raise Missing(_("there is no picture '{id}'").format(id=photo[:80]))


def _is_approved(workspace: Workspace, proposal: str, tenant: str) -> bool:
    listed = photo_clicks.proposals(workspace, tenant=tenant, state="approved")
    return any(row.id == proposal for row in listed)
