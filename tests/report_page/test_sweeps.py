from eps.report_page.sweeps import Job, sweep_tables


def test_jobs_are_told_by_what_they_do_not_share() -> None:
    jobs = [
        Job(0, ["experiment=tiny", "lr=1", "seed=0"], 0.5, {"segmenter, val": 60.0}),
        Job(1, ["experiment=tiny", "lr=2", "seed=0"], None, {}),
    ]
    [table] = sweep_tables("today", jobs)
    assert table.title == "Sweep today: experiment=tiny seed=0"
    assert table.columns == ["job", "score", "segmenter, val"]
    assert table.rows == [["0: lr=1", 0.5, 60.0], ["1: lr=2", None, None]]


def test_seeds_of_the_same_settings_are_summed_up() -> None:
    scores = {("1", "0"): 0.5, ("1", "1"): 0.7, ("2", "0"): 0.1, ("2", "1"): None}
    jobs = [
        Job(number, [f"lr={lr}", f"seed={seed}"], score, {"segmenter, val": 10.0 + number})
        for number, ((lr, seed), score) in enumerate(scores.items())
    ]
    table = sweep_tables("today", jobs)[1]
    assert table.columns == ["settings", "seeds", "score", "segmenter, val"]
    assert table.rows == [
        ["lr=1", "2", "0.6000 \N{PLUS-MINUS SIGN} 0.1414", "10.5 \N{PLUS-MINUS SIGN} 0.7"],
        ["lr=2", "2", "0.1000", "12.5 \N{PLUS-MINUS SIGN} 0.7"],
    ]


def test_one_job_and_seeds_alone() -> None:
    [alone] = sweep_tables("today", [Job(0, ["lr=1"], 0.5, {})])
    assert alone.rows == [["0: lr=1", 0.5]]
    seeds = sweep_tables("today", [Job(n, [f"seed={n}"], float(n), {}) for n in range(3)])[1]
    assert seeds.rows == [["as it is", "3", "1.0000 \N{PLUS-MINUS SIGN} 1.0000"]]
