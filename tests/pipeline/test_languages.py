"""Scripts and languages by hand-written examples, and by real texts of seven languages."""

from __future__ import annotations

import random
import subprocess
import sys
import unicodedata

import pytest

from benchmarks import language_errors
from distill_lab.pipeline.languages import folded, foreign_sentences, foreign_words, script
from distill_lab.run.records import Question

ENGLISH = (
    "Orgar Dvořák was born in Helhaven, a small town by the river Larane. His sister, the painter "
    "Mira Dvořák, lives in Vinford, where she teaches at the school of Señor de la Cruz.",
    "Where was Orgar born?",
)

# text, passage, foreign words
WORDS = [
    ("1,000 km² — “half” ½, №5: 3 × 4 = 12 €!", "", []),  # digits and punctuation
    ("Dvořák, Łódź, naïve, Đặng, ʻOkina, ﬁne, ＡＢ", "", []),  # accents, Latin in other dress
    ("∑ π ∈ ℝ, 𝛼𝑥² ≤ ℵ₀, μm, ω, Δx, ℏ, ª", "", []),  # mathematics
    ("a 路 b", "", ["路"]),  # one is enough
    ("x路程y", "", ["x路程y"]),
    ("так", "", ["так"]),  # not: only Chinese seen
    ("سلام", "", ["سلام"]),
    ("すべ and 한국 and ไทย", "", ["すべ", "한국", "ไทย"]),
    ("He is 東京.", "It is called 東京 (Tokyo), a large city of many people.", []),  # quoted
    ("He is 京都.", "It is called 東京 (Tokyo), a large city of many people.", ["京都"]),
    ("Он живёт в Москве, in Moscow.", "Москва — столица России. Где он живёт?", []),
    ("Он живёт в 東京.", "Москва — столица России. Где он живёт?", ["東京"]),
]
# what a thought says, what the passage does, foreign words
QUOTED = [
    ("москва or МОСКВА", "Москва", []),  # case
    ("Толсто\u0306и", "Толстои", []),  # accents
    ("ко́рень", "корень", []),
    ("مُحَمَّد and كتـــاب", "محمد كتاب", []),  # vowel marks, a stretched word
    ("שָׁלוֹם", "שלום", []),
    ("می‌روم", "میروم", []),  # a joiner
    ("বাংলা", "বাংলা", []),
    ("হ\u09af\u09bc", "হ\u09df", []),  # one letter, written as two and as one
    ("বাঙালি", "বাংলা", ["বাঙালি"]),
    ("বি", "বাংলা", ["বি"]),  # not: words cut at their vowel signs, of which ব is quoted
    ("カタカナ", "漢字", ["カタカナ"]),
]


def passage_with(words):
    """English, with less than a tenth of another script."""
    return (
        f"They call it {words} where he comes from, and have done so for many hundred years; so do "
        "the people of the towns around the lake, who came there later and took the word from them."
    )


NORMAL_FORMS = {"Korean": "한국어", "Bengali": "য়", "Russian": "Толстой", "Vietnamese": "Đặng Thị"}
JAPANESE = (
    "東京は日本の首都であり、人口は約千四百万人である。明治元年に江戸から東京と改められ、"
    "それ以来、政治と経済の中心となっている。市の中心には皇居があり、その周りには役所や"
    "会社の建物が並んでいる。"
)


@pytest.mark.parametrize(("text", "passage", "expected"), WORDS)
def test_foreign_words(text, passage, expected):
    assert foreign_words(text, passage) == expected


@pytest.mark.parametrize(("text", "quoted", "expected"), QUOTED)
def test_a_quoted_word_is_known_however_it_is_written(text, quoted, expected):
    assert foreign_words(text, passage_with(quoted)) == expected


@pytest.mark.parametrize("word", NORMAL_FORMS.values(), ids=NORMAL_FORMS.keys())
@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC"), ("NFKD", "NFKC")])
def test_a_quoted_word_is_known_in_each_normal_form(word, forms):
    there, quoted = (unicodedata.normalize(form, word) for form in forms)
    assert foreign_words(f"It is {quoted}.", passage_with(there)) == []
    assert foreign_words(f"It is {quoted}.") == ([] if word[0] == "Đ" else [quoted])


def test_the_scripts_of_japanese_are_at_home_together():
    assert "カ" not in JAPANESE  # less than a tenth katakana
    assert foreign_words("ニューヨークはアメリカの人々の都市で、ラーメンは高い。", JAPANESE) == []
    assert foreign_words("서울", JAPANESE) == ["서울"]
    chinese = "北京是中国的首都，位于华北平原的北部，人口超过两千万。"
    assert foreign_words("ニューヨークだ", chinese) == ["ニューヨークだ"]


def test_scripts():
    assert [script(letter) for letter in "aé路жהー々"] == [
        *("LATIN", "LATIN", "CJK", "CYRILLIC", "HEBREW", "KATAKANA", "CJK")
    ]


def test_folding_is_stable():
    for text in ("Straße ǅ İ ﬃ", "한국어", "কি", "Й", "ά"):
        assert folded(folded(text)) == folded(text)
        assert folded(unicodedata.normalize("NFD", text)) == folded(text)


