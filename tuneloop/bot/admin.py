"""Commands of admins: figures, training, examples, proposed products, versions. An empty list of admins is nobody.

Who is not on the list gets the answer of a command that does not exist. The list is asked at every press as well: a
button outlives a right.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiogram import Bot, Router
from aiogram.filters import BaseFilter, Command
from aiogram.types import CallbackQuery, FSInputFile, InputMediaPhoto, Message

from tuneloop.bot import buttons, clicks, training
from tuneloop.bot.desk import Desk, name_of
from tuneloop.bot.words import word
from tuneloop.errors import NotEnoughData
from tuneloop.loop import photo_clicks, photo_examples, photo_proposals, photo_switch, photo_training
from tuneloop.search import catalogue
from tuneloop.texts import _
from tuneloop.versions import START

AT_ONCE = 10  # proposals or versions shown by one command


class Admin(BaseFilter):
    """Lets those through who are on the list now."""

    async def __call__(self, message: Message, desk: Desk) -> bool:
        return message.from_user is not None and message.from_user.id in desk.admins and message.sender_chat is None


def routes() -> Router:
    """Commands of admins."""
    router = Router(name="admin")
    router.message.filter(Admin())
    router.message.register(stats, Command("admin_training_stats"))
    router.message.register(training.start, Command("admin_start_training"))
    router.message.register(examples, Command("admin_view_examples"))
    router.message.register(new_products, Command("admin_new_products"))
    router.message.register(list_versions, Command("admin_versions"))
    return router


async def stats(message: Message, desk: Desk) -> None:
    """What there is to learn from, who said it, what the last trainings brought."""
    found = await asyncio.to_thread(photo_training.report, desk.workspace, tenant=desk.finder.tenant)
    verdicts = ", ".join(f"{word(verdict)} {n}" for verdict, n in sorted(found["verdicts"].items())) or "-"
    lines = [
        _("Products: {n}, without a picture: {without}").format(n=found["products"], without=found["without_picture"]),
        _("Searches: {n}").format(n=found["searches"]),
        _("Clicks that stand: {verdicts}").format(verdicts=verdicts),
        _("Not learned from yet: {n}").format(n=found["unused"]),
    ]
    people = [f"{p['user'] or '-'} {p['verdicts']} ({p['share']:.0%})" for p in found["people"][:5]]
    lines.append(_("Who clicked most: {people}").format(people=", ".join(people) or "-"))
    if people and found["people"][0]["share"] > 0.5 and len(found["people"]) > 1:
        lines.append(_("More than half of the clicks are one person's: look at them before you train."))
    lines += [training.told(t) for t in found["trainings"][:3]] or [_("No training yet.")]
    await message.answer("\n".join(lines)[:4096])


async def examples(message: Message, desk: Desk) -> None:
    assert message.from_user
    await _show_example(message, desk, message.from_user.id, 1)


async def turn(query: CallbackQuery, desk: Desk, bot: Bot, parts: list[str]) -> None:
    """Another page of examples."""
    if isinstance(query.message, Message):
        await _show_example(query.message, desk, query.from_user.id, int(parts[0]))
    await clicks.tell(query)


async def review(query: CallbackQuery, desk: Desk, bot: Bot, parts: list[str]) -> None:
    """Quality 1 to 5, or leave out of training and take in again."""
    feedback, said, number = parts
    values: dict[str, Any] = {"excluded": said == "x"} if said in "xi" else {"quality": int(said)}
    await asyncio.to_thread(photo_clicks.review, desk.workspace, "pf-" + feedback, tenant=desk.finder.tenant, **values)
    example = await asyncio.to_thread(photo_examples.at, desk.workspace, int(number), tenant=desk.finder.tenant)
    if example.id == "pf-" + feedback:  # newer examples may have moved it to another page
        await clicks.rewrite(query, await _told(desk, example), _review_buttons(desk, query.from_user.id, example))
    await clicks.tell(query, _("Noted."))


async def _show_example(message: Message, desk: Desk, user: int, number: int) -> None:
    example = await asyncio.to_thread(photo_examples.at, desk.workspace, number, tenant=desk.finder.tenant)
    item = await asyncio.to_thread(catalogue.find, desk.workspace, example.item, tenant=desk.finder.tenant)
    places = [example.photo, *(path for _id, path in item.pictures[:1])]
    files = [desk.workspace.path / place for place in places if place]
    there = [file for file in files if file.is_file()]
    if len(there) > 1:
        await message.answer_media_group([InputMediaPhoto(media=FSInputFile(file)) for file in there])
    elif there:
        await message.answer_photo(FSInputFile(there[0]))
    await message.answer(await _told(desk, example), reply_markup=_review_buttons(desk, user, example))


async def _told(desk: Desk, example: photo_examples.Example) -> str:
    item = await asyncio.to_thread(catalogue.find, desk.workspace, example.item, tenant=desk.finder.tenant)
    lines = [
        _("Example {n} of {count}: {verdict}").format(
            n=example.number, count=example.count, verdict=word(example.verdict)
        ),
        f"{item.name} ({item.id})",
        _("by {user}").format(user=example.user or "-"),
        _("quality: {n}").format(n=example.quality or "-"),
    ]
    if example.excluded:
        lines.append(_("left out of training"))
    if example.used:
        lines.append(_("learned by version {id}").format(id=example.used))
    return "\n".join(lines)


def _review_buttons(desk: Desk, user: int, example: photo_examples.Example) -> Any:
    feedback, page = example.id.removeprefix("pf-"), str(example.number)
    rates = [(str(n), desk.button(user, "q", feedback, str(n), page)) for n in range(1, 6)]
    out = (_("Take in again"), "i") if example.excluded else (_("Leave out"), "x")
    pages = []
    if example.number > 1:
        pages.append(("◀", desk.button(user, "g", str(example.number - 1))))
    if example.number < example.count:
        pages.append(("▶", desk.button(user, "g", str(example.number + 1))))
    return buttons.keyboard(rates, [(out[0], desk.button(user, "q", feedback, out[1], page))], pages)


async def new_products(message: Message, desk: Desk) -> None:
    """Every proposal that waits, with its photo and two buttons."""
    assert message.from_user
    waiting = await asyncio.to_thread(photo_clicks.proposals, desk.workspace, tenant=desk.finder.tenant)
    if not waiting:
        await message.answer(_("No product waits for a decision."))
    for row in waiting[:AT_ONCE]:
        markup = buttons.keyboard(
            [
                (_("Approve"), desk.button(message.from_user.id, "A", row.id.removeprefix("np-"))),
                (_("Reject"), desk.button(message.from_user.id, "R", row.id.removeprefix("np-"))),
            ]
        )
        facts = " · ".join(part for part in (row.category, row.price) if part)
        caption = "\n".join(part for part in (row.name, facts, _("by {user}").format(user=row.user or "-")) if part)
        photo = desk.workspace.path / row.path
        if row.path and photo.is_file():
            await message.answer_photo(FSInputFile(photo), caption=caption[:1024], reply_markup=markup)
        else:
            await message.answer(caption, reply_markup=markup)
    if len(waiting) > AT_ONCE:
        await message.answer(_("{n} more wait.").format(n=len(waiting) - AT_ONCE))


async def approve(query: CallbackQuery, desk: Desk, bot: Bot, parts: list[str]) -> None:
    by = name_of(query.from_user.id)
    encoder = desk.finder.encoder
    item = await asyncio.to_thread(
        photo_proposals.approve, desk.workspace, "np-" + parts[0], encoder, by=by, tenant=desk.finder.tenant
    )
    await clicks.rewrite(query, _("In the catalogue: {name} ({id})").format(name=item.name, id=item.id))
    await clicks.tell(query)


async def reject(query: CallbackQuery, desk: Desk, bot: Bot, parts: list[str]) -> None:
    by = name_of(query.from_user.id)
    name = await asyncio.to_thread(
        photo_proposals.reject, desk.workspace, "np-" + parts[0], by=by, tenant=desk.finder.tenant
    )
    await clicks.rewrite(query, _("Rejected: {name}").format(name=name))
    await clicks.tell(query)


async def list_versions(message: Message, desk: Desk) -> None:
    assert message.from_user
    text, markup = await asyncio.to_thread(_versions, desk, message.from_user.id)
    await message.answer(text, reply_markup=markup)


async def activate(query: CallbackQuery, desk: Desk, bot: Bot, parts: list[str]) -> None:
    """Only what the gate let through; to overrule it is a command of the terminal."""
    note = _("by {user}").format(user=name_of(query.from_user.id))
    tenant = desk.finder.tenant
    now = await asyncio.to_thread(photo_switch.activate, desk.workspace, parts[0], tenant=tenant, note=note)
    await _switched(query, desk, now)


async def roll_back(query: CallbackQuery, desk: Desk, bot: Bot, parts: list[str]) -> None:
    """To what searched before the version the button was made for; pressed twice it goes back once."""
    note = _("by {user}").format(user=name_of(query.from_user.id))
    tenant = desk.finder.tenant
    now = await asyncio.to_thread(photo_switch.roll_back, desk.workspace, tenant=tenant, note=note, of=parts[0])
    await _switched(query, desk, now)


async def _switched(query: CallbackQuery, desk: Desk, version: str) -> None:
    await clicks.tell(query, _("Version {id} searches from now on.").format(id=version))
    text, markup = await asyncio.to_thread(_versions, desk, query.from_user.id)
    await clicks.rewrite(query, text, markup)


def _versions(desk: Desk, user: int) -> tuple[str, Any]:
    """Newest first, with what the gate said, and "start" below them; a button for each that may search."""
    found = photo_switch.listed(desk.workspace, tenant=desk.finder.tenant)
    if not found:
        raise NotEnoughData(_("there is no version yet"), fix=_("/admin_start_training makes one."))
    lines, rows = [], []
    for version in found[:AT_ONCE]:
        decision = (version.verdict or {}).get("decision", "not judged")
        lines.append(f"{'●' if version.active else '○'} {version.id} {version.name}: {word(decision)}")
        if not version.active and decision == "promote":
            rows.append([(_("Activate {id}").format(id=version.id[:8]), desk.button(user, "V", version.id))])
    active = next((v.id for v in found if v.active), START)
    lines.append(f"{'●' if active == START else '○'} {START}: " + _("before any version"))
    if photo_switch.before(desk.workspace, tenant=desk.finder.tenant) is not None:
        rows.append([(_("Roll back"), desk.button(user, "B", active))])
    return "\n".join(lines), buttons.keyboard(*rows) if rows else None


ACTIONS = {
    "g": turn,
    "q": review,
    "A": approve,
    "R": reject,
    "V": activate,
    "B": roll_back,
}
