"""What a package says that it needs, read without running it."""

from collections.abc import Mapping

import pytest

from orchestrator.models.errors import InvalidStepInput
from workers.environments.installer import NotInstalled, check_lock
from workers.environments.requirements import MAX_REQUIREMENTS, TEST_EXTRAS, parse_needs

DIGEST = "0" * 64


def needs(files: Mapping[str, str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the requirements, and (file, text) of what is refused."""
    found = parse_needs(files, None, TEST_EXTRAS)
    return found["requirements"], [(refused["file"], refused["text"]) for refused in found["refused"]]


def test_all_places_that_name_dependencies_are_read_and_own_extras_left_out() -> None:
    pyproject = """
[project]
name = "My.Package"
dependencies = ["requests>=2", "idna ; python_version > '3'"]
[project.optional-dependencies]
test = ["hypothesis", "my_package[mocks]"]
mocks = ["mockito", "my-package[test]"]
docs = ["sphinx"]
all = ["my-package[test]"]
[dependency-groups]
tests = ["respx", {include-group = "docs"}, "my_package"]
"""
    setup = "[options]\ninstall_requires =\n    flask>=3\n    click\n[options.extras_require]\ntesting = responses\n"
    lines = "# our needs\nrich==1.0 \\\n  --hash=sha256:00 --hash=sha256:11\n-r more/other.txt\nurllib3 # pinned\n"

    found, refused = needs(
        {
            "pyproject.toml": pyproject,
            "setup.cfg": setup,
            "requirements-dev.txt": lines,
            "more/other.txt": "zope\n",
        }
    )

    assert found == [
        "click", "flask>=3", "hypothesis", 'idna; python_version > "3"',
        "mockito", "requests>=2", "responses", "respx",
        "rich==1.0", "urllib3", "zope",
    ]  # fmt: skip
    assert refused == []


@pytest.mark.parametrize(
    "line",
    [
        "-e .",
        "-e git+https://host/project#egg=project",
        "--index-url https://elsewhere/simple",
        "--extra-index-url=https://elsewhere/simple",
        "--find-links /tmp",
        "-r ../../etc/passwd",
        "-r /etc/passwd",
        "-c constraints.txt",
        "https://elsewhere/project.whl",
        "project @ https://elsewhere/project.whl",
        "project @ file:///etc/passwd",
        "git+ssh://host/project",
        "./project",
        "project.whl; --index-url x",
        "${HOME}",
        "a" * 501,
    ],
)
def test_whatever_reaches_beyond_the_index_is_refused_by_name(line: str) -> None:
    found, refused = needs({"requirements.txt": f"{line}\nidna\n"})

    assert found == ["idna"]
    assert [file for file, _ in refused] == ["requirements.txt"]
    assert refused[0][1] == line[:500]


def test_the_name_in_a_refused_line_is_known() -> None:
    refused = parse_needs({}, ["project @ https://elsewhere/project.whl", "-e ."], ())["refused"]

    assert [line["name"] for line in refused] == ["project", ""]


def test_files_that_include_each_other_end() -> None:
    found, refused = needs(
        {"requirements.txt": "-r requirements-b.txt\n", "requirements-b.txt": "-r requirements.txt\nx\n"}
    )

    assert found == ["x"]
    assert refused


@pytest.mark.parametrize("text", ["[project\n", "[project]\ndependencies = [" + "[" * 100_000])
def test_a_file_that_can_not_be_parsed_is_the_input_s_fault(text: str) -> None:
    with pytest.raises(InvalidStepInput, match=r"pyproject\.toml can't be read"):
        needs({"pyproject.toml": text})


def test_dependencies_that_only_a_build_knows_are_named_as_unread() -> None:
    _, refused = needs({"pyproject.toml": '[project]\nname = "x"\ndynamic = ["dependencies"]\n'})

    assert refused == [("pyproject.toml", "dynamic = dependencies")]


def test_too_many_requirements_are_refused() -> None:
    with pytest.raises(InvalidStepInput, match="at most"):
        needs({"requirements.txt": "\n".join(f"p{number}" for number in range(MAX_REQUIREMENTS + 1))})


@pytest.mark.parametrize(
    "lock",
    [
        "",
        "idna==3",
        f"idna @ https://x --hash=sha256:{DIGEST}",
        f"idna==3 --hash=md5:{DIGEST}",
        f"--idna==3 --hash=sha256:{DIGEST}",
    ],
)
def test_a_lock_is_names_with_versions_and_hashes_only(lock: str) -> None:
    with pytest.raises(NotInstalled):
        check_lock(lock)

    assert check_lock(f"idna==3 --hash=sha256:{DIGEST}")
