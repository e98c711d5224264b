"""Read a 500 MB Telegram export of 1,000,000 messages into a workspace, beside json.load of the same file.

Asked for: read + pair in 60 s and 300 MB. Read + store and pair are processes of their own, as commands are; the
pairing trains the link ranker on the chat's replies and pairs the answers of the one who answers most.
"""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from statistics import median

from bench.frame import Spent, child

MESSAGES = 1_000_000

STORE = """
import sys
from pathlib import Path
from tuneloop.collect import store
from tuneloop.workspace import open_workspace
workspace = open_workspace(Path(sys.argv[2]), create=True)
(done,) = store.import_export(workspace, Path(sys.argv[1]))
print(done.read, done.kept, done.added, sum(done.rejected.values()))
"""
BACK = """
import sys
from pathlib import Path
from tuneloop.collect import store
from tuneloop.workspace import open_workspace
workspace = open_workspace(Path(sys.argv[1]))
((chat, _count),) = store.chats(workspace)
print(sum(1 for _message in store.messages(workspace, chat.id)))
"""
PAIR = """
import sys
from pathlib import Path
from tuneloop.collect import examples, store
from tuneloop.workspace import open_workspace
workspace = open_workspace(Path(sys.argv[1]))
((chat, _count),) = store.chats(workspace)
built = examples.build(workspace, chat.id)
print(len(built.examples), len(built.dialogues), built.links["reply_links"])
"""
LOAD = """
import json, sys
with open(sys.argv[1], encoding="utf-8") as file:
    print(len(json.load(file)["messages"]))
"""

VOCABULARY = (
    "тест нагрузка сервер ответ запрос почему когда скрипт отчёт график память поток ошибка версия сборка база кэш "
    "опять сломалось спасибо попробуй проверь логи вчера завтра релиз проект команда вопрос пример кажется наверное "
    "the load script request answer thread memory build please check again works slow fast report maybe"
)
WORDS = VOCABULARY.split()


def write_export(path: Path, messages: int = MESSAGES, seed: int = 1) -> None:
    """A chat as Telegram Desktop writes it (indent 1): replies, entities, photos, 2 % service lines."""
    chance = random.Random(seed)
    people = [(f"user{100000 + n}", f"Человек {n}") for n in range(400)]
    with path.open("w", encoding="utf-8") as file:
        file.write('{\n "name": "Bench",\n "type": "private_supergroup",\n "id": 1500000001,\n "messages": [\n')
        for number in range(1, messages + 1):
            when = 1_500_000_000 + number * 60
            item: dict[str, object] = {"id": number, "type": "message", "date": "2020-01-01T00:00:00"}
            item["date_unixtime"] = str(when)
            sender, name = people[min(int(chance.expovariate(0.02)), 399)]
            if chance.random() < 0.02:
                item |= {"type": "service", "actor": name, "actor_id": sender, "action": "invite_members", "text": ""}
            else:
                item |= {"from": name, "from_id": sender}
                if chance.random() < 0.35 and number > 30:
                    item["reply_to_message_id"] = number - chance.randint(1, 25)
                text = " ".join(chance.choices(WORDS, k=max(1, int(chance.expovariate(1 / 11)))))
                if chance.random() < 0.1:
                    link = {"type": "link", "text": f"https://example.org/{number}"}
                    item |= {"text": [text + " ", link], "text_entities": [{"type": "plain", "text": text + " "}, link]}
                else:
                    item |= {"text": text, "text_entities": [{"type": "plain", "text": text}]}
            body = json.dumps(item, ensure_ascii=False, indent=1).replace("\n", "\n  ")
            file.write(f"  {body}{',' if number < messages else ''}\n")
        file.write(" ]\n}\n")


def run() -> None:
    with tempfile.TemporaryDirectory() as folder:
        export = Path(folder, "result.json")
        write_export(export)
        megabytes = export.stat().st_size / 1e6
        print(f"file     {megabytes:.0f} MB, {MESSAGES:,} items")
        figures: dict[str, list[Spent]] = {}
        for turn in range(3):
            workspace = Path(folder, f"work{turn}")
            for name, code, arguments in (
                ("tuneloop read + store", STORE, (str(export), str(workspace))),
                ("tuneloop read back", BACK, (str(workspace),)),
                ("tuneloop pair", PAIR, (str(workspace),)),
                ("json.load", LOAD, (str(export),)),
            ):
                figures.setdefault(name, []).append(child(code, *arguments))
        for name, found in figures.items():
            seconds, cpu, peak = (median(getattr(one, key) for one in found) for key in ("seconds", "cpu", "peak"))
            print(f"{name:24} {found[-1].said.strip()}")
            print(f"{'':24} {seconds:6.1f} s  {cpu:6.1f} CPU s  {peak:6.0f} MB  {megabytes / seconds:5.0f} MB/s")
