"""The pages that grading writes, read as a browser reads them: a student's, and the class's."""

import dataclasses
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from distill_lab.course.grading.marks.marks import Mark, Remark, Result, State, StepMark
from distill_lab.course.grading.pages import feedback, overview
from distill_lab.course.grading.pages.shown_text import cut, plain

EVIL = "</style><script>alert('x')</script><img src=http://x.org/a.png> \u202egnp.exe\x1b[31m\x00"
SHOWN = (
    "</style><script>alert('x')</script><img src=http://x.org/a.png> \\u202egnp.exe\\x1b[31m\\x00"
)
LONG = "W" * 100_000
AXIS = "soften([[0, 2]], 2.0)\nyours:    [[0.5, 0.5]]\nexpected: [[0.27, 0.73]]\nThe wrong axis."
PLAIN = "soften([[9, 9]], 1.0)\nyours:    None\nexpected: [[0.5, 0.5]]"
VOID_ELEMENTS = {"meta", "wbr", "br", "img"}


class Page(HTMLParser):
    """Tags, all text outside CSS, the rows of tables, and each place with an id."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.rows, self.open, self.places = [], [], [], {}
        self.text = self.title = ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID_ELEMENTS:
            self.open.append((tag, dict(attrs).get("id")))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        tags = [tag for tag, _ in self.open]
        if "style" in tags or "title" in tags:
            self.title += data if "title" in tags else ""
            return
        self.text += data
        if "td" in tags or "th" in tags:
            self.rows[-1][-1] += data
        for _, place in self.open:
            if place:
                self.places[place] = self.places.get(place, "") + data

    def row(self, start):
        return next([cell.strip() for cell in row] for row in self.rows if row[0].startswith(start))

    def attributes(self, name):
        return [attributes[name] for _, attributes in self.tags if name in attributes]


def step(title, right, said=""):
    return StepMark(title, 1, right, said)


def soften(rows, large, state: State = "partly right", **more):
    """The exercise with two steps, of which each is right ("") or says something."""
    steps = (step("each row by itself", not rows, rows), step("logits of 1,000", not large, large))
    return Mark("lab5a.soften", state, (not rows) + (not large), 2, steps, **more)


def extract(points):
    state: State = "right" if points else "wrong"
    return Mark("lab5a.extract_answer", state, points, 1, (step("the tags", bool(points)),))


def result(student, *marks, **more):
    return Result(student, "lab5a", f"{student}.ipynb", "0" * 64, 987654321, marks, **more)


STUB = Mark(
    "lab5a.soften",
    "not attempted",
    0,
    2,
    (step("each row by itself", False, "not attempted"), step("logits of 1,000", False, "x")),
    hint="Divide first.",
)
MISSING = (
    Mark("lab5a.soften", "missing", 0, 2),
    Mark("lab5a.extract_answer", "missing", 0, 1),
)
VOID = Mark("lab5a.soften", "void", 0, 2, (step("each row by itself", True),), said="The canary.")
REVIEW = Remark("review", "cell 4", "A module was replaced.")
NOTICE = Remark("notice", "cell 2", "It was edited, and restored: write into a new cell.")
CLASS = [
    result("ada", soften("", "", "right"), extract(1)),
    result("bo", soften(AXIS, AXIS, "wrong"), extract(1)),  # one mistake in two steps
    result("cy", soften(AXIS, ""), extract(0)),
    result("di", soften("", PLAIN), extract(1), remarks=(NOTICE,)),
    result("ed", STUB, extract(1)),
    result("flo", VOID, extract(0), remarks=(REVIEW,)),
    result("gus", *MISSING, failure="Expected a notebook, found no JSON: save it again."),
]


def test_a_right_one_is_told_so():
    page = Page(feedback.page(CLASS[0]))
    assert "ada: all 3 points" in page.text
    assert page.row("lab5a.soften")[0].endswith("right")
    assert page.row("lab5a.soften")[2] == "2 of 2"
    assert page.row("Together")[2] == "3 of 3"
    assert "pre" not in {tag for tag, _ in page.tags}
    assert not {"waits", "failure", "notices"} & set(page.places)


def test_a_wrong_step_shows_its_case_and_the_mistake():
    mark = soften(AXIS, "", hint="Divide first.")
    html = feedback.page(result("cy", mark, extract(0)))
    page = Page(html)
    assert "cy: 1 of 3 points" in page.text
    assert page.row("Together")[2] == "1 of 3"
    case = AXIS.removesuffix("\nThe wrong axis.")
    assert f"<pre>{case}</pre>" in html  # its lines as they are
    assert '<p class="mistake said">The wrong axis.</p>' in html
    assert "each row by itselfwrong, 0 of 1" in page.text
    assert "logits of 1,000right, 1 of 1" in page.text
    assert "<details><summary>A hint</summary>" in html
    assert "Divide first." in page.text


def test_an_unknown_mistake_has_no_name():
    html = feedback.page(CLASS[3])
    assert f"<pre>{PLAIN}</pre>" in html
    assert 'class="mistake said"' not in html


def test_a_stub_lists_what_is_open_and_says_it_once():
    page = Page(feedback.page(CLASS[4]))
    assert "each row by itselfopen, 0 of 1" in page.text
    assert page.text.count("not attempted") == 2  # above, and at the exercise
    assert "wrong" not in page.text


def test_what_waits_for_a_look_is_said_kindly():
    page = Page(feedback.page(CLASS[5]))
    assert "waits for a look" in page.places["waits"]
    assert "A module was replaced" not in page.text  # that is for the instructor
    assert "each row by itself" not in page.text  # nothing that a void mark says can be relied on
    assert "The canary." in page.places["exercise-1"]
    alone = Page(feedback.page(dataclasses.replace(CLASS[5], remarks=())))
    assert "waits" in alone.places  # void is enough
    assert "waits" not in Page(feedback.page(CLASS[3])).places


def test_notices_say_where_and_what_to_do():
    page = Page(feedback.page(CLASS[3]))
    assert "cell 2: It was edited, and restored" in page.places["notices"]


def test_a_file_that_could_not_be_graded_shows_why_and_no_empty_table():
    page = Page(feedback.page(CLASS[6]))
    assert "gus: this file could not be graded" in page.text
    assert "found no JSON: save it again." in page.places["failure"]
    assert page.rows == []
    half = result("ivy", extract(1), MISSING[0], failure="The kernel ended.")
    assert Page(feedback.page(half)).row("Together")[2] == "1 of 3"


def everywhere(text, ours="lab5a"):
    """A result with this text wherever one comes from outside; `ours` where the package names it:
    labs, exercises, steps."""
    said = (step(ours, False, f"{text}\nexpected: 1\n{text}"), step(ours, False, text))
    marks = (
        Mark(f"{ours}.a", "error", 0, 2, said, text, text),
        Mark(f"{ours}.b", "void", 0, 1, (), text),
    )
    remarks = (Remark("notice", text, text), Remark("review", text, text))
    return Result(text, ours, text, text, 1, marks, remarks, text)


def both(one):
    fine = dataclasses.replace(one, failure="", student=one.student + "2")
    return [feedback.page(one), feedback.page(fine), overview.page([one, fine])]


@pytest.mark.parametrize("html", both(everywhere(EVIL, EVIL)), ids=["failed", "graded", "class"])
def test_what_students_wrote_is_text(html):
    page = Page(html)
    assert not {"script", "img", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert SHOWN in page.text
    assert "</style>" in page.title  # as text
    assert html.count("</style>") == 1
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", html)


@pytest.mark.parametrize("text", [LONG, "\n" * 100_000 + "z", "\ud800 half", "x\r\ny", "", "שלום"])
def test_any_text_makes_a_page_of_some_kilobytes(text):
    for html in both(everywhere(text)):
        Page(html)
        html.encode("utf-8")
        links = sum(len(link) for link in Page(html).attributes("href"))
        assert len(html) - links < 45_000


def test_nothing_is_loaded_from_elsewhere():
    for html in (overview.page(CLASS), feedback.page(CLASS[2])):
        page = Page(html)
        assert not {"script", "link", "img", "iframe", "form"} & {tag for tag, _ in page.tags}
        assert not page.attributes("src")
        assert all(link.startswith(("#", "students/")) for link in page.attributes("href"))
        assert "url(" not in html
        assert "@import" not in html
        assert "default-src 'none'" in html
        ids = page.attributes("id")
        assert len(ids) == len(set(ids))
        assert {link[1:] for link in page.attributes("href") if link[0] == "#"} <= set(ids)
        assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")


def test_neither_the_seed_nor_the_files_digest_is_shown():
    for html in (overview.page(CLASS), feedback.page(CLASS[2])):
        assert "987654321" not in html
        assert "0" * 64 not in html


def test_points_of_the_class_by_hand():
    # Graded: 3, 1, 1, 2, 1, 0. In order 0 1 1 1 2 3: median 1, quartiles 1 and 1.75.
    page = Page(overview.page(CLASS))
    assert "7 submissions: median 1 of 3 points, quartiles 1 and 1.75." in page.text
    found = [(row.name, row.right) for row in overview.distribution(CLASS[:6])]
    assert found == [("0", 1), ("1", 3), ("2", 1), ("3", 1)]
    assert [page.row(points)[2] for points in "0123"] == ["1", "3", "1", "1"]


def test_pass_rates_by_hand():
    page = Page(overview.page(CLASS))
    assert page.row("each row by itself")[2] == "2 of 6 (33 %)2 wrong, 2 open"
    assert page.row("logits of 1,000")[2] == "2 of 6 (33 %)2 wrong, 2 open"
    assert page.row("the tags")[2] == "4 of 6 (67 %)2 wrong, 0 open"
    assert "lab5a.soften: mean 0.67 of 2" in page.text  # 2 + 0 + 1 + 1 + 0 + 0 over 6
    (group, _) = overview.groups(CLASS[:6])
    states = {"right": 1, "partly right": 2, "wrong": 1, "not attempted": 1, "to be looked at": 1}
    assert group.states == states


def test_a_mistake_counts_once_a_student():
    (made,) = overview.mistakes(CLASS)
    assert made == overview.Mistake("lab5a.soften", "The wrong axis.", 2)
    page = Page(overview.page(CLASS))
    assert page.row("The wrong axis.")[1] == "2 of 6 (33 %)"


def test_the_commonest_mistakes_come_first_and_ten_are_shown():
    said = "f()\nexpected: 1\nMistake {:02}."
    many = [
        result(f"s{n}-{m}", soften(said.format(n), ""))
        for n in range(12)
        for m in range(2 if n == 7 else 1)
    ]
    names = [made.name for made in overview.mistakes(many)]
    assert names[:3] == ["Mistake 07.", "Mistake 00.", "Mistake 01."]
    page = Page(overview.page(many))
    assert page.text.count("Mistake ") == 10
    assert "2 more were made" in page.text


def test_reviews_and_failures_come_first():
    page = Page(overview.page([*CLASS, result("jo", VOID, extract(1))]))
    assert "cell 4: A module was replaced." in page.places["review"]
    assert "lab5a.soften: The canary." in page.places["review"]  # void, though no remark says so
    assert "jo" in page.places["review"]
    assert "gus.ipynb" in page.places["failed"]
    assert "found no JSON: save it again." in page.places["failed"]
    order = [place for place in page.attributes("id") if not place.startswith("exercise-")]
    assert order == ["review", "failed", "points", "exercises", "mistakes", "students"]


def test_a_void_exercise_that_a_remark_is_about_is_listed_once():
    remark = Remark("review", "lab5a.soften", "It did not fail as the instructor's did.")
    assert overview.waiting(result("lu", VOID, remarks=(remark,))) == [remark]


def test_the_same_remark_again_and_again_is_shown_once():
    others = tuple(Remark("review", f"cell {n}", "Odd.") for n in range(9))
    page = Page(
        overview.page([result("kim", extract(1), remarks=(REVIEW, *[REVIEW] * 99, *others))])
    )
    assert page.text.count("A module was replaced.") == 1
    assert page.text.count("Odd.") == 4
    assert "and 5 more, in students/kim.json" in page.text


def test_every_student_has_a_row_and_a_link():
    names = ["ada", "../etc", "a b#c?.x", "Zoë & <Co>"]
    page = Page(overview.page([result(name, extract(1)) for name in names]))
    links = [link for link in page.attributes("href") if not link.startswith("#")]
    assert links == [
        "students/ada.html",
        "students/..%2Fetc.html",
        "students/a%20b%23c%3F.x.html",
        "students/Zo%C3%AB%20%26%20%3CCo%3E.html",
    ]
    assert page.row("Zoë")[:3] == ["Zoë & <Co>", "1 of 1", "1"]
    assert Page(overview.page(CLASS)).rows[-1][0] == "gus not graded"
    assert Page(overview.page(CLASS)).rows[-2] == ["flo to review", "0 of 3", "0", "0"]


@pytest.mark.parametrize(
    ("results", "says"),
    [
        ([], "There are no submissions yet."),
        (CLASS[1:2], "1 submission: 1 of 3 points."),
        (CLASS[6:], "1 submission: it could not be graded."),
        ([CLASS[6]] * 2, "2 submissions: none of them could be graded."),
        ([CLASS[0]] * 30, "30 submissions: each has 3 of 3 points."),
        ([CLASS[5]] * 30, "30 submissions: each has 0 of 3 points."),
        ([result("no", failure="Empty file.")], "1 submission: it could not be graded."),
        ([result("none")], "1 submission: 0 of 0 points."),
    ],
)
def test_classes_of_every_kind(results, says):
    assert overview.headline(results) == says
    page = Page(overview.page(results))
    assert says in page.text
    assert len([row for row in page.rows if row[0].startswith("ada")]) in (0, len(results))


def test_three_hundred_students_are_a_light_page():
    many = [dataclasses.replace(CLASS[n % 6], student=f"s{n}") for n in range(300)]
    html = overview.page(many)
    assert len(html) < 300_000
    assert "300 submissions: median 1 of 3 points" in html
    assert len([row for row in Page(html).rows if re.match(r"s\d+", row[0])]) == 350  # 50 void


def test_many_points_share_rows():
    mark = Mark("lab5a.big", "right", 45, 50)
    rows = overview.distribution(
        [result("a", mark), result("b", Mark("lab5a.big", "wrong", 0, 50))]
    )
    assert len(rows) <= overview.ROWS
    assert rows[0] == overview.Row("0 to 2", 1)
    assert rows[-1].name == "48 to 50"
    assert [row.name for row in rows if row.right] == ["0 to 2", "45 to 47"]


def test_every_bar_stands_beside_its_number():
    """The bars are hidden from screen readers: the row's text must say as much."""
    html = overview.page(CLASS)
    bars = re.findall(r'<tr>(?:(?!</tr>).)*?class="bar"(.*?)</tr>', html, re.DOTALL)
    assert len(bars) == html.count('class="bar"') == 4 + 3
    for bar in bars:
        assert bar.startswith(' aria-hidden="true"')
        assert re.search(r'class="number fit">\d', bar)
    widths = re.findall(r"the tags</th>.*?width: ([\d.]+)%.*?width: ([\d.]+)%", html)
    assert widths == [("66.7", "33.3")]  # right, wrong


def test_text_is_cut_with_a_note():
    assert cut("short") == "short"
    assert cut("x" * 2001) == "x" * 2000 + " … (cut here, 1 more characters)"
    assert cut("a\nb\nc\nd", lines=2) == "a\nb … (cut here, 4 more characters)"


def test_unseen_characters_are_shown_as_python_writes_them():
    assert plain("a\tb\r\nc \x1b\u2066\ud800") == "a\tb\nc \\x1b\\u2066\\ud800"
    assert plain("שלום é 建") == "שלום é 建"


def test_importing_loads_nothing_heavy():
    code = (
        "import sys; import distill_lab.course.grading.pages.feedback, distill_lab.course.grading.pages.overview; "
        "print({'torch', 'transformers', 'matplotlib', 'jinja2'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
