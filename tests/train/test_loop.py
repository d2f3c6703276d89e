"""The loop: determinism, checkpoints, limits, what stops it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vitruvius.contracts import (
    Batch,
    Given,
    Limits,
    Loss,
    Measurement,
    Model,
    Optimizer,
    Progress,
    Schedule,
    State,
    Stopped,
)
from vitruvius.pipeline.keys import Setting
from vitruvius.pipeline.lab import LocalLab
from vitruvius.pipeline.load import Load
from vitruvius.pipeline.training import Train
from vitruvius.space import Infeasible
from vitruvius.techniques.heads import Answer
from vitruvius.techniques.layers import (
    Affine,
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    ReLU,
    Sequential,
)
from vitruvius.techniques.objectives import Supervised
from vitruvius.techniques.optimizers import SGD, SOAP, AdamW, Muon
from vitruvius.techniques.schedules import WSD, Constant, Plateau, Power
from vitruvius.train import loop
from vitruvius.train.building import network_of, outline, realise
from vitruvius.train.checkpoint import digest_of
from vitruvius.train.loop import CHECKPOINT, Diverged, group_parameters
from vitruvius.train.meter import FlopMeter

CPU = torch.device("cpu")
SETTING = Setting(seed=0, device=CPU, precision=torch.float32, threads=1)
NETWORK = Sequential(Conv(4), BatchNorm(), ReLU(), Flatten(), Dropout(0.2), Affine(10))


DRAWN: list[int] = []


class Watching(Supervised):
    """Notes what the generator of each step gives."""

    def step(
        self, model: Model, parts: nn.Module, batch: Batch, now: Progress, given: Given
    ) -> Loss:
        DRAWN.append(int(torch.randint(2**40, (1,), generator=given.rng)))
        return super().step(model, parts, batch, now, given)


@pytest.fixture(scope="module")
def loaded() -> State:
    return replace(LocalLab(SETTING).run(Load("digits"), {}))


def weights(model: Model | None) -> str:
    assert model is not None
    return digest_of(network_of(model).state_dict())


def run(loaded: State, stage: Train, **changes: object) -> State:
    lab = replace(LocalLab(SETTING), **changes)  # type: ignore[arg-type]
    return lab.run(stage, {"before": loaded})


def test_the_same_stage_gives_the_same_bits_whatever_ran_before(loaded: State) -> None:
    stage = Train(model=NETWORK, epochs=2)
    first = weights(run(loaded, stage).model)
    torch.rand(7)  # the global generator is somewhere else now
    run(loaded, Train(model=NETWORK, epochs=1, batch_size=32))
    assert weights(run(loaded, stage).model) == first


def test_a_training_leaves_the_global_generator_as_it_was(loaded: State) -> None:
    before = torch.get_rng_state()
    run(loaded, Train(model=NETWORK, epochs=1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [
        (AdamW(), Constant()),
        (AdamW(), Plateau(patience=1)),
        (SGD(), Plateau(patience=1)),
        (SGD(momentum=0.0, nesterov=False), Constant()),
        (Muon(), WSD(warmup_steps=5)),
        (SOAP(refresh=3), Power(warmup_steps=5)),
    ],
)
def test_a_killed_training_goes_on_to_the_same_bits(
    loaded: State,
    optimizer: Optimizer,
    schedule: Schedule[float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    stage = Train(model=NETWORK, epochs=4, optimizer=optimizer, schedule=schedule)
    whole = run(loaded, stage)
    seen: list[int] = []

    class Killed(Exception):
        pass

    def kill(now: Progress, measured: Sequence[Measurement]) -> None:
        seen.append(now.step)
        if len(now.history) == 2 and not measured:  # in the midst of the third epoch
            raise Killed

    with pytest.raises(Killed):
        run(loaded, stage, folder=tmp_path, listen=kill)
    assert (tmp_path / CHECKPOINT).exists()
    steps: list[int] = []
    again = run(loaded, stage, folder=tmp_path, listen=lambda now, _: steps.append(now.step))
    assert weights(again.model) == weights(whole.model)
    assert steps[1] > 0, "it began anew"
    assert not (tmp_path / CHECKPOINT).exists()


def test_a_damaged_or_foreign_checkpoint_is_not_used(
    loaded: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Train(model=NETWORK, epochs=2)
    whole = weights(run(loaded, stage).model)
    (tmp_path / CHECKPOINT).write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00garbage!" * 9)
    assert weights(run(loaded, stage, folder=tmp_path).model) == whole


def test_the_best_epoch_is_what_remains(loaded: State) -> None:
    scores: list[float] = []

    def hear(now: Progress, measured: Sequence[Measurement]) -> None:
        scores.extend(m.value for m in measured if m.name == "accuracy")

    stage = Train(model=NETWORK, epochs=6, optimizer=SGD(0.8), batch_size=32)
    lab = LocalLab(SETTING, listen=hear)
    state = lab.run(stage, {"before": loaded})
    assert state.task is not None and state.task.metric is not None
    assert lab.evaluate(state, state.task.metric).value == max(scores)


def test_patience_ends_a_training(loaded: State) -> None:
    still = Sequential(Flatten(), Affine(10))  # without statistics, which move by themselves
    state = run(loaded, Train(model=still, epochs=50, patience=2, optimizer=AdamW(1e-12)))
    assert state.measurements[-1].value == 3  # the first is the best, two more are no better


def test_a_loss_that_is_no_number_is_told(loaded: State) -> None:
    wild = SGD(learning_rate=1e38, weight_decay=0.0)
    with pytest.raises(Diverged, match=r"the loss became no number in round 1 of 2 \(step \d+\)"):
        run(loaded, Train(model=NETWORK, epochs=2, optimizer=wild))


def test_the_plan_tells_flops_and_parameters_before_the_first_step(loaded: State) -> None:
    heard: list[tuple[int, Measurement]] = []
    stage = Train(model=Sequential(Flatten(), Affine(10)), epochs=2)
    run(loaded, stage, listen=lambda now, m: heard.extend((now.step, one) for one in m))
    step, plan = heard[0]
    items = len(loaded.splits["train"].documents)
    assert step == 0 and plan.cost.parameters == 64 * 10 + 10
    assert plan.cost.flops == 3 * 2 * 64 * 10 * items * 2  # forward and backward, 2 per weight


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(max_parameters=100), r"[\d,]+ parameters exceed the limit of 100"),
        (Limits(max_flops=1e3), r"FLOPs of training exceed the limit of 1e\+03"),
    ],
)
def test_limits_refuse_before_anything_is_built(
    loaded: State, limits: Limits, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitruvius.pipeline.training.realise", None)  # must not be reached
    with pytest.raises(Infeasible, match=reason):
        run(loaded, Train(model=NETWORK, epochs=1), limits=limits)


def test_a_network_that_does_not_fit_its_input_is_infeasible(loaded: State) -> None:
    with pytest.raises(Infeasible, match="Conv"):
        run(loaded, Train(model=Sequential(Flatten(), Conv(4)), epochs=1))


def test_the_lab_can_stop_a_training(loaded: State) -> None:
    def stop(now: Progress, measured: Sequence[Measurement]) -> None:
        if now.step == 5:
            raise Stopped("enough")

    with pytest.raises(Stopped, match="enough"):
        run(loaded, Train(model=NETWORK, epochs=1), listen=stop)


def test_weights_follow_from_the_seed_alone(loaded: State) -> None:
    assert loaded.task is not None
    found = [
        realise(outline(NETWORK, Answer(), (1, 8, 8), loaded.task, FlopMeter()), CPU, seed)
        for seed in (1, 1, 2)
    ]
    assert weights(found[0]) == weights(found[1]) != weights(found[2])


def test_what_decays_and_what_does_not() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 3))
    groups = {(g.kind, g.decay): g.names for g in group_parameters(network)}
    assert groups == {
        ("kernel", True): ("0.weight",),
        ("bias", False): ("0.bias", "1.bias", "2.bias"),
        ("norm", False): ("1.weight",),
        ("matrix", True): ("2.weight",),
    }


def test_a_module_says_of_its_own_parameters_what_they_are() -> None:
    class Gate(nn.Module):
        parameter_kinds = {"g": "gate"}  # noqa: RUF012
        rates = {"g": 0.1}  # noqa: RUF012
        decays = {"g": True}  # noqa: RUF012

        def __init__(self) -> None:
            super().__init__()
            self.g = nn.Parameter(torch.ones(3))

    (group,) = group_parameters(Gate())
    assert (group.kind, group.rate, group.decay) == ("gate", 0.1, True)


def test_a_module_without_reset_parameters_is_refused(loaded: State) -> None:
    class Lazy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.zeros(64, 10))

        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1) @ self.w

    assert loaded.task is not None
    found = outline(
        Sequential(Flatten(), Affine(10)), Answer(), (1, 8, 8), loaded.task, FlopMeter()
    )
    with torch.device("meta"):
        found.network.body.network = Lazy()
    with pytest.raises(TypeError, match=r"Lazy.*no reset_parameters"):
        realise(found, CPU, 0)


def test_bfloat16_trains_too(loaded: State) -> None:
    half = LocalLab(replace(SETTING, precision=torch.bfloat16))
    state = half.run(Train(model=NETWORK, epochs=2), {"before": loaded})
    assert state.model is not None
    kinds = {p.dtype for p in network_of(state.model).parameters()}
    assert kinds == {torch.float32}
    assert state.task is not None and state.task.metric is not None
    assert half.evaluate(state, state.task.metric).value > 0.5


def test_the_objective_draws_anew_in_each_step(loaded: State) -> None:
    DRAWN.clear()
    run(loaded, Train(model=Sequential(Flatten(), Affine(10)), epochs=1, objective=Watching()))
    assert len(set(DRAWN)) == len(DRAWN) > 3
