from __future__ import annotations

import os
from pathlib import Path

import pytest

from darkroom.errors import ConfigurationError, JobStoreUnavailable
from safety.policy_set import Policies, read_policy_file


def write(folder: Path, *, version: int = 1, block: float = 0.9, name: str = "house", file: str | None = None) -> Path:
    path = folder / f"{file or name}.toml"
    bars = f"[prompt.default]\nreview = 0.5\nblock = {block}\n"
    path.write_text(f'schema = 1\nname = "{name}"\nversion = {version}\n{bars}', encoding="utf-8")
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + version * 1_000_000_000))  # coarse clocks of file systems
    return path


def block_bar(policies: Policies, name: str = "house") -> float:
    return policies.of(name).prompt.default.block


def test_shipped_policies_and_the_operators_own_count(tmp_path: Path) -> None:
    write(tmp_path)
    policies = Policies(tmp_path)

    assert {"default", "strict", "research", "house"} <= set(policies.now())
    assert policies.of(None).name == "default"
    assert Policies(tmp_path, default="house").of(None).name == "house"


def test_changed_file_counts_without_a_restart(tmp_path: Path) -> None:
    write(tmp_path)
    policies = Policies(tmp_path, look_seconds=0)

    write(tmp_path, version=2, block=0.7)

    assert block_bar(policies) == 0.7


def test_files_are_not_looked_at_with_every_call(tmp_path: Path) -> None:
    write(tmp_path)
    now = [0.0]
    policies = Policies(tmp_path, look_seconds=2, clock=lambda: now[0])
    write(tmp_path, version=2, block=0.7)

    now[0] = 1.9
    assert block_bar(policies) == 0.9
    now[0] = 2.1
    assert block_bar(policies) == 0.7


def test_policy_added_later_counts(tmp_path: Path) -> None:
    policies = Policies(tmp_path, look_seconds=0)

    write(tmp_path)

    assert block_bar(policies) == 0.9


@pytest.mark.parametrize(
    "text",
    [
        "schema = ",
        'schema = 1\nname = "house"\nversion = 1\ncolour = 3\n',
        'schema = 1\nname = "home"\nversion = 2\n',
        'schema = 1\nname = "house"\nversion = 1\n[prompt.default]\nreview = 0.9\nblock = 0.95\n',  # the same version
    ],
)
def test_bad_file_leaves_what_counted_before(tmp_path: Path, text: str) -> None:
    path = write(tmp_path)
    policies = Policies(tmp_path, look_seconds=0)

    path.write_text(text, encoding="utf-8")

    assert block_bar(policies) == 0.9


def test_removed_file_goes_on_counting(tmp_path: Path) -> None:
    path = write(tmp_path)
    policies = Policies(tmp_path, look_seconds=0)

    path.unlink()

    assert block_bar(policies) == 0.9


def test_bad_file_keeps_a_process_from_starting(tmp_path: Path) -> None:
    (tmp_path / "house.toml").write_text("schema = ", encoding="utf-8")

    with pytest.raises(ConfigurationError, match="is not valid TOML"):
        Policies(tmp_path)


def test_shipped_name_can_not_be_taken(tmp_path: Path) -> None:
    write(tmp_path, name="default")

    with pytest.raises(ConfigurationError, match="a policy named default ships with Darkroom"):
        Policies(tmp_path)


def test_file_bears_its_policys_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"must be named house\.toml"):
        read_policy_file(write(tmp_path, file="home"))


def test_unknown_default_keeps_a_process_from_starting() -> None:
    with pytest.raises(ConfigurationError, match="there is no policy named 'nowhere'; there are: default"):
        Policies(default="nowhere")


def test_record_is_judged_by_the_version_it_names(tmp_path: Path) -> None:
    write(tmp_path)
    policies = Policies(tmp_path, look_seconds=0)
    write(tmp_path, version=2, block=0.7)
    policies.of("house")

    assert policies.at("house@1").prompt.default.block == 0.9
    assert policies.at("house@2").prompt.default.block == 0.7
    assert policies.at("house@9").prompt.default.block == 0.7
    assert policies.at(None).name == "default"
    with pytest.raises(ConfigurationError, match="there is no policy named 'gone'"):
        policies.at("gone@1")


def test_file_without_approval_waits(tmp_path: Path) -> None:
    write(tmp_path)
    approved = {read_policy_file(tmp_path / "house.toml").digest}
    policies = Policies(tmp_path, is_approved=approved.__contains__, look_seconds=0)
    path = write(tmp_path, version=2, block=0.7)

    assert block_bar(policies) == 0.9
    approved.add(read_policy_file(path).digest)
    assert block_bar(policies) == 0.7


def test_nothing_is_approved_while_nobody_can_say(tmp_path: Path) -> None:
    def away(_digest: str) -> bool:
        raise JobStoreUnavailable

    write(tmp_path)

    with pytest.raises(ConfigurationError, match="there is no policy named 'house'"):
        Policies(tmp_path, default="house", is_approved=away)
