"""Reads GGUF files into numpy: keys, tensors, and the definition of every tensor type.

Written from the format's description, apart from the C code, so that the two check each
other. It trusts its input: use it on files of your own only.
"""

import os
import re
import struct

import numpy as np

SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
STRING, ARRAY = 8, 9


class Cursor:
    def __init__(self, data):
        self.data, self.at = data, 0

    def scalar(self, fmt):
        (v,) = struct.unpack_from(fmt, self.data, self.at)
        self.at += struct.calcsize(fmt)
        return v

    def string(self):
        n = self.scalar("<Q")
        s = bytes(self.data[self.at:self.at + n])
        assert len(s) == n, "string runs past the end of the file"
        self.at += n
        return s.decode("utf-8", "surrogateescape")

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            kind, n = self.scalar("<I"), self.scalar("<Q")
            return [self.value(kind) for _ in range(n)]
        return self.scalar(SCALARS[kind])


def f16(blocks, at):
    """One f16 of each block as a column, in f32."""
    return np.ascontiguousarray(blocks[:, at:at + 2]).view(np.float16).astype(np.float32)


def nibbles(q):
    """Low nibbles, then high nibbles, of the bytes of each block."""
    return np.concatenate([q & 15, q >> 4], axis=1)


def high_bits(blocks, at):
    """32 bits from 4 bytes of each block, least significant first."""
    return np.unpackbits(np.ascontiguousarray(blocks[:, at:at + 4]), axis=1, bitorder="little")


def k_scales(s):
    """Eight 6-bit scales and eight 6-bit minima from the 12 bytes of a Q4_K or Q5_K block."""
    low_sc, low_m, mixed = s[:, 0:4], s[:, 4:8], s[:, 8:12]
    sc = np.concatenate([low_sc & 63, (mixed & 15) | (low_sc >> 6) << 4], axis=1)
    m = np.concatenate([low_m & 63, (mixed >> 4) | (low_m >> 6) << 4], axis=1)
    return sc.astype(np.float32), m.astype(np.float32)


def q4_0(b):
    return (nibbles(b[:, 2:18]).astype(np.float32) - 8) * f16(b, 0)


def q4_1(b):
    return nibbles(b[:, 4:20]) * f16(b, 0) + f16(b, 2)


def q5_0(b):
    return ((nibbles(b[:, 6:22]) | high_bits(b, 2) << 4).astype(np.float32) - 16) * f16(b, 0)


def q5_1(b):
    return (nibbles(b[:, 8:24]) | high_bits(b, 4) << 4) * f16(b, 0) + f16(b, 2)


def q8_0(b):
    return b[:, 2:34].view(np.int8).astype(np.float32) * f16(b, 0)


def sub_blocks(b, q):
    """q: [n, 8, 32] unsigned quants of sub-blocks with a scale and a minimum each."""
    sc, m = k_scales(b[:, 4:16])
    d, dmin = f16(b, 0), f16(b, 2)
    return ((d * sc)[:, :, None] * q - (dmin * m)[:, :, None]).reshape(len(b), 256)


def q4_k(b):
    q = b[:, 16:144].reshape(-1, 4, 1, 32)  # 32 bytes hold two sub-blocks: low, high nibbles
    return sub_blocks(b, np.concatenate([q & 15, q >> 4], axis=2).reshape(-1, 8, 32))


def q5_k(b):
    q = b[:, 48:176].reshape(-1, 4, 1, 32)
    low = np.concatenate([q & 15, q >> 4], axis=2).reshape(-1, 8, 32)
    bit = np.arange(8, dtype=np.uint8).reshape(1, 8, 1)  # bit s of a byte belongs to sub-block s
    return sub_blocks(b, low | (b[:, None, 16:48] >> bit & 1) << 4)


def q6_k(b):
    ql = b[:, 0:128].reshape(-1, 2, 1, 64)  # halves of 128 weights
    low = np.concatenate([ql & 15, ql >> 4], axis=2).reshape(-1, 2, 4, 32)
    shift = np.array([0, 2, 4, 6], dtype=np.uint8).reshape(1, 1, 4, 1)
    high = b[:, 128:192].reshape(-1, 2, 1, 32) >> shift & 3
    q = (low | high << 4).astype(np.float32).reshape(-1, 16, 16) - 32
    sc = b[:, 192:208].view(np.int8).astype(np.float32)
    return ((f16(b, 208) * sc)[:, :, None] * q).reshape(len(b), 256)


def bf16(b):
    return (np.ascontiguousarray(b).view(np.uint16).astype(np.uint32) << 16).view(np.float32)


# number: name, weights a block, bytes a block, blocks -> weights
TYPES = {
    0: ("F32", 1, 4, lambda b: np.ascontiguousarray(b).view(np.float32)),
    1: ("F16", 1, 2, lambda b: np.ascontiguousarray(b).view(np.float16).astype(np.float32)),
    2: ("Q4_0", 32, 18, q4_0),
    3: ("Q4_1", 32, 20, q4_1),
    6: ("Q5_0", 32, 22, q5_0),
    7: ("Q5_1", 32, 24, q5_1),
    8: ("Q8_0", 32, 34, q8_0),
    12: ("Q4_K", 256, 144, q4_k),
    13: ("Q5_K", 256, 176, q5_k),
    14: ("Q6_K", 256, 210, q6_k),
    30: ("BF16", 1, 2, bf16),
}
FLOATS = ("F32", "F16", "BF16")


class Tensor:
    """dim as in the file, fastest first; data: bytes."""

    def __init__(self, name, dim, kind, data):
        self.name, self.dim, self.data = name, dim, data
        self.type, self.block_len, self.block_bytes, self.decode = TYPES[kind]

    def array(self):
        """f32, shape slowest first."""
        w = self.decode(self.data.reshape(-1, self.block_bytes))
        return w.astype(np.float32, copy=False).reshape(self.dim[::-1])


def part_paths(path, n):
    if n <= 1:
        return [path]
    stem = re.sub(r"-\d{5}-of-\d{5}\.gguf$", "", path)
    return ["%s-%05d-of-%05d.gguf" % (stem, i + 1, n) for i in range(n)]


def read_part(path):
    data = np.memmap(path, dtype=np.uint8, mode="r")
    c = Cursor(data)
    assert c.scalar("<I") == 0x46554747 and c.scalar("<I") in (2, 3), path
    n_tensor, n_key = c.scalar("<Q"), c.scalar("<Q")
    keys = {}
    for _ in range(n_key):
        name = c.string()
        keys[name] = c.value(c.scalar("<I"))
    infos = []
    for _ in range(n_tensor):
        name = c.string()
        dim = [c.scalar("<Q") for _ in range(c.scalar("<I"))]
        infos.append((name, dim, c.scalar("<I"), c.scalar("<Q")))
    align = keys.get("general.alignment", 32)
    start = (c.at + align - 1) // align * align
    tensors = {}
    for name, dim, kind, off in infos:
        _, block_len, block_bytes, _ = TYPES[kind]
        size = int(np.prod(dim)) // block_len * block_bytes
        assert off % align == 0 and start + off + size <= os.path.getsize(path), name
        tensors[name] = Tensor(name, dim, kind, data[start + off:start + off + size])
    return keys, tensors


def read(path):
    """All keys and tensors; path is the file, or the first one of a split model."""
    keys, tensors = read_part(path)
    for more in part_paths(path, keys.get("split.count", 1))[1:]:
        tensors.update(read_part(more)[1])
    return keys, tensors
