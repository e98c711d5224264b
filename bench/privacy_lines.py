"""A labelled set of chat lines with personal data, written for this project; every person and number is invented.

`lines()` gives (stratum, text, secrets): secrets are the pieces that must not survive. Name forms were written by
hand, not by the code under test. Deterministic: a seeded shuffle pairs values with sentences.
"""

# ruff: noqa: E501  the lines are data
from __future__ import annotations

import random
from collections.abc import Iterator

# display name in the roster -> the forms in which chats write it (by hand)
PEOPLE: dict[str, str] = {
    "Марина Ветрова": "марина|марины|марине|марину|мариной|ветрова|ветровой|ветрову|маринка|мариночка|vetrova|marinu",
    "Глеб Ткаченко": "глеб|глеба|глебу|глебом|глебе|ткаченко|gleb|gleba|tkachenko|глебка",
    "Александр Сорокин": "саша|саши|саше|сашу|сашей|сашка|сашке|александра|александру|александром|сорокина|сорокину|шура|aleksandr|sorokin",
    "Екатерина Дубинина": "катя|кати|кате|катю|катей|катюша|катька|екатерины|екатерине|дубинину|дубининой|ekaterina|katya|dubinina",
    "Дмитрий Лапшин": "дима|димы|диме|диму|димой|димон|димка|митя|дмитрия|дмитрию|лапшина|лапшиным|dmitry|dima|lapshin",
    "Ольга Кравец": "оля|оли|оле|олю|олей|олечка|ольги|ольге|ольгой|кравец|olga|kravets",
    "Сергей Медведев": "сережа|серёжа|серёже|серегу|серёга|сергея|сергею|сергеем|медведева|медведеву|sergey|medvedev",
    "Наталья Петухова": "наташа|наташе|наташу|наташка|натальи|наталье|петуховой|петухову|natasha|natalya|petukhova",
    "Иван Гончар": "ваня|вани|ване|ваню|ваней|ивана|ивану|иваном|гончара|гончару|ivan|gonchar",
    "Ирина Белоусова": "ира|иры|ире|иру|ирой|ирине|ирину|ирины|белоусовой|белоусову|irina|belousova",
    "Павел Зимин": "паша|паши|паше|пашу|пашей|павла|павлу|павлом|зимина|зимину|pavel|zimin",
    "Юлия Чернышёва": "юля|юли|юле|юлю|юлей|юлии|юлию|чернышева|чернышевой|чернышёву|yulia|yulya",
    "Михаил Щукин": "миша|миши|мише|мишу|мишей|мишка|михаила|михаилу|щукина|щукину|mikhail|shchukin|misha",
    "Татьяна Ржевская": "таня|тани|тане|таню|таней|татьяны|татьяне|ржевской|ржевскую|tatyana|tanya",
    "Евгений Крылов": "женя|жени|жене|женю|женей|женька|евгения|евгению|крылова|крылову|evgeny|krylov",
    "Алексей Шевчук": "лёша|леша|лёше|лешу|лёхе|леха|алексея|алексею|алексеем|шевчука|шевчуку|alexey|aleksey|shevchuk",
    "Анна Гуляева": "аня|ани|ане|аню|аней|анечка|анны|анне|анну|гуляевой|гуляеву|anna|gulyaeva",
    "Николай Жуков": "коля|коли|коле|колю|колей|колян|николая|николаю|жукова|жукову|nikolay|zhukov",
    "Владимир Осипов": "вова|вовы|вове|вову|вовой|вован|володя|владимира|владимиру|осипова|осипову|vladimir|osipov",
    "Светлана Цой": "света|светы|свете|свету|светой|светка|светлане|светлану|svetlana|sveta",
    "Тимур Хайруллин": "тимур|тимура|тимуру|тимуром|хайруллина|хайруллину|timur|khayrullin",
    "Артём Быков": "артём|артем|артёма|артема|артёму|артемом|быкова|быкову|artem|bykov",
    "Anton Kuznetsov": "антон|антона|антону|антоном|тоха|кузнецова|кузнецову|anton|kuznetsov|antona",
    "Elena Morozova": "елена|елены|елене|елену|лена|лене|лену|ленка|морозова|морозовой|elena|morozova",
    "Богдан": "богдан|богдана|богдану|богданом|bogdan",
    "Зульфия": "зульфия|зульфии|зульфию|zulfiya",
    "пчёлка_Майя Л.": "майя|майи|майе|майю|maya",
    "GlebTech": "glebtech",
    "kot_behemot77": "behemot",
    "Костя Пасечник 🐝": "костя|кости|косте|костю|костей|костик|костян|kostya",
    "Роман Вишняков": "рома|ромы|роме|рому|ромой|ромка|романа|роману|романом|вишнякова|вишнякову|roman|vishnyakov",
    "Яна Островская": "яна|яны|яне|яну|яной|островской|островскую|yana|ostrovskaya",
}

