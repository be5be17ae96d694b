"""MONAI Label's own server on loopback, with the bundle as it is shipped linked into it, asked over REST."""

import gzip
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from medvol_r1.phantom.scan import make_phantom
from monai.bundle import ConfigWorkflow

ROOT = Path(__file__).resolve().parents[1]
# MONAI Label reads the kind of task from the folder's name.
NAME = "medvol_r1_ct_segmentation"
COMMAND = [sys.executable, str(ROOT / "tests" / "monailabel_command.py")]
QUERIES = {
    "plain": "the organ that makes bile",
    "unicode": "肝臓 🫁 größer als \u200f3 cm?",
    "quotes": "\"the left kidney\", 'then' `it`\\",
    "dollar": "$'INJ'+'ECTED' $import os ${HOME}",
    "percent": "%inference.json#device 100%20",
}
GIVEN = {"key_slice": 4, "bbox_2d_list": [[250, 300, 500, 700], [600, 400, 800, 600]]}

pytestmark = [pytest.mark.monailabel, pytest.mark.slow]


class Server:
    """MONAI Label, started and answering.

    Args:
        folder: of its app, its studies and its log.
    """

    def __init__(self, folder):
        self.studies, self.log = folder / "studies", folder / "server.log"
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        app = folder / "apps" / "monaibundle"
        made = [*COMMAND, "apps", "--download", "--name", "monaibundle", "--output", str(app.parent)]
        subprocess.run(made, check=True, capture_output=True, cwd=folder, timeout=300)
        (app / "model").mkdir()
        (app / "model" / NAME).symlink_to(ROOT / "bundle")
        settings = {"models": NAME, "zoo_source": "ngc", "sam2": "false", "skip_trainers": "true"}
        options = [word for setting in settings.items() for word in ("--conf", *setting)]
        options += ["--host", "127.0.0.1", "--port", str(port)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "start_server", "--app", str(app), "--studies", str(self.studies), *options],
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )

    def wait(self, session, seconds=240):
        """Until it answers."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                session.get(f"{self.url}/info/", timeout=30).raise_for_status()
                return
            except OSError:
                time.sleep(1)
        pytest.fail(f"the server does not answer:\n{self.log.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    pytest.importorskip("monailabel", reason="needs MONAI Label: bash benchmarks/monailabel_environment.sh")
    import requests

    folder = tmp_path_factory.mktemp("label")
    (folder / "studies").mkdir()
    for number in (1, 2):
        write_ct(folder / "studies" / f"case{number}.nii.gz", seed=1_000_000 + number)
    server = Server(folder)
    try:
        server.session = requests.Session()
        server.wait(server.session)
        yield server
    finally:
        server.process.terminate()
        server.process.wait(60)


def write_ct(path, seed):
    """A phantom whose first axis runs to inferior and whose last to anterior, turned about the left-right axis."""
    phantom = make_phantom(seed, "organs", shape=(64, 60, 16), canonical=True)
    cos, sin = np.cos(0.1), np.sin(0.1)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ phantom.affine[:3, :3]
    affine[:3, 3] = 95.0, 80.0, -1200.5
    image = nib.Nifti1Image(phantom.image.round().astype(np.int16), affine)
    lps = nib.orientations.axcodes2ornt(("I", "L", "A"))
    image = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(affine), lps))
    image.set_qform(image.affine, 1)
    image.set_sform(image.affine, 1)
    nib.save(image, path)


def ask(server, output, image="case1", session_id="", **params):
    """The answer's JSON, or the mask as an image."""
    answer = post(server, {"image": image, "output": output, "session_id": session_id}, params)
    assert answer.status_code == 200, f"{answer.text}\n{server.log.read_text()[-3000:]}"
    return answer.json() if output == "json" else nib.Nifti1Image.from_bytes(gzip.decompress(answer.content))


def post(server, query, params):
    data = {"params": json.dumps({"device": "cpu", **params})}
    return server.session.post(f"{server.url}/infer/{NAME}", params=query, data=data, timeout=300)


@pytest.fixture(scope="module")
def by_the_command(server, tmp_path_factory):
    """What `python -m monai.bundle run` makes of the same questions: name -> (evidence, mask)."""
    folder = tmp_path_factory.mktemp("command")
    image = str(server.studies / "case1.nii.gz")
    cases = [{"image": image, "query": query, "case": name} for name, query in QUERIES.items()]
    cases.append({"image": image, "query": QUERIES["plain"], "case": "given", **GIVEN})
    (folder / "cases.json").write_text(json.dumps(cases))
    bundle = ROOT / "bundle"
    workflow = ConfigWorkflow(
        config_file=str(bundle / "configs" / "inference.json"),
        meta_file=str(bundle / "configs" / "metadata.json"),
        logging_file=False,
        workflow_type="infer",
        bundle_root=str(bundle),
        datalist=str(folder / "cases.json"),
        output_dir=str(folder / "out"),
        device="cpu",
        picture=False,
    )
    workflow.initialize()
    workflow.run()
    answers = {}
    for case in cases:
        stem = folder / "out" / case["case"] / case["case"]
        answers[case["case"]] = (
            json.loads(Path(f"{stem}_evidence.json").read_text(encoding="utf-8")),
            nib.load(f"{stem}_mask.nii.gz"),
        )
    return answers


