"""Whether this kernel can confine a worker."""

import platform

from srbench.sandbox import linux, seccomp


def has_landlock() -> bool:
    """Files by Landlock and system calls by a filter."""
    try:
        return linux.landlock_version() > 0 and platform.machine() in seccomp.ARCHITECTURES
    except linux.Unavailable:
        return False
