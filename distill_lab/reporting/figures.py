"""What all pictures have in common: the paper that they are drawn on, colours, names beside marks,
and a headline that says what was found.

Pictures are drawn 5.2 inches wide, to be read at a phone's width as they are. Colours follow Okabe
and Ito, which colour-blind readers tell apart, and every mark carries its name or number beside it.
matplotlib loads when something is drawn.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

REFUSED, KEPT, REST, INK = "#c44e00", "#0072b2", "#e4e4e4", "#222222"
SOFT, GREEN = "#6b6b6b", "#007a5a"
SHOWN = 520  # CSS pixels: how wide notebooks and reports (their CSS says so too) show a picture
WIDTH = 3 * SHOWN // 2  # pixels of the file, for screens with more than one a CSS pixel
_INCHES = 5.2
_LINE = 54  # characters of a headline


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture, its alternative text, and what stands above and below it where the picture does
    not say that itself. Without data `png` is None, and `alt` says why."""

    name: str
    alt: str
    png: bytes | None = None
    title: str = ""
    caption: str = ""


def new_figure(height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Any, Any]:
    """A figure without pyplot: a notebook's backend and its open figures stay as they are."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_INCHES, height), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, **options).flat)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=10, colors=INK, length=3)
    return figure, axes


def png_of(figure: Any) -> bytes:
    """The figure as a PNG; the same figure gives the same bytes."""
    few_colours(pixels_of(figure)).save(small := io.BytesIO(), "PNG", optimize=True)
    return small.getvalue()


def pixels_of(figure: Any) -> Any:
    """The figure as an RGB picture of Pillow, of the width WIDTH."""
    from PIL import Image

    figure.savefig(drawn := io.BytesIO(), format="png", dpi=WIDTH / _INCHES)
    return Image.open(drawn).convert("RGB")


def few_colours(picture: Any) -> Any:
    """An RGB picture of Pillow with 64 colours, which makes a file a quarter as large. The colours
    cover all that there are: a mean of many would change those that only a thin line has."""
    from PIL import Image

    return picture.quantize(64, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)


def headline(figure: Any, text: str) -> None:
    """What the picture shows, above all its panels; the figure grows by the lines that it takes."""
    whole = text.replace(" = ", "\xa0=\xa0").replace(" %", "\xa0%")  # nothing breaks there
    lines = textwrap.wrap(whole, _LINE)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.2 * len(lines) + 0.08)
    figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=11, weight="bold", color=INK)


def name_rows(ax: Any, names: Sequence[str], scale: bool = False) -> None:
    """One row a name, the first on top; the scale goes where every bar carries its number."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.xaxis.set_visible(scale)
    ax.spines["bottom"].set_visible(scale)


def name_lines(
    ax: Any, ends: Mapping[str, float], colours: Mapping[str, str], apart: float = 0.09
) -> None:
    """Each line's name right of its end (`ends`: its last value), moved up where it would stand
    less than `apart`, a share of the axes' height, above the one below it."""
    at = {name: in_axes(ax, 1, value)[1] for name, value in ends.items()}
    lowest = -math.inf
    for name in sorted(at, key=lambda name: at[name]):
        lowest = max(at[name], lowest + apart)
        text = {"xycoords": "axes fraction", "va": "center", "fontsize": 11}
        ax.annotate(name, (1.02, lowest), color=colours[name], annotation_clip=False, **text)


def in_axes(ax: Any, x: float, y: float) -> tuple[float, float]:
    """Where a point of the data stands, as shares of the axes' width and height."""
    ax.autoscale_view()  # else the axes may still have other limits
    across, up = (ax.transData + ax.transAxes.inverted()).transform((x, y))
    return float(across), float(up)


def log_scale(ax: Any, values: Sequence[float]) -> None:
    """A log axis for values above zero, with ticks such as 0.1, 0.2, 0.5; else one from zero."""
    low, high = min(values), max(values)
    if low <= 0:
        ax.set_ylim(bottom=0)
        return
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    places = [m * 10.0**n for n in decades for m in (1, 2, 5)]
    ticks = [place for place in places if low / 1.5 <= place <= high * 1.2]
    ticks = ticks if len(ticks) < 7 else [t for t in ticks if f"{t:e}".startswith("1")]
    ax.set_yscale("log")
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()


def plain_ticks(axis: Any) -> None:
    """1, 2, 5, 10, … on a log axis, in place of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
    axis.set_minor_formatter(NullFormatter())


def signed(value: float, digits: int = 1) -> str:
    """`+4.2`, `−1.2`."""
    return f"{value:+.{digits}f}".replace("-", "−")
