#!/usr/bin/env python3
"""Writes generated inputs for the comparison of our readers with Spring Boot's.

usage: generate.py OUT.jsonl [--scalars N] [--documents N] [--properties N] [--seed TEXT]

Every input depends on the seed, its kind and its number only, so a smaller run is a
prefix of a larger one. One JSON object per line: {"id","kind","base64"}.
"""

import argparse
import base64
import json
import random


class Rng:
    """Only random() is used: it is the one method whose sequence Python promises to keep."""

    def __init__(self, seed):
        self.source = random.Random(seed)

    def chance(self, p):
        return self.source.random() < p

    def below(self, n):
        return int(self.source.random() * n)

    def between(self, low, high):
        return low + self.below(high - low + 1)

    def pick(self, items):
        return items[self.below(len(items))]

    def text(self, alphabet, low, high):
        return "".join(self.pick(alphabet) for _ in range(self.between(low, high)))


# ---------------------------------------------------------------- scalars

BOOLS = ["true", "false", "yes", "no", "on", "off", "y", "n", "t", "f", "null", "~", "nil", "none", "undefined"]
SPECIAL = [
    "0", "-0", "+0", "+1", "-1", "00", "07", "08", "09", "010", "0755", "-010", "+010", "0_7", "0_8", "0o17", "0O17",
    "0x", "0x0", "0x1F", "0X1F", "-0x1f", "+0xAb", "0x_1", "0x1_", "0xG", "0b", "0b0", "0b101", "-0b11", "+0b1", "0b_1",
    "0b2", "0B1", "1_000", "1__0", "1_", "_1", "_", "-_1", "-1_", "+_", "1_000.5", "1._5", "1_.5", "._5", "0_", "0__0",
    "1:30", "12:30:45", "190:20:30", "190:20:30.15", "01:02", "1:60", "1:59", "1:5", "1:05", "0:0", "0:30", "-1:30",
    "+1:30", "1:30:", "1:2:3:4:5:6", "1_0:30", "1:3_0", "1:30.", "1:30.5", "1:30_.5", "0:30.5", "60:00", "99999999999:59",
    "1.", "1.0", "1.10", ".5", ".", "..", "...", "-.5", "+.5", "-.", "1.5e3", "1e3", "1E5", "1e-7", "1e+7", "1.e3", ".e3",
    ".5e3", "1e", "1e+", "1.5e", "e3", "1.0E400", "-1.0E400", "1e-400", "4.9e-324", "2.2250738585072014E-308",
    "1.7976931348623157e308", "1.7976931348623159e308", "1.2.3", "1,000", "1,5", "0.1", "00.1", "01.5", "08.5", "0.1e1",
    "1e1.5", "123456789.0", "12345678.9", "1234567.8", "9999999.0", "10000000.0", "0.001", "0.0009999", "1e7", "1.0e7",
    "100000000000000000000000.0", "2.0e-3", "1.17549435E-38", "9007199254740993.0", "0.30000000000000004", "2e-323",
    ".inf", "-.inf", "+.inf", ".Inf", "-.Inf", ".INF", "+.INF", ".iNf", "inf", "-inf", ".infinity", ".nan", ".NaN", ".NAN",
    ".Nan", "-.nan", "nan", "NaN", "Infinity", "2147483647", "2147483648", "-2147483648", "-2147483649",
    "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809",
    "18446744073709551615", "123456789012345678901234567890", "0x7fffffff", "0x80000000", "0xffffffffffffffff",
    "0x1ffffffffffffffff", "017777777777", "020000000000", "0777777777777777777777777", "0b1111111111111111111111111111111",
    "0b" + "1" * 32, "0b" + "1" * 64, "0b" + "1" * 70, "596523:14:07", "596523:14:08", "2020-01-01", "2020-1-1",
    "2020-01-01T00:00:00Z", "2020-01-01 00:00:00", "2020-01-01t10:20:30.123+02:00", "10:20:30", "20:30", "12h", "1d",
    "5m", "10MB", "1.2.3.4", "127.0.0.1", "::1", "fe80::1", "http://a.b/c", "a:b", "a:", ":a", ":", "-a", "--", "-", "- a",
    "-1-", "?a", "?", "? a", "=", "<<", "!", "!a", "!!str 1", "!!int 12", "!!float 1", "!!float 1.5", "!!bool yes",
    "!!null x", "!!binary aGVsbG8=", "!!timestamp 2020-01-01", "!!str", "! 12", "!!int x", "&a 1", "*a", "&a", "#a", "a#b",
    "a #b", "a\t#b", "[]", "{}", "[a", "{a", "[1, 2]", "{a: 1}", "a]", "a}", "a,b", ",a", "|", ">", "|-", ">+", "'a'",
    "''", "'it''s'", "'a", '"a"', '""', '"a\\nb"', '"\\x41\\u00e9\\U0001F600"', '"\\q"', '"a', "%a", "@a", "`a", "a%b", "a@b",
    "${a}", "${a:b}", "#{a}", "a: b", "a : b", "a:\tb", "\ta", "a\tb", "a\\nb", "\\", "true false", "true #c", "yes,",
    "null null", "~a", "a~", "~ ", "12 ", " 12", "12\t", "+", "++1", "--1", "+-1", "1+", "1-", "0-", "0+1", "1e5e5",
    "1_e5", "1e_5", "1e5_", "1.5_e5", "0e0", "-0.0", "+0.0", "0.0", "-0e1", "0.", "-0.", "00.", "1.0f", "1.0d", "1L",
    "0x1p3", "1e0x1", "\u00fc", "\u00e9t\u00e9", "\u20ac", "\U0001F600", "\u0661\u0662", "\uff11", "\u00a0", "\u2028", "\u0085",
    "\ufeff", "\ufeffa", "a\ufeff", "\u200b", "\x7f", "\x07", "a\x00", "\ufffe", "\U0010ffff", "\u3000",
]
NUMERIC = "0123456789_.:+-eE"
HEXISH = "0123456789abcdefABCDEFxXoO_+-."
INDICATORS = "-?:,[]{}#&*!|>'\"%@`~=<$\\/^;()"
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
UNICODE = "\u00e4\u00f6\u00fc\u00df\u00e9\u00f1\u20ac\u03b1\u0416\u4e2d\u6587\U0001F600\u0130\u0131\u00a0\u2003\u2029\u0660"


