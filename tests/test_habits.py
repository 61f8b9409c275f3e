"""What stands in two places says the same: targets, hooks, workflow, extras, versions."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

import eps

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def recipes() -> dict[str, list[str]]:
    """By target of the Makefile its commands."""
    blocks = re.findall(r"^([\w-]+):.*\n((?:\t.*\n)*)", text("Makefile"), flags=re.MULTILINE)
    return {target: [line.strip() for line in lines.splitlines()] for target, lines in blocks}


def test_make_alone_lists_every_target() -> None:
    done = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = re.findall(r"^  make ([\w-]+) +\S", done.stdout, flags=re.MULTILINE)
    phony = re.search(r"^\.PHONY: (.*)$", text("Makefile"), flags=re.MULTILINE)
    assert phony is not None
    assert sorted(listed) == sorted(phony[1].split()) == sorted(recipes())


def test_hooks_are_the_checks_of_make() -> None:
    wanted = [
        command.replace("$(VENV)", ".venv") for target in ("lint", "types", "layers") for command in recipes()[target]
    ]
    (repository,) = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"]
    entries = [hook["entry"].replace(" --force-exclude", "") for hook in repository["hooks"]]
    assert sorted(entries) == sorted(wanted)
    assert len({hook["id"] for hook in repository["hooks"]}) == len(entries)


def test_hooks_are_valid() -> None:
    command = [sys.executable, "-m", "pre_commit", "validate-config", str(ROOT / ".pre-commit-config.yaml")]
    subprocess.run(command, check=True, capture_output=True)


def test_workflow_runs_what_ci_runs() -> None:
    job = yaml.safe_load(text(".github/workflows/ci.yml"))["jobs"]["test"]
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    stated = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line]
    assert job["strategy"]["matrix"]["python"] == stated
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o100


def test_issue_templates_are_forms() -> None:
    for name in ("bug", "idea"):
        form = yaml.safe_load(text(f".github/ISSUE_TEMPLATE/{name}.yml"))
        assert {"name", "description", "body"} <= form.keys()
        assert len({part["id"] for part in form["body"]}) == len(form["body"])


def test_every_extra_is_documented() -> None:
    extras = PROJECT["optional-dependencies"]
    rows = dict(re.findall(r"^\| `([a-z]+)` \|.*\| (.*) \|$", text("docs/INSTALL.md"), flags=re.MULTILINE))
    assert rows.keys() == extras.keys()
    for extra in extras.keys() - {"dev"}:
        assert rows[extra].split(", ") == [re.split("[><=]", line)[0] for line in extras[extra]]


def test_dockerfile_installs_extras_that_there_are_from_files_that_there_are() -> None:
    dockerfile = text("Dockerfile")
    extras = re.search(r"^ARG EXTRAS=(.*)$", dockerfile, flags=re.MULTILINE)
    assert extras is not None
    assert set(extras[1].split(",")) <= PROJECT["optional-dependencies"].keys()
    lines = re.findall(r"^COPY (?!--)(.*) \S+$", dockerfile, flags=re.MULTILINE)
    copied = [word for line in lines for word in line.split()]
    assert {"eps", "conf", "stages", "pyproject.toml", "constraints.txt", "README.md", "LICENSE"} == set(copied)
    assert all((ROOT / name).exists() and f"!{name}\n" in text(".dockerignore") for name in copied)


def test_citation_has_this_version() -> None:
    cited = yaml.safe_load(text("CITATION.cff"))
    assert (cited["version"], cited["license"]) == (eps.__version__, PROJECT["license"])
    papers = {reference["url"].rpartition("/")[2] for reference in cited["references"]}
    assert papers == {"2105.08965", "1904.02689", "1912.06218"}
    assert json.dumps(cited)  # no dates or other odd values


def test_documents_that_a_stranger_looks_for() -> None:
    assert "Apache License" in text("LICENSE")
    assert "keepachangelog.com" in text("CHANGELOG.md")
    assert "## [Unreleased]" in text("CHANGELOG.md")
    told = re.findall(r"^    make ([\w-]+)", text("CONTRIBUTING.md"), flags=re.MULTILINE)
    assert told
    assert set(told) <= recipes().keys()