FOREIGN = [
    "El pasaje dice que Orgar nació en Helhaven, un pueblo junto al río.",
    "La respuesta es Helhaven.",
    "Im Text steht, dass Orgar in Helhaven geboren wurde.",
    "Le passage dit qu'Orgar est né à Helhaven, au bord de la rivière.",
    "Đoạn văn nói rằng Orgar sinh ra ở Helhaven, một thị trấn nhỏ.",
    "Metne göre Orgar küçük bir kasaba olan Helhaven'de doğdu.",
    "Το κείμενο λέει ότι ο Orgar γεννήθηκε στο Helhaven.",
    "Tekst mówi, że Orgar urodził się w małym mieście nad rzeką.",
    "Menurut teks, Orgar lahir di kota kecil di tepi sungai.",
    "O texto diz que o Orgar nasceu em Helhaven.",
]
OUR_OWN = [
    "He was born in Helhaven, as the passage says.",
    "Helhaven.",
    "Wait, hmm, okay, let me check that again.",
    "Quinric Halvard Melsa, Tolden Varic and Dalia Norvin.",  # invented names that are not there
    "The school of Señor de la Cruz, so Señor de la Cruz.",  # quoted
    "Señor de la Cruz",
    "Da war Orgar.",  # too short a piece to tell
    "Let x = 2, then \\frac{a}{b} = \\cos y, and f(x) = mx + b mod n.",
    "She plays the oboe, viola, tuba and piano per se.",
    "Antidote neutralizes poison.",
    "She met Friedrich Schleiermacher, Giovanni da Verrazzano and Tytus Woyciechowski.",
    "",
]


@pytest.mark.parametrize("sentence", FOREIGN)
def test_a_sentence_in_another_language_is_found(sentence):
    assert foreign_sentences(sentence, *ENGLISH) == [sentence]
    among = f"<think>He was born there. {sentence} So it is.</think><answer>Helhaven</answer>"
    assert foreign_sentences(among, *ENGLISH) == [sentence]


@pytest.mark.parametrize("sentence", OUR_OWN)
def test_english_names_and_formulas_are_at_home(sentence):
    assert foreign_sentences(sentence, *ENGLISH) == []


def test_short_sentences_are_told_together():
    text = "Nació aquí. Helhaven sí. Eso dice."
    assert foreign_sentences(text, *ENGLISH) == [text]


def test_the_languages_of_passage_and_question_are_at_home_and_quotes_are_nobodys():
    spanish = "El río nace en las montañas y atraviesa la ciudad, donde vive mucha gente."
    question = "¿Dónde nace el río que atraviesa la ciudad?"
    thought = "Según lo que se lee, nace entre las montañas altas."
    assert foreign_sentences(thought, *ENGLISH) == [thought]
    assert foreign_sentences(thought, spanish, "Where does it rise?") == []
    assert foreign_sentences(thought, ENGLISH[0], question) == []
    assert foreign_sentences(f"{ENGLISH[0]} He says: “{spanish}”", f"He wrote: {spanish}") == []
    german = "Der Fluss entspringt in den Bergen und fließt durch die Stadt."
    assert foreign_sentences(german, spanish, question) == [german]


def test_the_identifier_is_loaded_when_a_sentence_is_to_be_judged():
    code = (
        "import sys; from distill_lab.pipeline.languages import foreign_sentences as f\n"
        "f('Born in Helhaven.', 'He was born in Helhaven.'); print('py3langid' in sys.modules)\n"
        "f('Nacido muy cerca de aquí.', 'x'); print('py3langid' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


# -- real texts (benchmarks.language_errors prints the whole table)

SAMPLE = 100


@pytest.fixture(scope="module")
def kinds(shared_data):
    return list(language_errors.kinds(shared_data))


def test_real_texts_are_refused_where_they_should_be(kinds):
    shares = {}
    for name, expected, thoughts in kinds:
        some = random.Random(0).sample(thoughts, min(SAMPLE, len(thoughts)))
        n_refused = sum(language_errors.refused(*thought) for thought in some)
        if some and not (n_refused == 0 and expected == "none"):
            shares[name] = n_refused / len(some)
    on_english = {f"{name} on English" for name in ("Spanish", "Vietnamese", "Greek", "Hindi")}
    assert set(shares) == on_english | {"r1-distill-qwen-1.5b.100, with Chinese"}
    assert min(shares.values()) >= 0.95


def test_the_benchmark_skips_what_is_not_there_and_knows_the_bundled_set(tmp_path, capsys):
    language_errors.main(tmp_path)
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [(name, refused) for name, _, refused, _ in rows] == [
        ("| bundled sentences, another passage", "0")
    ]


def test_a_thought_of_the_benchmark_is_the_sentence_with_the_answer():
    here = Question("q", "", "He left. She was born in the town in 1899. It rained.", "Where?", ())
    spanish = "Se fue. Ella nació en el pueblo en 1899. Llovía."
    there = Question("q", "", spanish, "¿Dónde?", ("en el pueblo",))
    thoughts = language_errors.parallel([there], [here])
    assert thoughts == [("Ella nació en el pueblo en 1899.", here)]
