"""Counts every allocation of the interpreter and its bytes, exactly: a hook between Python and its allocators.

tracemalloc knows what is alive; what an operation costs is all that it asks for, also what it gives back at once. Python lets
its allocators be replaced (`PyMem_SetAllocator`), so each of malloc, calloc and realloc gets a few instructions before it
that add to two numbers and go on to the real one. They allocate and change nothing, so the same work gives the same number.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import struct
import sys
from array import array

_DOMAINS = (1, 2)  # memory and object; what they take from the raw one would be counted twice


class _Allocator(ctypes.Structure):
    """PyMemAllocatorEx."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("ctx", "malloc", "calloc", "realloc", "free")]  # noqa: RUF012


def unsupported() -> str:
    """Why allocations can't be counted here; empty when they can."""
    if sys.implementation.name != "cpython" or not hasattr(sys, "getallocatedblocks"):
        return "only CPython's allocators can be counted"
    if not sys.platform.startswith("linux") or platform.machine() != "x86_64":
        return f"allocations can be counted on Linux x86_64, and this is {sys.platform} {platform.machine()}"
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return "allocations can't be counted without the interpreter's lock"
    return ""


class Counter:
    """Counts while it is entered; one at a time in a process."""

    def __init__(self) -> None:
        self._numbers = (ctypes.c_uint64 * 2)()
        self._code: mmap.mmap | None = None
        self._before: list[_Allocator] = []

    def __enter__(self) -> Counter:
        # The code stays for good: a thread could be inside it when the hook is taken out.
        self._code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._code))
        self._before = [_get(domain) for domain in _DOMAINS]
        hooked = [self._hooked(allocator, start) for allocator in self._before]
        for domain, allocator in zip(_DOMAINS, hooked, strict=True):
            ctypes.pythonapi.PyMem_SetAllocator(ctypes.c_int(domain), ctypes.byref(allocator))
        return self

    def __exit__(self, *_: object) -> None:
        for domain, allocator in zip(_DOMAINS, self._before, strict=True):
            ctypes.pythonapi.PyMem_SetAllocator(ctypes.c_int(domain), ctypes.byref(allocator))

    def note(self, place: array[int], index: int) -> None:
        """Put blocks and bytes so far into *place* at *index* and behind it.

        Nothing that is allocated for it stays alive, or the interpreter's free lists would shrink from one reading to the next.
        """
        place[index] = self._numbers[0]
        place[index + 1] = self._numbers[1]

    def _hooked(self, real: _Allocator, start: int) -> _Allocator:
        places = {}
        for name in ("malloc", "calloc", "realloc"):
            assert self._code is not None
            places[name] = start + self._code.tell()
            self._code.write(_instructions(ctypes.addressof(self._numbers), getattr(real, name), name))
        return _Allocator(real.ctx, places["malloc"], places["calloc"], places["realloc"], real.free)


def _get(domain: int) -> _Allocator:
    found = _Allocator()
    ctypes.pythonapi.PyMem_GetAllocator(ctypes.c_int(domain), ctypes.byref(found))
    return found


def _instructions(numbers: int, real: int, name: str) -> bytes:
    """Machine code that adds 1 and the size to *numbers* and jumps to *real*, with everything else as it was.

    Arguments are in rdi (ctx), rsi and rdx; rax and r11 are free to use.
    """
    size = {
        "malloc": b"\x49\x89\xf3",  # mov r11, rsi
        "calloc": b"\x49\x89\xf3\x4c\x0f\xaf\xda",  # mov r11, rsi; imul r11, rdx
        "realloc": b"\x49\x89\xd3",  # mov r11, rdx
    }[name]
    code = (
        b"\x48\xb8" + struct.pack("<Q", numbers)  # mov rax, numbers
        + b"\xf0\x48\xff\x00"  # lock inc qword [rax]
        + size
        + b"\xf0\x4c\x01\x58\x08"  # lock add [rax + 8], r11
        + b"\x48\xb8" + struct.pack("<Q", real)  # mov rax, real
        + b"\xff\xe0"  # jmp rax
    )  # fmt: skip
    return code + b"\0" * (-len(code) % 16)
