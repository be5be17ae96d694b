"""A served model in the place of the local one: the same prompt, the same answers, in order, so many at once."""

import copy
import csv
import json
import random
import runpy
import sys
import time
from pathlib import Path

import pytest
import torch
from chat_server import Reply, answers_of, chat_server, picture_of, query_of
from inference_stubs import ONE_BOX, STUBS
from medvol_r1.datasets.write_phantoms import write_phantoms
from medvol_r1.demo_models.tiny_lvlm import build_tokenizer
from medvol_r1.lvlm.model import VolumeLVLM
from medvol_r1.lvlm.prompts import PromptBuilder
from medvol_r1.lvlm.sampling import Sampling
from medvol_r1.lvlm.vision import stretched_channels
from medvol_r1.served_lvlm.endpoint import Endpoint
from medvol_r1.served_lvlm.failures import ServedModelError
from medvol_r1.served_lvlm.model import ServedLVLM
from tiny_models import TEXTS, save_random_lvlm

ROOT = Path(__file__).resolve().parents[2]
SLICES = torch.rand(2, 32, 32, generator=torch.Generator().manual_seed(0))


def served(url, *, max_concurrency=4, **settings):
    pytest.importorskip("openai", reason="the extra `served` is not installed")
    return ServedLVLM(Endpoint(url, "tiny", max_concurrency=max_concurrency, max_retries=0), **settings)


def echo(body):
    return Reply(query_of(body))


def texts_of(answers):
    return [[completion.text for completion in completions] for completions in answers]


def test_who_watches_is_told_of_each_completion():
    told = []
    with chat_server(echo) as server:
        network = served(server.url)
        answers = network.generate(network.encode(SLICES), ["a", "b"], on_text=told.append)
    assert told == [completion.text for (completion,) in answers] and len(set(told)) == 2


# The prompt ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["the liver", "a <slice 2> and <|im_end|> or </answer>, < 3 cm"])
def test_the_prompt_is_that_of_the_local_model(query):
    """Rendered by the same chat template it has the same tokens, but for the visual ones."""
    with chat_server(echo) as server:
        network = served(server.url)
        network.generate(network.encode(SLICES), [query])
    (message,) = server.bodies[0]["messages"]
    parts = [{"type": "image"} if part["type"] == "image_url" else part for part in message["content"]]
    builder = PromptBuilder(build_tokenizer(TEXTS, vocabulary_size=2500))
    rendered = builder.tokenizer.apply_chat_template(
        [{"role": "user", "content": parts}], tokenize=False, add_generation_prompt=True
    )
    ids = builder.tokenizer(rendered, add_special_tokens=False).input_ids
    assert ids == builder.prefix_ids(num_slices=2, tokens_per_slice=1) + builder.tail_ids(query)


def test_the_slices_come_resized_each_behind_its_tag():
    with chat_server(echo) as server:
        network = served(server.url, slice_size=16)
        network.generate(network.encode(SLICES), ["q"])
    content = server.bodies[0]["messages"][0]["content"]
    assert [part.get("text") for part in content[1:-1]] == ["<slice 1>", None, "<slice 2>", None]
    assert [picture_of(content[index]["image_url"]["url"]).shape for index in (2, 4)] == [(16, 16)] * 2


def test_the_channels_of_the_model_are_sent_as_colours():
    ranges = [[0.0, 1.0], [0.2, 0.6], [0.5, 0.9]]
    urls = ServedLVLM(Endpoint("http://host/v1", "tiny"), channel_ranges=ranges).encode(SLICES)
    expected = (stretched_channels(SLICES[:, None], ranges) * 255).round().int()
    assert picture_of(urls[1]).tolist() == expected[1].movedim(0, -1).tolist()


# Many queries at once -----------------------------------------------------------------------------------------------


def test_answers_come_in_the_order_of_the_queries():
    def slow(body):
        time.sleep(random.uniform(0, 0.05))
        return echo(body)

    queries = [f"query {number}" for number in range(12)]
    with chat_server(slow) as server:
        network = served(server.url)
        answers = network.generate(network.encode(SLICES), queries, num_samples=2)
    assert texts_of(answers) == [[query, query] for query in queries]


@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_at_once_than_the_server_is_given(limit):
    def slow(body):
        time.sleep(0.05)
        return echo(body)

    with chat_server(slow) as server:
        network = served(server.url, max_concurrency=limit)
        network.generate(network.encode(SLICES), [str(number) for number in range(9)])
    assert server.most_at_once == limit


def test_sampled_answers_are_seeded_by_torch():
    def drawn():
        with chat_server(echo) as server:
            network = served(server.url)
            torch.manual_seed(3)
            network.generate(network.encode(SLICES), ["a", "b"], num_samples=3, sampling=Sampling(temperature=0.8))
        assert {body["temperature"] for body in server.bodies} == {0.8}
        return sorted((query_of(body), body["seed"]) for body in server.bodies)

    first = drawn()
    assert len({seed for _, seed in first}) == 6 and drawn() == first


def test_the_first_failure_ends_the_call():
    def answer(body):
        return Reply(status=400, body="{}") if query_of(body) == "0" else echo(body)

    with chat_server(answer) as server:
        network = served(server.url, max_concurrency=1)
        with pytest.raises(ServedModelError):
            network.generate(network.encode(SLICES), [str(number) for number in range(50)])
    assert len(server.bodies) < 10


# As a module --------------------------------------------------------------------------------------------------------


