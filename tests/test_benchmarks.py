"""What all benchmarks share; what they measure is no matter of tests."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import degraded, results
from benchmarks.harness import OURS, PLAIN, Comparison, arguments, bandwidth, interleave, machine, show

CPU = torch.device("cpu")
REPOSITORY = Path(__file__).parents[1]
MEASURE = """
import torch
from benchmarks.harness import extra_memory
kept = []
print(extra_memory(lambda: kept.append(torch.ones(2**26, dtype=torch.uint8)), torch.device("cpu")))
"""


def test_ways_take_turns_and_warming_up_does_not_count() -> None:
    order: list[str] = []

    def way(name: str) -> Callable[[], None]:
        return lambda: order.append(name)

    times = interleave({name: way(name) for name in "abc"}, rounds=2, warmup=1, device=CPU)
    assert "".join(order) == "abc" + "bca" + "cab"
    assert {name: len(some) for name, some in times.items()} == {"a": 2, "b": 2, "c": 2}


@pytest.fixture
def found() -> Comparison:
    times = {PLAIN: [40.0, 60.0, 80.0], "peer": [30.0, 30.0, 30.0], OURS: [10.0, 20.0, 20.0]}
    return Comparison(
        benchmark="something", times=times, agreement=0.75, device=CPU, settings={"size": 3}, more={"limit_ms": 0.5}
    )


def test_the_summary(found: Comparison) -> None:
    summary = found.summary()
    assert (summary["benchmark"], summary["ratio"], summary["agreement"]) == ("something", 3.0, 0.75)
    assert summary["medians"] == {PLAIN: 60.0, "peer": 30.0, OURS: 20.0}
    assert summary["quartiles"]["plain"] == [50.0, 70.0]
    assert summary["ratio_quartiles"] == [3.5, 4.0]  # of 4, 3 and 4
    assert (summary["rounds"], summary["settings"], summary["limit_ms"]) == (3, {"size": 3}, 0.5)
    assert summary["machine"]["torch"] == torch.__version__


def test_the_last_line_is_one_json_object(found: Comparison, capsys: pytest.CaptureFixture[str]) -> None:
    show(found, as_json=True, notes=["a note"])
    *shown, last = capsys.readouterr().out.splitlines()
    assert json.loads(last) == json.loads(json.dumps(found.summary()))
    assert any("a note" in line for line in shown)
    show(found, as_json=False)
    assert "{" not in capsys.readouterr().out


def test_memory_of_a_call_has_its_result_in_it() -> None:
    """In a process of its own: this one may have free memory left that the call would take first."""
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert 0.9 * 2**26 < int(done.stdout) < 1.5 * 2**26


def test_settings_and_machine() -> None:
    options = arguments("What it is.\n\nMore.").parse_args([])
    assert (options.threads, options.json, options.device) == (2, False, "auto")
    assert machine(CPU).gpu is None
    assert machine(CPU).cores >= 1
    assert bandwidth(CPU, size=2**20, rounds=1) > 0


def test_spoiled_saliency_is_a_share_that_goes_by_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    maps = {f"photo {i}": np.full((4, 6), i, dtype=np.uint8) for i in range(50)}
    (tmp_path / "maps").mkdir()
    for name, saliency in maps.items():
        Image.fromarray(saliency).save(tmp_path / "maps" / f"{name}.png")
    kinds = {"blank": 0, "inverted": 255}
    for kind in kinds:
        degraded.main([str(tmp_path / "maps"), str(tmp_path / kind), "--kind", kind, "--share", "0.2"])
    spoiled = {name for name in maps if degraded.is_spoiled(name, share=0.2, seed=0)}
    assert 4 <= len(spoiled) <= 17
    assert f"{len(spoiled)} of 50 maps blank" in capsys.readouterr().out
    for name, saliency in maps.items():
        blank, inverted = (np.asarray(Image.open(tmp_path / kind / f"{name}.png")) for kind in kinds)
        assert (blank == (0 if name in spoiled else saliency)).all()
        assert (inverted == (255 - saliency if name in spoiled else saliency)).all()


@pytest.mark.parametrize(
    "wrong",
    [
        ["maps", "maps", "--kind", "blank"],
        ["maps", "out", "--kind", "blank", "--share", "20"],
        ["maps", "others", "--kind", "blank"],
    ],
)
def test_saliency_maps_are_never_spoiled_by_mistake(
    wrong: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "maps").mkdir()
    Image.fromarray(np.full((4, 6), 9, dtype=np.uint8)).save("maps/a.png")
    (tmp_path / "others").mkdir()
    Image.fromarray(np.zeros((4, 6), dtype=np.uint8)).save("others/b.png")
    with pytest.raises(SystemExit):
        degraded.main(wrong)
    assert sorted(tmp_path.rglob("*.png")) == [tmp_path / "maps/a.png", tmp_path / "others/b.png"]
    assert (np.asarray(Image.open("maps/a.png")) == 9).all()


def test_blurred_saliency_keeps_its_mean_and_loses_its_borders() -> None:
    saliency = np.zeros((40, 60), dtype=np.uint8)
    saliency[10:30, 20:40] = 200
    soft = degraded.blurred(saliency)
    assert abs(float(soft.mean()) - float(saliency.mean())) < 1
    assert np.abs(np.diff(soft.astype(int))).max() < 60


def test_results_are_those_of_a_runs_evaluations(tmp_path: Path) -> None:
    run, out = tmp_path / "voc_mini", tmp_path / "results.json"
    made_by = {"hardware": {"processor": "A CPU", "cores": 2, "devices": []}}
    contents: dict[str, object] = {
        "evaluation/pseudo_masks.json": {"splits": {"train": {"miou": 61.26}}, "made_by": made_by},
        "evaluation/segmenter.json": {"splits": {"val": {"miou": 54.04}}, "fingerprint": "f1pseudo"},
        "truth/evaluation/segmenter.json": {"splits": {"val": {"miou": 58.96}}, "fingerprint": "f1truth"},
        "cam/evaluation/pseudo_masks.json": {"best_threshold": {"miou": 36.0}},
    } | {
        f"{part}segmenter/manifest.json": {
            "seed": 3,
            "trunk": {},
            "fingerprint": f"f1{masks}",
            "config": {"steps": 5, "supervision": masks},
            "inputs": {"classifier/model.safetensors": "5e1f", "data": "da7a", "masks": masks},
        }
        for part, masks in {"": "pseudo", "truth/": "truth"}.items()
    }
    for name, content in contents.items():
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(json.dumps(content))
    out.write_text('{"other": {}}')
    results.main([str(run), str(out), "--command", "make it"])
    assert json.loads(out.read_text()) == {
        "other": {},
        "voc_mini": {
            "pseudo_miou_train": 61.3,
            "segmenter_miou_val": 54.0,
            "segmenter_truth_miou_val": 59.0,
            "supervision_ratio": 0.917,
            "cam_miou_train": 36.0,
            "command": "make it",
            "machine": "A CPU, 2 cores",
            "seed": 3,
        },
    }
    manifest = run / "truth/segmenter/manifest.json"
    told = manifest.read_text()
    for word, other, message in [
        ("truth", "pseudo", "learnt from pseudo and pseudo, not pseudo and truth"),
        ('"steps": 5', '"steps": 6', "another recipe"),
        ("5e1f", "another classifier", "another recipe"),
        ("da7a", "other photos", "another recipe"),
        ("f1truth", "f1other", "scores another segmenter"),
    ]:
        assert word in told
        manifest.write_text(told.replace(word, other))
        with pytest.raises(SystemExit, match=message):
            results.main([str(run), str(out), "--command", "make it"])
    manifest.unlink()
    with pytest.raises(SystemExit, match=r"manifest\.json is missing"):
        results.main([str(run), str(out), "--command", "make it"])