def any_case(rng, word):
    how = rng.below(4)
    if how == 0:
        return word.lower()
    if how == 1:
        return word.upper()
    if how == 2:
        return word[:1].upper() + word[1:].lower()
    return "".join(c.upper() if rng.chance(0.5) else c.lower() for c in word)


def digits(rng, low, high, alphabet="0123456789"):
    return rng.text(alphabet, low, high)


def sprinkle(rng, text):
    if rng.chance(0.25):
        for _ in range(rng.between(1, 2)):
            at = rng.between(0, len(text))
            text = text[:at] + "_" + text[at:]
    return text


def sign(rng):
    return rng.pick(["", "", "", "-", "+"])


def scalar_int(rng):
    how = rng.below(7)
    if how == 0:
        return sign(rng) + sprinkle(rng, digits(rng, 1, 5))
    if how == 1:
        return sign(rng) + sprinkle(rng, digits(rng, 8, 24))
    if how == 2:
        return sign(rng) + "0" + sprinkle(rng, digits(rng, 1, 8, "01234567"))
    if how == 3:
        return sign(rng) + "0" + sprinkle(rng, digits(rng, 1, 24, "0123456789"))
    if how == 4:
        return sign(rng) + rng.pick(["0x", "0x", "0X"]) + sprinkle(rng, digits(rng, 0, 20, "0123456789abcdefABCDEF"))
    if how == 5:
        return sign(rng) + rng.pick(["0b", "0b", "0B", "0o"]) + sprinkle(rng, digits(rng, 0, 70, "01" if rng.chance(0.9) else "012"))
    parts = [sprinkle(rng, digits(rng, 1, 4))]
    for _ in range(rng.between(1, 4)):
        parts.append(digits(rng, 1, 2, "0123456789") if rng.chance(0.4) else str(rng.below(60)))
    return sign(rng) + ":".join(parts)