NAME_LINES = (
    "спросите у {x} она в курсе",
    "{x} вчера писал про это же",
    "передай {x} что ульи приехали",
    "надо позвать {x}, без него не заведем",
    "а где {x}? третий день молчит",
    "видел {x} на ярмарке, всем привет",
    "с {x} уже договорились на субботу",
    "это к {x}, не ко мне",
    "спасибо {x}!!! выручили",
    "ну {x} как всегда прав)",
    "написал {x} в личку - ответа нет",
    "ask {x} about the scale firmware",
    "ping {x} plz",
    "{x}, подскажите по дымарю",
    "вместе с {x} варили раму до ночи",
)

STRUCTURED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "email": (
        (
            "marina.vetrova@example.org", "gleb+scales@example.com", "пчела@пасека.рф", "info@ulei-shop.example",
            "a.b.c@sub.example.co.uk", "IVAN_1987@EXAMPLE.NET", "olga собака example точка org", "pavel(at)example.com",
            "kravets [at] example [dot] org", "x@example.io",
        ),
        (
            "пишите на {x} отвечу вечером", "почта {x}", "мой мейл: {x}.", "счёт выслали на {x}, проверьте спам",
            "({x})", "send the invoice to {x} please", "{x} - это бухгалтерия", "логин {x} и всё",
            "mailto:{x}", "скинь архив на {x}!",
        ),
    ),
    "phone": (
        (
            "+7 900 000-12-34", "8 (900) 000-56-78", "89000009012", "+79000003456", "8-900-000-78-90", "7 900 000 11 22",
            "900 000 33 44", "+7(900)0005566", "8 900 0007788", "+375 29 000-00-11", "+380 50 000 00 22",
            "(495) 000-00-33", "8(4872)00-00-44", "+1 202 555 0143", "+44 20 7946 0958", "8.900.000.99.00",
        ),
        (
            "звоните {x} до восьми", "тел {x}", "мой номер {x}, Viber тоже", "{x} это мой рабочий",
            "скиньте на {x} по сбп", "курьер: {x}.", "call me {x} asap", "номер мастера - {x} (после 18)",
            "WhatsApp {x}", "перевод по номеру {x} Марина В.",
        ),
    ),
    "card": (
        (
            "4111 1111 1111 1111", "5555555555554444", "2200 0000 0000 0053", "4111-1111-1111-1111", "6011000990139424",
            "2200000000000053", "3782 822463 10005", "4276 0000 0000 0018", "5105 1051 0510 5100",
        ),
        (
            "карта {x}", "переводите на {x} сбер", "взнос сюда {x}, подпишите фамилию", "вот карта: {x}.",
            "{x} действует до 12/29", "не та карта, правильная {x}", "pay to {x}",
        ),
    ),
    "link": (
        (
            "https://shop.example.org/reset?token=9f8a7b6c5d", "https://t.me/+AbCdEfGh123", "https://t.me/joinchat/AAAAAEx1",
            "https://api.example.com/v1/data?api_key=12ab34cd&x=1", "http://admin:secret@192.0.2.10/panel",
            "https://docs.google.com/document/d/1AbCdEfGhIjKlMnOpQrStUvWxYz/edit", "https://zoom.us/j/123456789?pwd=QWERTY",
            "https://discord.gg/abcDEF", "https://example.org/invite/a8f3e9c2b7d1f4a6e8c0b2", "https://chat.whatsapp.com/Ab1Cd2Ef3",
            "https://example.com/callback#access_token=zzz111", "tg://resolve?domain=ivan_test",
        ),
        (
            "вот ссылка {x}", "заходите {x}", "{x} только никому", "скинул: {x}", "click {x} now",
            "сброс пароля тут {x} действует час", "созвон {x} в семь",
        ),
    ),
    "user": (
        ("@marina_vetrova", "@gleb_tech", "@ivan87", "@Kot_Behemot", "https://t.me/ivan_petrov", "@olga_k_2020"),
        (
            "{x} глянь пожалуйста", "спасибо {x}", "это {x} делал", "писать {x}", "{x}, {x}", "cc {x}",
            "подписывайтесь на {x}!", "привет {x}:",
        ),
    ),
    "secret": (
        (
            "sk-AbCdEf0123456789AbCdEf", "ghp_0123456789abcdefghij0123456789abcd", "123456789:AAH0123456789abcdefghijklmnopqrstuv",
            "AKIAIOSFODNN7EXAMPLE", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcdefgh",
        ),
        ("ключ {x}", "токен бота {x} не светите", "export KEY={x}", "вот {x} только тихо", "используй {x} пока"),
    ),
    "account": (
        ("40817810000000000001", "112-233-445 95", "DE89370400440532013000", "GB29 NWBK 6016 1331 9268 19"),
        ("р/с {x}", "реквизиты: {x}", "снилс/счёт {x} для договора", "iban {x} получатель кооператив"),
    ),
}  # fmt: skip

