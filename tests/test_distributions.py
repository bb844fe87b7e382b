"""Distributions that bring the same package: the one that is installed counts."""

from pathlib import Path

from pytest_edgeai.distributions import one_of


def installed(folder: Path, *names: str) -> str:
    for name in names:
        metadata = folder / f"{name.replace('-', '_')}-1.0.dist-info" / "METADATA"
        metadata.parent.mkdir(parents=True)
        metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    return str(folder)


def test_the_one_that_is_installed_counts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(installed(tmp_path, "engine-gpu"))

    assert one_of("engine", "engine-gpu") == ("engine-gpu",)


def test_where_two_are_both_count(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(installed(tmp_path, "engine", "engine-gpu"))

    assert one_of("engine", "engine-gpu") == ("engine", "engine-gpu")


def test_where_none_is_installed_the_first_is_what_is_lacking():
    assert one_of("no-such-engine", "no-such-engine-gpu") == ("no-such-engine",)
