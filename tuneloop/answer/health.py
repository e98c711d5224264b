"""How the machine and the server are: now, and every minute of the last thirty days."""

from __future__ import annotations

import shutil
import time
from typing import Any

import psutil
from sqlalchemy import delete, insert, select

from tuneloop.db.tables import health
from tuneloop.workspace import Workspace

KEPT = 30 * 86_400.0


def sample(workspace: Workspace, **more: Any) -> dict[str, Any]:
    """cpu and memory in percent, disk in bytes free, the database's answer in ms; more: what the server knows."""
    began = time.perf_counter()
    with workspace.db.read() as rows:
        rows.execute(select(1))
    disk = shutil.disk_usage(workspace.path)
    return {
        "time": time.time(),
        "cpu_percent": psutil.cpu_percent(),
        "memory_percent": psutil.virtual_memory().percent,
        "process_mb": round(psutil.Process().memory_info().rss / 2**20, 1),
        "disk_free_bytes": disk.free,
        "disk_percent": round(100 * disk.used / disk.total, 1),
        "database_ms": round((time.perf_counter() - began) * 1000, 2),
        **more,
    }


def keep(workspace: Workspace, found: dict[str, Any]) -> None:
    """Store a sample and drop those older than thirty days."""
    with workspace.db.write() as rows:
        rows.execute(insert(health), [{"time": found["time"], "sample": found}])
        rows.execute(delete(health).where(health.c.time < found["time"] - KEPT))


def get_system_health_history(workspace: Workspace, hours: float = 24.0) -> list[dict[str, Any]]:
    """The samples of the last hours, oldest first."""
    chosen = select(health.c.sample).where(health.c.time >= time.time() - hours * 3600).order_by(health.c.time)
    with workspace.db.read() as rows:
        return [dict(found) for (found,) in rows.execute(chosen)]