def scalar_float(rng):
    how = rng.below(6)
    exponent = rng.pick(["e", "E"]) + rng.pick(["", "+", "-"]) + digits(rng, 1, rng.pick([1, 2, 3]))
    if how == 0:
        return sign(rng) + sprinkle(rng, digits(rng, 1, 9)) + "." + sprinkle(rng, digits(rng, 0, 9))
    if how == 1:
        return sign(rng) + sprinkle(rng, digits(rng, 1, 9)) + "." + digits(rng, 0, 12) + exponent
    if how == 2:
        return sign(rng) + digits(rng, 1, 18) + exponent
    if how == 3:
        return sign(rng) + "." + sprinkle(rng, digits(rng, 1, 9)) + rng.pick(["", exponent])
    if how == 4:
        return sign(rng) + digits(rng, 15, 19) + "." + digits(rng, 1, 6)
    parts = [digits(rng, 1, 3)] + [str(rng.below(60)) for _ in range(rng.between(1, 3))]
    return sign(rng) + ":".join(parts) + "." + sprinkle(rng, digits(rng, 0, 4))


def scalar_date(rng):
    text = "%04d-%s-%s" % (rng.between(0, 2100), rng.pick(["%d", "%02d"]) % rng.between(0, 13), rng.pick(["%d", "%02d"]) % rng.between(0, 32))
    if rng.chance(0.5):
        text += rng.pick(["T", "t", " "]) + "%02d:%02d:%02d" % (rng.below(25), rng.below(61), rng.below(61))
        text += rng.pick(["", ".5", ".123"]) + rng.pick(["", "Z", " Z", "+02:00", "-5", " +1"])
    return text


def scalar_word(rng):
    how = rng.below(5)
    if how == 0:
        return rng.text(LETTERS, 1, 8)
    if how == 1:
        return rng.text(LETTERS + "0123456789-_./", 1, 12)
    if how == 2:
        return rng.text(LETTERS + UNICODE, 1, 6)
    if how == 3:
        return " ".join(rng.text(LETTERS + "0123456789", 1, 6) for _ in range(rng.between(2, 4)))
    return rng.pick(["http://", "jdbc:mysql://", "classpath:", "${", "s3:"]) + rng.text(LETTERS + ":/.-${}", 1, 15)


def mutate(rng, text):
    for _ in range(rng.between(1, 2)):
        at = rng.between(0, len(text))
        how = rng.below(4)
        if how == 0:
            text = text[:at] + text[at + 1:]
        elif how == 1:
            text = text[:at] + rng.pick(NUMERIC + HEXISH + INDICATORS + LETTERS + " \t") + text[at:]
        elif how == 2:
            text = text[:at] + rng.pick(NUMERIC + INDICATORS) + text[at + 1:]
        else:
            text = text[:at] + text[at:at + 1].swapcase() + text[at + 1:]
    return text


def scalar(rng):
    how = rng.below(100)
    if how < 5:
        return rng.pick(SPECIAL)
    if how < 15:
        return mutate(rng, rng.pick(SPECIAL))
    if how < 21:
        return any_case(rng, rng.pick(BOOLS))
    if how < 24:
        return rng.pick(["", "-", "+", "."]) + any_case(rng, rng.pick([".inf", ".nan", "inf", "nan", ".infinity"]))
    if how < 40:
        return scalar_int(rng)
    if how < 56:
        return scalar_float(rng)
    if how < 72:
        return rng.text(NUMERIC, 1, 12)
    if how < 77:
        return rng.text(HEXISH, 1, 10)
    if how < 80:
        return scalar_date(rng)
    if how < 90:
        return scalar_word(rng)
    if how < 95:
        return mutate(rng, scalar_word(rng))
    return rng.text(INDICATORS + "ab1 ", 1, 8)


