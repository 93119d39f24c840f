"""Find out whether a process computes, or waits for a file lock as Jittor does while another process compiles."""

import re
from pathlib import Path

LOCKS = Path("/proc/locks")
# "3: POSIX  ADVISORY  WRITE 4242 ..." has the lock, "3: -> POSIX  ADVISORY  WRITE 4711 ..." waits for it
ENTRY = re.compile(r"(?P<number>\d+): (?P<waits>-> )?\S+\s+\S+\s+\S+\s+(?P<pid>\d+) ")


def holder_of_awaited_lock(pid: int) -> int | None:
    """Process that holds the file lock for which ``pid`` waits; None if it waits for none or this is not Linux."""
    try:
        text = LOCKS.read_text(encoding="ascii")
    except OSError:
        return None
    holders: dict[str, int] = {}
    for line in text.splitlines():
        entry = ENTRY.match(line)
        if entry is None:
            continue
        if not entry["waits"]:
            holders[entry["number"]] = int(entry["pid"])
        elif int(entry["pid"]) == pid:
            return holders.get(entry["number"])
    return None


def processor_time(group: int) -> int:
    """Clock ticks that the processes of a group, and their children that have ended, have used; 0 without /proc."""
    total = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_bytes().rpartition(b") ")[2].split()  # after the name, which may hold spaces
        except OSError:  # it has just ended
            continue
        if int(fields[2]) == group:
            total += sum(map(int, fields[11:15]))  # own and children's, user and system
    return total
