"""A study from its definition to its findings. Whatever is there is not made again, so that the
same command goes on after it was killed, and ends with the same cells. What stands in cells.jsonl
is there too, so that a study without its `work` folder can grow by seeds.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from joblib import Parallel, delayed
from tqdm import tqdm

from distill_lab.pipeline.report import git_state, versions
from distill_lab.run.folder import RunFolder
from distill_lab.run.operations import Budget
from distill_lab.run.records import LabError, write_text
from distill_lab.run.saved_settings import fingerprint
from distill_lab.run.settings import Config
from distill_lab.studies import page, results
from distill_lab.studies.budget import read_budget
from distill_lab.studies.cells import CellScores, means_of, write_cells
from distill_lab.studies.definition import Definition, HalfName
from distill_lab.studies.findings import choose, unanswered
from distill_lab.studies.halves import CHOOSE, REPORT, Half, write_halves
from distill_lab.studies.held_out import HeldOut
from distill_lab.studies.measure_names import OF_TRACES, needed, scored_as
from distill_lab.studies.results import CELLS, HALVES, PAGE, STUDY
from distill_lab.studies.running.cell_configs import TEACHER, Cell, base_config, cells_of, start_of
from distill_lab.studies.running.cell_work import CellWork
from distill_lab.studies.running.clock import Clock
from distill_lab.studies.running.definition_file import DEFINITION, write_definition
from distill_lab.studies.running.shared_work import hold_out, make_halves, make_shared, make_start
from distill_lab.studies.running.work_folder import Work
from distill_lab.studies.running.worker import do
from distill_lab.tasks.all_tasks import task_of


def run_study(
    definition: Definition,
    out: Path,
    jobs: int = 1,
    keep_models: bool = False,
    work: Path | None = None,
) -> dict[str, str]:
    """Runs what is missing of the study in the folder `out`. Returns the reason of each cell that
    failed, by what the cell is.

    What cells share lies in the folder `work`, by default the study's own; studies that name the
    same one, one after the other, share traces and students too.

    With one job the cells are done in this process, or as `joblib.parallel_config` says.
    """
    study = _begun(definition, out, work or out / "work")
    every = [(cell, half) for cell in study.cells for half in list(study.halves.values())[:1]]
    every += [(cell, study.halves[REPORT]) for cell in study.cells if cell.is_reference]
    study.do(every, jobs, "cells")
    chosen = choose(definition, study.lines(), study.halves)
    sides = [(each.contrast.plus.student, each.plus) for each in chosen]
    sides += [(each.contrast.minus.student, each.minus) for each in chosen]
    wanted = [cell for cell in study.cells if (cell.student, cell.point) in sides]
    study.do([(cell, study.halves[REPORT]) for cell in wanted], jobs, "cells to report")
    _write(study)
    if not keep_models:
        for cell in study.cells:
            shutil.rmtree(RunFolder(study.folder(cell)).students, ignore_errors=True)
    named = {cell.id: str(cell) for cell in study.cells}
    return {named[cell]: reason for cell, reason in study.work.failed.items()}


@dataclass(frozen=True, slots=True)
class _Study:
    definition: Definition
    out: Path
    work: Work
    first: Cell | None
    cells: Sequence[Cell]
    halves: dict[str, Half]
    kept: Mapping[tuple[str, HalfName], CellScores]  # by cell and half
    clock: Clock

    def folder(self, cell: Cell) -> Path:
        return self.work.folder("students", cell.student_key)

    def do(self, wanted: Sequence[tuple[Cell, Half]], jobs: int, title: str) -> None:
        """Trains and measures these cells on these halves, as far as it is not done: once where
        several cells have one student."""
        works: dict[Path, CellWork] = {}
        cells: dict[Path, list[Cell]] = {}
        for cell, half in wanted:
            if cell.id not in self.work.failed and (cell.id, half.name) not in self.kept:
                work = self._work_of(cell, half)
                works[work.scores] = work
                cells.setdefault(work.scores, []).append(cell)
        missing = [work for work in works.values() if not work.is_done]
        self._share([cell for work in missing for cell in cells[work.scores]])
        self._hold_out(missing, cells)
        todo = [
            work
            for scores, work in works.items()
            if not work.is_done and self.work.left(cells[scores])
        ]
        n, n_done = len(works), len(works) - len(todo)
        with tqdm(total=n, initial=n_done, desc=title, unit="cell", disable=not n) as bar:
            for work, reason in _results(todo, jobs) if todo else ():
                bar.update()
                if reason:
                    self.work.fail(cells[work.scores], reason)
                self.clock.tick()

    def _share(self, cells: Sequence[Cell]) -> None:
        """All that these have in common."""
        threads = base_config(self.definition).runtime.threads
        if self.first and cells:
            make_start(self.first, self.work, threads)
        make_shared(cells, self.work, threads, self.clock.tick)

    def _work_of(self, cell: Cell, half: Half) -> CellWork:
        how = self._how(cell)
        targets = cell.softened and cell.config.train.cache != "none"
        names = self._measures()
        of_traces = {*names} & {*OF_TRACES}
        held_out = self._held_out_folder(how, half) if of_traces else None
        parts = ("data.task", "generate", "evaluate.max_new_tokens")
        key = fingerprint(how, parts, *names, str(held_out and held_out.name), *half.ids)
        return CellWork(
            cell=cell,
            folder=self.folder(cell),
            targets=self.work.folder("targets", cell.cache_key) if targets else None,
            half=half,
            measures=names,
            how=how,
            held_out=held_out,
            made_from=self.work.folder("examples", cell.examples_key) if cell.from_traces else None,
            key=key,
            owner=os.getpid(),
        )

    def _measures(self) -> tuple[str, ...]:
        """All that the study and its findings name."""
        of_findings = [each.measure for each in self.definition.findings]
        task = task_of(base_config(self.definition))
        return tuple(needed([*self.definition.measures, *of_findings], task))

    def _how(self, cell: Cell) -> Config:
        """The settings with which a cell is measured: samples are drawn as the study says, whatever
        the axes do to the teacher's."""
        return dataclasses.replace(cell.config, generate=base_config(self.definition).generate)

    def _held_out_folder(self, how: Config, half: Half) -> Path:
        """By what the teacher writes about the half, and the students' prompts."""
        parts = ("data.task", "generate", *TEACHER, "models.student", "runtime.dtype")
        return self.work.folder("held_out", fingerprint(how, parts, *half.ids))

    def _hold_out(self, todo: Sequence[CellWork], cells: dict[Path, list[Cell]]) -> None:
        """The teacher's held-out traces that these need."""
        works: dict[Path, list[CellWork]] = {}
        for each in todo:
            if each.held_out and not HeldOut.is_saved(each.held_out):
                works.setdefault(each.held_out, []).append(each)
        bar = tqdm(works.items(), "held-out traces", unit="setting", disable=not works)
        for folder, group in bar:
            needing = [cell for work in group for cell in cells[work.scores]]
            with self.work.naming(needing), self.work.logged():
                hold_out(group[0].how, group[0].half, folder, self.work.path)

    def lines(self) -> list[CellScores]:
        """What has been measured, in the order of the cells."""
        of_start = read_budget(self.folder(self.first)) if self.first else Budget()
        found: list[CellScores] = []
        for cell in self.cells:
            for half in self.halves.values():
                work = self._work_of(cell, half)
                if line := self.kept.get((cell.id, cast("HalfName", half.name))):
                    found.append(line)
                elif work.is_done:
                    found.append(self._line(cell, half, work.read_scores(), of_start))
        return found

    def _line(
        self, cell: Cell, half: Half, scores: dict[str, list[float]], of_start: Budget
    ) -> CellScores:
        """`of_start` is what the start took, which each student is charged with."""
        folder = self.folder(cell)
        n = len(RunFolder(folder).examples.read()) if cell.from_traces else 0
        budget = {} if cell.is_reference else read_budget(folder).plus(of_start).values
        return CellScores(
            cell=cell.id,
            half=cast("HalfName", half.name),
            settings=cell.point,
            seed=cell.seed,
            student=cell.student,
            n_examples=n,
            means=means_of(scores, half.kinds),
            scores=scores,
            budget=budget,
        )


