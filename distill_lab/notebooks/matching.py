"""TEMPORARY until the helper's."""

import re, ast
from dataclasses import dataclass
from distill_lab.grading.statements import nodes


@dataclass
class Match:
    source: str | None
    cells: list


def id_of(cell):
    return cell["metadata"].get("id") or cell["id"]


def exercise_cells(cells, entry):
    out = {}
    for line in entry["cells"]:
        if line["role"] != "exercise":
            continue
        m = [c for c in cells if line["id"] in (c["id"], c["metadata"].get("id"))] or [
            c for c in cells if c["source"].startswith("# exercise " + line["exercise"] + "\n")
        ]
        if not m:
            f = line["exercise"].split(".")[1]
            for c in cells:
                if c["cell_type"] != "code":
                    continue
                try:
                    if any(
                        isinstance(n, ast.FunctionDef) and n.name == f for n in nodes(c["source"])
                    ):
                        m.append(c)
                except SyntaxError:
                    pass
        out[line["exercise"]] = Match(m[-1]["source"] if m else None, m)
    return out
