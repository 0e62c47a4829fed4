"""Made-up texts with secrets and personal data in known places, and others that only look like it.

Written from the formats' own descriptions, not from our rules: random bodies, several spellings and
languages, check digits computed here.
"""

from __future__ import annotations

import base64
import json
import random
import string
from typing import NamedTuple

ALNUM = string.ascii_letters + string.digits
URLSAFE = ALNUM + "-_"


class Sample(NamedTuple):
    text: str
    rule: str | None  # what is in it, if anything
    value: str  # the very characters that must not survive


def pick(rng: random.Random, alphabet: str, n: int) -> str:
    return "".join(rng.choice(alphabet) for _ in range(n))


def luhn_digit(digits: str) -> str:
    total = 0
    for i, char in enumerate(reversed(digits)):
        n = int(char)
        if i % 2 == 0:
            n = n * 2 - 9 if n > 4 else n * 2
        total += n
    return str(-total % 10)


def card(rng: random.Random) -> str:
    prefix, length = rng.choice([("4", 16), ("51", 16), ("55", 16), ("2221", 16), ("34", 15), ("37", 15), ("6011", 16)])
    digits = prefix + pick(rng, string.digits, length - len(prefix) - 1)
    digits += luhn_digit(digits)
    if rng.random() < 0.4:
        return digits
    gap = rng.choice([" ", "-"])
    cuts = (4, 10, 15) if length == 15 else (4, 8, 12, 16)
    return gap.join(digits[a:b] for a, b in zip((0, *cuts), cuts, strict=False))


def iban(rng: random.Random) -> str:
    country, body = rng.choice(
        [
            ("DE", pick(rng, string.digits, 18)),
            ("NL", pick(rng, string.ascii_uppercase, 4) + pick(rng, string.digits, 10)),
            ("GB", pick(rng, string.ascii_uppercase, 4) + pick(rng, string.digits, 14)),
            ("FR", pick(rng, string.digits, 23)),
            ("AT", pick(rng, string.digits, 16)),
            ("NO", pick(rng, string.digits, 11)),
        ]
    )
    number = int("".join(str(int(char, 36)) for char in body + country + "00"))
    code = f"{country}{98 - number % 97:02d}{body}"
    return code if rng.random() < 0.5 else " ".join(code[i : i + 4] for i in range(0, len(code), 4))


def jwt(rng: random.Random) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    payload = {"sub": pick(rng, string.digits, 10), "exp": rng.randrange(10**9, 2 * 10**9)}
    return f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(payload)}.{pick(rng, URLSAFE, 43)}"


def mail(rng: random.Random) -> str:
    name = rng.choice(["anna.schmidt", "j.o'neil", "mueller+shop", "li_wei", "jürgen.k", "x99", "maria-jose.lopez"])
    domain = rng.choice(["example.com", "mail.example.co.uk", "firma-beispiel.de", "uni.example.edu", "correo.es"])
    return f"{name}{rng.randrange(100)}@{domain}"


def phone(rng: random.Random) -> str:
    d = lambda n: pick(rng, string.digits, n)  # noqa: E731
    return rng.choice(
        [
            f"+49 15{rng.randrange(10)} {d(8)}", f"+49{rng.randrange(151, 180)}{d(7)}", f"0{rng.randrange(151, 179)}/{d(8)}",
            f"030 {d(8)}", f"({rng.randrange(201, 989)}) {rng.randrange(200, 999)}-{d(4)}",
            f"{rng.randrange(201, 989)}-{rng.randrange(200, 999)}-{d(4)}", f"+1 {rng.randrange(201, 989)}-{rng.randrange(200, 999)}-{d(4)}",
            f"+44 7{d(3)} {d(6)}", f"+33 6 {d(2)} {d(2)} {d(2)} {d(2)}", f"06 {d(2)} {d(2)} {d(2)} {d(2)}", f"0041 79 {d(3)} {d(2)} {d(2)}",
        ]
    )  # fmt: skip


def steuer_id(rng: random.Random) -> str:
    while True:
        digits = list(rng.sample(string.digits, 9))
        digits.insert(rng.randrange(1, 10), rng.choice(digits))
        body = "".join(digits)
        if body[0] != "0":
            break
    product = 10
    for char in body:
        total = (int(char) + product) % 10 or 10
        product = total * 2 % 11
    code = body + str((11 - product) % 10)
    return rng.choice([code, f"{code[:2]} {code[2:5]} {code[5:8]} {code[8:]}"])


def pesel(rng: random.Random) -> str:
    body = f"{rng.randrange(40, 99)}{rng.randrange(1, 13):02d}{rng.randrange(1, 29):02d}{pick(rng, string.digits, 4)}"
    weights = (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)
    return body + str(-sum(w * int(c) for w, c in zip(weights, body, strict=True)) % 10)


def dni(rng: random.Random) -> str:
    number = rng.randrange(10**7, 10**8)
    return f"{number}{'TRWAGMYFPDXBNJZSQVHLCKE'[number % 23]}"


def cpf(rng: random.Random) -> str:
    digits = [rng.randrange(10) for _ in range(9)]
    for _ in range(2):
        rest = sum(d * w for d, w in zip(digits, range(len(digits) + 1, 1, -1), strict=True)) % 11
        digits.append(0 if rest < 2 else 11 - rest)
    s = "".join(map(str, digits))
    return f"{s[:3]}.{s[3:6]}.{s[6:9]}-{s[9:]}"


def nir(rng: random.Random) -> str:
    body = f"{rng.choice('12')}{rng.randrange(100):02d}{rng.randrange(1, 13):02d}{rng.randrange(1, 95):02d}{rng.randrange(1000):03d}{rng.randrange(1000):03d}"
    key = f"{97 - int(body) % 97:02d}"
    return rng.choice([body + key, f"{body[0]} {body[1:3]} {body[3:5]} {body[5:7]} {body[7:10]} {body[10:]} {key}"])


