"""Counts the system calls of an operation exactly: a fork of this process performs it while this process traces it (ptrace).

No program is needed. A call of `close` on a number that is no file marks where each repetition begins: the loop around it is
not counted.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable

_TRACEME, _SYSCALL, _SETOPTIONS, _INFO = 0, 24, 0x4200, 0x420E
_OPTIONS = 0x1 | 0x100000  # system-call stops can be told from signals; the traced dies with us
_ENTRY = 1
_MARK = 1_234_567_891
_MOST = 200_000
_SYSCALL_STOP = signal.SIGTRAP | 0x80


class _Info(ctypes.Structure):
    """The head of ptrace_syscall_info, and the number and arguments of a call that is entered."""

    _fields_ = [  # noqa: RUF012
        ("op", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("instruction", ctypes.c_uint64),
        ("stack", ctypes.c_uint64),
        ("number", ctypes.c_uint64),
        ("arguments", ctypes.c_uint64 * 6),
    ]


class Uncountable(Exception):
    """System calls can't be counted; the message says why."""


def count(operation: Callable[[], object], times: int) -> tuple[int, ...]:
    """The system calls of each of *times* calls of *operation*, made by one thread of a fork. Raises Uncountable."""
    if not sys.platform.startswith("linux"):
        raise Uncountable(f"system calls can be counted on Linux, and this is {sys.platform}")
    if threading.active_count() > 1:
        raise Uncountable("other threads are running, which a fork would not have")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.restype, libc.ptrace.argtypes = ctypes.c_long, [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    child = os.fork()
    if child == 0:
        _perform(libc, operation, times)
    try:
        return _counted(libc, child, times)
    finally:
        _end(child)


def _perform(libc: ctypes.CDLL, operation: Callable[[], object], times: int) -> None:
    """In the fork: be traced, perform, and leave without doing what the original does at its end."""
    try:
        if libc.ptrace(_TRACEME, 0, None, None) != 0:
            os._exit(3)
        os.kill(os.getpid(), signal.SIGSTOP)
        for _ in range(times):
            libc.close(_MARK)
            operation()
        libc.close(_MARK)
        os._exit(0)
    except BaseException:
        os._exit(4)


def _counted(libc: ctypes.CDLL, child: int, times: int) -> tuple[int, ...]:
    _, status = os.waitpid(child, 0)
    if not os.WIFSTOPPED(status):
        raise Uncountable("this system lets no process be traced (ptrace)")
    libc.ptrace(_SETOPTIONS, child, None, _OPTIONS)
    counts: list[int] = []
    info, seen, deliver = _Info(), 0, 0
    while len(counts) <= times:
        if libc.ptrace(_SYSCALL, child, None, deliver) != 0:
            raise Uncountable("the traced process is gone")
        _, status = os.waitpid(child, 0)
        if not os.WIFSTOPPED(status):
            raise Uncountable("the operation ended its process" if os.WIFEXITED(status) else "the traced process was killed")
        deliver = 0 if os.WSTOPSIG(status) == _SYSCALL_STOP else os.WSTOPSIG(status)
        if deliver:
            continue
        if libc.ptrace(_INFO, child, ctypes.sizeof(info), ctypes.byref(info)) <= 0:
            raise Uncountable("this kernel does not say which system call was made (PTRACE_GET_SYSCALL_INFO)")
        if info.op != _ENTRY:
            continue
        seen += 1
        if info.arguments[0] == _MARK:
            counts.append(0)
        elif counts:
            counts[-1] += 1
        if seen > _MOST:
            raise Uncountable(f"more than {_MOST:,} system calls")
    return tuple(counts[:-1])


def _end(child: int) -> None:
    try:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    except (ProcessLookupError, ChildProcessError):
        pass
