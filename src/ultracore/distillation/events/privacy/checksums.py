"""Check digits: tells a card, bank account or national id from any other long number.

What this file does not know: how such numbers are found in text.
"""

from __future__ import annotations

__all__ = [
    "is_card",
    "is_codice_fiscale",
    "is_cpf",
    "is_dni",
    "is_iban",
    "is_nir",
    "is_pesel",
    "is_ssn",
    "is_steuer_id",
    "luhn",
    "mod97",
]

IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
    "LU": 20, "LV": 21, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15,
    "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24,
    "SM": 27, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip
"""Length by country, of the SWIFT registry."""

_CF_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)


def compact(text: str) -> str:
    """Letters and digits only."""
    return "".join(char for char in text if char.isalnum())


def luhn(digits: str) -> bool:
    """The check of ISO/IEC 7812.

    Example:
        >>> luhn("4111111111111111"), luhn("4111111111111112")
        (True, False)
    """
    total = 0
    for place, char in enumerate(reversed(digits)):
        value = int(char) << (place & 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def is_card(text: str) -> bool:
    """A payment card: a range that is issued, its length, the Luhn digit."""
    digits = compact(text)
    return _issued(digits) and len(set(digits)) > 1 and luhn(digits)


def _issued(digits: str) -> bool:
    n, two, four = len(digits), int(digits[:2]), int(digits[:4])
    if digits[0] == "4":
        return n in (13, 16, 19)
    if 51 <= two <= 55 or 2221 <= four <= 2720 or 3528 <= four <= 3589:
        return n == 16
    if two in (34, 37):
        return n == 15
    if two in (30, 36, 38, 39):
        return n in (14, 16)
    return two in (50, 56, 57, 58, 60, 61, 62, 63, 64, 65, 67, 68, 69) and 16 <= n <= 19


def mod97(text: str) -> int:
    """The remainder of ISO 7064 MOD 97-10; letters count from A = 10."""
    return int("".join(str(int(char, 36)) for char in text)) % 97


def is_iban(text: str) -> bool:
    """A bank account: its country's length, and the check digits of ISO 13616."""
    code = compact(text).upper()
    return IBAN_LENGTHS.get(code[:2]) == len(code) and mod97(code[4:] + code[:4]) == 1


def is_ssn(text: str) -> bool:
    """A US social security number that can have been issued."""
    area, group, serial = text[:3], text[4:6], text[-4:]
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def is_dni(text: str) -> bool:
    """A Spanish DNI or NIE."""
    code = compact(text).upper()
    number = code[:-1].translate(str.maketrans("XYZ", "012"))
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == code[-1]


def is_nir(text: str) -> bool:
    """A French social security number of 15 digits."""
    code = compact(text).upper().replace("2A", "19").replace("2B", "18")
    return code.isdigit() and len(code) == 15 and 97 - int(code[:13]) % 97 == int(code[13:])


def is_steuer_id(text: str) -> bool:
    """A German tax id: ISO 7064 MOD 11,10, and one digit among the first ten that recurs."""
    digits = compact(text)
    product = 10
    for char in digits[:10]:
        product = ((int(char) + product) % 10 or 10) * 2 % 11
    return len(set(digits[:10])) in (8, 9) and (11 - product) % 10 == int(digits[10])


def is_pesel(text: str) -> bool:
    """A Polish PESEL: its weighted check digit and a date of birth."""
    digits = [int(char) for char in text]
    month, day = (digits[2] * 10 + digits[3]) % 20, digits[4] * 10 + digits[5]
    weighted = sum(weight * digit for weight, digit in zip((1, 3, 7, 9) * 3, digits[:10], strict=False))
    return 1 <= month <= 12 and 1 <= day <= 31 and (10 - weighted % 10) % 10 == digits[10]


def is_cpf(text: str) -> bool:
    """A Brazilian CPF, its two check digits."""
    digits = [int(char) for char in compact(text)]
    checks = [sum(w * d for w, d in zip(range(n + 1, 1, -1), digits, strict=False)) * 10 % 11 % 10 for n in (9, 10)]
    return len(set(digits)) > 1 and checks == digits[9:]


def is_codice_fiscale(text: str) -> bool:
    """An Italian tax code, its check letter."""
    code = text.upper()
    values = [int(char) if char.isdigit() else ord(char) - ord("A") for char in code[:15]]
    total = sum(_CF_ODD[value] if place % 2 == 0 else value for place, value in enumerate(values))
    return chr(ord("A") + total % 26) == code[15]