SECRET_KINDS = {
    "openai_key": lambda r: "sk-" + r.choice(["", "proj-", "svcacct-"]) + pick(r, URLSAFE, 47) + pick(r, ALNUM, 1),
    "anthropic_key": lambda r: "sk-ant-api03-" + pick(r, URLSAFE, 92) + pick(r, ALNUM, 1),
    "aws_key": lambda r: r.choice(["AKIA", "ASIA"]) + pick(r, string.ascii_uppercase + "234567", 16),
    "google_key": lambda r: "AIza" + pick(r, URLSAFE, 34) + pick(r, ALNUM, 1),
    "github_token": lambda r: r.choice(["ghp_", "gho_", "ghs_"]) + pick(r, ALNUM, 36),
    "gitlab_token": lambda r: "glpat-" + pick(r, URLSAFE, 19) + pick(r, ALNUM, 1),
    "slack_token": lambda r: f"xoxb-{pick(r, string.digits, 12)}-{pick(r, string.digits, 12)}-{pick(r, ALNUM, 24)}",
    "stripe_key": lambda r: r.choice(["sk_live_", "rk_test_"]) + pick(r, ALNUM, 24),
    "huggingface_token": lambda r: "hf_" + pick(r, string.ascii_letters, 34),
    "npm_token": lambda r: "npm_" + pick(r, ALNUM, 36),
    "sendgrid_key": lambda r: f"SG.{pick(r, URLSAFE, 22)}.{pick(r, URLSAFE, 42)}{pick(r, ALNUM, 1)}",
    "jwt": jwt,
    "card": card,
}  # fmt: skip
PERSONAL_KINDS = {
    "mail": mail,
    "phone": phone,
    "iban": iban,
    "ssn": lambda r: f"{r.randrange(1, 665):03d}-{r.randrange(1, 100):02d}-{r.randrange(1, 10000):04d}",
    "nino": lambda r: f"{r.choice(['AB', 'JG', 'YZ'])}{r.choice(['', ' '])}{pick(r, string.digits, 6)}{r.choice('ABCD')}",
    "dni": dni,
    "steuer_id": steuer_id,
    "pesel": pesel,
    "cpf": cpf,
    "nir": nir,
}  # fmt: skip

FRAMES = (
    "please use {} for this", "{}", "Hier ist es: {}.", "it is '{}', thanks", '{{"value": "{}"}}', "c'est {}, merci",
    "mi dato es {} y ya está", "<{}>", "first line\nthen {}\nand more", "({})", "das hier:{}", "number={};", "\t{}\t|",
)  # fmt: skip

HARMLESS = (
    lambda r: f"order {r.randrange(10**5, 10**9)} of {r.randrange(2020, 2027)}-{r.randrange(1, 13):02d}-{r.randrange(1, 29):02d}",
    lambda r: f"at 2026-11-{r.randrange(1, 29):02d}T12:{r.randrange(60):02d}:07.{pick(r, string.digits, 6)}+00:00",
    lambda r: f"trace {pick(r, '0123456789abcdef', 32)} and {pick(r, '0123456789abcdef', 64)}",
    lambda r: "id {}-{}-{}-{}-{}".format(*(pick(r, "0123456789abcdef", n) for n in (8, 4, 4, 4, 12))),
    lambda r: f"call_{pick(r, ALNUM, 24)} of get_customer_by_phone_number",
    lambda r: f"probability {r.random()} and loss {r.random() * 1e-5:.15f}",
    lambda r: f"https://example.com/a/{pick(r, string.ascii_lowercase, 8)}?page={r.randrange(900)}&size=50",
    lambda r: f"server 10.{r.randrange(256)}.{r.randrange(256)}.{r.randrange(256)}:8080, version 1.{r.randrange(20)}.{r.randrange(20)}",
    lambda r: f"total 1,{pick(r, string.digits, 3)},{pick(r, string.digits, 3)}.00 EUR, {r.randrange(100)} pieces",
    lambda r: "the password must be at least 12 characters; your password: required",
    lambda r: f"max_tokens={r.randrange(4096)}, tokenizer, keyboard, monkey, secretary, passenger {r.randrange(300)}",
    lambda r: f"I forgot my password and it is {r.choice(['expired', 'wrong', 'gone'])}; send the token to me",
    lambda r: f"flight HAT{r.randrange(100, 400)} seat {r.randrange(1, 40)}A, reservation {pick(r, string.ascii_uppercase + string.digits, 6)}",
    lambda r: f"task-{r.randrange(1000)}, risk-based, disk-usage-of-the-primary-node-{r.randrange(99)}",
    lambda r: f"user_{r.randrange(10**6)} said {pick(r, string.ascii_lowercase, 9)} @ {r.randrange(24)}:00",
    lambda r: f"isbn 978-3-16-148410-{r.randrange(10)} page {r.randrange(900)}; timestamp {r.randrange(10**9, 2 * 10**9)}",
)  # fmt: skip


def samples(n: int, seed: int) -> list[Sample]:
    """Two thirds hold one find each, a third holds none."""
    rng = random.Random(seed)
    kinds = [*SECRET_KINDS.items(), *PERSONAL_KINDS.items()]
    found = []
    for index in range(n):
        filler = rng.choice(HARMLESS)(rng)
        if index % 3 == 2:
            found.append(Sample(filler, None, ""))
            continue
        rule, make = kinds[index % len(kinds)]
        value = make(rng)
        framed = rng.choice(FRAMES).format(value)
        found.append(Sample(rng.choice([f"{filler} . {framed}", f"{framed} ; {filler}", framed]), rule, value))
    return found
