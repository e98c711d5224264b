"""Which version of photo search a team searches with, and every way to change it.

A team has its own versions, one of them active, or none: then "start" searches, the map that no click has taught. It is
a state like any other, so the first promotion can be taken back as well.
"""

from __future__ import annotations

from tuneloop import versions
from tuneloop.errors import Conflict, Missing
from tuneloop.loop.photo_version import kind_of
from tuneloop.records import Version
from tuneloop.texts import _
from tuneloop.versions import START
from tuneloop.workspace import Workspace


def listed(workspace: Workspace, *, tenant: str = "") -> list[Version]:
    """All versions of the team, newest first."""
    return versions.history(workspace, kind=kind_of(tenant))


def active(workspace: Workspace, *, tenant: str = "") -> Version | None:
    """The version that searches, None where "start" does."""
    return next((v for v in listed(workspace, tenant=tenant) if v.active), None)


def find(workspace: Workspace, reference: str, *, tenant: str = "") -> Version:
    """A version of the team; another team's is Missing. Raises what `versions.find` raises."""
    try:
        return versions.find(workspace, reference, kind=kind_of(tenant))
    except Missing as problem:
        raise Missing(problem.message, fix=_("`tuneloop photos versions` shows them.")) from None


def before(workspace: Workspace, *, tenant: str = "") -> str | None:
    """What a roll back returns to: an id or "start"; None where there is nothing."""
    now = active(workspace, tenant=tenant)
    if now is not None:
        return versions.previous(workspace, now) or START
    left = versions.left(workspace, kind=kind_of(tenant))
    return None if left is None else left.id


def activate(workspace: Workspace, reference: str, *, tenant: str = "", note: str = "", force: bool = False) -> str:
    """Make a version, or "start", what searches; returns which. Raises what `versions.find` and `activate` raise.

    "start" needs no gate: it is what every version was measured against first.
    """
    if reference != START:
        found = find(workspace, reference, tenant=tenant)
        versions.activate(workspace, found, note=note, force=force)
        return found.id
    now = active(workspace, tenant=tenant)
    if now is not None:
        versions.leave(workspace, now, event="activated", note=note)
    return START


def roll_back(workspace: Workspace, *, tenant: str = "", note: str = "", of: str = "") -> str:
    """Return to what searched before; its id, or "start".

    of: what is rolled back, so that the same order twice goes back once; Conflict when something else searches.
    Raises Missing where nothing searched before, Damaged for a version whose files have changed.
    """
    now = active(workspace, tenant=tenant)
    serving = now.id if now else START
    if of and of != serving:
        raise Conflict(_("version {id} does not search any more").format(id=of))
    target = before(workspace, tenant=tenant)
    if target is None:
        raise Missing(
            _("no version searched before"), fix=_("Activate one by its id; `tuneloop photos versions` shows them.")
        )
    if target == START:
        assert now is not None
        versions.leave(workspace, now, event="rolled_back", note=note)
        return START
    return versions.return_to(workspace, target, kind=kind_of(tenant), note=note).id
