"""What is shown of tasks and engines: no header's value, and files as they were written."""

from __future__ import annotations

from pathlib import Path

from tuneloop.answer import documents
from tuneloop.records import EngineSpec, Task, Variant


def test_documents_hide_headers_and_show_files_as_written(tmp_path: Path) -> None:
    spec = EngineSpec("a", "llamacpp", headers={"X-Org": "s3cret"}, file=str(tmp_path / "m.gguf"))
    shown = documents.of_engine(spec, tmp_path)
    assert shown["headers"] == {"X-Org": "***"}
    assert shown["file"] == "m.gguf"
    assert documents.with_hidden({"headers": {"X-Org": "***", "X-New": "1"}}, spec)["headers"] == {
        "X-Org": "s3cret",
        "X-New": "1",
    }
    task = Task("t", (Variant("v", "local", "active"),), checks=(f"json_schema:{tmp_path}/s.json", "json"))
    assert documents.of_task(task, tmp_path)["checks"] == ["json_schema:s.json", "json"]
    assert documents.of_task(task, tmp_path)["variants"]["v"]["weight"] == 1.0
