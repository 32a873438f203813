"""Packages that the executor's tests are run on."""

from pathlib import Path

from orchestrator.safety.archive import pack

SAMPLE = Path(__file__).parents[2] / "examples" / "sample_package"


FAILING_TEST = "def test_planted():\n    assert 1 + 1 == 3\n"


def packed(place: Path, **files: str) -> dict[str, bytes]:
    place.mkdir()
    for name, text in files.items():
        (place / f"{name}.py").write_text(text)
    return {"code.tar.gz": pack(place)}


def sample(tmp_path: Path, **more: str) -> bytes:
    """Pack the shipped example with additional test files."""
    copy = tmp_path / "sample"
    copy.mkdir()
    for path in SAMPLE.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            target = copy / path.relative_to(SAMPLE)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    for name, text in more.items():
        (copy / "tests" / f"{name}.py").write_text(text)
    return pack(copy)