def scalars(seed, count):
    seen = set()
    number = 0
    for text in SPECIAL:
        if number < count and text not in seen:
            seen.add(text)
            yield number, text.encode("utf-8")
            number += 1
    attempt = 0
    while number < count:
        text = scalar(Rng("%s scalar %d" % (seed, attempt)))
        attempt += 1
        if text not in seen and "\n" not in text and "\r" not in text:
            seen.add(text)
            yield number, text.encode("utf-8")
            number += 1


# ---------------------------------------------------------------- YAML documents

SAFE_KEYS = ["a", "b", "c", "name", "server", "port", "spring", "list", "x-y", "my_key", "camelCase", "a.b", "url", "k1", "k2", "k3"]
ODD_KEYS = [
    "1", "1.5", "true", "yes", "no", "on", "off", '""', '"[a.b]"', "'[x]'", '"[/**]"', "a/b", "a b", "0x1F", "010",
    "1:30", "2020-01-01", ".inf", "a[0]", "a[0].b", "b[1]", "a.", ".a", "a..b", '"q\\tk"', "'it''s'", "\u00fc", "\U0001F600", "?x", "-x",
    "!!str 5", "&anc key", "document", "<", "=", "a#b", "1_000", "1e3", "${k}", "a:b", "!!int 7", "'*'", "'1'", '"true"', "#x",
]
WILD_KEYS = ["[x, y]", "{p: q}", "*", "@a", "~", "null", "''", "%x", "&a0", "*a0", "!t x", "- x", "? x", "|", ","]
SAFE_SCALARS = [
    "1", "0", "true", "false", "yes", "no", "hello", "some words here", "1.5", "http://localhost:8080/x", "${a:b}", "010", "0x1F", "~", "null",
    "2020-01-01", "1:30", "12h", "'quoted'", '"double"', "''", '""', "'it''s'", '"a\\nb"', '"\\u00e9\\x41\\t"', "\u00fcber", "a#b", "-1", "1_000",
    "1e3", ".5", "a,b", "x]", "'true'", '"10"', "a:b", "a*.example", "on", "C:\\dir", "1.0E10", "'multi\n\n  line'", '"folded \\\n    text"',
    "!!str 12", "!!int 3", "!!float 2", "!!binary aGVsbG8=", "!!bool true", "! x", "!!null ''", "!!set {a, b}", "!!timestamp 2020-01-01",
    "!!seq [a]", "!!map {a: b}", "!local x", "!!java.util.Date 2020",
]


