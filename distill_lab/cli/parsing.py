"""A command line as tyro reads it, with one sentence for whatever is wrong with it.

tyro's events of mistakes (`tyro._errors`) are used here and nowhere else. tyro does not promise to
keep them, so pyproject.toml names its exact version.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Annotated, Any, NamedTuple, NoReturn, Union, get_type_hints

import tyro
from tyro import _errors as mistakes
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from distill_lab.run.records import LabError
from distill_lab.run.saved_settings import bounds_among, flag
from distill_lab.run.settings import Bounds


class Command(NamedTuple):
    """`begin` imports what the command needs, and returns the settings that the arguments change
    (or their class, if some have no default) and the function to call with them."""

    help: str
    begin: Callable[[Sequence[str]], tuple[Any, Callable[[Any], int | None]]]


class Group(NamedTuple):
    help: str
    commands: Mapping[str, Command | Group]


def read(program: str, group: Group, arguments: Sequence[str]) -> partial[int | None]:
    """The command that the arguments name, ready to be called. `--help` ends the program.

    Raises LabError for a command, a flag or a value that does not exist.
    """
    arguments = [arguments[0].replace("_", "-"), *arguments[1:]] if arguments else []
    if not arguments or arguments[0] not in group.commands:
        _list(program, group, arguments[:1])
    program, rest = f"{program} {arguments[0]}", arguments[1:]
    command = group.commands[arguments[0]]
    if isinstance(command, Group):
        return read(program, command, rest)
    start, run = command.begin(rest)
    settings = parse(start, rest, prog=program, description=command.help)
    return partial(run, settings)


@dataclass(frozen=True, slots=True)
class _Listed:
    """A command in a list of commands: without its flags, so that its modules are not imported."""


def _list(program: str, group: Group, arguments: Sequence[str]) -> NoReturn:
    """Ends the program with the list of commands, or raises LabError."""
    commands = tuple(
        Annotated[_Listed, tyro.conf.subcommand(name, description=command.help)]
        for name, command in group.commands.items()
    )
    any_command: Any = Union[commands]  # noqa: UP007 (their number is not fixed)
    with _sentences("command", group.commands):
        tyro.cli(any_command, prog=program, description=group.help, args=arguments)
    raise AssertionError(f"{program}: tyro ends the program or names the mistake")


def parse(start: Any, arguments: Sequence[str], **options: Any) -> Any:
    """The settings, or an object of the class, with what the arguments say; `options` are
    `tyro.cli`'s."""
    kind = start if isinstance(start, type) else type(start)
    if kind is not start:
        options["default"] = start
    _show_bounds(kind)
    with _sentences("flag", ["--help", *flags(start)]):
        return tyro.cli(kind, args=arguments, registry=_NUMBERS, **options)


def check_bounds(settings: Any) -> None:
    """LabError for the first of a command's own settings that is out of its bounds."""
    kind = type(settings)
    for name, bounds in bounds_among(get_type_hints(kind, include_extras=True)).items():
        found = getattr(settings, name)
        if found not in bounds:
            raise LabError(f"{flag(name)}: expected {bounds}, found {found}.")


def flags(settings: Any, section: str = "") -> Iterator[str]:
    """All flags of these settings as they are typed, those of their sections included."""
    for field in dataclasses.fields(settings):
        value, name = getattr(settings, field.name, None), section + field.name
        if dataclasses.is_dataclass(value):
            yield from flags(value, f"{name}.")
        else:
            yield flag(name)


@cache
def _show_bounds(kind: type) -> None:
    """Lets tyro print the bounds of each field, of its sections too, behind its default."""
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if dataclasses.is_dataclass(hint):
            _show_bounds(hint)  # type: ignore[arg-type]
        for bounds in getattr(hint, "__metadata__", ()):
            if isinstance(bounds, Bounds):
                text = f"(default: {{}}; {bounds})".format
                kind.__annotations__[name] = Annotated[hint, tyro.conf.arg(help_behavior_hint=text)]


# -- mistakes

_NUMBERS = ConstructorRegistry()


@_NUMBERS.primitive_rule
def _number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Numbers as tyro reads them, with a message of our own for a text that is none."""
    kind = info.type
    if kind not in (int, float):
        return None

    def number(texts: list[str]) -> float:
        try:
            return kind(texts[0])
        except ValueError:
            expected = "a whole number" if kind is int else "a number"
            raise ValueError(f"expected {expected}, found {texts[0]!r}.") from None

    return PrimitiveConstructorSpec(
        1, kind.__name__.upper(), number, lambda value: isinstance(value, kind), lambda n: [str(n)]
    )


@contextlib.contextmanager
def _sentences(what: str, known: Collection[str]) -> Iterator[None]:
    """Mistakes are raised as LabError, where tyro would print a box. `what` is known by names."""

    def raise_sentence(mistake: mistakes.ParseErrorEvent) -> None:
        raise LabError(_sentence(mistake, what, known))

    with mistakes.on_parse_error(raise_sentence):
        yield


def _sentence(mistake: mistakes.ParseErrorEvent, what: str, known: Collection[str]) -> str:
    """What was expected and what was found."""
    see = f"see `{mistake.prog} --help`."
    match mistake:
        case mistakes.UnrecognizedArgs(tokens=tokens):
            unknown = next((token for token in tokens if token.startswith("-")), tokens[0])
            if what == "flag" and not unknown.startswith("-"):
                return f"Expected flags and their values, found {unknown}; {see}"
            typed = unknown.partition("=")[0].replace("_", "-")
            # a flag that is known and unknown belongs to another command
            near = difflib.get_close_matches(typed, [name for name in known if name != typed], 1)
            return f"Unknown {what} {unknown}; {f'did you mean {near[0]}?' if near else see}"
        case mistakes.InvalidChoice(argument=argument, value=value, choices=choices):
            return f"{_name(argument)}: expected one of {_listed(choices)}; found {value!r}."
        case mistakes.InstantiationFailure(argument=argument, message=message):
            return f"{_name(argument)}: {message}" if argument else f"{message}; {see}"
        case mistakes.BadValue(argument=argument):
            return f"{_name(argument)}: expected a value, found none."
        case mistakes.MissingArgs(missing_arguments=missing):
            return f"Expected {' and '.join(_name(one.arg) for one in missing)}, found none; {see}"
        case mistakes.MissingSubcommand():
            return f"Expected one of {_listed(known)}; found nothing."
        case _:
            return f"Expected arguments as they stand in the help; {see}"


def _listed(names: Collection[str]) -> str:
    return ", ".join(map(repr, names))


def _name(argument: Any) -> str:
    """A flag as it is typed, a positional argument as it stands in the usage."""
    lowered = argument.lowered
    return lowered.metavar if argument.is_positional() else lowered.name_or_flags[0]
