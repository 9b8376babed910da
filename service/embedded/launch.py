"""Becomes another program that dies with the process that asked for it.

Run as a file by `service.embedded.children`, never imported:
`python -I -S launch.py DEATH_SIGNAL PARENT_PID USER -- PROGRAM ARGUMENT...`

A step of its own between fork and exec, instead of code run in the forked copy of a program with
threads. USER is `-` or `uid:gid`. PostgreSQL refuses to run as root, and changing the permissions
of a person's folders so that another user reaches the data is not ours to do: the program runs as
USER and keeps one capability of root's, to pass through folders (CAP_DAC_OVERRIDE, ambient).
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_SET_SECUREBITS = 28
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
SECBIT_NO_SETUID_FIXUP = 1 << 2
SECBIT_KEEP_CAPS = 1 << 4
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x2008_0522


def become(uid: int, gid: int) -> None:
    """Drops root for `uid` and `gid`, keeping CAP_DAC_OVERRIDE where root has it."""
    libc = ctypes.CDLL(None, use_errno=True)
    # Without the fix-up access(2), with which PostgreSQL looks for its programs, would judge as if
    # there were no capability. A container may forbid it; then the folders have to be open.
    if libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP | SECBIT_KEEP_CAPS, 0, 0, 0) != 0:
        libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if set_capabilities(libc, 1 << CAP_DAC_OVERRIDE):
        libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)
    elif not set_capabilities(libc, 0):
        sys.exit("the capabilities of root cannot be given up")


def set_capabilities(libc: ctypes.CDLL, mask: int) -> bool:
    """Makes `mask` all that this process may do beyond its user's rights."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    # effective, permitted, inheritable for capabilities 0-31, then for 32-63
    sets = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
    return bool(libc.capset(header, sets) == 0)


def main(arguments: list[str]) -> None:
    death_signal, parent, user, separator, *program = arguments
    assert separator == "--"
    if user != "-":
        uid, _, gid = user.partition(":")
        become(int(uid), int(gid))
    if sys.platform == "linux":
        # After the change of user, which clears it.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != int(parent):
            sys.exit(1)  # the parent died before the line above
    os.execv(program[0], program)  # noqa: S606  # no shell is wanted


main(sys.argv[1:])