class Doc:
    def __init__(self, rng):
        self.rng = rng
        self.anchors = []
        self.map_anchors = []
        self.step = rng.pick([2, 2, 2, 1, 3, 4])

    def key(self, used):
        rng = self.rng
        for _ in range(20):
            if rng.chance(0.006):
                key = rng.pick(WILD_KEYS)
            else:
                key = rng.pick(ODD_KEYS) if rng.chance(0.1) else rng.pick(SAFE_KEYS)
            if key not in used or rng.chance(0.004):
                break
            key = key + str(rng.below(100))
            if key not in used:
                break
        used.add(key)
        return key

    def scalar(self):
        rng = self.rng
        how = rng.below(20)
        if rng.chance(0.02):
            return self.quoted_lines()
        if how < 14:
            return rng.pick(SAFE_SCALARS[:46] if rng.chance(0.98) else SAFE_SCALARS)
        if how < 17:
            return scalar_int(rng)
        if how < 19:
            return scalar_float(rng)
        return scalar(rng) if rng.chance(0.05) else rng.text(LETTERS, 1, 9)

    def quoted_lines(self):
        """Quoted text of several lines, which begin with blanks, tabs or nothing."""
        rng = self.rng
        quote = rng.pick("'\"")
        lines = [rng.text(LETTERS + ("#-:," if rng.chance(0.3) else ""), 0, 5)]
        for _ in range(rng.between(1, 3)):
            lines.append(rng.pick(["\t", "\t", "\t\t", "  \t", "\t ", " ", "        ", "", "\t\n\t"]) + rng.pick(["x", "y z", "it''s" if quote == "'" else "\\tq", "- a", "# b", "k: v", ""]))
        return quote + "\n".join(lines) + quote

    def flow_scalar(self):
        if self.rng.chance(0.03):
            return self.rng.pick(["-", "-", "-", "-a", "--", "_", "-,", "- ", "'-'", "-:"] if self.rng.chance(0.5) else ["-"])
        while True:
            text = self.scalar()
            if "\n" not in text and (text[:1] in "'\"" or not any(c in text for c in ",[]{}") or self.rng.chance(0.01)):
                return text

    def flow(self, depth):
        rng = self.rng
        if depth <= 0 or rng.chance(0.5):
            return self.flow_scalar()
        gap = rng.pick(["", " ", " ", "  "])
        end = rng.pick(["", "", "", " ", ",", ", "])
        newline = "\n" + " " * 12 if rng.chance(0.08) else ""
        if rng.chance(0.5):
            items = [self.flow(depth - 1) for _ in range(rng.between(0, 4))]
            if rng.chance(0.06):
                items.append("p: q")
            body = ("," + newline + (gap or " ")).join(items)
            return "[" + gap + body + (end if items else "") + "]"
        used = set()
        items = []
        for _ in range(rng.between(0, 4)):
            key = self.key(used)
            if key[:1] not in "'\"" and any(c in key for c in "[]{},*?&!@"):
                key = rng.text(LETTERS, 2, 5)
            items.append(key if rng.chance(0.06) else key + ": " + self.flow(depth - 1))
        if rng.chance(0.04):
            items.append('"tight":1')
        body = ("," + newline + (gap or " ")).join(items)
        return "{" + gap + body + (end if items else "") + "}"

    def block_scalar(self, indent):
        """The header, and the lines below it."""
        rng = self.rng
        style = rng.pick(["|", ">"])
        chomp = rng.pick(["", "", "-", "+"])
        inner = self.step if rng.chance(0.9) else rng.between(1, 5)
        explicit = rng.chance(0.2)
        indicator = str(inner) if explicit else ""
        header = style + (indicator + chomp if rng.chance(0.5) else chomp + indicator)
        if rng.chance(0.1):
            header += "  # comment"
        pad = " " * (indent + inner)
        lines = []
        for number in range(rng.between(0, 5)):
            how = rng.below(12)
            if how < 6:
                lines.append(pad + rng.text(LETTERS + "  :#-'\"", 1, 20).rstrip() if rng.chance(0.8) else pad + "x")
            elif how == 6:
                lines.append("")
            elif how == 7:
                lines.append(pad)
            elif how == 8:
                lines.append(pad + "  more indented")
            elif how == 9:
                lines.append(pad + "\ttab")
            elif how == 10:
                lines.append(pad + "# not a comment")
            else:
                lines.append(pad + "trailing  ")
        if explicit and lines and rng.chance(0.4):
            lines[0] = pad + "  leading"
        if rng.chance(0.4):
            lines += [""] * rng.between(1, 2)
        if rng.chance(0.05):
            lines.append(" " * indent + "# a comment after")
        return header, lines

    def comment(self, indent):
        rng = self.rng
        if rng.chance(0.06):
            return [" " * rng.pick([0, indent]) + "# comment: here"]
        if rng.chance(0.05):
            return [rng.pick(["", "", " " * indent, "\t" if rng.chance(0.05) else ""])]
        return []

    def value(self, indent, depth, in_map, used_anchor=True):
        """Text to put behind `key:` or `-`, and the lines below."""
        rng = self.rng
        anchor = ""
        how = rng.below(100)
        name = None
        if used_anchor and rng.chance(0.08):
            name = "a%d" % rng.below(5)
            anchor = "&" + name + " "
        below = []
        if how < 45 or depth <= 0 and how < 70:
            text = self.scalar()
            if "\n" in text:
                text = text.replace("\n\n  ", "\n\n" + " " * (indent + 3)).replace("\n    ", "\n" + " " * (indent + 3))
            if rng.chance(0.05) and text[:1] not in "'\"":
                below = [" " * (indent + self.step) + "continued here"]
            elif rng.chance(0.08):
                text += rng.pick([" # remark", "  #", " ", "   "] if rng.chance(0.98) else ["\t", " \t# x", "#x"])
        elif how < 55:
            text, below = self.block_scalar(indent)
        elif how < 66:
            text = self.flow(2)
        elif how < 70:
            text = ""
        elif how < 73 and self.anchors:
            return rng.pick(self.anchors and ["*" + a for a in self.anchors]), []
        elif how < 86:
            below = self.mapping(indent + self.step, depth - 1)
            text = ""
            if name:
                self.map_anchors.append(name)
        else:
            shift = self.step if not in_map or rng.chance(0.5) else 0
            below = self.sequence(indent + shift, depth - 1)
            text = ""
        if name:
            self.anchors.append(name)
        return anchor + text, below

    def mapping(self, indent, depth):
        rng = self.rng
        pad = " " * indent
        lines = []
        used = set()
        for _ in range(rng.between(1, 5)):
            lines += self.comment(indent)
            if self.map_anchors and rng.chance(0.15) and "<<" not in used:
                used.add("<<")
                if rng.chance(0.3):
                    lines.append(pad + "<<: [" + ", ".join("*" + rng.pick(self.map_anchors) for _ in range(rng.between(1, 2))) + "]")
                else:
                    lines.append(pad + rng.pick(["<<: *", '<<: *', '"<<": *']) + rng.pick(self.map_anchors))
                continue
            key = self.key(used)
            if rng.chance(0.02):
                lines.append(pad + "? " + key)
                if rng.chance(0.8):
                    text, below = self.value(indent, depth, True)
                    lines.append((pad + ": " + text).rstrip(" ") if not text.startswith(" ") else pad + ":" + text)
                    lines += below
                continue
            text, below = self.value(indent, depth, True)
            separator = rng.pick([": "] * 10 + [" : ", ":   "] if rng.chance(0.997) else [":\t", ": \t", "\t: "])
            lines.append(pad + key + (separator + text if text else ":"))
            lines += below
        return lines

    def sequence(self, indent, depth):
        rng = self.rng
        pad = " " * indent
        lines = []
        for _ in range(rng.between(1, 4)):
            lines += self.comment(indent)
            if depth > 0 and rng.chance(0.3):
                inner = self.mapping(indent + 2, depth - 1)
                first = inner[0]
                if first.strip() and not first.strip().startswith("#") and first.startswith(pad + "  "):
                    inner[0] = pad + "- " + first[indent + 2:]
                else:
                    lines.append(pad + "-")
                lines += inner
                continue
            text, below = self.value(indent, depth, False)
            lines.append(pad + ("- " + text if text else "-"))
            lines += below
        return lines


