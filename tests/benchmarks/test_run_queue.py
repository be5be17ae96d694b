"""The queue of long experiments: what is finished is never done again, what fails takes only its own with it."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from experiment_plan import PlanError, read_plan  # noqa: E402
from run_queue import ResultError, RunQueue  # noqa: E402

QUEUE = """
import json, sys
sys.path.insert(0, {benchmarks!r})
from experiment_plan import read_plan
from run_queue import RunQueue
plan, folder, results, workers = sys.argv[1:]
number = {{"number": lambda out: json.loads((out / "number.json").read_text())}}
queue = RunQueue(read_plan(plan), folder, results, number, int(workers))
succeeded = queue.run()
print(json.dumps(queue.failed))
sys.exit(not succeeded)
"""

# Counts how often it was started, and goes on from what it finds: a step each tenth of a second.
COUNTING = """
import json, pathlib, sys, time
out, steps = pathlib.Path(sys.argv[1]), int(sys.argv[2])
with (out / "starts").open("a") as file:
    file.write("x")
checkpoint = out / "checkpoint"
done = int(checkpoint.read_text()) if checkpoint.exists() else 0
while done < steps:
    time.sleep(0.1)
    done += 1
    checkpoint.write_text(str(done))
(out / "number.json").write_text(json.dumps({"steps": done}))
"""


def counting(name, steps=1, **keys):
    return {"name": name, "command": ["-c", COUNTING, "{out}", str(steps)], "result": "number", "minutes": 1, **keys}


@pytest.fixture
def start(tmp_path):
    """Starts the queue on a plan; gives the process."""

    def start(*runs, workers=1):
        plan = tmp_path / "plan.json"
        plan.write_text(json.dumps({"runs": list(runs)}))
        script = QUEUE.format(benchmarks=str(BENCHMARKS))
        arguments = [str(plan), str(tmp_path / "runs"), str(tmp_path / "results"), str(workers)]
        return subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True)

    return start


def starts_of(tmp_path, name):
    path = tmp_path / "runs" / name / "starts"
    return len(path.read_text()) if path.exists() else 0


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_runs_are_carried_out_once_in_the_order_of_their_needs(start, tmp_path):
    runs = counting("second", needs=["first"]), counting("first")
    for _ in range(2):
        process = start(*runs)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
    assert out == "{}\n"  # nothing was left to do
    assert [starts_of(tmp_path, name) for name in ("first", "second")] == [1, 1]
    result = json.loads((tmp_path / "results" / "second.json").read_text())
    assert (result["run"], result["kind"], result["steps"], result["attempts"]) == ("second", "number", 1, 1)
    assert result["cpu_minutes"] >= 0 and result["attempts_without_time"] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "kill -9"])
def test_a_queue_that_was_ended_goes_on_where_it_was(start, tmp_path, number):
    runs = counting("short"), counting("long", steps=15, needs=["short"])
    process = start(*runs)
    wait_for(lambda: (tmp_path / "runs" / "long" / "checkpoint").exists())
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode != 0 and not (tmp_path / "results" / "long.json").exists()
    process = start(*runs)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    # kill -9 of the queue leaves its run alive; it is waited for, so that no two write to one folder.
    assert ("waiting for it" in out) == (number == signal.SIGKILL)
    assert [starts_of(tmp_path, name) for name in ("short", "long")] == [1, 2]
    result = json.loads((tmp_path / "results" / "long.json").read_text())
    assert result["steps"] == 15 and result["attempts"] == 2
    # The queue that was killed could not see how long its run took, and the result says so.
    assert result["attempts_without_time"] == (number == signal.SIGKILL)


def test_a_failure_takes_only_those_with_it_that_need_it(start, tmp_path):
    runs = (
        {"name": "broken", "command": ["-c", "raise SystemExit(3)"]},
        counting("needs_it", needs=["broken"]),
        counting("needs_that", needs=["needs_it"]),
        counting("waits_only", after=["broken"]),
        counting("other"),
        {"name": "leaves_nothing", "command": ["-c", ""], "result": "number"},
    )
    process = start(*runs, workers=2)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    failed = json.loads(out.splitlines()[-1])
    assert "exit status 3" in failed.pop("broken") and "its result cannot be read" in failed.pop("leaves_nothing")
    assert failed == {"needs_it": "not run, for it needs broken", "needs_that": "not run, for it needs needs_it"}
    assert sorted(path.stem for path in (tmp_path / "results").iterdir()) == ["other", "waits_only"]
    # Started again, with the fault mended: what is done stays, the rest follows.
    mended = {"name": "broken", "command": ["-c", ""]}
    process = start(mended, *runs[1:5], workers=2)
    process.communicate(timeout=60)
    assert process.returncode == 0
    names = ("needs_it", "needs_that", "waits_only", "other")
    assert [starts_of(tmp_path, name) for name in names] == [1, 1, 1, 1]


def test_many_short_runs_at_a_time_are_all_seen_to_end(start, tmp_path):
    runs = [{"name": f"short_{number}", "command": ["-c", ""]} for number in range(24)]
    process = start(*runs, workers=6)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    assert out.count(": finished") == 24 and len(list((tmp_path / "runs").glob("*/finished.json"))) == 24


@pytest.mark.parametrize("kills, starts, code", [(2, 3, 0), (9, 4, 1)])
def test_a_run_that_is_killed_from_outside_goes_on_a_few_times(start, tmp_path, kills, starts, code):
    killed = "import os, pathlib, sys; out = pathlib.Path(sys.argv[1]); open(out / 'starts', 'a').write('x'); "
    killed += f"len((out / 'starts').read_text()) > {kills} or os.kill(os.getpid(), 15)"
    process = start({"name": "killed", "command": ["-c", killed, "{out}"]}, counting("other"))
    process.communicate(timeout=60)
    assert process.returncode == code
    assert starts_of(tmp_path, "killed") == starts and starts_of(tmp_path, "other") == 1


def make_queue(tmp_path, *runs, workers=1):
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"runs": list(runs)}))
    return RunQueue(read_plan(plan), tmp_path / "runs", tmp_path / "results", {"number": dict}, workers)


def test_what_only_served_finished_runs_is_not_made_again(tmp_path):
    base, cold = counting("base"), counting("cold", needs=["base"])
    score, other = counting("score", needs=["cold"]), counting("other", needs=["cold"])
    queue = make_queue(tmp_path, base, cold, score)
    assert [run.name for run in queue.to_do()] == ["base", "cold", "score"]
    queue.results.mkdir()
    for run in queue.runs:
        (queue.results / f"{run.name}.json").write_text(json.dumps({"digest": run.digest}))
    # The results came with the repository, the folders did not.
    assert queue.to_do() == []
    # A new run needs the folder of `cold`, and that the one of `base`; `score` stays as it is.
    assert [run.name for run in make_queue(tmp_path, base, cold, score, other).to_do()] == ["base", "cold", "other"]


def test_a_result_of_another_plan_is_refused(tmp_path):
    queue = make_queue(tmp_path, counting("run"))
    queue.results.mkdir()
    (queue.results / "run.json").write_text(json.dumps({"digest": "0123"}))
    with pytest.raises(ResultError, match="run.json was made by another 'run'.*remove that file"):
        queue.to_do()


@pytest.mark.parametrize(
    "runs, message",
    [
        ([{"name": "a", "command": []}] * 2, "two runs are called 'a'"),
        ([{"name": "a", "comand": []}], "has the key 'comand'; legal are"),
        ([{"name": "a", "command": [], "needs": ["b_*"]}], "'a' waits for 'b_[*]', which is no run"),
        ([{"name": "a", "configs": ["train.json"], "use": ["big"]}], "uses 'big'"),
        (
            [{"name": "a", "command": [], "needs": ["b"]}, {"name": "b", "command": [], "after": ["a"]}],
            r"\['a', 'b'\] wait for each other",
        ),
    ],
)
def test_bad_plans(tmp_path, runs, message):
    with pytest.raises(PlanError, match=message):
        make_queue(tmp_path, *runs)


def test_bad_queues(tmp_path):
    with pytest.raises(ValueError, match="workers is 0"):
        make_queue(tmp_path, counting("a"), workers=0)
    with pytest.raises(ValueError, match="'picture'.*legal are"):
        make_queue(tmp_path, counting("a", result="picture"))


def test_a_template_makes_a_run_for_each_combination(tmp_path):
    template = {
        "name": "{row}_{seed}",
        "for": {"row": ["a", "b"], "seed": [0, 1]},
        "configs": ["train_grpo.json", "ablations/{row}.json"],
        "use": ["small"],
        "set": {"seed": "$int({seed})", "lvlm_path": "{runs}/cold_{seed}/lvlm", "subsets": ["organs"]},
    }
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"shared": {"small": {"num_slices": 16, "subsets": []}}, "runs": [template]}))
    runs = read_plan(plan)
    assert [run.name for run in runs] == ["a_0", "a_1", "b_0", "b_1"]
    assert len({run.digest for run in runs}) == 4
    assert runs[3].command(Path("/r")) == [
        *("-m", "monai.bundle", "run"),
        *("--config_file", "['bundle/configs/train_grpo.json', 'bundle/configs/ablations/b.json']"),
        *("--bundle_root", "bundle", "--output_dir", "/r/b_1", "--num_slices", "16", "--subsets", "['organs']"),
        *("--seed", "$int(1)", "--lvlm_path", "/r/cold_1/lvlm"),
    ]


@pytest.mark.parametrize("plan", ["reproduction.json", "claim.json", "umrg.json"])
def test_the_plans_can_be_carried_out(plan):
    """Every setting is a key of its configs, and every folder that a run reads is one that it needs, or a cache."""
    configs = BENCHMARKS.parent / "bundle" / "configs"
    runs = read_plan(BENCHMARKS / plan)
    names = {run.name for run in runs}
    for run in runs:
        for argument in run.arguments:
            if argument.startswith("{runs}/"):
                assert argument.split("/")[1] in set(run.needs) & names | {"slice_cache"}, (run.name, argument)
        if "--config_file" in run.arguments:
            files = [BENCHMARKS.parent / name.strip(" '") for name in run.arguments[4].strip("[]").split(",")]
            assert all(file.is_relative_to(configs) for file in files)
            keys = {key for file in files for key in json.loads(file.read_text())}
            options = [a[2:].partition("#")[0] for a in run.arguments[3:] if a.startswith("--")]
            assert set(options) <= keys | {"config_file", "bundle_root"}, run.name


def test_test_phantoms_are_touched_once_by_all_systems_together():
    runs = {run.name: run for run in read_plan(BENCHMARKS / "reproduction.json")}
    for data, trained in (("test_claim", ("cold", "sft", "grpo")), ("test_ablation", ("ablation",))):
        trainings = {n for n, run in runs.items() if n.startswith(trained) and run.result == "training"}
        scored = [run for run in runs.values() if data in run.needs]
        assert len(scored) > 18 and trainings <= set(runs[data].after)
        assert all(run.result == "evaluation" and trainings <= {*run.needs, *run.after} for run in scored)