def _begun(definition: Definition, out: Path, folder: Path) -> _Study:
    """The study with all that its cells share."""
    clock = Clock(folder, definition.name)
    work, first = Work(folder.absolute()), start_of(definition)
    start = first and RunFolder(work.folder("students", first.student_key)).model(first.arm)
    cells = cells_of(definition, str(start or ""))
    halves = make_halves(definition, [*cells, *([first] if first else [])], work)
    kept = {} if work.path.exists() else _kept(definition, out, halves)
    write_definition(out / DEFINITION, definition)
    write_text(out / ".gitignore", "work/\n")
    write_halves(out / HALVES, halves)
    return _Study(definition, out, work, first, cells, halves, kept, clock)


def _kept(
    definition: Definition, out: Path, halves: Mapping[str, Half]
) -> dict[tuple[str, HalfName], CellScores]:
    """What was measured by a study of this definition, but for its seeds, whose `work` is gone:
    where questions are the same and all scores that findings may need are there."""
    if not (out / STUDY).exists():
        return {}
    before = results.read(out)
    same = dataclasses.replace(before.definition, seeds=definition.seeds) == definition
    if not same or any(before.halves[name].ids != half.ids for name, half in halves.items()):
        return {}
    lines = [line for line in before.lines if _suffices(line, definition)]
    if lines:
        print(
            f"{out / CELLS}: {len(lines)} lines are there and not made again. To make all of them, "
            "name another --out."
        )
    return {(line.cell, line.half): line for line in lines}


