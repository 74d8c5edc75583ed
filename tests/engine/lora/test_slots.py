"""Which adapters are resident, who may take whose place, and that the model is left as it was."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from darkroom.errors import AdapterInvalid, UnknownAdapter
from engine.lora.file import AdapterFile
from engine.lora.slots import AdapterSlots
from tests.engine.lora.files import in_peft_names, random_lora, save_lora

Make = Callable[..., AdapterSlots]
NAMES = ("a", "b", "c", "d")


@pytest.fixture
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.ModuleDict({"to_q": torch.nn.Linear(6, 8), "to_k": torch.nn.Linear(6, 8)})


@pytest.fixture
def files(network: torch.nn.Module, tmp_path: Path) -> dict[str, AdapterFile]:
    made = {}
    for seed, name in enumerate(NAMES):
        lora = random_lora({"unet": network}, layers=["to_q", "to_k"][: 1 + seed % 2], seed=seed)
        made[name] = save_lora(tmp_path / f"{name}.safetensors", in_peft_names(lora))
    return made


@pytest.fixture
def make(network: torch.nn.Module, files: dict[str, AdapterFile]) -> Make:
    def make_slots(capacity: int = 2, changed: Callable[[], None] = lambda: None) -> AdapterSlots:
        return AdapterSlots(files, {"unet": network}, device=torch.device("cpu"), capacity=capacity, on_change=changed)

    return make_slots


def wait(slots: AdapterSlots, *names: str) -> None:
    for name in names:
        slots._slots[name].load.exception(timeout=60)


def hold(slots: AdapterSlots, holder: str, *names: str) -> None:
    assert slots.acquire(holder, names)
    wait(slots, *names)
    assert slots.ready(holder)


def use_once(slots: AdapterSlots, *names: str) -> None:
    hold(slots, "passer-by", *names)
    slots.release("passer-by")


def test_an_adapter_is_read_beside_and_placed_when_asked_for(make: Make, network: torch.nn.Module) -> None:
    changed = threading.Event()
    slots = make(changed=changed.set)

    assert slots.acquire("x", ["a"])
    assert changed.wait(60)

    assert slots.resident() == ()
    assert not network["to_q"]._forward_hooks, "only the device thread touches the layers"
    assert slots.ready("x")
    assert slots.resident() == ("a",)
    assert slots.parts("a") == {"unet"}


def test_an_adapter_is_not_ready_while_it_is_read(make: Make) -> None:
    slots = make()
    with slots._turn:
        assert slots.acquire("x", ["a"])
        assert not slots.ready("x")
    wait(slots, "a")

    assert slots.ready("x")


def test_the_one_not_used_for_longest_leaves(make: Make) -> None:
    slots = make()
    for name in ("a", "b", "a", "c"):
        use_once(slots, name)

    assert slots.resident() == ("a", "c")


def test_an_adapter_in_use_is_never_taken_away(make: Make) -> None:
    slots = make()
    hold(slots, "x", "a")
    use_once(slots, "b")

    assert not slots.acquire("y", ["c", "d"]), "only one of two places could be had"
    assert slots.resident() == ("a", "b"), "and for all or none, none was taken"
    slots.release("y")
    use_once(slots, "c")

    assert slots.resident() == ("a", "c")


def test_two_holders_count_twice(make: Make) -> None:
    slots = make(capacity=1)
    hold(slots, "x", "a")
    hold(slots, "y", "a")
    slots.release("x")

    assert not slots.acquire("z", ["b"])
    slots.release("y")
    assert slots.acquire("z", ["b"])


def test_who_waits_for_a_place_is_not_overtaken(make: Make) -> None:
    """Else a stream of jobs with resident adapters would keep one with a rare adapter waiting for ever."""
    slots = make(capacity=1)
    hold(slots, "x", "a")

    assert not slots.acquire("rare", ["b"])
    assert not slots.acquire("y", ["a"])
    slots.release("x")

    assert not slots.acquire("y", ["a"])
    assert slots.acquire("rare", ["b"])


def test_who_gives_up_waiting_makes_way(make: Make) -> None:
    slots = make(capacity=1)
    hold(slots, "x", "a")
    assert not slots.acquire("rare", ["b"])
    assert not slots.acquire("y", ["a"])

    slots.release("rare")

    assert slots.acquire("y", ["a"])


def test_asking_again_changes_nothing(make: Make) -> None:
    slots = make(capacity=1)
    hold(slots, "x", "a")
    hold(slots, "x", "a")
    slots.release("x")
    slots.release("x")

    hold(slots, "y", "b")

    assert slots.resident() == ("b",)


def test_a_name_given_twice_takes_one_place(make: Make) -> None:
    slots = make(capacity=1)
    use_once(slots, "a", "a")

    use_once(slots, "b")

    assert slots.resident() == ("b",)


def test_an_unknown_adapter_is_refused(make: Make) -> None:
    slots = make()

    with pytest.raises(UnknownAdapter):
        slots.acquire("x", ["a", "other"])
    assert slots.acquire("y", ["b", "c"]), "and nobody waits for it"


def test_an_unknown_slot_raises_instead_of_giving_the_base_image(make: Make) -> None:
    slots = make()
    hold(slots, "x", "a")
    ((number, _),) = slots.uses([("a", 1.0)])

    with pytest.raises(UnknownAdapter), slots.each_row([((number + 1, 1.0),)]):
        pass
    with pytest.raises(UnknownAdapter), slots.every_row(((number + 1, 1.0),)):
        pass
    with slots.each_row([((number, 1.0),), ()]):
        pass


def test_an_adapter_on_its_way_is_no_slot_yet(make: Make) -> None:
    slots = make()
    assert slots.acquire("x", ["a"])
    wait(slots, "a")

    with pytest.raises(UnknownAdapter), slots.each_row([slots.uses([("a", 1.0)])]):
        pass


def test_a_broken_file_is_told_to_its_holder_and_read_anew_for_the_next(
    make: Make, files: dict[str, AdapterFile]
) -> None:
    slots = make()
    path = Path(files["a"].path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert slots.acquire("x", ["a", "b"])
    wait(slots, "a", "b")

    with pytest.raises(AdapterInvalid):
        slots.ready("x")
    slots.release("x")
    path.write_bytes(whole)

    hold(slots, "y", "a")


def test_ejecting_leaves_the_model_bit_equal(make: Make, network: torch.nn.Module) -> None:
    given = torch.randn(3, 6)
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    before = network["to_q"](given)
    slots = make()
    hold(slots, "x", "a", "b")
    with slots.each_row([slots.uses([("a", 1.0), ("b", 2.0)])] * 3):
        assert not torch.equal(network["to_q"](given), before)
    slots.release("x")

    slots.eject("a")
    slots.eject("b")

    assert torch.equal(network["to_q"](given), before)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in network.state_dict().items())
    assert not any(layer._forward_hooks for layer in network.values())
    assert slots.resident() == ()


def test_churn_keeps_slots_and_hooks_flat(make: Make, network: torch.nn.Module) -> None:
    slots = make(capacity=2)

    for turn in range(200):
        pair = (NAMES[turn % 4], NAMES[(turn * 7 + 1) % 4])
        hold(slots, "x", *pair)
        assert {number for number, _ in slots.uses([(name, 1.0) for name in pair])} <= {0, 1}
        slots.release("x")

    assert len(slots.resident()) == 2
    assert all(len(layer._forward_hooks) <= 1 for layer in network.values())
    assert all(len(layer._deltas) <= 2 for layer in slots._layers.values())


def test_an_adapter_dropped_while_it_is_read_leaves_no_trace(make: Make, network: torch.nn.Module) -> None:
    slots = make(capacity=1)
    with slots._turn:
        assert slots.acquire("x", ["a"])
        slots.release("x")
        assert slots.acquire("y", ["b"])
    wait(slots, "b")

    assert slots.ready("y")

    assert slots.resident() == ("b",)
    slots.release("y")
    slots.eject("b")
    assert not any(layer._forward_hooks for layer in network.values())


def test_closing_ends_the_reading(make: Make) -> None:
    slots = make()
    with slots._turn:
        assert slots.acquire("x", ["a"])
        load = slots._slots["a"].load
        slots._closed = True

    slots.close()
    for thread in threading.enumerate():
        if thread.name.startswith("engine-adapter"):
            thread.join(10)

    assert load.cancelled()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("engine-adapter")]
