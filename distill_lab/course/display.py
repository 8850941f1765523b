"""Shows pictures and tables in a notebook, each also as a text; pictures that a slider moves."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

from distill_lab.reporting.figures import INK, SHOWN, Plot, new_figure, png_of

Draw = Callable[[Any, float], str]
"""Draws into one panel what a value does, and gives a sentence without a full stop that says it."""
_PANELS = 4  # of a static picture


def show(*pictures: Plot) -> None:
    """Shows pictures in a notebook's output: a title above, a caption below, if they have any, and
    the alternative text once more, folded, because some screen readers read only that."""
    from IPython.display import Image, display  # type: ignore[attr-defined]

    for picture in pictures:
        if picture.png is None:
            print(picture.alt)
            continue
        if picture.title:
            _words("<b>{}</b>", picture.title)
        display(Image(picture.png, width=SHOWN, alt=picture.alt))
        if picture.caption:
            _words("<small>{}</small>", picture.caption)
        _words("<details><summary>The picture in words</summary>{}</details>", picture.alt)


def _words(html: str, text: str) -> None:
    """The text, in HTML at the place of {}."""
    from html import escape

    from IPython.display import display

    display({"text/html": html.format(escape(text)), "text/plain": text}, raw=True)


def table(rows: Sequence[Sequence[Any]], columns: Sequence[str]) -> None:
    """Shows rows as a table: as HTML in a notebook, as Markdown where only text is shown. None
    becomes a dash."""
    from IPython.display import display

    display(as_table(rows, columns), raw=True)


def as_table(
    rows: Sequence[Sequence[Any]], columns: Sequence[str], caption: str = ""
) -> dict[str, str]:
    """The table in both forms, by media type; a caption stands above it."""
    from html import escape

    left = "style=text-align:left"
    cells = [[f"<td {left}>{escape(_cell(value))}</td>" for value in row] for row in rows]
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in cells)
    head = "".join(f"<th>{escape(str(column))}</th>" for column in columns)
    above = f"<caption {left}>{escape(caption)}</caption>" if caption else ""
    plain = f"{caption}\n\n" if caption else ""
    return {
        "text/html": f"<table>{above}<tr>{head}</tr>{body}</table>",
        "text/plain": plain + markdown(rows, columns),
    }


def markdown(rows: Sequence[Sequence[Any]], columns: Sequence[str]) -> str:
    """Rows as a Markdown table. None becomes a dash."""
    lines = (columns, ["---"] * len(columns), *rows)
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(value: Any) -> str:
    return "–" if value is None else str(value)


def slider(draw: Draw, name: str, values: Sequence[float]) -> None:
    """Shows what `name` does: a picture with a panel for some of its values, and below it, where
    ipywidgets is installed, one panel and a slider over all of them.

    The picture is what stays in the file, on GitHub, and wherever nobody moves anything: no cell
    needs a widget. Install the extra `widgets` to have it; Colab has it.
    """
    show(small_multiples(draw, name, values))
    if importlib.util.find_spec("ipywidgets"):
        from IPython.display import display

        display(_movable(draw, name, values))


def small_multiples(draw: Draw, name: str, values: Sequence[float]) -> Plot:
    """One picture with at most four panels, from the first value to the last."""
    steps = range(_PANELS if len(values) > _PANELS else len(values))
    last = max(1, len(steps) - 1)
    chosen = [values[round(n * (len(values) - 1) / last)] for n in steps]
    rows = (len(chosen) + 1) // 2
    figure, axes = new_figure(0.3 + 2.1 * rows, rows, 2, sharex=True, sharey=True)
    said: list[str] = []
    for value, ax in zip(chosen, axes, strict=False):
        said.append(f"{name} = {value:g}: {draw(ax, value)}")
        ax.set_title(f"{name} = {value:g}", fontsize=11, loc="left", color=INK)
    for ax in axes[len(chosen) :]:
        ax.set_visible(False)
    return Plot(f"slider-{name}", f"{'; '.join(said)}.", png_of(figure))


def _movable(draw: Draw, name: str, values: Sequence[float]) -> Any:
    """The slider, the panel and the sentence, which is what screen readers read."""
    import ipywidgets  # type: ignore[import-not-found]

    picture, words = ipywidgets.Image(format="png", width=SHOWN), ipywidgets.HTML()
    options = [(f"{value:g}", value) for value in values]
    chosen = ipywidgets.SelectionSlider(options=options, value=values[0], description=name)

    def move(_: Any = None) -> None:
        from html import escape

        figure, (ax,) = new_figure(2.8)
        words.value = escape(draw(ax, chosen.value))
        picture.value = png_of(figure)

    chosen.observe(move, "value")
    move()
    return ipywidgets.VBox([chosen, picture, words])
