"""What other processes use: CPU time, memory, and which process a Redis is. Linux only."""

import time
from pathlib import Path

import redis

_PROCESS_CPU_CLOCK = 2
"""CPUCLOCK_SCHED, of a whole process: see clock_getcpuclockid(3)."""


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, user and system, of all its threads; to the nanosecond.

    The ticks of /proc/PID/stat are 10 ms, as much as 100 reports cost.
    """
    return time.clock_gettime((~pid << 3) | _PROCESS_CPU_CLOCK)


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in RAM."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "VmRSS":
            return 1024 * int(value.split()[0])
    raise ProcessLookupError(f"process {pid} has no memory")


def redis_pid(url: str) -> int:
    """The process of the Redis at `url`."""
    with redis.Redis.from_url(url) as client:
        return int(client.info("server")["process_id"])