def _suffices(line: CellScores, definition: Definition) -> bool:
    """Whether a line has the scores of all findings that it may be behind. On the half to choose on
    its means are enough."""
    needs = {
        scored_as(each.measure)
        for each in definition.findings
        for side in (each.plus, each.minus)
        if side.student == line.student and side.at.items() <= line.settings.items()
    }
    return line.half == CHOOSE or needs <= line.scores.keys()


def _results(todo: Sequence[CellWork], jobs: int) -> Iterator[tuple[CellWork, str]]:
    """Each work as it is done, by joblib's back end."""
    options: dict[str, Any] = {"n_jobs": jobs if jobs > 1 else None}
    try:
        parallel = Parallel(return_as="generator_unordered", **options)
    except ValueError:  # a back end that hands all results back at the end
        parallel = Parallel(**options)
    try:
        yield from parallel(delayed(do)(each) for each in todo)  # type: ignore[misc]
    except BrokenProcessPool:
        raise LabError(
            f"--jobs {jobs}: expected memory for so many cells at a time, found that one was ended "
            "by the system. Run the same command with fewer; it goes on from here."
        ) from None


def _write(study: _Study) -> None:
    """What the study's folder ships: cells.jsonl, and all that follows from it."""
    lines = study.lines()
    write_cells(study.out / CELLS, results.stored(study.definition, lines, study.halves))
    about = {
        "failed": len(study.work.failed),
        "versions": versions(),
        "git": git_state(),
        "seconds": round(study.clock.seconds, 1),
    }
    made = results.write(study.out, study.definition, about)
    page.write(study.out, () if study.kept else lines)
    for finding in made:
        print(page.sentence(finding))
    for name in unanswered(study.definition, made):
        print(f"Finding {name}: left out, as no seed has both its sides.", file=sys.stderr)
    print(f"\nThe page of the study: {study.out / PAGE}")