@pytest.mark.parametrize("name", QUERIES)
def test_a_question_is_answered_as_by_the_command(server, by_the_command, name):
    expected, expected_mask = by_the_command[name]
    answer, mask = ask(server, "json", query=QUERIES[name]), ask(server, "image", query=QUERIES[name])
    differing = {"seconds", "weights", "image"}
    assert {key: answer[key] for key in expected.keys() - differing} == {
        key: expected[key] for key in expected.keys() - differing
    }
    assert (answer["query"], answer["corrected"], answer["label_names"]) == (QUERIES[name], False, {"target": 1})
    assert_same(mask, expected_mask, server)
    assert answer["voxels"] == np.count_nonzero(mask.dataobj)


def assert_same(mask, expected, server):
    source = nib.load(server.studies / "case1.nii.gz")
    assert mask.get_data_dtype() == np.uint8 and mask.shape == source.shape
    # MONAI Label's writer stores directions as float32 quaternions.
    np.testing.assert_allclose(mask.affine, source.affine, atol=1e-3)
    np.testing.assert_array_equal(np.asarray(mask.dataobj), np.asarray(expected.dataobj))


@pytest.mark.parametrize("query", [{}, {"query": QUERIES["plain"]}], ids=["alone", "with its query"])
def test_given_evidence_is_propagated_and_the_language_model_is_not_asked(server, by_the_command, query):
    answer, mask = ask(server, "json", **query, **GIVEN), ask(server, "image", **query, **GIVEN)
    assert (answer["corrected"], answer["status"], set(answer["seconds"])) == (True, "ok", {"propagate"})
    assert (answer["key_slice"], answer["boxes_1000"]) == (GIVEN["key_slice"], GIVEN["bbox_2d_list"])
    assert_same(mask, by_the_command["given"][1], server)
    assert answer["voxels"] == np.count_nonzero(mask.dataobj) > 0


@pytest.mark.parametrize(
    "params, reason",
    [
        ({}, "QueryError: there is no query"),
        ({"query": " "}, "QueryError: the query ' ' is empty"),
        ({"query": "liver", "key_slice": 17, "bbox_2d_list": []}, "CorrectionError: .* 17, legal are 1 to 16"),
    ],
)
def test_what_cannot_be_answered_is_in_the_log_and_the_server_goes_on(server, params, reason):
    logged = len(server.log.read_text())
    assert post(server, {"image": "case1", "output": "json"}, params).status_code == 500
    end = time.monotonic() + 30  # the answer comes before its reason is logged
    while not re.search(reason, server.log.read_text()[logged:]):
        assert time.monotonic() < end, server.log.read_text()[logged:]
        time.sleep(0.2)
    assert ask(server, "json", **GIVEN)["status"] == "ok"


def test_the_second_question_about_an_image_reuses_what_was_computed(server):
    ask(server, "json", "case2", query="the liver")  # the weights are there now
    ask(server, "json", "case1", query="the liver")
    first, second = (ask(server, "json", "case2", query=query) for query in ("the spleen", "the organ of bile"))
    print({number: answer["seconds"] for number, answer in (("first", first), ("second", second))})
    assert second["seconds"]["encode"] < first["seconds"]["encode"] / 5


def test_the_folder_of_a_dicom_series_is_answered_like_its_nifti(server, tmp_path):
    dicom_files = pytest.importorskip("dicom_files")
    phantom = make_phantom(1_000_003, "organs", shape=(64, 60, 16), canonical=True)
    values, affine = phantom.image.round().astype(np.int16), phantom.affine
    dicom_files.write_series(tmp_path / "series", values, affine)
    path = dicom_files.write_nifti(tmp_path / "ct.nii.gz", values, affine)
    params = {"query": QUERIES["plain"], "result_extension": ".nii.gz"}
    series = ask(server, "image", str(tmp_path / "series"), **params)
    nifti = ask(server, "image", str(path), **params)
    np.testing.assert_array_equal(np.asarray(series.dataobj), np.asarray(nifti.dataobj))
    np.testing.assert_allclose(series.affine, nifti.affine, atol=1e-3)
    uploaded = server.session.put(
        f"{server.url}/session/",
        files=[("files", (file.name, file.read_bytes())) for file in sorted((tmp_path / "series").iterdir())],
    ).json()
    sent = ask(server, "image", session_id=uploaded["session_id"], **params)
    np.testing.assert_array_equal(np.asarray(sent.dataobj), np.asarray(nifti.dataobj))
