"""Where numbers come from, and the command that makes them again."""

from __future__ import annotations

import shlex

from markupsafe import Markup

from metaft.report.markup import NONE, folded, plain_table
from metaft.report.run import Run


def body(run: Run) -> Markup:
    """The command of the run and that of its repetition, data, and versions."""
    source = run.results["provenance"]
    command = source.get("command") or []
    again = f"python -m metaft.run --reproduce {shlex.quote(run.name)}"
    began = shlex.join(["python", "-m", "metaft.run", *command[1:]] if command[:1] == ["run.py"] else command)
    first = Markup("<p>The run began with</p><pre>{}</pre>").format(began) if command else NONE
    repeat = (
        Markup("<p>and is made again, and compared, by</p><pre>{}</pre>").format(again)
        if command and not run.standing
        else NONE
    )
    data = [[name, f"{told.get('n', 0):,}"] for name, told in (source.get("data") or {}).items()]
    versions = [[name, version or "-"] for name, version in (source.get("versions") or {}).items()]
    known = [["seed", str(run.results["seed"])], ["metric", source.get("metric") or "accuracy"]]
    known += [[name, str(source[name])] for name in ("date", "commit") if source.get(name)]
    known += [["device", ", ".join(map(str, source["device"].values()))]] if source.get("device") else []
    tables = plain_table([["of the run", ""], *known], "The run") + plain_table([["split", "images"], *data], "Data")
    return first + repeat + tables + folded("Versions", plain_table([["package", "version"], *versions], "Versions"))
