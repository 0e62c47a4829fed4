"""HTML from Python: text can become neither an element, nor an attribute, nor a script."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from ultracore.distillation.report.html import el, join, json_data
from ultracore.distillation.report.words import clean


def test_only_html_is_html() -> None:
    assert el("p", "<b>", el("b", "x"), None, ["&", 3]) == "<p>&lt;b&gt;<b>x</b>&amp;3</p>"
    assert el("input", class_="a", data_x='"', hidden=True, required=False, title=None) == (
        '<input class="a" data-x="&quot;" hidden>'
    )
    assert join() == ""


@settings(deadline=None)  # the machine may be busy
@given(st.recursive(st.text() | st.floats() | st.none(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_data_in_a_script_cannot_end_it_and_reads_back(value: object) -> None:
    script = json_data({"value": value}, "i")
    body = script.removeprefix('<script type="application/json" id="i">').removesuffix("</script>")
    assert not set(body) & set("<>&\u2028\u2029")
    json.loads(body)


@settings(deadline=None)  # the machine may be busy
@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), max_size=30))
def test_clean_text_reads_back(text: str) -> None:
    body = json_data(clean(text), "i").split(">", 1)[1].removesuffix("</script>")
    assert json.loads(body) == clean(text)