def document(rng):
    """One whole file."""
    parts = []
    count = rng.pick([1, 1, 1, 1, 2, 2, 3])
    for number in range(count):
        doc = Doc(rng)
        how = rng.below(40)
        if how < 34:
            lines = doc.mapping(0, rng.between(1, 4))
        elif how < 36:
            lines = doc.sequence(0, rng.between(1, 3))
        elif how == 36:
            lines = [doc.scalar()]
        elif how == 37:
            lines = [doc.flow(3)]
        elif how == 38:
            lines = rng.pick([[], ["# only a comment"], ["{}"], ["~"], [""], ["[]"]])
        else:
            header, below = doc.block_scalar(-doc.step if rng.chance(0.3) else 0)
            lines = ["k: " + header] + below
        if number > 0 or rng.chance(0.15):
            mark = rng.pick(["---", "---", "---", "--- ", "--- # note"])
            if number == 0 and rng.chance(0.1):
                mark = rng.pick(["%YAML 1.1\n---", "%YAML 1.2\n---", "%TAG ! tag:x,2000:\n---", "# c\n---"])
            lines = [mark] + lines
        if rng.chance(0.05):
            lines.append(rng.pick(["...", "...", "---"]))
        parts += lines
    text = "\n".join(parts)
    if not rng.chance(0.25):
        text += "\n"
    if rng.chance(0.08):
        at = rng.between(0, len(text))
        how = rng.below(3)
        if how == 0:
            text = text[:at] + text[at + 1:]
        elif how == 1:
            text = text[:at] + rng.pick(INDICATORS + " \t\n") + text[at:]
        else:
            text = text[:at]
    how = rng.below(40)
    if how < 4:
        text = text.replace("\n", "\r\n")
    elif how == 4:
        text = text.replace("\n", "\r")
    how = rng.below(60)
    if how < 3:
        return b"\xef\xbb\xbf" + text.encode("utf-8")
    if how == 3:
        return b"\xff\xfe" + text.encode("utf-16-le")
    if how == 4:
        return b"\xfe\xff" + text.encode("utf-16-be")
    if how == 5:
        return text.encode("utf-8") + rng.pick([b"l: \xfc\n", b"l: \xe4b\n", b"l: \xc3", b"n: a\x00b\n", b"n: \x07\n"])
    return text.encode("utf-8")


