"""What notebooks print is rounded and the same at every run."""

import numpy as np
import pytest
import sympy

from rsail.study import display


@pytest.mark.parametrize(
    "value, expected",
    [
        (1 / 3, "0.333"),
        (-1e-9, "0.000"),
        (np.int64(3), "3"),
        (True, "True"),
        ("text", "text"),
        (np.array([1.0, -0.25]), "[1.000, -0.250]"),
        ([(1, 2.0)], "[[1, 2.000]]"),
    ],
)
def test_values_are_rounded_and_zero_has_no_sign(value, expected):
    assert display.text_of(value) == expected


def test_an_object_is_not_shown_by_its_repr():
    with pytest.raises(TypeError, match="got object"):
        display.text_of(object())


def test_show_prints_one_line(capsys):
    display.show("penalty", 0.12345)
    assert capsys.readouterr().out == "penalty: 0.123\n"


def test_a_difference_below_its_tolerance_is_reported_without_unstable_digits(capsys):
    display.check_below("difference", -3.1e-13, 1e-12)
    assert capsys.readouterr().out == "difference: at most 1e-12\n"
    for value in (3.1e-12, np.nan):
        with pytest.raises(AssertionError, match="difference"):
            display.check_below("difference", value, 1e-12)


def test_tables_set_numbers_right_and_escape_bars():
    text = display.markdown_table([["a|b", 0.5, 2], ["c", -1.0, 30]], ("name", "value", "count"))
    assert text.splitlines() == [
        "| name | value | count |",
        "| --- | ---: | ---: |",
        r"| a\|b | 0.500 | 2 |",
        "| c | -1.000 | 30 |",
    ]


def test_a_row_of_the_wrong_length_is_an_error():
    with pytest.raises(ValueError, match=r"rows\[1\] must have 2 entries"):
        display.markdown_table([[1, 2], [1]], ("a", "b"))


def test_equations_join_symbols_and_latex(monkeypatch):
    shown = []
    monkeypatch.setattr(display, "display", lambda thing: shown.append(thing.data))
    beta = sympy.Symbol("beta")
    display.equation(r"\mathcal{R}", beta**2)
    display.equation(beta)
    assert shown == [r"\mathcal{R} = \beta^{2}", r"\beta"]