# Lines that hold nothing personal: whatever is removed here is a false alarm.
HARMLESS = (
    "по опыту 10 000 кубов хватает", "в 2024 году было 37 градусов", "версия 3.11.7 вышла 04.12.2023", "рамка 435х300 мм",
    "взяток 4,5 кг за день с 12 ульев", "id заказа 1542895468", "esp32 на 192.168.1.10:8080 отвечает", "цена 1 250 000 руб",
    "https://example.org/articles/varroa-treatment", "см. раздел 5.4.1", "в 10:30 собираемся у ворот", "порог 0.85 и 2048 токенов",
    "щавелевая 2.5 г на 50 мл сиропа", "обработал 15.10 и 22.10", "температура +7 ночью, днём +21", "8 рамок из 12 заняты",
    "скорость 115200 бод", "датчик hx711 врёт на 300 г", "диск 500 гб, свободно 37", "код ошибки 404, потом 502",
    "пчела села на рамку и улетела", "мёд уже севший, греть до 40", "the sensor reads 1023 when empty", "see chapter 12 of the manual",
    "нужно 3 доски 40х150х6000", "болт м8 на 60, гайка м8", "сироп 1:1 весной и 3:2 осенью", "вес улья 42.350 кг утром",
)  # fmt: skip


def lines(seed: int = 7) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(stratum, text, secrets) for every value: structured kinds, "roster" (each form, three ways), "harmless"."""
    random_ = random.Random(seed)
    for kind, (values, templates) in STRUCTURED.items():
        for value in values:
            for template in templates:
                yield kind, template.format(x=value), (value,)
    for forms in PEOPLE.values():
        for form in forms.split("|"):
            for spelling in (form, form.capitalize()):
                yield "roster", random_.choice(NAME_LINES).format(x=spelling), (spelling,)
    for name in PEOPLE:
        yield "roster", random_.choice(NAME_LINES).format(x=name.lower()), tuple(name.lower().split()[:2])
    yield from (("harmless", text, ()) for text in HARMLESS)
