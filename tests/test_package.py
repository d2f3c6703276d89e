"""The names of the package itself."""

import subprocess
import sys
from pathlib import Path

import pytest

import vitruvius
from vitruvius import running
from vitruvius.study.settings import StudyError


def test_search_stays_callable_beside_the_package_of_its_name(tmp_path: Path) -> None:
    import vitruvius.search as searchers

    assert searchers.MCTS.__name__ == "MCTS"
    for _ in range(2):
        with pytest.raises(StudyError, match="does not exist"):
            vitruvius.search(str(tmp_path / "absent.py"))


def test_names_are_loaded_when_they_are_used() -> None:
    code = (
        "import sys, vitruvius; assert 'vitruvius.running' not in sys.modules; "
        "from vitruvius import search, Study; "
        "assert callable(search) and Study.run; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(AttributeError, match=r"has no 'serach'; it has .*search"):
        vitruvius.serach  # noqa: B018  # type: ignore[attr-defined]


def test_a_study_notes_where_its_searcher_comes_from() -> None:
    from tests.own_searcher import Last

    assert running.modules_of(Last()) == ("tests.own_searcher",)


def test_a_class_of_a_file_that_is_not_found_says_how_to_find_it() -> None:
    from vitruvius.space import from_json

    with pytest.raises(ValueError, match=r"No module named 'gone'. Put the folder .* PYTHONPATH"):
        from_json({"node": "gone:Layer"}, ("gone",))
