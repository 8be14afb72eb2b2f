"""Mutations of bytes, JSON and option strings. All randomness comes from the generator that is given."""

import json
import struct
from copy import deepcopy
from random import Random

INTEGERS = (
    0,
    1,
    -1,
    2,
    7,
    8,
    127,
    128,
    255,
    256,
    32767,
    65535,
    65536,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**53,
    2**63,
    2**64,
)
VALUES = (
    None, True, False, 0, 1, -1, 2, 16, 255, 65536, 2**31, 2**63, 2**64, 10**30, 0.5, -0.5, 1e300, float("nan"),
    float("inf"), "", "a", "0", "-1", "float16", "F32", "I64", "..", "/", "a/b", "\x00", "\ud800", "é" * 9, "%s", "{}",
    [], {}, [[]], [0], [0, 0], [1, 2, 3], [2**40, 2**40], [-1, 5], ["a"], {"a": 1}, {"": {}},
)  # fmt: skip
_FORMATS = ("<B", "<H", ">H", "<I", ">I", "<Q", ">Q")
_LARGEST = 1 << 20


def mutated_bytes(rng: Random, data: bytes, seeds: list[bytes], tokens: tuple[bytes, ...] = ()) -> bytes:
    """One to six random changes of some bytes; at most 1 MiB long."""
    out = bytearray(data)
    # The first bytes hold sizes and types: half of the changes are there.
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        near = len(out) if rng.random() < 0.5 else min(len(out), 256)
        at = rng.randrange(near) if near else 0
        length = min(rng.choice((1, 1, 2, 4, 8, 16, 64, 256)), len(out) - at)
        match rng.randrange(10):
            case 0 if out:
                out[at] ^= 1 << rng.randrange(8)
            case 1 if out:
                out[at] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
            case 2:
                kind = rng.choice(_FORMATS)
                number = rng.choice(INTEGERS) % (1 << 8 * struct.calcsize(kind))
                out[at : at + struct.calcsize(kind)] = struct.pack(kind, number)
            case 3:
                del out[at : at + length]
            case 4:
                out[at:at] = out[at : at + length] * rng.choice((1, 1, 2, 20))
            case 5:
                out[at:at] = rng.randbytes(length)
            case 6:
                del out[at:]
            case 7:
                other = rng.choice(seeds)
                start = rng.randrange(len(other)) if other else 0
                out[at : at + rng.choice((0, length))] = other[start : start + rng.choice((4, 16, 64, 1024))]
            case 8 if tokens:
                token = rng.choice(tokens)
                out[at : at + rng.choice((0, len(token)))] = token
            case _:
                out[at : at + length] = rng.randbytes(length)
        del out[_LARGEST:]
    return bytes(out)


def mutated_json(rng: Random, data: bytes, seeds: list[bytes], tokens: tuple[bytes, ...] = ()) -> bytes:
    """Some JSON with one to three entries replaced, dropped, renamed or nested; now and then changed as bytes."""
    if rng.random() < 0.25:
        return mutated_bytes(rng, data, seeds, tokens)
    holder = [json.loads(data)]
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_places(holder))
        parent, key = rng.choice(places)
        match rng.randrange(8):
            case 0 if isinstance(parent, dict):
                del parent[key]
            case 1 if isinstance(parent, dict):
                parent[rng.choice(("", "x", "schema", "..", "\ud800", str(key) + " "))] = parent.pop(key)
            case 2:
                parent[key] = [parent[key]] * rng.choice((1, 2, 50))
            case 3 if isinstance(parent[key], str):
                text = parent[key]
                at = rng.randrange(len(text) + 1)
                parent[key] = text[:at] + rng.choice(("\x00", "/", "..", "é", "9", "\n", "", "\u202e")) + text[at + 1 :]
            case 4 if isinstance(parent[key], int):
                parent[key] = rng.choice(INTEGERS) * rng.choice((1, -1))
            case 5:
                source, name = rng.choice(places)
                parent[key] = json.loads(json.dumps(source[name]))
            case 6 if rng.random() < 0.1:
                depth = rng.choice((10, 500, 5000))
                return (
                    json.dumps(holder[0]).encode() + b"[" * depth if rng.random() < 0.5 else b"[" * depth + b"]" * depth
                )
            case _:
                parent[key] = deepcopy(rng.choice(VALUES))
    return json.dumps(holder[0]).encode()


def _places(parent):
    """Every (container, key or index) below a container, the container's own first."""
    items = parent.items() if isinstance(parent, dict) else enumerate(parent)
    for key, value in list(items):
        yield parent, key
        if isinstance(value, dict | list):
            yield from _places(value)


def mutated_lines(rng: Random, data: bytes, seeds: list[bytes], tokens: tuple[bytes, ...] = ()) -> bytes:
    """Some lines dropped, doubled, exchanged or replaced by tokens; now and then changed as bytes."""
    if rng.random() < 0.3:
        return mutated_bytes(rng, data, seeds, tokens)
    lines = data.split(b"\n")
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(lines)) if lines else 0
        match rng.randrange(5):
            case 0 if lines:
                del lines[at]
            case 1:
                lines.insert(at, rng.choice(tokens))
            case 2 if lines:
                lines[at] = rng.choice(tokens)
            case 3 if lines:  # the value of an option, or the end of a name
                head, equals, _ = lines[at].partition(b"=")
                lines[at] = head + (equals or b"=") + rng.choice(tokens).rpartition(b"=")[2]
            case _ if lines:
                text = bytearray(lines[at])
                place = rng.randrange(len(text) + 1)
                text[place : place + rng.choice((0, 1))] = rng.choice(
                    (b"", b"'", b'"', b"\\", b"[", b"]", b"{", b"}", b",", b":", b"$", b"${", b"=", b" ", b"\x00", b"~",
                     b"+", b"@", b"/", b".", b"\xff", "é".encode(), b"#", b"null", b"1e999", b"-")
                )  # fmt: skip
                lines[at] = bytes(text)
            case _:
                pass
    return b"\n".join(lines)
