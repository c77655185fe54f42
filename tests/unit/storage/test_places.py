"""A comment on a piece of text finds its place again by that text, and by which of several equal ones it was."""

import re

from hypothesis import given
from hypothesis import strategies as st

from shared.confluence.storage import Place, place

MARK = '<ac:inline-comment-marker ac:ref="m1">{}</ac:inline-comment-marker>'


def test_the_marked_one_of_several_equal_words_is_found() -> None:
    body = f"<p>red and red</p><p>{MARK.format('red')} again, red</p>"
    assert place(body, "m1", "red") == Place("red", 4, 2)


def test_blanks_and_entities_count_as_a_reader_sees_them() -> None:
    body = f"<p>a   &amp;\n b</p><p>{MARK.format('a &amp; b')}</p>"
    assert place(body, "m1", "a & b") == Place("a & b", 2, 1)


def test_text_in_parameters_of_macros_is_not_counted() -> None:
    macro = '<ac:structured-macro ac:name="x"><ac:parameter ac:name="t">red</ac:parameter></ac:structured-macro>'
    assert place(f"{macro}<p>{MARK.format('red')}</p>", "m1", "red") == Place("red", 1, 0)


def test_a_marker_whose_text_was_changed_keeps_its_place() -> None:
    assert place(f"<p>was {MARK.format('blue')} once</p>", "m1", "red") == Place("blue", 1, 0)


def test_without_a_marker_only_text_that_stands_once_has_a_place() -> None:
    assert place("<p>only red here</p>", "gone", "red") == Place("red", 1, 0)
    assert place("<p>red and red</p>", "gone", "red") is None
    assert place("<p>blue</p>", "gone", "red") is None


def test_a_selection_over_several_markers_of_one_comment_is_found() -> None:
    body = f"<p>{MARK.format('one ')}<strong>{MARK.format('two')}</strong></p>"
    assert place(body, "m1", "one two") == Place("one two", 1, 0)


@given(st.lists(st.sampled_from(["red", "blue", "green"]), min_size=1, max_size=20), st.data())
def test_whichever_word_is_marked_is_the_one_that_is_named(words: list[str], data: st.DataObject) -> None:
    marked = data.draw(st.integers(0, len(words) - 1))
    shown = [MARK.format(word) if n == marked else word for n, word in enumerate(words)]
    found = place(f"<p>{' '.join(shown)}</p>", "m1", words[marked])
    assert found is not None
    at = [m.start() for m in re.finditer(words[marked], " ".join(words))][found.index]
    assert at == len(" ".join([*words[:marked], ""]))
    assert found.count == words.count(words[marked])