# ---------------------------------------------------------------- .properties

def properties_key(rng):
    how = rng.below(14)
    if how < 7:
        return ".".join(rng.text("abckxyz", 1, 4) for _ in range(rng.between(1, 3)))
    if how == 7:
        return "l" + rng.pick(["", ".m"]) + "[]"
    if how == 8:
        return "l[%d]" % rng.below(4)
    if how == 9:
        return rng.text("ab", 1, 2) + rng.pick(["\\=", "\\:", "\\ ", "\\#", "\\!", "\\u0041", "\\t", "\\\\", "\\n"]) + rng.text("ab", 0, 2)
    if how == 10:
        return "m[/**].x"
    if how == 11:
        return rng.pick(["", "k", "#k", "!k", "\\#k", "\\!k", "k#", "[x]", "a[b", "\u00fc", "k\\", "[]", "a[].b", "--", "---"])
    if how == 12:
        return rng.text("abAB_-/*", 1, 6)
    return rng.text(LETTERS + UNICODE[:8], 1, 5)


def properties_value(rng):
    out = []
    for _ in range(rng.pick([0, 1, 1, 2, 2, 3, 5])):
        how = rng.below(24)
        if how < 9:
            out.append(rng.text(LETTERS + "0123456789", 1, 6))
        elif how == 9:
            out.append(rng.pick([" ", "  ", "\t", "\f"]))
        elif how == 10:
            out.append(rng.pick(["\\t", "\\n", "\\r", "\\f", "\\\\", "\\z", "\\ ", "\\\"", "\\'", "\\0", "\\:", "\\=", "\\#", "\\b"]))
        elif how == 11:
            out.append("\\u%04x" % rng.pick([0x41, 0xFC, 0x20AC, 0x20, 0x0A, 0x3D, 0xD83D, 0xDE00, 0x0000, 0xFFFF]))
        elif how == 12:
            out.append(rng.pick(["\\uD83D\\uDE00", "\\U0041", "\\uu0041"]))
        elif how == 13 and rng.chance(0.15):
            out.append(rng.pick(["\\u", "\\u1", "\\u12", "\\u123", "\\u00g0", "\\u 041", "\\uFFFg"]))
        elif how == 14:
            out.append(rng.pick(["=", ":", "= ", " =", "#", "!", " #", " !c", "::", "http://x/y"]))
        elif how == 15:
            out.append(rng.pick([",", ", ", "\\,", ",,", " , ", ",\t"]))
        elif how == 16:
            out.append("\\\n" + rng.pick(["", " ", "    ", "\t", "#", "  !", "\\\n", "\n", " \f"]))
        elif how == 17:
            out.append(rng.pick(["\u00fc", "\u00e9", "\u00df", "\u00ff", "\u00a0", "\u0085"]))
        elif how == 18:
            out.append("${" + rng.text("abc", 1, 2) + "}")
        elif how == 19:
            out.append(rng.pick(["true", "1", "010", "null", "[a]", "{}"]))
        elif how == 20 and rng.chance(0.2):
            out.append(rng.pick(["\x00", "\x07", "\x7f", "\x0b", "\x1a"]))
        else:
            out.append(rng.text("ab,c ", 1, 6))
    return "".join(out)


