import pytest

from vitruvius.search.history import Event
from vitruvius.space import digest
from vitruvius.study.trials import Ledger, summary, to_json, trials


def journal(*rows) -> list[Event]:
    return [
        Event(i, kind, trial, {**body, "at": 100.0 + i})
        for i, (kind, trial, body) in enumerate(rows, 1)
    ]


def told(score, **more):
    return {"score": score, "scores": {"accuracy": score}, "status": "finished", **more}


POINT = {"width": 16, "adapt": "LowRank"}
STUDY = ("study", 0, {"metric": "accuracy", "better": "higher", "seed": 3})
EVENTS = journal(
    STUDY,
    ("started", 0, {}),
    ("asked", 1, {"point": POINT, "attempt": 0}),
    ("rung", 1, {"step": 20, "fraction": 1.0, "score": 0.9, "annealed": True}),
    ("rung", 1, {"step": 10, "fraction": 0.5, "score": 0.7, "annealed": False}),
    ("told", 1, told(0.9, seconds=4.5, flops=1e9, parameters=512)),
    ("asked", 2, {"point": {"width": 99}, "attempt": 0}),
    ("rejected", 2, {"point": {"width": 99}, "attempt": 0, "address": "width", "reason": "wide"}),
    ("asked", 2, {"point": {"width": 32}, "attempt": 1}),
    ("told", 2, {"score": None, "status": "failed", "cause": "NaN", "seconds": 1.0}),
    ("asked", 3, {"point": {"width": 8}, "attempt": 0}),
    ("stopped", 3, {"score": 0.95, "cause": "the budget ended"}),
    ("asked", 4, {"point": {"width": 4}, "attempt": 0}),
    ("a kind of next year", 9, {}),
)


def test_every_status_and_what_is_known_of_it():
    one, two, three, four, refused = trials(EVENTS)
    assert (one.number, one.status, one.score, one.scores) == (
        1,
        "finished",
        0.9,
        {"accuracy": 0.9},
    )
    assert one.curve == ((10, 0.5, 0.7), (20, 1.0, 0.9))
    assert (one.seconds, one.flops, one.parameters) == (4.5, 1e9, 512)
    assert (one.started, one.ended, one.cause) == (103.0, 106.0, None)
    assert one.digest == digest(POINT)
    assert (two.status, two.score, two.scores, two.cause) == ("failed", None, {}, "NaN")
    assert (two.point, two.attempt) == ({"width": 32}, 1)
    assert (three.status, three.score, three.seconds) == ("stopped", 0.95, 1.0)
    assert three.cause == "the budget ended"
    assert (four.status, four.ended, four.seconds) == ("running", None, None)
    assert (refused.number, refused.status, refused.cause) == (-1, "infeasible", "width: wide")
    assert refused.point == {"width": 99}


def test_a_point_refused_last_leaves_no_trial():
    (one, refused) = trials(EVENTS[:8])
    assert (one.number, refused.number) == (1, -1)


def test_the_summary_names_the_best_finished_trial():
    study = summary(EVENTS)
    assert study.best is not None and study.best.number == 1  # the stopped one has more, but no end
    assert (study.metric, study.better, study.meta["seed"]) == ("accuracy", "higher", 3)
    assert [trial.number for trial in study.of("failed", "stopped")] == [2, 3]
    assert (study.ended, study.final) == (None, None)
    empty = summary([])
    assert (empty.best, empty.trials, empty.better, empty.meta) == (None, (), "higher", {})


@pytest.mark.parametrize(("better", "order"), [("higher", [3, 1, 4, 2]), ("lower", [2, 1, 4, 3])])
def test_leaders_stand_in_the_metrics_order_and_equals_as_they_came(better, order):
    scores = {1: 0.5, 2: 0.1, 3: 0.9, 4: 0.5}
    rows = [("study", 0, {"better": better})]
    for number in (4, 3, 2, 1):
        rows += [("asked", number, {"point": {}}), ("told", number, told(scores[number]))]
    study = summary(journal(*rows))
    assert [trial.number for trial in study.leaders] == order
    assert study.best is study.leaders[0]


def test_json_has_the_promised_shape():
    written = to_json(summary(EVENTS))
    assert set(written) == {"best", "trials"}
    assert written["best"] == {
        "number": 1,
        "point": POINT,
        "scores": {"accuracy": 0.9},
        "status": "finished",
        "seconds": 4.5,
    }
    assert written["best"] == written["trials"][0]
    assert [trial["status"] for trial in written["trials"]] == [
        "finished",
        "failed",
        "stopped",
        "running",
        "infeasible",
    ]
    assert len({trial["number"] for trial in written["trials"]}) == 5
    assert to_json(summary([])) == {"best": None, "trials": []}


ASKED = ("asked", 1, {"point": POINT, "attempt": 0})
RUNG = ("rung", 1, {"step": 10, "fraction": 0.5, "score": 0.7, "annealed": False})
AGAIN = ("rung", 1, {"step": 10, "fraction": 0.5, "score": 0.6, "annealed": False})


def test_a_lost_trial_that_is_asked_anew_goes_on_with_its_curve():
    (lost,) = trials(journal(STUDY, ASKED, RUNG, ("lost", 1, {})))
    assert (lost.status, lost.cause) == ("stopped", "its worker died")
    (same,) = trials(journal(STUDY, ASKED, RUNG, ("lost", 1, {}), ASKED, AGAIN))
    assert (same.status, same.cause, same.started) == ("running", None, 102.0)
    assert same.curve == ((10, 0.5, 0.6),)
    other = ("asked", 1, {"point": {"width": 1}, "attempt": 0})
    (fresh,) = trials(journal(STUDY, ASKED, RUNG, ("lost", 1, {}), other))
    assert (fresh.curve, fresh.point) == ((), {"width": 1})


def test_the_first_word_on_a_trial_stands():
    rows = (STUDY, ASKED, ("told", 1, told(0.9)), ("told", 1, told(0.1)), ("lost", 1, {}), RUNG)
    (trial,) = trials(journal(*rows))
    assert (trial.status, trial.score, trial.curve) == ("finished", 0.9, ())


def test_the_end_of_a_study_ends_what_ran_and_a_new_session_lifts_it():
    ended = [STUDY, ASKED, ("ended", 0, {"cause": "interrupted", "seconds": 900.0})]
    study = summary(journal(*ended))
    assert study.ended == "interrupted"
    assert (study.trials[0].status, study.trials[0].cause) == ("stopped", "the study ended")
    assert study.trials[0].seconds == 1.0
    again = summary(journal(*ended, ("started", 0, {}), ASKED, ("final", 1, {"test": 0.8})))
    assert (again.ended, again.trials[0].status) == (None, "running")
    assert again.final is not None and again.final["test"] == 0.8


def test_events_without_their_beginning_are_refused():
    with pytest.raises(ValueError, match=r"Event 1 is 'told' of trial 7, which was never asked"):
        trials(journal(("told", 7, told(0.5))))


def test_the_ledger_kept_event_by_event_equals_the_fold_from_scratch():
    ledger = Ledger()
    for count, event in enumerate(EVENTS, 1):
        ledger.hear(event)
        assert ledger.summary == summary(EVENTS[:count])
