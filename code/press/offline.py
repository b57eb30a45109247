"""Run a command without a network: proof that the book asks nobody for anything."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys

from press.house import PressError

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
REFUSED = 77
"""The exit status where the machine does not permit it: what test runners take for "skipped"."""


def cut() -> None:
    """Put this process into a network of its own that has only the loopback (Jupyter kernels talk over it).

    Raises:
        OSError: not permitted here.
    """
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare is not permitted")
    for name, content in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(content)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        request = struct.pack("16sh", b"lo", 0)
        flags = struct.unpack("16sh", fcntl.ioctl(handle, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(handle, SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | IFF_UP))


def offline(command: list[str]) -> None:
    """Become `command`, with the network cut off.

    Raises:
        PressError: no command was given.
    """
    if not command:
        raise PressError("what shall run offline? For example: python -m press offline make book")
    if sys.platform != "linux":
        print("press offline needs Linux", file=sys.stderr)
        sys.exit(REFUSED)
    try:
        cut()
    except OSError as error:
        print(f"this machine does not let a process cut off its own network: {error}", file=sys.stderr)
        sys.exit(REFUSED)
    os.execvp(command[0], command)
