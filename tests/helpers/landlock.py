"""Whether this kernel can confine a worker."""

import platform

from srbench.sandbox import linux


def has_landlock() -> bool:
    """Files by Landlock and sockets by a filter."""
    try:
        return linux.landlock_version() > 0 and platform.machine() in linux.ARCHITECTURES
    except linux.Unavailable:
        return False