def test_it_is_light_and_survives_a_copy():
    network = ServedLVLM(Endpoint("http://host.invalid/v1", "tiny"))
    network.load_state_dict(torch.load(ROOT / "bundle" / "models" / "model.pt", weights_only=True))
    assert copy.deepcopy(network).endpoint == network.endpoint


def test_loading_sends_nothing_and_finds_a_missing_key(monkeypatch):
    with chat_server(echo) as server:
        network = served(server.url)
        assert network.load() is network and server.bodies == []
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(ServedModelError, match="'MY_KEY' holds no key"):
        ServedLVLM(Endpoint("http://host/v1", "tiny", "MY_KEY")).load()


@pytest.mark.parametrize(
    "settings, slices, message",
    [
        ({}, torch.zeros(2, 2, 8, 8), "Slices must have the shape"),
        ({"channel_ranges": [[0, 1]] * 3}, torch.zeros(2, 3, 8, 8), "config key `windows`"),
    ],
)
def test_other_slices_are_refused(settings, slices, message):
    with pytest.raises(ValueError, match=message):
        ServedLVLM(Endpoint("http://host/v1", "tiny"), **settings).encode(slices)


def test_a_completion_has_a_token():
    with pytest.raises(ValueError, match="max_new_tokens must be at least 1, got 0"):
        ServedLVLM(Endpoint("http://host/v1", "tiny"), max_new_tokens=0)


# An evaluation ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    """Six, with two queries each."""
    folder = tmp_path_factory.mktemp("phantoms")
    return write_phantoms(folder, ["organs", "renal"], "validation", 3, queries_per_phantom=2, shape=(32, 32, 8))


@pytest.fixture
def evaluate(tmp_path, monkeypatch, phantoms):
    """Runs evaluate.json with small settings; returns the rows and the completions by case."""
    small = {"slice_size": 64, "lvlm_slice_size": 32, "num_slices": 6, "max_new_tokens": 12, "max_retries": 0}
    fixed = {"bootstrap_samples": 20, "pictures": False, "save_masks": True, "propagator": STUBS["propagator"]}
    monkeypatch.chdir(ROOT / "bundle")
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(out, *configs, **changes):
        overlay = tmp_path / f"{out}.json"
        overlay.write_text(json.dumps(small | fixed | changes))
        stack = ["configs/inference.json", "configs/evaluate.json", *configs, str(overlay)]
        arguments = ["--config_file", str(stack), "--output_dir", str(tmp_path / out), "--datalist", str(phantoms)]
        monkeypatch.setattr(sys, "argv", ["monai.bundle", "run", *arguments])
        runpy.run_module("monai.bundle", run_name="__main__")
        with (tmp_path / out / "per_query.csv").open(encoding="utf-8", newline="") as file:
            rows = {row["case"]: row for row in csv.DictReader(file)}
        records = [json.loads(path.read_text()) for path in (tmp_path / out).glob("cases/*/*_evidence.json")]
        return rows, {(Path(record["image"]).name, record["query"]): record["completion"] for record in records}

    return run


def test_an_evaluation_through_the_server_equals_the_direct_one(evaluate, tmp_path):
    pytest.importorskip("openai", reason="the extra `served` is not installed")
    weights = str(save_random_lvlm(tmp_path / "lvlm", sharpen=4.0))
    local = {"path": weights, "slice_size": 32, "max_new_tokens": 12}
    rows, completions = evaluate("direct", network_def={"_target_": "chat_server.QuantisedLVLM", **local})
    with chat_server(answers_of(VolumeLVLM(weights, max_new_tokens=12))) as server:
        served_rows, served_completions = evaluate("served", "configs/served_lvlm.json", base_url=server.url)
    assert len(completions) == len(server.bodies) == 12
    assert len(set(completions.values())) > 6, "answers that tell the slices and queries apart"
    assert served_completions == completions
    assert [row | {"seconds": ""} for row in served_rows.values()] == [row | {"seconds": ""} for row in rows.values()]
    record = next((tmp_path / "served").glob("cases/*/*_evidence.json"))
    assert json.loads(record.read_text())["weights"]["lvlm"] == f"Qwen/Qwen3-VL-4B-Instruct at {server.url}"


def test_a_case_that_fails_is_counted_and_the_others_go_on(evaluate, phantoms):
    pytest.importorskip("openai", reason="the extra `served` is not installed")
    entries = json.loads(phantoms.read_text())
    first, second, *_ = entries

    def answer(body):
        if query_of(body) == first["query"]:
            return Reply(status=400, body='{"error": {"message": "At most 4 image(s) may be provided"}}')
        return Reply(None if query_of(body) == second["query"] else ONE_BOX)

    with chat_server(answer) as server:
        rows, _ = evaluate("some", "configs/served_lvlm.json", base_url=server.url)
    expected = {first["query"]: "too_many_images", second["query"]: "empty_answer"}
    assert {row["status"] for row in rows.values()} == {"too_many_images", "empty_answer", "ok"}
    for entry in entries:
        assert rows[entry["case"]]["status"] == expected.get(entry["query"], "ok")


def test_an_endpoint_that_is_down_ends_with_its_reason(evaluate):
    pytest.importorskip("openai", reason="the extra `served` is not installed")
    with chat_server(echo) as server:
        url = server.url
    with pytest.raises(SystemExit, match="none of 12 queries could be answered: unreachable"):
        evaluate("down", "configs/served_lvlm.json", base_url=url)