def properties_line(rng):
    how = rng.below(40)
    if how < 25:
        lead = rng.pick([""] * 8 + [" ", "  ", "\t", "\f"])
        separator = rng.pick(["=", "=", "=", "=", ":", " ", " = ", "= ", " =", "\t", " : ", "\t=\t", "==", ":=", " = = ", "\f=\f", ""])
        return lead + properties_key(rng) + separator + properties_value(rng)
    if how < 28:
        return rng.pick(["#c", "!c", "# comment", "! x=y", "  # c", " !c", "#", "!", "#c\\", "\t#c", "#k=1", "##", "#!", "#-", "# -"])
    if how < 34:
        return rng.pick(["#---", "#---", "#---", "!---", "!---", "#--- ", "#---\t", " #---", "# ---", "#----", "#--", "#---x", "!--- ", "!----",
                         "#--- #", "#---\\", "---", "\\#---", "#-- -", "!---!"])
    if how < 36:
        return rng.pick(["", "", " ", "\t", "\f", "\\", " \\"])
    if how < 37:
        return properties_key(rng)
    if how < 38:
        return "k=a\\"
    if how < 39:
        return "spring.config.activate.on-profile=" + rng.pick(["dev", "!dev", "dev & prod", ""])
    return "l[]=" + rng.pick(["a,b,c", "a, b ,c", "", ",", "a,", ",a", "a\\,b,c", "a\\\\,b", " a , b", "a,\\\n  b", "\\u002c,x", "a,,b"])


def properties(rng):
    lines = [properties_line(rng) for _ in range(rng.pick([1, 1, 2, 2, 3, 3, 4, 5, 6, 8, 12]))]
    text = "\n".join(lines)
    if rng.chance(0.7):
        text += "\n"
    how = rng.below(16)
    if how == 0:
        text = text.replace("\n", "\r\n")
    elif how == 1:
        text = text.replace("\n", "\r")
    elif how == 2:
        text = "".join(rng.pick(["\n", "\r", "\r\n", "\n\r"]) if c == "\n" else c for c in text)
    if rng.chance(0.03):
        at = rng.between(0, len(text))
        text = text[:at] + rng.pick(["\\", "\n", "=", "#", "\r", "\x00"]) + text[at:]
    how = rng.below(20)
    if how == 0:
        return b"\xef\xbb\xbf" + text.encode("utf-8")
    if how < 3:
        return text.encode("utf-8")
    return text.encode("latin-1", "replace")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--scalars", type=int, default=60_000)
    parser.add_argument("--documents", type=int, default=1_000)
    parser.add_argument("--properties", type=int, default=10_000)
    parser.add_argument("--seed", default="headwater")
    options = parser.parse_args()
    with open(options.out, "w", encoding="ascii", newline="\n") as out:
        def put(kind, number, data):
            line = {"id": "%s-%d" % (kind, number), "kind": kind, "base64": base64.b64encode(data).decode("ascii")}
            out.write(json.dumps(line, separators=(",", ":")) + "\n")

        for number, data in scalars(options.seed, options.scalars):
            put("scalar", number, data)
        for number in range(options.documents):
            put("yaml", number, document(Rng("%s yaml %d" % (options.seed, number))))
        for number in range(options.properties):
            put("properties", number, properties(Rng("%s properties %d" % (options.seed, number))))


if __name__ == "__main__":
    main()
